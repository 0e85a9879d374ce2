//! `/binding` of a pod, and the same by way of `/bindings`: the scheduler's word on where a pod runs.

use std::sync::Arc;

use api::status::Qualified;
use api::{Status, Value};
use bytes::Bytes;
use serde_json::json;
use store::WriteError;

use super::options::WriteOptions;
use super::write::{text, timestamp, write_error, wrong_uid};
use super::{Call, Registry, Reply, read_error, tree_of};
use crate::catalog::Resource;
use crate::object;

/// A binding that insists on no revision is tried again this often.
const MAX_CONFLICTS: u32 = 100;

impl Registry {
    pub(super) async fn bind(&self, call: &Call, body: Bytes) -> Result<Reply, Status> {
        let options = WriteOptions::parse(call, "CreateOptions")?;
        let binding = self.review(&call.about(builtin("bindings")?), &body)?;
        let name = text(&binding, "name");
        if !call.info.name.is_empty() && name != call.info.name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let pods = Call { info: call.info.clone(), ..call.about(builtin("pods")?) };
        let key = pods.resource.kind.key(call.namespace(), name);
        for _ in 0..MAX_CONFLICTS {
            let snapshot = self.store.latest().await.map_err(read_error)?;
            let absent = || Status::not_found(pods.resource.qualified(), name);
            let current = snapshot.get(&key).ok_or_else(absent)?;
            let mut pod = tree_of(&pods.resource, current)?;
            let (uid, revision) = (text(&binding, "uid"), text(&binding, "resourceVersion"));
            if !uid.is_empty() && uid != text(&pod, "uid") {
                return Err(wrong_uid(&pods, uid, text(&pod, "uid")));
            }
            if !revision.is_empty() && revision != current.modified.to_string() {
                return Err(Status::stale(pods.resource.qualified(), name));
            }
            if let Some(why) = unfit(&pod) {
                return Err(Status::conflict(Qualified::new("", "pods/binding"), name, why));
            }
            assign(&mut pod, &binding, &timestamp(call));
            let value = object::to_bytes(&pods.resource, &mut pod)?;
            if options.dry_run {
                return Ok(bound());
            }
            match self.store.update(self.put(&pods, key.clone(), value), current.modified).await {
                Ok(_) => return Ok(bound()),
                Err(WriteError::Conflict { .. }) if revision.is_empty() => {}
                Err(error) => return Err(write_error(&pods, name, error)),
            }
        }
        Err(Status::stale(pods.resource.qualified(), name))
    }
}

fn builtin(plural: &str) -> Result<Arc<Resource>, Status> {
    let resource = kinds::find("", plural).and_then(|kind| Resource::builtin(kind, "v1"));
    resource.map(Arc::new).ok_or_else(|| Status::internal(format_args!("{plural} are not built in")))
}

fn bound() -> Reply {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Reply::Tree { code: 201, api_version: "v1".into(), tree: status }
}

/// Why a pod may not be bound now.
fn unfit(pod: &Value) -> Option<String> {
    let name = text(pod, "name");
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !text(pod, "deletionTimestamp").is_empty() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !node.is_empty() {
        return Some(format!("pod {name} is already assigned to node {node:?}"));
    }
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
}

fn assign(pod: &mut Value, binding: &Value, now: &str) {
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    for map in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][map].as_object().into_iter().flatten() {
            pod["metadata"][map][key] = value.clone();
        }
    }
    let mut scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
        None => conditions.push(scheduled),
        Some(known) => {
            if known["status"] == "True" {
                scheduled["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = scheduled;
        }
    }
}
