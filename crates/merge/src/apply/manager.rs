//! The order of events around a write: whose entries count, what is tracked from when, what is capped.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use schema::{Cardinality, Field, Form, Message, Omit, Scalar, Table, Type};
use serde_json::{Map, Value};

use super::conflict::Conflicts;
use super::convert::{Convert, ConvertError, Typed};
use super::entries::{Managed, ManagerId, Operation, Owned};
use super::last_applied;
use super::updater::{Failure, Force, Sets, Updater, Versioned};
use crate::fieldset::{Filter, Path, Set};
use crate::limits::{MAX_UPDATE_MANAGERS, TooDeep, check_depth};
use crate::typed::{self, Duplicates, Typing};

/// Tracks the fields of one kind, written through one endpoint.
#[derive(Clone, Copy)]
pub struct FieldManager<'a> {
    pub convert: &'a dyn Convert,
    /// The version of the endpoint, e.g. `apps/v1`.
    pub group_version: &'a str,
    pub kind: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// What a write through this endpoint cannot own, by version, because it is reset or ignored there.
    pub filters: &'a HashMap<String, Filter>,
}

/// Why a write was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 409, with a cause for each conflict.
    #[error(transparent)]
    Conflict(#[from] Conflicts),
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 500, as upstream has it, though the cause is often the configuration.
    #[error("{0}")]
    Internal(String),
}

impl From<TooDeep> for Error {
    fn from(error: TooDeep) -> Self {
        Error::BadRequest(error.to_string())
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::Internal(message)
    }
}

/// Owns what an object held before its first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Owns what the oldest of too many writers owned.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// The manager that `kubectl apply --server-side` uses; only it takes over what client-side apply set.
const KUBECTL: &str = "kubectl";

impl<'a> FieldManager<'a> {
    /// Tracks a create, update or patch by `manager`, and returns `new` with its `managedFields`.
    ///
    /// `live` is the stored object, or [`empty_object`] for a create.
    pub fn update(&self, live: &Value, new: Value, manager: &str, now: Timestamp) -> Result<Value, Error> {
        check_depth(&new, "object")?;
        check_depth(live, "stored object")?;
        let managed = self.entries_for_update(live, &new);
        let live = without_managed_fields(live);
        let mut new = new;
        set_managed_fields(&mut new, None);
        // An object that nobody tracks stays so until its first apply; tracking begins with its creation.
        let untracked = managed.0.is_empty()
            && metadata(&live, "uid").and_then(Value::as_str).is_some_and(|uid| !uid.is_empty());
        if !untracked {
            let managed = self.track(&live, &new, managed, manager, now)?;
            set_managed_fields(&mut new, cap(managed).encode());
        }
        Ok(new)
    }

    /// As [`FieldManager::update`], where a failure to track must not fail the write: then `new` keeps the entries
    /// of `live`, and the failure is returned beside it.
    pub fn update_or_keep(
        &self,
        live: &Value,
        new: Value,
        manager: &str,
        now: Timestamp,
    ) -> (Value, Option<Error>) {
        let mut fallback = new.clone();
        match self.update(live, new, manager, now) {
            Ok(tracked) => (tracked, None),
            Err(error) => {
                set_managed_fields(&mut fallback, metadata(live, "managedFields").cloned());
                (fallback, Some(error))
            }
        }
    }

    /// Applies the configuration `patch` by `manager`, and returns the object with its `managedFields`.
    ///
    /// `live` is the stored object, or [`empty_object`] where there is none. The outcome equals `live` where the
    /// apply changes nothing at all. What pruning emptied is null, which decoding drops. Defaults are the caller's to
    /// fill in.
    pub fn apply(
        &self,
        live: &Value,
        patch: &Value,
        manager: &str,
        force: bool,
        now: Timestamp,
    ) -> Result<Value, Error> {
        check_depth(patch, "applied configuration")?;
        check_depth(live, "stored object")?;
        let managed = Managed::decode(metadata(live, "managedFields"))
            .map_err(|error| format!("failed to decode managed fields: {error}"))?;
        let live = without_managed_fields(live);

        let (api_version, kind) = type_of(patch);
        if (api_version, kind) != (self.group_version, self.kind) {
            return Err(Error::BadRequest(format!("invalid object type: {}", gvk_text(api_version, kind))));
        }
        let (mut object, managed) = self.apply_as(&live, patch, managed, manager, force, now)?;
        if manager == KUBECTL {
            last_applied::refresh(&mut object, patch);
        }
        set_managed_fields(&mut object, managed.encode());
        Ok(object)
    }

    /// Conflicts that only stand because client-side apply set the same fields earlier are forced.
    fn apply_as(
        &self,
        live: &Value,
        patch: &Value,
        managed: Managed,
        manager: &str,
        force: bool,
        now: Timestamp,
    ) -> Result<(Value, Managed), Error> {
        let force = if force { Force::Yes } else { Force::No };
        let conflicts = match self.apply_tracked(live, patch, managed.clone(), manager, force, now) {
            Err(Error::Conflict(conflicts)) if manager == KUBECTL => conflicts,
            outcome => return outcome,
        };
        let Some(allowed) = self.set_by_client_side_apply(live) else {
            return Err(Error::Conflict(conflicts));
        };
        if !conflicts.paths().difference(&allowed).is_empty() {
            return Err(Error::Conflict(conflicts.without(&allowed)));
        }
        self.apply_tracked(live, patch, managed, manager, Force::Yes, now)
    }

    /// Where nobody tracked the object, what it holds becomes owned by `before-first-apply`.
    fn apply_tracked(
        &self,
        live: &Value,
        patch: &Value,
        mut managed: Managed,
        manager: &str,
        force: Force,
        now: Timestamp,
    ) -> Result<(Value, Managed), Error> {
        if managed.0.is_empty() {
            let typing = self.typing()?;
            let empty = empty_object(typing, self.group_version, self.kind);
            managed = self
                .track(&empty, live, managed, BEFORE_FIRST_APPLY, now)
                .map(cap)
                .map_err(|error| format!("failed to create manager for existing fields: {error}"))?;
        }
        self.merge(live, patch, managed, manager, force, now)
    }

    fn merge(
        &self,
        live: &Value,
        patch: &Value,
        managed: Managed,
        manager: &str,
        force: Force,
        now: Timestamp,
    ) -> Result<(Value, Managed), Error> {
        if metadata(patch, "managedFields").is_some_and(Value::is_array) {
            return Err(Error::BadRequest("metadata.managedFields must be nil".to_owned()));
        }
        let typing = self.typing()?;
        let versioned = self.in_version(live).map_err(|error| {
            format!("failed to convert live object ({}) to proper version: {error}", described(live))
        })?;
        typed::validate(patch, typing, Duplicates::Refused).map_err(|error| {
            format!("failed to create typed patch object ({}): {error}", described(patch))
        })?;
        typed::validate(&versioned, typing, Duplicates::Allowed).map_err(|error| {
            format!("failed to create typed live object ({}): {error}", described(&versioned))
        })?;

        let id =
            ManagerId::new(manager_name(manager), Operation::Apply, self.group_version, self.subresource);
        let (mut times, sets) = split(managed);
        let updater = Updater { convert: self.convert, filters: self.filters };
        let live_typed = Typed { value: versioned, typing };
        let config = Typed { value: Cow::Borrowed(patch), typing };
        let outcome = updater.apply(&live_typed, &config, self.group_version, sets, &id, force);
        let (object, mut sets) = match outcome {
            Ok(applied) => applied,
            Err(Failure::Conflicts(conflicts)) => return Err(Error::Conflict(conflicts)),
            Err(Failure::Other(message)) => return Err(Error::Internal(message)),
        };
        strip(&mut sets, &id);
        let object = match object {
            Some(object) => {
                if !object.is_object() {
                    return Err(Error::Internal(format!(
                        "failed to convert new typed object ({}) to object: failed to convert value to unstructured for type {}",
                        described(patch),
                        crate::go::type_name(&object)
                    )));
                }
                times.insert(id, Some(now));
                object
            }
            // Nothing changed, so no time moves either.
            None => live_typed.value.into_owned(),
        };
        Ok((object, join(sets, &times)))
    }

    /// Records a write that replaced `live` by `new`. What the write changed is added to the manager's earlier
    /// entry, whose time moves only then.
    fn track(
        &self,
        live: &Value,
        new: &Value,
        managed: Managed,
        manager: &str,
        now: Timestamp,
    ) -> Result<Managed, Error> {
        let typing = self.typing()?;
        let new_versioned = self.in_version(new).map_err(|error| {
            format!(
                "failed to convert new object ({}) to proper version ({}): {error}",
                described(new),
                self.group_version
            )
        })?;
        let live_versioned = self.in_version(live).map_err(|error| {
            format!("failed to convert live object ({}) to proper version: {error}", described(live))
        })?;
        typed::validate(&new_versioned, typing, Duplicates::Allowed).map_err(|error| {
            format!("failed to convert new object ({}) to smd typed: {error}", described(&new_versioned))
        })?;
        typed::validate(&live_versioned, typing, Duplicates::Allowed).map_err(|error| {
            format!("failed to convert live object ({}) to smd typed: {error}", described(&live_versioned))
        })?;

        // The write itself stands as a manager of its own, so that the fields it changed can be told from those
        // that its manager had before. The name is no valid identifier, so no entry collides with it.
        let this_write = ManagerId::new("current-operation", Operation::Update, "", "\0");
        let (mut times, sets) = split(managed);
        let updater = Updater { convert: self.convert, filters: self.filters };
        let mut sets = updater
            .update(
                &Typed { value: live_versioned, typing },
                &Typed { value: Cow::Borrowed(&*new_versioned), typing },
                self.group_version,
                sets,
                &this_write,
            )
            .map_err(|error| {
                format!("failed to update ManagedFields ({}): {error}", described(&new_versioned))
            })?;
        strip(&mut sets, &this_write);
        if let Some(mut written) = sets.remove(&this_write) {
            let id = ManagerId::new(
                manager_name(manager),
                Operation::Update,
                self.group_version,
                self.subresource,
            );
            if let Some(earlier) = sets.remove(&id) {
                written.set.extend(&earlier.set);
            }
            sets.insert(id.clone(), written);
            times.insert(id, Some(now));
        }
        Ok(join(sets, &times))
    }

    /// A client that sends entries decides on them; one that sends none, or damaged ones, keeps the stored ones.
    /// An empty list, or one empty entry, resets them. Through a subresource only the stored ones count.
    fn entries_for_update(&self, live: &Value, new: &Value) -> Managed {
        let stored = || Managed::decode(metadata(live, "managedFields")).unwrap_or_default();
        if !self.subresource.is_empty() {
            return stored();
        }
        let sent = metadata(new, "managedFields");
        if sent.and_then(Value::as_array).is_some_and(|entries| is_reset(entries)) {
            return Managed::default();
        }
        match Managed::decode(sent) {
            Ok(managed) if !managed.0.is_empty() => managed,
            Ok(_) | Err(_) => stored(),
        }
    }

    /// The fields that client-side apply set and that still have the values it gave them; `None` where there is
    /// no record of it, or one that cannot be read in this version.
    fn set_by_client_side_apply(&self, live: &Value) -> Option<Set> {
        let record = last_applied::read(live, self.group_version)?;
        let typing = self.typing().ok()?;
        let live = self.in_version(live).ok()?;
        typed::validate(&live, typing, Duplicates::Refused).ok()?;
        typed::validate(&record, typing, Duplicates::Refused).ok()?;
        let set = typed::field_set(&record, typing);
        let since = typed::compare(Some(&record), Some(&live), typing).ok()?;
        Some(set.difference(&since.modified).difference(&since.added).difference(&since.removed))
    }

    fn typing(&self) -> Result<Typing<'a>, Error> {
        self.convert.typing(self.group_version).ok_or_else(|| {
            Error::Internal(format!("no corresponding type for {}", gvk_text(self.group_version, self.kind)))
        })
    }

    fn in_version<'v>(&self, object: &'v Value) -> Result<Cow<'v, Value>, ConvertError> {
        match type_of(object).0 {
            version if version == self.group_version => Ok(Cow::Borrowed(object)),
            "" => Ok(Cow::Borrowed(object)),
            _ => self.convert.convert(object, self.group_version).map(Cow::Owned),
        }
    }
}

/// An object that holds nothing yet. A built-in kind's structs are there from the start, so that nobody comes to
/// own `spec` by creating an object; a custom resource's are not.
pub fn empty_object(typing: Typing<'_>, api_version: &str, kind: &str) -> Value {
    let mut object = match typing {
        // A custom resource's root is an embedded resource like any other.
        Typing::Message(table, id) if !table.message(id).embedded_resource => {
            zero_fields(table, table.message(id))
        }
        Typing::Message(..) | Typing::Deduced => Map::new(),
    };
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    Value::Object(object)
}

fn zero_fields(table: &Table, message: &Message) -> Map<String, Value> {
    let mut out = Map::new();
    for field in &message.fields {
        match field.ty {
            Type::Message(id) if field.inline => out.extend(zero_fields(table, table.message(id))),
            _ => {
                if let Some(zero) = zero(table, field) {
                    out.insert(field.json.to_string(), zero);
                }
            }
        }
    }
    out
}

/// What an untouched field is written as; `None` where it is left out.
fn zero(table: &Table, field: &Field) -> Option<Value> {
    let nilable = field.pointer || field.cardinality != Cardinality::One;
    match (field.omit, field.ty) {
        (Omit::Zero, _) => None,
        (Omit::Never, _) if nilable => Some(Value::Null),
        (Omit::Empty, _) if nilable => None,
        (Omit::Empty, Type::Scalar(_)) => None,
        (Omit::Never, Type::Scalar(scalar)) => Some(match scalar {
            Scalar::Bool => Value::from(false),
            Scalar::String => Value::from(""),
            Scalar::Bytes => Value::Null,
            _ => Value::from(0),
        }),
        (Omit::Never | Omit::Empty, Type::Message(id)) => {
            let message = table.message(id);
            match message.form {
                Form::Object => Some(Value::Object(zero_fields(table, message))),
                Form::Quantity => Some(Value::from("0")),
                Form::IntOrString => Some(Value::from(0)),
                Form::Duration => Some(Value::from("0s")),
                Form::Wrapper if field.omit == Omit::Empty => None,
                _ => Some(Value::Null),
            }
        }
    }
}

/// Fields that nobody owns, since the server or the type decides them.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

fn strip(sets: &mut Sets, manager: &ManagerId) {
    if let Some(mut owned) = sets.remove(manager) {
        let unowned: Vec<Path> = UNOWNED.iter().map(|names| Path::fields(names)).collect();
        owned.set = owned.set.difference(&unowned.iter().collect());
        if !owned.set.is_empty() {
            sets.insert(manager.clone(), owned);
        }
    }
}

/// Merges the oldest writers, version by version, until there are few enough. Appliers never count.
fn cap(mut managed: Managed) -> Managed {
    let seconds = |managed: &Managed, id: &ManagerId| managed.0[id].time.map_or(0, Timestamp::as_second);
    let mut writers: Vec<ManagerId> =
        managed.0.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
    writers.sort_by(|l, r| seconds(&managed, l).cmp(&seconds(&managed, r)).then_with(|| l.cmp(r)));

    let mut left = writers.len();
    let mut oldest_of: HashMap<String, ManagerId> = HashMap::new();
    for id in writers {
        if left <= MAX_UPDATE_MANAGERS {
            break;
        }
        let version = managed.0[&id].api_version.clone();
        let Some(oldest) = oldest_of.get(&version) else {
            oldest_of.insert(version, id);
            continue;
        };
        let bucket = ManagerId::new(ANCIENT_CHANGES, Operation::Update, &version, "");
        if !managed.0.contains_key(&bucket)
            && let Some(first) = managed.0.remove(oldest)
        {
            managed.0.insert(bucket.clone(), first);
        }
        if let Some(writer) = managed.0.remove(&id) {
            let bucket =
                managed.0.entry(bucket).or_insert_with(|| Owned { set: Set::new(), ..writer.clone() });
            bucket.set.extend(&writer.set);
            bucket.time = writer.time;
            left -= 1;
        }
    }
    managed
}

fn split(managed: Managed) -> (HashMap<ManagerId, Option<Timestamp>>, Sets) {
    let times = managed.0.iter().map(|(id, owned)| (id.clone(), owned.time)).collect();
    let sets = managed
        .0
        .into_iter()
        .map(|(id, owned)| (id, Versioned { set: owned.set, version: owned.api_version }));
    (times, sets.collect())
}

fn join(sets: Sets, times: &HashMap<ManagerId, Option<Timestamp>>) -> Managed {
    let owned = sets.into_iter().map(|(id, versioned)| {
        let time = times.get(&id).copied().flatten();
        (id, Owned { set: versioned.set, api_version: versioned.version, time })
    });
    Managed(owned.collect())
}

fn is_reset(entries: &[Value]) -> bool {
    match entries {
        [] => true,
        [one] => one.as_object().is_some_and(|entry| {
            entry.values().all(|value| value.is_null() || value.as_str().is_some_and(str::is_empty))
        }),
        _ => false,
    }
}

fn manager_name(manager: &str) -> &str {
    if manager.is_empty() { "unknown" } else { manager }
}

fn metadata<'v>(object: &'v Value, field: &str) -> Option<&'v Value> {
    object.get("metadata")?.get(field)
}

fn type_of(object: &Value) -> (&str, &str) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or("");
    (text("apiVersion"), text("kind"))
}

/// `apps/v1, Kind=Deployment`; the core group is empty.
fn gvk_text(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn described(object: &Value) -> String {
    let text = |field: &str| metadata(object, field).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = type_of(object);
    format!("{}/{}; {}", text("namespace"), text("name"), gvk_text(api_version, kind))
}

fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    set_managed_fields(&mut object, None);
    object
}

fn set_managed_fields(object: &mut Value, entries: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    if entries.is_some() && !object.get("metadata").is_some_and(Value::is_object) {
        object.insert("metadata".to_owned(), Value::Object(Map::new()));
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        match entries {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }
}
