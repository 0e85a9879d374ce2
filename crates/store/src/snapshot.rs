//! The store as it stood at one revision.

use std::sync::Arc;

use crate::entry::{Entry, Revision, Span};
use crate::tree::{Iter, Tree};

/// A frozen view. Taking one and keeping it cost next to nothing; it shares what later writes leave unchanged.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) tree: Tree,
    /// A view of the past answers only for the span it was asked for; the rest of it may be from later.
    pub(crate) scope: Option<Span>,
}

impl Snapshot {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.assert_covers(key, key);
        self.tree.get(key)
    }

    /// The entries of `span` in key order, from `from` on where it is given. Take as many as the page holds, and
    /// ask [`count_from`](Snapshot::count_from) how many would follow.
    pub fn range(&self, span: &Span, from: Option<&str>) -> Range<'_> {
        let (start, end) = self.bounds(span, from);
        Range { entries: self.tree.iter_from(&start), end }
    }

    pub fn count(&self, span: &Span) -> usize {
        self.count_from(span, None)
    }

    /// How many entries [`range`](Snapshot::range) would give, in logarithmic time.
    pub fn count_from(&self, span: &Span, from: Option<&str>) -> usize {
        let (start, end) = self.bounds(span, from);
        self.tree.rank(&end).saturating_sub(self.tree.rank(&start))
    }

    fn bounds(&self, span: &Span, from: Option<&str>) -> (String, String) {
        let (least, end) = (span.text(), span.end());
        self.assert_covers(least, span.text());
        let start = from.filter(|from| *from > &**least).unwrap_or(least);
        (start.to_owned(), end)
    }

    fn assert_covers(&self, key: &str, span: &str) {
        if let Some(scope) = &self.scope {
            assert!(
                scope.contains(key),
                "{span} lies outside of {scope:?}, which this view of the past was made for"
            );
        }
    }
}

pub struct Range<'a> {
    entries: Iter<'a>,
    end: String,
}

impl<'a> Iterator for Range<'a> {
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<&'a Arc<Entry>> {
        self.entries.next().filter(|entry| *entry.key < *self.end)
    }
}
