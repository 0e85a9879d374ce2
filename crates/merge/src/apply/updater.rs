//! Ownership under change: what an update takes from others, what an apply may change, adds and prunes.
//!
//! Managers are told apart by [`ManagerId`] alone here; times and metadata are none of this module's business.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::conflict::Conflicts;
use super::convert::{Convert, ConvertError, Typed};
use super::entries::ManagerId;
use crate::fieldset::{Filter, Set};
use crate::typed::{self, Comparison, Duplicates, with_named_fields};
use crate::value::equal;

/// A set, and the version whose fields it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versioned {
    pub(super) set: Set,
    pub(super) version: String,
}

pub(super) type Sets = BTreeMap<ManagerId, Versioned>;

pub(super) enum Failure {
    Conflicts(Conflicts),
    Other(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Other(message)
    }
}

pub(super) struct Updater<'a> {
    pub(super) convert: &'a dyn Convert,
    /// What may not be owned, by version.
    pub(super) filters: &'a HashMap<String, Filter>,
}

/// The outcome of an apply: `None` for an object that it leaves as it is.
pub(super) type Applied = (Option<Value>, Sets);

impl<'a> Updater<'a> {
    /// Records that `manager` replaced `live` by `new`.
    pub(super) fn update(
        &self,
        live: &Typed<'a>,
        new: &Typed<'a>,
        version: &str,
        sets: Sets,
        manager: &ManagerId,
    ) -> Result<Sets, String> {
        let sets = self.reconcile(live, sets)?;
        let (mut sets, changed) = match self.take(live, new, version, sets, manager, Force::Yes) {
            Ok(taken) => taken,
            Err(Failure::Other(message)) => return Err(message),
            Err(Failure::Conflicts(conflicts)) => return Err(conflicts.to_string()),
        };
        let before = sets.remove(manager).map(|owned| owned.set).unwrap_or_default();
        let mut set = before.difference(&changed.removed).union(&changed.modified).union(&changed.added);
        if let Some(filter) = self.filters.get(version) {
            set = filter.apply(&set);
        }
        if !set.is_empty() {
            sets.insert(manager.clone(), Versioned { set, version: version.to_owned() });
        }
        Ok(sets)
    }

    /// Applies `config`: merges it into `live` and removes what the manager's last configuration had and nobody
    /// owns any more.
    pub(super) fn apply(
        &self,
        live: &Typed<'a>,
        config: &Typed<'a>,
        version: &str,
        sets: Sets,
        manager: &ManagerId,
        force: Force,
    ) -> Result<Applied, Failure> {
        let mut sets = self.reconcile(live, sets)?;
        let merged = typed::merge(&live.value, &config.value, live.typing)
            .map_err(|error| format!("failed to merge config: {error}"))?;
        let merged = Typed::owned(merged.unwrap_or(Value::Null), live.typing);

        let mut set = typed::field_set(&config.value, config.typing);
        if let Some(filter) = self.filters.get(version) {
            set = filter.apply(&set);
        }
        let last = sets.insert(manager.clone(), Versioned { set, version: version.to_owned() });
        let new = match last {
            Some(last) if !last.set.is_empty() => self
                .prune(merged, &sets, version, &last)
                .map_err(|error| format!("failed to prune fields: {error}"))?,
            _ => merged,
        };
        let (sets, _) = self.take(live, &new, version, sets, manager, force)?;
        let changed = !equal(&live.value, &new.value);
        Ok((changed.then(|| new.value.into_owned()), sets))
    }

    /// Takes from every other manager what the step from `old` to `new` changed.
    fn take(
        &self,
        old: &Typed<'a>,
        new: &Typed<'a>,
        version: &str,
        mut sets: Sets,
        manager: &ManagerId,
        force: Force,
    ) -> Result<(Sets, Comparison), Failure> {
        let changed = self.changes(old, new, version)?;
        let mut by_version: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        by_version.insert(version.to_owned(), Some(changed.clone()));
        let mut conflicts = BTreeMap::new();
        let mut removed = BTreeMap::new();
        let mut unserved = Vec::new();
        for (other, owned) in sets.iter().filter(|(other, _)| *other != manager) {
            if !by_version.contains_key(&owned.version) {
                let changes = self.changes_at(old, new, &owned.version)?;
                by_version.insert(owned.version.clone(), changes);
            }
            let Some(changes) = &by_version[&owned.version] else {
                unserved.push(other.clone());
                continue;
            };
            let conflict = owned.set.intersection(&changes.modified.union(&changes.added));
            if !conflict.is_empty() {
                conflicts.insert(other.clone(), conflict);
            }
            if !changes.removed.is_empty() {
                removed.insert(other.clone(), changes.removed.clone());
            }
        }
        for other in unserved {
            sets.remove(&other);
        }
        if force == Force::No && !conflicts.is_empty() {
            return Err(Failure::Conflicts(Conflicts::of(&conflicts)));
        }
        for (other, lost) in conflicts.iter().chain(&removed) {
            if let Some(owned) = sets.get_mut(other) {
                owned.set = owned.set.difference(lost);
            }
        }
        sets.retain(|_, owned| !owned.set.is_empty());
        Ok((sets, changed))
    }

    fn changes(&self, old: &Typed<'_>, new: &Typed<'_>, version: &str) -> Result<Comparison, String> {
        let changes = typed::compare(Some(&old.value), Some(&new.value), old.typing)
            .map_err(|error| format!("failed to compare objects: {error}"))?;
        Ok(match self.filters.get(version) {
            Some(filter) => changes.filter(filter),
            None => changes,
        })
    }

    /// The same changes, in the fields of another version; `None` where that is not served.
    fn changes_at(
        &self,
        old: &Typed<'a>,
        new: &Typed<'a>,
        version: &str,
    ) -> Result<Option<Comparison>, String> {
        let Some(old) =
            self.at(old, version).map_err(|error| format!("failed to convert old object: {error}"))?
        else {
            return Ok(None);
        };
        let Some(new) =
            self.at(new, version).map_err(|error| format!("failed to convert new object: {error}"))?
        else {
            return Ok(None);
        };
        self.changes(&old, &new, version).map(Some)
    }

    /// Removes what the last applied set had, unless the new one, another manager, or a rest of it inside
    /// something that still stands keeps it.
    fn prune(
        &self,
        merged: Typed<'a>,
        sets: &Sets,
        version: &str,
        last: &Versioned,
    ) -> Result<Typed<'a>, String> {
        let Some(at_last) = self
            .at(&merged, &last.version)
            .map_err(|error| format!("failed to convert merged object to last applied version: {error}"))?
        else {
            return Ok(merged);
        };
        let named = with_named_fields(&last.set, at_last.typing);
        let pruned = Typed::owned(typed::remove(&at_last.value, &named, at_last.typing), at_last.typing);
        let pruned = self
            .add_back_owned(at_last.clone(), pruned, sets, &last.version)
            .map_err(|error| format!("failed add back owned items: {error}"))?;
        let pruned = self
            .add_back_dangling(&at_last, pruned, last)
            .map_err(|error| format!("failed add back dangling items: {error}"))?;
        self.at(&pruned, version)?.ok_or_else(|| ConvertError::UnknownVersion(version.to_owned()).to_string())
    }

    /// Puts back what any manager still owns, each in its own version; first in the version pruned in, since what
    /// was pruned there may be needed to convert.
    fn add_back_owned(
        &self,
        mut merged: Typed<'a>,
        mut pruned: Typed<'a>,
        sets: &Sets,
        pruned_version: &str,
    ) -> Result<Typed<'a>, String> {
        let mut owned_at: BTreeMap<&str, Set> = BTreeMap::new();
        for owned in sets.values() {
            owned_at.entry(&owned.version).or_default().extend(&owned.set);
        }
        let first = owned_at.remove_entry(pruned_version);
        for (version, owned) in first.into_iter().chain(owned_at) {
            let Some(merged_there) = self
                .at(&merged, version)
                .map_err(|error| format!("failed to convert merged object at version {version}: {error}"))?
            else {
                continue;
            };
            merged = merged_there;
            let Some(pruned_there) = self
                .at(&pruned, version)
                .map_err(|error| format!("failed to convert pruned object at version {version}: {error}"))?
            else {
                continue;
            };
            let typing = merged.typing;
            let all = with_named_fields(&typed::field_set(&merged.value, typing), typing);
            let left = with_named_fields(&typed::field_set(&pruned_there.value, typing), typing);
            let kept = left.union(&with_named_fields(&owned, typing));
            pruned = Typed::owned(typed::remove(&merged.value, &all.difference(&kept), typing), typing);
        }
        Ok(pruned)
    }

    /// Puts back what was never in the last applied set but hung below something that was.
    fn add_back_dangling(
        &self,
        merged: &Typed<'a>,
        pruned: Typed<'a>,
        last: &Versioned,
    ) -> Result<Typed<'a>, String> {
        let Some(at_last) = self
            .at(&pruned, &last.version)
            .map_err(|error| format!("failed to convert pruned object to last applied version: {error}"))?
        else {
            return Ok(merged.clone());
        };
        let typing = merged.typing;
        let left = with_named_fields(&typed::field_set(&at_last.value, typing), typing);
        let all = with_named_fields(&typed::field_set(&merged.value, typing), typing);
        let last = with_named_fields(&last.set, typing);
        let gone = all.difference(&left).intersection(&last);
        Ok(Typed::owned(typed::remove(&merged.value, &gone, typing), typing))
    }

    /// Brings recorded sets up to the present schema; drops those of versions no longer served.
    fn reconcile(&self, live: &Typed<'a>, sets: Sets) -> Result<Sets, String> {
        let mut out = Sets::new();
        for (manager, owned) in sets {
            let Some(at) = self.at(live, &owned.version)? else { continue };
            let set = typed::reconcile(&owned.set, at.typing).unwrap_or(owned.set);
            out.insert(manager, Versioned { set, ..owned });
        }
        Ok(out)
    }

    /// `object` in `version`; `None` where that is not served.
    fn at(&self, object: &Typed<'a>, version: &str) -> Result<Option<Typed<'a>>, String> {
        if object.value.get("apiVersion").and_then(Value::as_str) == Some(version) {
            return Ok(Some(object.clone()));
        }
        if !object.value.is_object() {
            let found = crate::go::type_name(&object.value);
            return Err(format!("failed to convert value to unstructured for type {found}"));
        }
        let converted = match self.convert.convert(&object.value, version) {
            Ok(value) => value,
            Err(ConvertError::UnknownVersion(_)) => return Ok(None),
            Err(ConvertError::Failed(message)) => return Err(message),
        };
        let Some(typing) = self.convert.typing(version) else { return Ok(None) };
        typed::validate(&converted, typing, Duplicates::Refused).map_err(|errors| errors.to_string())?;
        Ok(Some(Typed { value: Cow::Owned(converted), typing }))
    }
}

/// Whether an apply takes fields over from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    No,
    Yes,
}
