//! Kubeconfig files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::Signed;

/// A kubeconfig with one cluster and one user, as JSON, which is YAML too.
pub fn kubeconfig(name: &str, server: &str, authority: &str, user: &Signed) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{
            "name": name,
            "cluster": {"server": server, "certificate-authority-data": encode(authority)},
        }],
        "users": [{
            "name": name,
            "user": {
                "client-certificate-data": encode(&user.certificate),
                "client-key-data": encode(&user.key),
            },
        }],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "preferences": {},
    });
    serde_json::to_string_pretty(&config).expect("a tree always prints")
}
