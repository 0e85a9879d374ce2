//! Patches of every type, applied to the newest state until nobody else was faster.

use api::json::{self, StrictError};
use api::{Status, Value, yaml};
use bytes::Bytes;
use serde_json::json;

use super::options::{Validation, WriteOptions};
use super::write::{settle, text, wrong_uid};
use super::{Call, Registry, Reply, decode, fields};
use crate::catalog::Codec;
use crate::object;

/// A patch without a revision is tried again this often.
const MAX_CONFLICTS: u32 = 100;

enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Patch {
    fn parse(call: &Call, body: &[u8], options: &WriteOptions) -> Result<Patch, Status> {
        let builtin = call.resource.codec.is_builtin();
        let json_body = || {
            let decoded = json::decode_untyped(body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            decode::report(call, &call.resource, decoded.strict, options.validation)?;
            Ok::<Value, Status>(decoded.value)
        };
        let media = call.content_type.split(';').next().unwrap_or_default().trim();
        match media {
            "application/json-patch+json" => Ok(Patch::Json(json_body()?)),
            "application/merge-patch+json" => Ok(Patch::Merge(json_body()?)),
            "application/strategic-merge-patch+json" if builtin => Ok(Patch::Strategic(json_body()?)),
            "application/apply-patch+yaml" => {
                let text = std::str::from_utf8(body)
                    .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
                let tree = match json::decode_untyped(body) {
                    // JSON is YAML too, and duplicates are told better from it.
                    Ok(decoded) => {
                        decode::report(call, &call.resource, decoded.strict, options.validation)?;
                        decoded.value
                    }
                    Err(_) => yaml::parse(text)
                        .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?,
                };
                Ok(Patch::Apply(tree))
            }
            _ => {
                let accepted = if builtin {
                    ACCEPTED.to_owned()
                } else {
                    ACCEPTED.replace("application/strategic-merge-patch+json, ", "")
                };
                Err(Status::unsupported_media_type(format!(
                    "the body of the request was in an unknown format - accepted media types include: {accepted}"
                )))
            }
        }
    }

    /// The revision that the patch insists on.
    fn revision(&self) -> Option<&str> {
        let tree = match self {
            Patch::Merge(tree) | Patch::Strategic(tree) | Patch::Apply(tree) => tree,
            Patch::Json(_) => return None,
        };
        tree["metadata"]["resourceVersion"].as_str().filter(|text| !text.is_empty())
    }
}

impl Registry {
    pub(super) async fn patch(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = WriteOptions::parse(call, "PatchOptions")?;
        let patch = Patch::parse(call, &body, &options)?;
        for _ in 0..MAX_CONFLICTS {
            let snapshot = self.store.latest().await.map_err(super::read_error)?;
            let Some(current) = snapshot.get(&call.key()) else {
                let Patch::Apply(patch) = &patch else { return Err(call.not_found()) };
                if !call.info.subresource.is_empty() {
                    return Err(call.not_found());
                }
                return self.apply_new(call, patch, &options).await;
            };
            let live = object::served_tree(&call.resource, &current.value, Some(current.modified))?;
            let new = self.patched(call, &patch, &live, &options)?;
            let (uid, live_uid) = (text(&new, "uid"), text(&live, "uid"));
            if !uid.is_empty() && uid != live_uid {
                return Err(wrong_uid(call, uid, live_uid));
            }
            let revision = text(&new, "resourceVersion");
            if !matches!(revision, "" | "0") && revision != current.modified.to_string() {
                return Err(Status::stale(call.resource.qualified(), &call.info.name));
            }
            check_identity(call, &new, &live)?;
            match self.commit(call, current, live, new, &options).await? {
                Some(reply) => return Ok(reply),
                None if patch.revision().is_some() => break,
                None => {}
            }
        }
        Err(Status::stale(call.resource.qualified(), &call.info.name))
    }

    /// Apply creates what is not there.
    async fn apply_new(&self, call: &Call, patch: &Value, options: &WriteOptions) -> Result<Reply, Status> {
        check_apply(call, patch)?;
        if !text(patch, "resourceVersion").is_empty() {
            return Err(Status::conflict(
                call.resource.qualified(),
                &call.info.name,
                "the object doesn't exist, so a resourceVersion cannot be matched",
            ));
        }
        let uid = text(patch, "uid");
        if !uid.is_empty() {
            return Err(wrong_uid(call, uid, ""));
        }
        let mut tree = fields::apply(call, None, patch, &options.manager, options.force)?;
        let managed = tree["metadata"]["managedFields"].clone();
        tree = self.renormalize(call, tree, options.validation, true)?;
        self.create_tree(call, tree, options, Some(managed)).await
    }

    /// The object that the patch makes of `live`, with its owners.
    fn patched(
        &self,
        call: &Call,
        patch: &Patch,
        live: &Value,
        options: &WriteOptions,
    ) -> Result<Value, Status> {
        let resource = &call.resource;
        let unprocessable = |message: String| {
            let mut status = Status::invalid(api::status::Qualified::new("", ""), "", &Default::default());
            status.details = None;
            status.message = message;
            status
        };
        let merged = match patch {
            Patch::Json(operations) => {
                merge::json_patch::apply(live.clone(), operations).map_err(|error| match error {
                    merge::json_patch::Error::Malformed(message) => Status::bad_request(message),
                    error @ merge::json_patch::Error::TooManyOperations(_) => {
                        let mut status = Status::entity_too_large("");
                        status.message = error.to_string();
                        status
                    }
                    merge::json_patch::Error::Failed(message) => unprocessable(message),
                    error => Status::bad_request(error.to_string()),
                })?
            }
            Patch::Merge(patch) => merge::merge_patch::apply(live.clone(), patch.clone())
                .map_err(|error| Status::bad_request(error.to_string()))?,
            Patch::Strategic(patch) => {
                let Codec::Builtin { message } = &resource.codec else {
                    return Err(Status::internal("strategic merge needs a built-in kind"));
                };
                merge::strategic::apply(live.clone(), patch.clone(), schema::builtin(), *message).map_err(
                    |error| match error {
                        merge::strategic::Error::Unprocessable(message) => unprocessable(message),
                        merge::strategic::Error::Failed(message) => Status::internal(message),
                        error => Status::bad_request(error.to_string()),
                    },
                )?
            }
            Patch::Apply(patch) => {
                check_apply(call, patch)?;
                let tree = fields::apply(call, Some(live), patch, &options.manager, options.force)?;
                let mut tree = self.renormalize(call, tree, options.validation, true)?;
                self.default(call, &mut tree);
                return Ok(tree);
            }
        };
        let mut new = self.renormalize(call, merged, options.validation, false)?;
        self.default(call, &mut new);
        settle(live, &mut new);
        Ok(fields::track(call, Some(live), new, &options.manager))
    }

    /// Brings a merged tree into the form that decoding it would give, telling of unknown fields as asked.
    fn renormalize(
        &self,
        call: &Call,
        tree: Value,
        validation: Validation,
        apply: bool,
    ) -> Result<Value, Status> {
        let resource = &call.resource;
        let (mut tree, strict) = match &resource.codec {
            Codec::Builtin { message } => {
                let decoded = json::normalize(schema::builtin(), *message, &tree).map_err(|error| {
                    if apply {
                        Status::internal(error)
                    } else {
                        let mut status =
                            Status::invalid(resource.qualified_kind(), &call.info.name, &Default::default());
                        status.message = format!(
                            "{} {:?} is invalid: patch: Invalid value: {tree}: {error}",
                            resource.qualified_kind(),
                            call.info.name
                        );
                        status
                    }
                })?;
                (decoded.value, decoded.strict)
            }
            Codec::Custom { table, root } => {
                let mut tree = tree;
                let unknown = schema::prune(table, *root, &mut tree);
                (tree, unknown.into_iter().map(StrictError::Unknown).collect())
            }
        };
        decode::report(call, resource, strict, validation)?;
        if tree["metadata"].is_null() {
            tree["metadata"] = json!({});
        }
        decode::set_type(resource, &mut tree);
        Ok(tree)
    }
}

/// What must hold of an applied configuration itself.
fn check_apply(call: &Call, patch: &Value) -> Result<(), Status> {
    let name = text(patch, "name");
    if name != call.info.name {
        return Err(Status::bad_request(if name.is_empty() {
            "metadata.name is required for apply patch".to_owned()
        } else {
            format!("the name of the object ({name}) does not match the name on the URL ({})", call.info.name)
        }));
    }
    if patch["metadata"]["managedFields"].as_array().is_some_and(|entries| !entries.is_empty()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// A patch cannot rename or move an object.
fn check_identity(call: &Call, new: &Value, live: &Value) -> Result<(), Status> {
    let (name, namespace) = (text(new, "name"), text(new, "namespace"));
    if name != text(live, "name") {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    if namespace != text(live, "namespace") {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}
