//! What the server offers: the group and resource lists, plain and aggregated.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Status, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};
use kinds::kind::{Subresource, Verb};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::body::{self, Body};
use crate::catalog::{Catalog, Resource, api_version};
use crate::negotiate::{self, View};
use crate::render;
use crate::request::Query;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Upstream's order of groups; what is not here comes behind, by name.
const GROUP_ORDER: [&str; 23] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
    "metrics.k8s.io",
];

/// Answers a discovery path; nothing where the path is none.
pub(crate) fn serve(
    catalog: &Catalog,
    headers: &HeaderMap,
    path: &str,
    query: &Query,
) -> Result<Option<Response<Body>>, Status> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let aggregated = wants_aggregated(headers);
    let tree = match parts.as_slice() {
        ["api"] if aggregated => return Ok(Some(aggregate(catalog, headers, |group| group.is_empty()))),
        ["apis"] if aggregated => return Ok(Some(aggregate(catalog, headers, |group| !group.is_empty()))),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": ordered(catalog).filter(|g| !g.is_empty()).map(|g| group(catalog, g, false)).collect::<Vec<_>>(),
        }),
        ["apis", name] if catalog.groups().contains_key(*name) => group(catalog, name, true),
        ["api", "v1"] => resources(catalog, "", "v1")?,
        ["apis", name, version] => resources(catalog, name, version)?,
        _ => return Ok(None),
    };
    let view = View { shape: negotiate::Shape::Object, ..negotiate::response(headers, query, true)? };
    let body = render::tree("v1", &tree, view)?;
    let mut response = Response::new(body::full(body));
    let media = HeaderValue::from_static(view.format.media_type());
    response.headers_mut().insert(CONTENT_TYPE, media);
    Ok(Some(response))
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|clause| {
        let has = |param: &str| clause.split(';').any(|p| p.trim() == param);
        has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    })
}

fn ordered(catalog: &Catalog) -> impl Iterator<Item = &str> {
    let mut groups: Vec<&str> = catalog.groups().keys().map(String::as_str).collect();
    groups.sort_by_key(|g| GROUP_ORDER.iter().position(|known| known == g).unwrap_or(GROUP_ORDER.len()));
    groups.into_iter()
}

/// Versions with the preferred first: as a built-in kind lists them, else by Kubernetes' version order.
fn versions(resources: &BTreeMap<String, BTreeMap<String, Arc<Resource>>>) -> Vec<&str> {
    let mut versions: Vec<&str> = resources.keys().map(String::as_str).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    versions
}

/// GA before beta before alpha, higher before lower; anything else last.
fn priority(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let major = rest[..digits].parse().ok()?;
        match &rest[digits..] {
            "" => Some((3, major, 0)),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(minor), _) => Some((2, major, minor.parse().ok()?)),
                (_, Some(minor)) => Some((1, major, minor.parse().ok()?)),
                _ => None,
            },
        }
    };
    parse().unwrap_or((0, 0, 0))
}

fn group(catalog: &Catalog, name: &str, alone: bool) -> Value {
    let versions: Vec<Value> = versions(&catalog.groups()[name])
        .into_iter()
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    let mut tree = json!({"name": name, "preferredVersion": versions.first(), "versions": versions});
    if alone {
        tree["kind"] = "APIGroup".into();
        tree["apiVersion"] = "v1".into();
    }
    tree
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Result<Value, Status> {
    let resources = catalog
        .groups()
        .get(group)
        .and_then(|versions| versions.get(version))
        .ok_or_else(Status::no_such_path)?;
    let mut list = Vec::new();
    for resource in resources.values() {
        let kind = &resource.kind;
        let mut entry = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.is_namespaced(),
            "kind": kind.kind,
            "verbs": verbs(&kind.verbs),
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        if kind.verbs.contains(&Verb::Get) {
            entry["storageVersionHash"] = storage_hash(resource).into();
        }
        list.push(entry);
        for sub in &kind.subresources {
            let (body_group, body_version, body_kind) = body_of(resource, sub);
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.is_namespaced(),
                "kind": body_kind,
                "verbs": verbs(&sub.verbs),
            });
            if sub.body.is_some() && (body_group.as_str(), body_version.as_str()) != (group, version) {
                entry["group"] = body_group.into();
                entry["version"] = body_version.into();
            }
            list.push(entry);
        }
    }
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": list,
    }))
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    let mut names: Vec<&str> = verbs.iter().map(|verb| verb.name()).collect();
    names.sort_unstable();
    names
}

fn body_of(resource: &Resource, sub: &Subresource) -> (String, String, String) {
    match &sub.body {
        Some((group, version, kind)) => (group.to_string(), version.to_string(), kind.to_string()),
        None => (resource.kind.group.to_string(), resource.version.clone(), resource.kind.kind.to_string()),
    }
}

/// Tells clients when the version at rest has changed.
fn storage_hash(resource: &Resource) -> String {
    let (group, version) = resource.kind.stored_version();
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind.kind));
    STANDARD.encode(&digest[..8])
}

/// `apidiscovery.k8s.io/v2`, with an ETag so that clients need not fetch it again.
fn aggregate(catalog: &Catalog, headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> Response<Body> {
    let items: Vec<Value> = ordered(catalog)
        .filter(|group| wanted(group))
        .map(|group| {
            let served = &catalog.groups()[group];
            let versions: Vec<Value> = versions(served)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> = served[version].values().map(|r| discovered(r)).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let tree = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut out = Vec::with_capacity(64 * 1024);
    api::json::encode_any(&tree, &mut out);
    let tag = format!("\"{}\"", Sha256::digest(&out).iter().map(|b| format!("{b:02X}")).collect::<String>());
    let known = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if known { body::empty() } else { body::full(out) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

fn discovered(resource: &Resource) -> Value {
    let kind = &resource.kind;
    let mut tree = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": resource.version, "kind": kind.kind},
        "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        tree["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        tree["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let subs: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                let (group, version, body) = body_of(resource, sub);
                json!({
                    "subresource": sub.name,
                    "responseKind": {"group": group, "version": version, "kind": body},
                    "verbs": verbs(&sub.verbs),
                })
            })
            .collect();
        tree["subresources"] = subs.into();
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["v1alpha1", "v2", "foo", "v1beta2", "v1", "v11beta1", "v10"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
