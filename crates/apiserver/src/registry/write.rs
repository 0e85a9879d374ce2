//! Create and update, and the path that every write takes to the store.

use api::status::Reason;
use api::{Status, Value};
use bytes::Bytes;
use grammar::field::{self, ErrorList, Path};
use grammar::time::Time;
use kinds::strategy::{Context, User as Author};
use serde_json::json;
use store::{Entry, Put, Stamp, WriteError};

use super::admission::{Attributes, Operation};
use super::options::WriteOptions;
use super::{Call, Registry, Reply, decode, fields, tree_of};
use crate::object;

/// An unconditional write is tried again this often when others write between its read and its write.
const MAX_CONFLICTS: u32 = 100;

/// A made-up name that is taken is made up anew this often.
const MAX_NAME_RETRIES: u32 = 8;

/// Moves when the way in which objects are written changes under one version, such as a new default.
pub(super) const SCHEMA_EPOCH: u64 = 1;

impl Registry {
    pub(super) async fn create(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = WriteOptions::parse(call, "CreateOptions")?;
        let tree = decode::object(call, &body, options.validation)?;
        check_namespace(call, &tree)?;
        self.create_tree(call, tree, &options, None).await
    }

    /// Stores a new object. `managed` holds its field owners where an apply has found them already.
    pub(super) async fn create_tree(
        &self,
        call: &Call,
        mut tree: Value,
        options: &WriteOptions,
        managed: Option<Value>,
    ) -> Result<Reply, Status> {
        if !text(&tree, "resourceVersion").is_empty() {
            // Upstream answers this one without a reason.
            let mut status = Status::internal("");
            status.reason = api::status::Reason::Unknown;
            status.message = "resourceVersion should not be set on objects to be created".into();
            status.details = None;
            return Err(status);
        }
        let generated = text(&tree, "name").is_empty() && !text(&tree, "generateName").is_empty();
        for attempt in 0.. {
            let mut tree = tree.take_or_clone(generated && attempt + 1 < MAX_NAME_RETRIES);
            self.fill_system_fields(call, &mut tree);
            let name = text(&tree, "name").to_owned();
            self.default(call, &mut tree);
            if managed.is_none() {
                tree = fields::track(call, None, tree, &options.manager);
            }
            let attributes =
                Attributes { call, operation: Operation::Create, dry_run: options.dry_run, old: None };
            self.admission.mutate(self, &attributes, &mut tree)?;
            self.default(call, &mut tree);
            to_stored(call, &mut tree);
            let reserved = self.reserve(call, &mut tree, None, options.dry_run).await?;
            let refused = match self.store_new(call, tree, &name, &attributes).await {
                Ok(reply) => return Ok(reply),
                Err(refused) => refused,
            };
            if !may_have_happened(&refused) {
                self.give_back(reserved).await;
            }
            if !generated || refused.reason != Reason::AlreadyExists {
                return Err(refused);
            }
            if attempt + 1 == MAX_NAME_RETRIES {
                return Err(Status::generate_name_conflict(call.resource.qualified(), &name, 1));
            }
        }
        unreachable!("the loop returns")
    }

    /// The part of a create behind its reservations.
    async fn store_new(
        &self,
        call: &Call,
        mut tree: Value,
        name: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Reply, Status> {
        let kind = &call.resource.kind;
        let author = author(call);
        let cx = context(call, &author);
        kind.prepare_create(&mut tree, &cx);
        let errors = kind.validate_create(&tree, &cx);
        if !errors.is_empty() {
            return Err(Status::invalid(call.resource.qualified_kind(), name, &errors));
        }
        for warning in kind.warnings("", &tree, None, &cx) {
            call.warn(warning);
        }
        kind.strategy.canonicalize(&mut tree);
        self.admission.validate(self, attributes, &tree)?;

        let value = object::to_bytes(&call.resource, &mut tree)?;
        let key = kind.key(call.namespace(), name);
        if attributes.dry_run {
            if self.store.latest().await.map_err(super::read_error)?.get(&key).is_some() {
                return Err(Status::already_exists(call.resource.qualified(), name));
            }
            return Ok(Reply::Stored { code: 201, value, revision: None });
        }
        let entry = self.store.create(self.put(call, key, value)).await;
        entry.map(|entry| Reply::entry(201, &entry)).map_err(|error| write_error(call, name, error))
    }

    pub(super) async fn update(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = WriteOptions::parse(call, "UpdateOptions")?;
        let tree = decode::object(call, &body, options.validation)?;
        check_namespace(call, &tree)?;
        let name = text(&tree, "name");
        if name != call.info.name {
            return Err(Status::bad_request(if name.is_empty() {
                format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be provided",
                    call.info.name
                )
            } else {
                format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    call.info.name
                )
            }));
        }
        let written = text(&tree, "resourceVersion").to_owned();
        let unconditional = matches!(&*written, "" | "0");
        if unconditional && !call.resource.kind.unconditional_update {
            // Kinds that may be created by a PUT need no revision for that.
            let exists = self.store.latest().await.map_err(super::read_error)?.get(&call.key()).is_some();
            if exists {
                let errors: ErrorList = vec![field::invalid(
                    &Path::new("metadata").child("resourceVersion"),
                    0i64,
                    "must be specified for an update",
                )]
                .into_iter()
                .collect();
                return Err(Status::invalid(call.resource.qualified(), &call.info.name, &errors));
            }
        }
        for _ in 0..MAX_CONFLICTS {
            let snapshot = self.store.latest().await.map_err(super::read_error)?;
            let Some(current) = snapshot.get(&call.key()) else {
                if !call.resource.kind.create_on_update || !call.info.subresource.is_empty() {
                    return Err(call.not_found());
                }
                let mut tree = tree.clone();
                if let Some(meta) = tree["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                }
                return self.create_tree(call, tree, &options, None).await;
            };
            if !unconditional && written != current.modified.to_string() {
                return Err(Status::stale(call.resource.qualified(), &call.info.name));
            }
            let mut new = tree.clone();
            self.default(call, &mut new);
            let live = object::served_tree(&call.resource, &current.value, Some(current.modified))?;
            let uid = text(&new, "uid");
            if !uid.is_empty() && uid != text(&live, "uid") {
                return Err(wrong_uid(call, uid, text(&live, "uid")));
            }
            settle(&live, &mut new);
            let new = fields::track(call, Some(&live), new, &options.manager);
            match self.commit(call, current, live, new, &options).await? {
                Some(reply) => return Ok(reply),
                None if unconditional => continue,
                None => return Err(Status::stale(call.resource.qualified(), &call.info.name)),
            }
        }
        Err(Status::stale(call.resource.qualified(), &call.info.name))
    }

    /// Brings `new`, a state of `live` in the served version, to the store. Nothing when someone else was faster.
    pub(super) async fn commit(
        &self,
        call: &Call,
        current: &Entry,
        live: Value,
        mut new: Value,
        options: &WriteOptions,
    ) -> Result<Option<Reply>, Status> {
        let attributes =
            Attributes { call, operation: Operation::Update, dry_run: options.dry_run, old: Some(&live) };
        self.admission.mutate(self, &attributes, &mut new)?;
        self.default(call, &mut new);
        to_stored(call, &mut new);
        let old = tree_of(&call.resource, current)?;
        let reserved = self.reserve(call, &mut new, Some(&old), options.dry_run).await?;
        let outcome = self.store_change(call, current, &old, &mut new, &attributes).await;
        match &outcome {
            Ok(Some(_)) if options.dry_run => {}
            Ok(Some(_)) => {
                let left = (!is_over(call, &new)).then_some(&new);
                self.release_unheld(call, &old, left).await;
            }
            Err(refused) if may_have_happened(refused) => {}
            Ok(None) | Err(_) => self.give_back(reserved).await,
        }
        outcome
    }

    /// The part of an update behind its reservations. `new` ends as it was written.
    async fn store_change(
        &self,
        call: &Call,
        current: &Entry,
        old: &Value,
        new: &mut Value,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Reply>, Status> {
        let kind = &call.resource.kind;
        let sub = call.info.subresource.as_str();
        let author = author(call);
        let cx = context(call, &author);
        kind.prepare_update(sub, new, old, &cx);
        let errors = kind.validate_update(sub, new, old, &cx);
        if !errors.is_empty() {
            return Err(Status::invalid(call.resource.qualified_kind(), &call.info.name, &errors));
        }
        for warning in kind.warnings(sub, new, Some(old), &cx) {
            call.warn(warning);
        }
        kind.strategy.canonicalize(new);
        merge::apply::restore_timestamps(old, new);
        self.admission.validate(self, attributes, new)?;

        let value = object::to_bytes(&call.resource, new)?;
        if attributes.dry_run {
            return Ok(Some(Reply::Stored { code: 200, value, revision: Some(current.modified) }));
        }
        if is_over(call, new) {
            return match self.store.delete(&current.key, Some(current.modified)).await {
                Ok(deleted) => Ok(Some(Reply::Stored { code: 200, value, revision: Some(deleted.revision) })),
                Err(WriteError::Conflict { .. }) => Ok(None),
                Err(error) => Err(write_error(call, &call.info.name, error)),
            };
        }
        // A write that changes nothing moves nothing.
        if value == current.value {
            return Ok(Some(Reply::entry(200, current)));
        }
        match self.store.update(self.put(call, current.key.to_string(), value), current.modified).await {
            Ok(entry) => Ok(Some(Reply::entry(200, &entry))),
            Err(WriteError::Conflict { .. }) => Ok(None),
            Err(error) => Err(write_error(call, &call.info.name, error)),
        }
    }

    pub(super) fn put(&self, call: &Call, key: String, value: Bytes) -> Put {
        let put = Put::new(key, value).stamped(Stamp {
            version: call.resource.stored_api_version.as_str().into(),
            epoch: SCHEMA_EPOCH,
        });
        match &*call.resource.kind.plural {
            "events" => put.expiring(EVENT_TTL),
            _ => put,
        }
    }

    /// Fills in what is absent, in the served version.
    pub(super) fn default(&self, call: &Call, tree: &mut Value) {
        let resource = &call.resource;
        schema::default(resource.codec.table(), resource.codec.message(), tree);
        resource.kind.strategy.default(&resource.version, tree);
    }

    /// Wipes what clients may not say of a new object, and says it.
    fn fill_system_fields(&self, call: &Call, tree: &mut Value) {
        let namespace = call.namespace().to_owned();
        let uid = self.names.uid();
        let Some(meta) = tree["metadata"].as_object_mut() else {
            tree["metadata"] = json!({});
            return self.fill_system_fields(call, tree);
        };
        for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
            meta.remove(key);
        }
        meta.insert("uid".into(), uid.into());
        meta.insert("creationTimestamp".into(), timestamp(call).into());
        if !namespace.is_empty() {
            meta.insert("namespace".into(), namespace.into());
        }
        let has = |key: &str| meta.get(key).and_then(Value::as_str).is_some_and(|v| !v.is_empty());
        if !has("name") && has("generateName") {
            let base = meta["generateName"].as_str().unwrap_or_default();
            let name = self.names.generate(base);
            meta.insert("name".into(), name.into());
        }
    }
}

/// Events are forgotten after an hour.
const EVENT_TTL: std::time::Duration = std::time::Duration::from_secs(3600);

/// Cloning a tree only where it will be needed again.
trait TakeOrClone {
    fn take_or_clone(&mut self, clone: bool) -> Value;
}

impl TakeOrClone for Value {
    fn take_or_clone(&mut self, clone: bool) -> Value {
        if clone { self.clone() } else { self.take() }
    }
}

pub(super) fn timestamp(call: &Call) -> String {
    Time { seconds: call.now.secs(), nanos: 0 }.to_string()
}

pub(super) fn text<'a>(tree: &'a Value, key: &str) -> &'a str {
    tree["metadata"][key].as_str().unwrap_or_default()
}

pub(super) fn author(call: &Call) -> Author {
    Author {
        name: call.user.name.clone(),
        uid: call.user.uid.clone(),
        groups: call.user.groups.clone(),
        extra: call.user.extra.clone(),
    }
}

pub(super) fn context<'a>(call: &'a Call, user: &'a Author) -> Context<'a> {
    Context { now: call.now, api_version: &call.resource.api_version, user }
}

pub(super) fn to_stored(call: &Call, tree: &mut Value) {
    let resource = &call.resource;
    if !resource.is_stored_version() {
        resource.kind.to_stored(&resource.version, tree);
        tree["apiVersion"] = resource.stored_api_version.clone().into();
    }
}

fn check_namespace(call: &Call, tree: &Value) -> Result<(), Status> {
    let own = text(tree, "namespace");
    if own.is_empty() || own == call.namespace() {
        return Ok(());
    }
    if !call.resource.kind.is_namespaced() {
        return Err(Status::bad_request("namespace is not allowed on this type"));
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// Whether the last finalizer of an object that is being deleted has gone, which takes the object with it.
fn is_over(call: &Call, tree: &Value) -> bool {
    let meta = &tree["metadata"];
    let held = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    let content = call.resource.kind.plural == "namespaces" && held(&tree["spec"]["finalizers"]);
    let going = meta["deletionTimestamp"].is_string();
    let grace = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    going && grace == 0 && !held(&meta["finalizers"]) && !content
}

/// A write of which nobody knows whether it took place keeps what it has reserved; the next repair tells.
fn may_have_happened(refused: &Status) -> bool {
    refused.reason == Reason::Timeout
}

/// Fills in what an update may leave to the object as it lives: its namespace, and the revision that it replaces.
pub(super) fn settle(live: &Value, new: &mut Value) {
    for key in ["namespace", "resourceVersion"] {
        if matches!(text(new, key), "" | "0") && !text(live, key).is_empty() {
            new["metadata"][key] = live["metadata"][key].clone();
        }
    }
}

pub(super) fn wrong_uid(call: &Call, wanted: &str, found: &str) -> Status {
    Status::conflict(
        call.resource.qualified(),
        &call.info.name,
        format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"),
    )
}

pub(super) fn write_error(call: &Call, name: &str, error: WriteError) -> Status {
    match error {
        WriteError::Exists { .. } => Status::already_exists(call.resource.qualified(), name),
        WriteError::Conflict { .. } => Status::stale(call.resource.qualified(), name),
        WriteError::Missing { .. } => Status::not_found(call.resource.qualified(), name),
        WriteError::Invalid { reason, .. } => Status::entity_too_large(reason),
        WriteError::Indeterminate { .. } => {
            Status::timeout("request did not complete within requested timeout", 0)
        }
        error @ (WriteError::Unavailable { .. } | WriteError::Stopped(_)) => {
            Status::service_unavailable(error.to_string())
        }
    }
}
