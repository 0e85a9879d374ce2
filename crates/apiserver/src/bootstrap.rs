//! What a fresh store must hold before the first request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Status, User, Value};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use crate::body::RequestBody;
use crate::registry::Registry;
use crate::stack::{Peer, Stack};

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing. It goes through the request stack as the server's own identity, so it is admitted and
/// validated as anybody's writes are.
pub async fn run(stack: &Arc<Stack>) -> Result<(), Status> {
    stack.registry.repair_allocations().await?;
    tend(&stack.registry);
    for name in NAMESPACES {
        ensure(stack, "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?;
    }
    let range = stack.registry.ranges.addresses;
    let cidr = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [range.to_string()]}});
    ensure(stack, "/apis/networking.k8s.io/v1/servicecidrs", &cidr).await?;
    Ok(())
}

/// Reservations are compared with the services this often.
const REPAIR_EVERY: Duration = Duration::from_secs(180);

/// Finds what crashed writes, here or in other servers, have left reserved. It ends with the registry.
fn tend(registry: &Arc<Registry>) {
    let registry = Arc::downgrade(registry);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REPAIR_EVERY).await;
            let Some(registry) = registry.upgrade() else { return };
            if let Err(status) = registry.repair_allocations().await {
                tracing::warn!(%status, "reservations were not repaired");
            }
        }
    });
}

/// Makes the service `kubernetes`, through which pods reach the server at `address`. An address that no pod could
/// reach gets no endpoint.
pub async fn advertise(stack: &Arc<Stack>, address: SocketAddr) -> Result<(), Status> {
    let ip = stack.registry.ranges.addresses.first();
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": ip.to_string(),
            "ports": [{"name": "https", "port": 443, "targetPort": address.port()}],
        },
    });
    ensure(stack, "/api/v1/namespaces/default/services", &service).await?;
    let host = address.ip();
    if host.is_loopback() || host.is_unspecified() {
        return Ok(());
    }
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if host.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [host.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    });
    put(stack, slices, "kubernetes", slice).await?;
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": host.to_string()}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }],
    });
    put(stack, "/api/v1/namespaces/default/endpoints", "kubernetes", endpoints).await
}

/// Brings an object that is this server's alone to its present state.
async fn put(stack: &Arc<Stack>, path: &str, name: &str, object: Value) -> Result<(), Status> {
    ensure(stack, path, &object).await?;
    match send(stack, Method::PUT, &format!("{path}/{name}"), &object).await? {
        200..300 => Ok(()),
        code => Err(refused(path, &object, code)),
    }
}

/// The identity under which the server writes its own objects.
pub fn identity() -> User {
    User::new("system:apiserver", &["system:masters", "system:authenticated"])
}

/// Creates an object unless it is there already.
async fn ensure(stack: &Arc<Stack>, path: &str, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if send(stack, Method::GET, &format!("{path}/{name}"), &Value::Null).await? == 200 {
        return Ok(());
    }
    match send(stack, Method::POST, path, object).await? {
        // Another server over the same store was faster.
        200..300 | 409 => Ok(()),
        code => Err(refused(path, object, code)),
    }
}

fn refused(path: &str, object: &Value, code: u16) -> Status {
    Status::internal(format_args!("writing {object} at {path} was answered with {code}"))
}

/// Sends one request as the server itself; the answer's code.
async fn send(stack: &Arc<Stack>, method: Method, path: &str, object: &Value) -> Result<u16, Status> {
    let body = RequestBody::Bytes(Bytes::from(object.to_string()));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(Status::internal)?;
    let response = stack.call(request, Peer { address: None, certificate: Some(identity()) }).await;
    Ok(response.status().as_u16())
}
