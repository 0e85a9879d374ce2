//! A path from an object's root to one of its fields.

use std::fmt;

/// One step of a path and a borrow of the steps before it.
///
/// Validators build a path for every field they look at, and nearly all fields are fine. So a path is a list linked
/// through the callers' stack frames: adding a step copies a few words and allocates nothing, and text is made only
/// when an error needs it.
///
/// ```
/// use grammar::field::Path;
/// let spec = Path::new("spec");
/// let containers = spec.child("containers");
/// assert_eq!(containers.index(0).child("name").to_string(), "spec.containers[0].name");
/// assert_eq!(Path::new("metadata").child("labels").key("a.b/c").to_string(), "metadata.labels[a.b/c]");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Nil,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path of one step.
    pub const fn new(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Name(name) }
    }

    /// No path at all. It prints as Go's nil pointer does, and its children print as if they had no parent.
    pub const fn nil() -> Path<'static> {
        Path { parent: None, step: Step::Nil }
    }

    /// The field `name` of the object here.
    pub const fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// The item at `index` of the list here.
    pub const fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The entry `key` of the map here.
    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|parent| !matches!(parent.step, Step::Nil));
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Nil => f.write_str("<nil>"),
            Step::Name("") => f.write_str("[]"),
            Step::Name(name) if parent.is_some() => write!(f, ".{name}"),
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_upstream() {
        let check = |path: Path<'_>, want: &str| assert_eq!(path.to_string(), want);
        check(Path::new("root"), "root");
        check(Path::new("root").child("a").child("b"), "root.a.b");
        check(Path::new("root").child("a").index(3).child("b"), "root.a[3].b");
        check(Path::new("root").key("k").key("l"), "root[k][l]");
        check(Path::new("root").child(""), "root[]");
        check(Path::nil(), "<nil>");
        check(Path::nil().child("values").index(0), "values[0]");
        check(Path::nil().key("k"), "[k]");
    }
}
