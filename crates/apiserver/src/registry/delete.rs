//! Deletes: at once, with grace, and held by finalizers.

use api::{Status, Value, envelope, json, proto, yaml};
use bytes::Bytes;
use grammar::time::Time;
use kinds::kind::Dependents;
use serde_json::json;
use store::{Entry, Put, Stamp, WriteError};

use super::admission::{Attributes, Operation};
use super::options::{DeleteOptions, Propagation};
use super::write::{SCHEMA_EPOCH, text, write_error};
use super::{Call, Registry, Reply, tree_of};
use crate::negotiate::Format;
use crate::object;
use crate::render::List;

const MAX_CONFLICTS: u32 = 100;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete did.
enum Outcome {
    /// The object is gone; these are its last bytes.
    Gone(Bytes, u64),
    /// It is on its way out, held by grace or finalizers.
    Going(Bytes, u64),
}

impl Registry {
    pub(super) async fn delete(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = options(call, &body)?;
        let name = call.info.name.clone();
        let outcome = self.delete_one(call, &name, &call.key(), &options).await?;
        let returns_object = returns_deleted_object(call);
        match outcome {
            Outcome::Gone(_, _) if !returns_object => {
                let uid = self.uid_of(call, &outcome)?;
                Ok(Reply::status(Status::success(call.resource.qualified(), &name, &uid)))
            }
            Outcome::Gone(value, revision) => {
                Ok(Reply::Stored { code: 200, value, revision: Some(revision) })
            }
            Outcome::Going(value, revision) => {
                let code = if options.orphan == Some(false) { 202 } else { 200 };
                Ok(Reply::Stored { code, value, revision: Some(revision) })
            }
        }
    }

    fn uid_of(&self, call: &Call, outcome: &Outcome) -> Result<String, Status> {
        let (Outcome::Gone(value, _) | Outcome::Going(value, _)) = outcome;
        Ok(text(&object::stored_tree(&call.resource, value, None)?, "uid").to_owned())
    }

    async fn delete_one(
        &self,
        call: &Call,
        name: &str,
        key: &str,
        options: &DeleteOptions,
    ) -> Result<Outcome, Status> {
        let resource = &call.resource;
        for _ in 0..MAX_CONFLICTS {
            let snapshot = self.store.latest().await.map_err(super::read_error)?;
            let current = snapshot.get(key).ok_or_else(|| Status::not_found(resource.qualified(), name))?;
            let mut tree = tree_of(resource, current)?;
            preconditions(call, name, &tree, current, options)?;
            let attributes =
                Attributes { call, operation: Operation::Delete, dry_run: options.dry_run, old: Some(&tree) };
            self.admission.validate(self, &attributes, &Value::Null)?;

            let before = tree.clone();
            let pending = match self.mark(call, &mut tree, options) {
                Mark::AlreadyDeleting => return Ok(Outcome::Going(current.value.clone(), current.modified)),
                Mark::Now => false,
                Mark::Later => true,
            };
            if options.dry_run {
                let value = object::to_bytes(resource, &mut tree)?;
                let outcome = if pending { Outcome::Going } else { Outcome::Gone };
                return Ok(outcome(value, current.modified));
            }
            let written = if pending {
                if tree == before {
                    return Ok(Outcome::Going(current.value.clone(), current.modified));
                }
                let value = object::to_bytes(resource, &mut tree)?;
                let stamp =
                    Stamp { version: resource.stored_api_version.as_str().into(), epoch: SCHEMA_EPOCH };
                let put = Put::new(key, value).stamped(stamp);
                self.store
                    .update(put, current.modified)
                    .await
                    .map(|e| Outcome::Going(e.value.clone(), e.modified))
            } else {
                self.store
                    .delete(key, Some(current.modified))
                    .await
                    .map(|deleted| Outcome::Gone(deleted.entry.value.clone(), deleted.revision))
            };
            match written {
                Ok(outcome) => {
                    if matches!(outcome, Outcome::Gone(..)) {
                        self.release_unheld(call, &before, None).await;
                    }
                    return Ok(outcome);
                }
                Err(WriteError::Conflict { .. }) if options.revision.is_none() => continue,
                Err(error) => return Err(write_error(call, name, error)),
            }
        }
        Err(Status::stale(resource.qualified(), name))
    }

    /// Marks an object as being deleted, as far as grace and finalizers ask for it.
    fn mark(&self, call: &Call, tree: &mut Value, options: &DeleteOptions) -> Mark {
        let kind = &call.resource.kind;
        let deleting = !tree["metadata"]["deletionTimestamp"].is_null();
        let mut graceful = false;
        let supported = kind.strategy.grace_period(tree, options.grace);
        if let Some(granted) = supported {
            let held = tree["metadata"]["deletionGracePeriodSeconds"].as_i64();
            match (deleting, held) {
                // A deletion with no grace left is carried out.
                (true, None | Some(0)) => {}
                (true, Some(held)) => match options.grace {
                    Some(wanted) if wanted < held => {
                        let mut wanted = wanted;
                        let old =
                            tree["metadata"]["deletionTimestamp"].as_str().and_then(|t| Time::parse(t).ok());
                        let mut at = old.map_or(call.now.secs(), |time| time.seconds) - held + wanted;
                        if at < call.now.secs() {
                            at = call.now.secs();
                            wanted = i64::from(wanted != 0);
                        }
                        set_deletion(tree, at, wanted);
                        graceful = wanted > 0;
                    }
                    _ => return Mark::AlreadyDeleting,
                },
                (false, _) if granted > 0 => {
                    set_deletion(tree, call.now.secs() + granted, granted);
                    let generation = tree["metadata"]["generation"].as_i64().unwrap_or(0);
                    if generation > 0 {
                        tree["metadata"]["generation"] = (generation + 1).into();
                    }
                    graceful = true;
                }
                (false, _) => {}
            }
        }
        self.set_dependents(call, tree, options);
        let finalizers = tree["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let namespace = kind.plural == "namespaces"
            && kind.group.is_empty()
            && tree["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if graceful {
            return Mark::Later;
        }
        if !finalizers && !namespace {
            return Mark::Now;
        }
        if tree["metadata"]["deletionTimestamp"].is_null() {
            set_deletion(tree, call.now.secs(), 0);
            let generation = tree["metadata"]["generation"].as_i64().unwrap_or(0);
            if generation > 0 {
                tree["metadata"]["generation"] = (generation + 1).into();
            }
        }
        if namespace {
            // Namespaces carry no grace; their phase tells instead.
            if let Some(meta) = tree["metadata"].as_object_mut() {
                meta.remove("deletionGracePeriodSeconds");
            }
            tree["status"]["phase"] = "Terminating".into();
        } else {
            tree["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        }
        Mark::Later
    }

    /// Adds and removes the collector's finalizers as the propagation policy asks.
    fn set_dependents(&self, call: &Call, tree: &mut Value, options: &DeleteOptions) {
        let policy = call.resource.kind.dependents;
        if policy == Dependents::Unsupported {
            return;
        }
        let old: Vec<String> = tree["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|f| f.as_str().map(str::to_owned))
            .collect();
        let has = |name: &str| old.iter().any(|f| f == name);
        let (orphan, foreground) = match (options.orphan, options.propagation) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(Propagation::Orphan)) => (true, false),
            (None, Some(Propagation::Background)) => (false, false),
            (None, Some(Propagation::Foreground)) => (false, true),
            (None, None) if has(ORPHAN) => (true, false),
            (None, None) if has(FOREGROUND) => (false, true),
            (None, None) => (policy == Dependents::Orphan, false),
        };
        let mut new: Vec<String> = old.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
        if orphan {
            new.push(ORPHAN.into());
        }
        if foreground {
            new.push(FOREGROUND.into());
        }
        if new.iter().all(|f| has(f)) && new.len() == old.len() {
            return;
        }
        if let Some(meta) = tree["metadata"].as_object_mut() {
            if new.is_empty() {
                meta.remove("finalizers");
            } else {
                meta.insert("finalizers".into(), new.into());
            }
        }
    }

    /// Deletes all that a list would find, each as if alone; answers with the list of them.
    pub(super) async fn delete_all(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = options(call, &body)?;
        let found = self.list(call).await?;
        let mut deleted = Vec::with_capacity(found.entries.len());
        for entry in found.entries {
            let name = object::beside(&entry).digest.name.to_string();
            match self.delete_one(call, &name, &entry.key, &options).await {
                Ok(_) => deleted.push(entry),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(Reply::List(List {
            entries: deleted,
            ..List { resource: found.resource, entries: Vec::new(), head: found.head }
        }))
    }
}

enum Mark {
    Now,
    Later,
    AlreadyDeleting,
}

fn set_deletion(tree: &mut Value, at: i64, grace: i64) {
    tree["metadata"]["deletionTimestamp"] = Time { seconds: at, nanos: 0 }.to_string().into();
    tree["metadata"]["deletionGracePeriodSeconds"] = grace.into();
}

fn preconditions(
    call: &Call,
    name: &str,
    tree: &Value,
    current: &Entry,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let uid = text(tree, "uid");
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return Err(Status::conflict(
            call.resource.qualified_kind(),
            name,
            format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ),
        ));
    }
    let revision = current.modified.to_string();
    if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
        return Err(Status::conflict(
            call.resource.qualified_kind(),
            name,
            format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// Kinds whose delete answers with the object rather than a status.
fn returns_deleted_object(call: &Call) -> bool {
    let kind = &call.resource.kind;
    let core = [
        "pods",
        "services",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "replicationcontrollers",
        "resourcequotas",
        "serviceaccounts",
    ];
    match &*kind.group {
        "" => core.contains(&&*kind.plural),
        "storage.k8s.io" => kind.plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

fn options(call: &Call, body: &[u8]) -> Result<DeleteOptions, Status> {
    if body.is_empty() {
        return DeleteOptions::parse(&call.query, None);
    }
    let bad = |e: String| Status::bad_request(e);
    let tree = match call.format.clone()? {
        Format::Json => json::parse_untyped(body).map_err(|e| bad(e.to_string()))?,
        Format::Yaml => yaml::parse(&String::from_utf8_lossy(body)).map_err(|e| bad(e.to_string()))?,
        Format::Protobuf => {
            let envelope = envelope::open(body).map_err(|e| bad(e.to_string()))?;
            let table = schema::builtin();
            let id = table
                .named("k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions")
                .expect("meta/v1 is in the table");
            let outside =
                api::Outside { api_version: envelope.api_version, kind: envelope.kind, revision: None };
            proto::to_tree(table, id, envelope.raw, outside).map_err(|e| bad(e.to_string()))?
        }
    };
    let kind = tree["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(bad(format!("decoded object cannot be converted to DeleteOptions: {}", json!(kind))));
    }
    DeleteOptions::parse(&call.query, Some(&tree))
}
