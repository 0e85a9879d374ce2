//! Secret: keys and bytes that are sealed at rest.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, Selectable};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, decoded_len, same};

pub(crate) fn kind() -> Kind {
    const SECRET: &str = "io.k8s.api.core.v1.Secret";
    Kind {
        selectable: vec![Selectable::field("type")],
        columns: vec![NAME, documented("Type", SECRET, "type"), documented("Data", SECRET, "data"), AGE],
        strategy: Arc::new(Secret),
        ..Kind::namespaced("", "v1", "Secret", "secrets")
    }
}

/// All values together may have this many bytes.
const MAX_BYTES: usize = 1024 * 1024;
const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

struct Secret;

impl Strategy for Secret {
    fn default(&self, _version: &str, obj: &mut Value) {
        obj.set_default("type", "Opaque");
        // `stringData` is only ever written: its texts become data.
        if let Value::Object(texts) = obj.at_mut("stringData").take() {
            for (key, text) in texts {
                let bytes = crate::base64::encode(text.as_str().unwrap_or_default().as_bytes());
                obj.at_mut("data").set(&key, bytes);
            }
        }
        obj.drop_key("stringData");
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        // A PUT without a type keeps the one there is.
        if new.text("type").is_empty() {
            new.copy_from(old, &["type"]);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let data = obj.child("data");
        let mut bytes = 0;
        for (key, value) in data.pairs() {
            errs.extend(
                names::config_map_key(key).into_iter().map(|complaint| value.invalid_as(key, complaint)),
            );
            bytes += decoded_len(value.str());
        }
        if bytes > MAX_BYTES {
            errs.push(data.too_long(MAX_BYTES));
        }
        by_type(obj, &data, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        new.child("type").immutable(old.at("type"), errs);
        if old.flag("immutable") {
            if !new.flag("immutable") {
                errs.push(new.child("immutable").forbidden(IMMUTABLE_SET));
            }
            if !same(new.at("data"), old.at("data")) {
                errs.push(new.child("data").forbidden(IMMUTABLE_SET));
            }
        }
        self.validate(new, cx, errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        match new.text("type") {
            "kubernetes.io/tls" => key_pair_fault(new.at("data")).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![
            column::name(obj),
            obj.text("type").into(),
            obj.entries("data").count().into(),
            column::age(obj, now),
        ]
    }
}

/// What a well-known type promises to contain.
fn by_type(obj: &Node<'_>, data: &Node<'_>, errs: &mut ErrorList) {
    let entry = |key: &'static str| Node::new(data.value().at(key), data.path.key(key));
    let mut require = |keys: &[&'static str]| {
        errs.extend(keys.iter().filter(|key| !data.has(key)).map(|key| entry(key).required("")));
    };
    match obj.text("type") {
        "kubernetes.io/service-account-token" => {
            let metadata = obj.child("metadata");
            let annotations = metadata.child("annotations");
            if annotations.text(ACCOUNT).is_empty() {
                let annotation = Node::new(annotations.value().at(ACCOUNT), annotations.path.key(ACCOUNT));
                errs.push(annotation.required(""));
            }
        }
        "kubernetes.io/dockercfg" => {
            require(&[".dockercfg"]);
            json_object(&entry(".dockercfg"), errs);
        }
        "kubernetes.io/dockerconfigjson" => {
            require(&[".dockerconfigjson"]);
            json_object(&entry(".dockerconfigjson"), errs);
        }
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" => {
            let key = entry("ssh-privatekey");
            if key.str().is_empty() {
                errs.push(key.required(""));
            }
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

/// The value is a JSON object; what it is instead stays unsaid.
fn json_object(entry: &Node<'_>, errs: &mut ErrorList) {
    if !entry.is_set() {
        return;
    }
    let bytes = crate::base64::decode(entry.str()).unwrap_or_default();
    if let Err(complaint) = crate::go_json::object(&bytes) {
        errs.push(entry.invalid_as("<secret contents redacted>", complaint));
    }
}

/// Why a certificate and a key cannot belong together, as far as their PEM armour tells.
fn key_pair_fault(data: &Value) -> Option<String> {
    let blocks = |key: &str| pem_types(&crate::base64::decode(data.text(key)).unwrap_or_default());
    let listed = |types: &[String]| format!("[{}]", types.join(" "));
    let certificates = blocks("tls.crt");
    if !certificates.iter().any(|ty| ty == "CERTIFICATE") {
        return Some(match &certificates[..] {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [only] if only.ends_with("PRIVATE KEY") => {
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM \
                 inputs may have been switched"
                    .to_owned()
            }
            types => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of \
                 the following types: {}",
                listed(types)
            ),
        });
    }
    let keys = blocks("tls.key");
    if keys.iter().any(|ty| ty == "PRIVATE KEY" || ty.ends_with(" PRIVATE KEY")) {
        return None;
    }
    Some(match &keys[..] {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [only] if only == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        types => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: {}",
            listed(types)
        ),
    })
}

/// The types of all complete PEM blocks.
fn pem_types(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut types = Vec::new();
    let mut rest = &*text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let Some((ty, body)) = begun.split_once("-----") else { break };
        rest = body;
        if let Some((_, after)) = body.split_once(&format!("-----END {ty}-----")) {
            types.push(ty.to_owned());
            rest = after;
        }
    }
    types
}
