//! `/scale`: one view of every kind that has replicas.

use std::sync::Arc;

use api::{Status, Value, json};
use bytes::Bytes;
use grammar::field::{self, ErrorList, Path};
use grammar::selector::label;
use kinds::kind::{Scale, Text};
use serde_json::json;

use super::options::WriteOptions;
use super::write::text;
use super::{Call, Registry, Reply, fields};
use crate::body::RequestBody;
use crate::object;

const MAX_CONFLICTS: u32 = 100;

impl Registry {
    pub(super) async fn scale(
        self: &Arc<Self>,
        call: Arc<Call>,
        scale: Scale,
        body: RequestBody,
    ) -> Result<Reply, Status> {
        match &*call.info.verb {
            "get" => {
                let snapshot = self.store.latest().await.map_err(super::read_error)?;
                let entry = snapshot.get(&call.key()).ok_or_else(|| call.not_found())?;
                let tree = object::served_tree(&call.resource, &entry.value, Some(entry.modified))?;
                Ok(reply(&view(&tree, &scale)))
            }
            "update" | "patch" => {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move {
                    registry.write_scale(&call, &scale, body).await
                })
                .await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn write_scale(&self, call: &Call, scale: &Scale, body: Bytes) -> Result<Reply, Status> {
        let kind = if call.info.verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
        let options = WriteOptions::parse(call, kind)?;
        let given = json::parse_untyped(&body).map_err(|e| Status::bad_request(e.to_string()))?;
        for _ in 0..MAX_CONFLICTS {
            let snapshot = self.store.latest().await.map_err(super::read_error)?;
            let current = snapshot.get(&call.key()).ok_or_else(|| call.not_found())?;
            let live = object::served_tree(&call.resource, &current.value, Some(current.modified))?;
            let before = view(&live, scale);
            let wanted = match call.info.verb.as_str() {
                "update" => given.clone(),
                _ if call.content_type.starts_with("application/json-patch") => {
                    merge::json_patch::apply(before, &given)
                        .map_err(|e| Status::bad_request(e.to_string()))?
                }
                _ => merge::merge_patch::apply(before, given.clone())
                    .map_err(|e| Status::bad_request(e.to_string()))?,
            };
            let name = text(&wanted, "name");
            if !name.is_empty() && name != call.info.name {
                return Err(Status::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    call.info.name
                )));
            }
            let revision = text(&wanted, "resourceVersion");
            if !revision.is_empty() && revision != current.modified.to_string() {
                return Err(Status::stale(call.resource.qualified(), &call.info.name));
            }
            let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
            if replicas < 0 {
                let errors: ErrorList = vec![field::invalid(
                    &Path::new("spec").child("replicas"),
                    replicas,
                    "must be greater than or equal to 0",
                )]
                .into_iter()
                .collect();
                let kind = api::status::Qualified::new("autoscaling", "Scale");
                return Err(Status::invalid(kind, &call.info.name, &errors));
            }
            let mut new = live.clone();
            set(&mut new, &scale.spec_replicas, replicas.into());
            let new = fields::track(call, Some(&live), new, &options.manager);
            // The parent is written by its own rules, not by those of a subresource.
            let parent = call.about(call.resource.clone());
            match self.commit(&parent, current, live, new, &options).await? {
                Some(Reply::Stored { value, revision, .. }) => {
                    let tree = object::served_tree(&call.resource, &value, revision)?;
                    return Ok(reply(&view(&tree, scale)));
                }
                Some(other) => return Ok(other),
                None => {}
            }
        }
        Err(Status::stale(call.resource.qualified(), &call.info.name))
    }
}

fn reply(tree: &Value) -> Reply {
    Reply::Tree { code: 200, api_version: "autoscaling/v1".into(), tree: tree.clone() }
}

/// The Scale of an object.
fn view(tree: &Value, scale: &Scale) -> Value {
    let at = |path: &[Text]| path.iter().fold(tree, |value, key| &value[&**key]);
    let meta = &tree["metadata"];
    let selector = match at(&scale.selector) {
        Value::String(text) => text.clone(),
        value @ Value::Object(map) => {
            if map.contains_key("matchLabels") || map.contains_key("matchExpressions") {
                label::Selector::from_object(value).map(|s| s.to_string()).unwrap_or_default()
            } else {
                label::Selector::from_labels(
                    map.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())),
                )
                .to_string()
            }
        }
        _ => String::new(),
    };
    let mut view = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {},
        "status": {"replicas": at(&scale.status_replicas).as_i64().unwrap_or(0)},
    });
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta[key].is_null() {
            view["metadata"][key] = meta[key].clone();
        }
    }
    if let Some(replicas) = at(&scale.spec_replicas).as_i64() {
        view["spec"]["replicas"] = replicas.into();
    }
    if !selector.is_empty() {
        view["status"]["selector"] = selector.into();
    }
    view
}

fn set(tree: &mut Value, path: &[Text], value: Value) {
    let mut at = tree;
    for key in path {
        at = &mut at[&**key];
    }
    *at = value;
}
