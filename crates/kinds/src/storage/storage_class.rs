//! StorageClass: a way to make volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::meta;
use crate::node::Node;
use crate::pod::warnings;
use crate::storage::{GROUP, parameters};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const CLASS: &str = "io.k8s.api.storage.v1.StorageClass";
    Kind {
        short_names: texts(&["sc"]),
        columns: vec![
            NAME,
            documented("Provisioner", CLASS, "provisioner"),
            documented("ReclaimPolicy", CLASS, "reclaimPolicy"),
            documented("VolumeBindingMode", CLASS, "volumeBindingMode"),
            documented("AllowVolumeExpansion", CLASS, "allowVolumeExpansion"),
            AGE,
        ],
        strategy: Arc::new(StorageClass),
        ..Kind::cluster(GROUP, "v1", "StorageClass", "storageclasses")
    }
}

const RECLAIM_POLICIES: [&str; 2] = ["Delete", "Retain"];
const BINDING_MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];

struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, _version: &str, obj: &mut Value) {
        for (key, value) in [("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")] {
            if !obj.has(key) {
                obj.set(key, value);
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        parameters::driver(&obj.child("provisioner"), errs);
        parameters::validate(&obj.child("parameters"), errs);
        let policy = obj.child("reclaimPolicy");
        if !policy.str().is_empty() {
            policy.one_of(&RECLAIM_POLICIES, errs);
        }
        let mode = obj.child("volumeBindingMode");
        if mode.is_set() {
            mode.one_of(&BINDING_MODES, errs);
        } else {
            errs.push(mode.required(""));
        }
        topologies(&obj.child("allowedTopologies"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            check::frozen(&new.child(key), old.at(key), errs);
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let mut found = Vec::new();
        for term in root.child("allowedTopologies").items() {
            for expression in term.child("matchLabelExpressions").items() {
                let key = expression.child("key");
                found.extend(warnings::old_label(key.str()).map(|text| format!("{}: {text}", key.path)));
            }
        }
        found
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![
            column::name(obj),
            obj.text("provisioner").into(),
            obj.text("reclaimPolicy").into(),
            obj.text("volumeBindingMode").into(),
            obj.flag("allowVolumeExpansion").into(),
            column::age(obj, now),
        ]
    }
}

fn topologies(terms: &Node<'_>, errs: &mut ErrorList) {
    let mut seen: Vec<BTreeMap<String, BTreeSet<String>>> = Vec::new();
    for term in terms.items() {
        let expressions = term.child("matchLabelExpressions");
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for expression in expressions.items() {
            let (key, values) = (expression.child("key"), expression.child("values"));
            if values.is_empty() {
                errs.push(values.required(""));
            }
            let mut set = BTreeSet::new();
            for value in values.items() {
                if !set.insert(value.str().to_owned()) {
                    errs.push(value.duplicate());
                }
            }
            meta::label_key(&key.path, key.str(), errs);
            if keys.insert(key.str().to_owned(), set).is_some() {
                errs.push(key.duplicate());
            }
        }
        if seen.contains(&keys) {
            errs.push(field::duplicate(&expressions.path, ""));
        }
        seen.push(keys);
    }
}
