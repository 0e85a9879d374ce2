//! The list of all kinds.

use std::sync::{Arc, LazyLock};

use crate::core;
use crate::kind::Kind;

static KINDS: LazyLock<Vec<Arc<Kind>>> =
    LazyLock::new(|| [core::config_map::kind()].into_iter().map(Arc::new).collect());

/// Every built-in kind, group by group.
pub fn all() -> &'static [Arc<Kind>] {
    &KINDS
}

/// The kind that `group` serves under `plural`.
pub fn find(group: &str, plural: &str) -> Option<&'static Arc<Kind>> {
    all().iter().find(|kind| kind.group == group && kind.plural == plural)
}
