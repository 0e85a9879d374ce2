//! The reviews: kinds that are asked and answered, and never stored.

use api::{Status, User, Value};
use serde_json::json;

use crate::registry::{Call, Reply};
use crate::stack::Authorize;

/// Answers a review; nothing for kinds that are none.
pub(crate) fn answer(
    call: &Call,
    mut tree: Value,
    authorizer: &dyn Authorize,
) -> Option<Result<Reply, Status>> {
    let status = match &*call.resource.kind.kind {
        "SelfSubjectReview" => json!({"userInfo": user_info(&call.user)}),
        "SelfSubjectAccessReview" => decide(&call.user, &tree["spec"], authorizer),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            decide(&subject(&tree["spec"]), &tree["spec"], authorizer)
        }
        _ => return None,
    };
    tree["status"] = status;
    Some(Ok(Reply::Tree { code: 201, api_version: call.resource.api_version.clone(), tree }))
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
    }
    info
}

fn subject(spec: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    User {
        name: spec["user"].as_str().unwrap_or_default().into(),
        uid: spec["uid"].as_str().unwrap_or_default().into(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), texts(v))).collect(),
    }
}

fn decide(user: &User, spec: &Value, authorizer: &dyn Authorize) -> Value {
    let attributes = &spec["resourceAttributes"];
    let text = |tree: &Value, key: &str| tree[key].as_str().unwrap_or_default().to_owned();
    let mut info = crate::request::RequestInfo::default();
    if attributes.is_object() {
        info.is_resource = true;
        info.verb = text(attributes, "verb");
        info.group = text(attributes, "group");
        info.version = text(attributes, "version");
        info.namespace = text(attributes, "namespace");
        info.resource = text(attributes, "resource");
        info.subresource = text(attributes, "subresource");
        info.name = text(attributes, "name");
    } else {
        info.verb = text(&spec["nonResourceAttributes"], "verb");
        info.path = text(&spec["nonResourceAttributes"], "path");
    }
    match authorizer.authorize(user, &info) {
        Ok(()) => json!({"allowed": true}),
        Err(reason) => json!({"allowed": false, "reason": reason}),
    }
}
