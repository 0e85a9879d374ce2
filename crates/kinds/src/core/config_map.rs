//! ConfigMap: configuration as keys and texts.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, decoded_len, same};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["cm"]),
        columns: vec![NAME, documented("Data", "io.k8s.api.core.v1.ConfigMap", "data"), AGE],
        strategy: Arc::new(ConfigMap),
        ..Kind::namespaced("", "v1", "ConfigMap", "configmaps")
    }
}

/// All values together may have this many bytes.
const MAX_BYTES: usize = 1024 * 1024;

const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";

struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let mut bytes = 0;
        for (key, value) in obj.child("data").pairs() {
            key_is_valid(&value, key, errs);
            if obj.at("binaryData").has(key) {
                errs.push(value.invalid_as(key, "duplicate of key present in binaryData"));
            }
            bytes += value.str().len();
        }
        for (key, value) in obj.child("binaryData").pairs() {
            key_is_valid(&value, key, errs);
            bytes += decoded_len(value.str());
        }
        if bytes > MAX_BYTES {
            errs.push(obj.child("").too_long(MAX_BYTES));
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        if old.flag("immutable") {
            if !new.flag("immutable") {
                errs.push(new.child("immutable").forbidden(IMMUTABLE_SET));
            }
            for key in ["data", "binaryData"] {
                if !same(new.at(key), old.at(key)) {
                    errs.push(new.child(key).forbidden(IMMUTABLE_SET));
                }
            }
        }
        self.validate(new, cx, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let count = obj.entries("data").count() + obj.entries("binaryData").count();
        vec![column::name(obj), count.into(), column::age(obj, now)]
    }
}

fn key_is_valid(entry: &Node<'_>, key: &str, errs: &mut ErrorList) {
    errs.extend(names::config_map_key(key).into_iter().map(|complaint| entry.invalid_as(key, complaint)));
}
