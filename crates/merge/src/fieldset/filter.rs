//! Filters over sets: what a subresource may not own, or what alone it may own.

use super::{PathElement, Set};

/// Which paths of a set survive.
#[derive(Clone, Debug)]
pub enum Filter {
    /// All but these paths and what lies below them.
    Exclude(Set),
    /// Only what one of these patterns leads to or passes through.
    Include(Vec<Pattern>),
}

/// A path prefix; everything below its end matches.
#[derive(Clone, Debug, Default)]
pub struct Pattern(pub Vec<Step>);

/// One step of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Any,
    Is(PathElement),
}

impl Filter {
    pub fn apply(&self, set: &Set) -> Set {
        match self {
            Filter::Exclude(excluded) => set.recursive_difference(excluded),
            Filter::Include(patterns) => {
                let patterns: Vec<&[Step]> = patterns.iter().map(|pattern| &pattern.0[..]).collect();
                include(set, &patterns)
            }
        }
    }
}

fn include(set: &Set, patterns: &[&[Step]]) -> Set {
    if patterns.iter().any(|pattern| pattern.is_empty()) {
        return set.clone();
    }
    set.map_edges(|element, member, below| {
        // A wildcard takes precedence over a named step, as upstream's sorted patterns have it.
        let matching = |named: bool| -> Vec<&[Step]> {
            patterns
                .iter()
                .filter_map(|pattern| pattern.split_first())
                .filter(|(step, _)| match step {
                    Step::Any => !named,
                    Step::Is(wanted) => named && wanted == element,
                })
                .map(|(_, rest)| rest)
                .collect()
        };
        let any = matching(false);
        let rest = if any.is_empty() { matching(true) } else { any };
        (!rest.is_empty()).then(|| (member, include(below, &rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Path;
    use super::*;

    #[test]
    fn include_keeps_the_way_to_a_pattern_and_all_below_it() {
        let paths = ["status", "status.phase", "spec", "spec.list.size", "spec.list.name", "spec.other.size"];
        let set: Set = paths.map(|p| Path::fields(&p.split('.').collect::<Vec<_>>())).iter().collect();
        let is = |name: &str| Step::Is(PathElement::field(name));
        let kept = Filter::Include(vec![Pattern(vec![is("spec"), Step::Any, is("size")])]).apply(&set);
        let kept: Vec<_> = kept.paths().iter().map(Path::to_string).collect();
        assert_eq!(kept, [".spec", ".spec.list.size", ".spec.other.size"]);
    }
}
