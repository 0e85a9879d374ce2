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
