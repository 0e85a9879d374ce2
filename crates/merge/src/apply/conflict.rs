//! Conflicts: fields that an apply would change and that another manager owns.

use std::collections::BTreeMap;
use std::fmt;

use super::entries::{ManagerId, Operation};
use crate::fieldset::{Path, Set};
use crate::go::quote;

/// One field and the manager that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: ManagerId,
    pub path: Path,
}

/// All conflicts of one apply, by manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

/// A cause of the 409 `Status`; its reason is `FieldManagerConflict`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub message: String,
    pub field: String,
}

impl Conflicts {
    pub(super) fn of(sets: &BTreeMap<ManagerId, Set>) -> Self {
        let of = |(manager, set): (&ManagerId, &Set)| {
            let manager = manager.clone();
            set.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path })
        };
        Conflicts(sets.iter().flat_map(of).collect())
    }

    pub(super) fn paths(&self) -> Set {
        self.0.iter().map(|conflict| &conflict.path).collect()
    }

    /// The conflicts outside `allowed`.
    pub(super) fn without(self, allowed: &Set) -> Self {
        Conflicts(self.0.into_iter().filter(|conflict| !allowed.has(&conflict.path.0)).collect())
    }

    /// The causes of the 409, one for each conflict.
    pub fn causes(&self) -> Vec<Cause> {
        let cause = |conflict: &Conflict| Cause {
            message: format!("conflict with {}", describe(&conflict.manager)),
            field: conflict.path.to_string(),
        };
        self.0.iter().map(cause).collect()
    }
}

/// `"kubectl" using apps/v1`; appliers are named without the version, since they have one entry for all.
fn describe(manager: &ManagerId) -> String {
    let mut out = quote(&manager.manager);
    if !manager.subresource.is_empty() {
        out += &format!(" with subresource {}", quote(&manager.subresource));
    }
    if manager.operation == Operation::Update {
        out += &format!(" using {}", manager.api_version);
    }
    out
}

/// The message of the 409.
impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = &self.0[..] {
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {}",
                describe(&one.manager),
                one.path
            );
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut by_manager: BTreeMap<&ManagerId, Vec<&Path>> = BTreeMap::new();
        for conflict in &self.0 {
            by_manager.entry(&conflict.manager).or_default().push(&conflict.path);
        }
        for (i, (manager, paths)) in by_manager.into_iter().enumerate() {
            let newline = if i > 0 { "\n" } else { "" };
            write!(f, "{newline}conflicts with {}:", describe(manager))?;
            for path in paths {
                write!(f, "\n- {path}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Conflicts {}
