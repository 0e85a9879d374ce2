//! What a fresh store must hold before the first request.

use std::sync::Arc;

use api::{Status, User, Value};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use crate::body::RequestBody;
use crate::stack::{Peer, Stack};

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing. It goes through the request stack as the server's own identity, so it is admitted and
/// validated as anybody's writes are.
pub async fn run(stack: &Arc<Stack>) -> Result<(), Status> {
    for name in NAMESPACES {
        ensure(stack, "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?;
    }
    Ok(())
}

/// The identity under which the server writes its own objects.
pub fn identity() -> User {
    User::new("system:apiserver", &["system:masters", "system:authenticated"])
}

/// Creates an object unless it is there already.
async fn ensure(stack: &Arc<Stack>, path: &str, object: &Value) -> Result<(), Status> {
    let body = RequestBody::Bytes(Bytes::from(object.to_string()));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(Status::internal)?;
    let response = stack.call(request, Peer { address: None, certificate: Some(identity()) }).await;
    match response.status().as_u16() {
        200..300 | 409 => Ok(()),
        code => Err(Status::internal(format_args!("creating {object} at {path} was answered with {code}"))),
    }
}
