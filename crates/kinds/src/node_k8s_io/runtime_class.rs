//! RuntimeClass: which runtime runs a pod, and at what cost.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::Kind;
use crate::meta;
use crate::node::Node;
use crate::pod::{Rules, defaults, placement, resources, warnings};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        create_on_update: true,
        unconditional_update: false,
        columns: vec![NAME, documented("Handler", "io.k8s.api.node.v1.RuntimeClass", "handler"), AGE],
        strategy: Arc::new(RuntimeClass),
        ..Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    }
}

struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn default(&self, _version: &str, obj: &mut Value) {
        if let Some(fixed) = obj.find_mut(&["overhead", "podFixed"]) {
            defaults::resource_list(fixed);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let handler = obj.child("handler");
        match handler.str() {
            "" => errs.push(handler.required("")),
            text => handler.complaints(names::short_name(text), errs),
        }
        // Upstream reads the overhead as if it were the limits of a container, and names its fields so.
        let overhead = obj.child("overhead");
        let limits = json!({"limits": overhead.at("podFixed")});
        resources::container(&Node::new(&limits, overhead.path), &BTreeSet::new(), &Rules::default(), errs);
        let scheduling = obj.child("scheduling");
        meta::labels(&scheduling.child("nodeSelector"), errs);
        let tolerations = scheduling.child("tolerations");
        placement::tolerations(&tolerations, errs);
        distinct(&tolerations, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        check::frozen(&new.child("handler"), old.at("handler"), errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let selector = new.at("scheduling").entries("nodeSelector");
        let old = selector.filter_map(|(key, _)| warnings::old_label(key));
        old.map(|message| format!("scheduling.nodeSelector: {message}")).collect()
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.text("handler").into(), column::age(obj, now)]
    }
}

/// The same toleration twice could come to differ in how long it lasts.
fn distinct(tolerations: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for toleration in tolerations.items() {
        let facts = ["key", "operator", "value", "effect"].map(|key| toleration.text(key).to_owned());
        if !seen.insert(facts) {
            errs.push(toleration.duplicate());
        }
    }
}
