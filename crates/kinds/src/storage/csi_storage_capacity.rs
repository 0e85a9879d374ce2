//! CSIStorageCapacity: how much room a driver has left somewhere.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::check;
use crate::column::{self, NAME, documented};
use crate::kind::Kind;
use crate::meta;
use crate::node::{IMMUTABLE, Node};
use crate::pod::warnings;
use crate::storage::GROUP;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    const CAPACITY: &str = "io.k8s.api.storage.v1.CSIStorageCapacity";
    Kind {
        unconditional_update: false,
        columns: vec![
            NAME,
            documented("StorageClassName", CAPACITY, "storageClassName"),
            documented("Capacity", CAPACITY, "capacity"),
        ],
        strategy: Arc::new(CsiStorageCapacity),
        ..Kind::namespaced(GROUP, "v1", "CSIStorageCapacity", "csistoragecapacities")
    }
}

struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(obj, false, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let mut before = ErrorList::new();
        check::label_selector(&Node::root(old).child("nodeTopology"), false, &mut before);
        validate(new, !before.is_empty(), errs);
        new.child("nodeTopology").immutable(old.at("nodeTopology"), errs);
        let class = new.child("storageClassName");
        if class.str() != old.text("storageClassName") {
            errs.push(class.invalid_text(IMMUTABLE));
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let topology = root.child("nodeTopology");
        let mut found = Vec::new();
        for expression in topology.child("matchExpressions").items() {
            let key = expression.child("key");
            found.extend(warnings::old_label(key.str()).map(|text| format!("{}: {text}", key.path)));
        }
        for (key, entry) in topology.child("matchLabels").pairs() {
            found.extend(warnings::old_label(key).map(|text| format!("{}: {text}", entry.path)));
        }
        found
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let capacity = if obj.has("capacity") { obj.text("capacity") } else { "<unset>" };
        vec![column::name(obj), obj.text("storageClassName").into(), capacity.into()]
    }
}

fn validate(obj: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    check::label_selector(&obj.child("nodeTopology"), lenient, errs);
    let class = obj.child("storageClassName");
    class.complaints(meta::SUBDOMAIN(class.str(), false), errs);
    let capacity = obj.child("capacity");
    if capacity.is_set() {
        check::not_negative_quantity(&capacity, errs);
    }
}
