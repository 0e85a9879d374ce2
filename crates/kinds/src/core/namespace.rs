//! Namespace: a room for names, with a life of its own.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Selectable, Subresource, Verb, names as texts};
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

/// Carried by every namespace, so that selectors can find one by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Lifted when everything in the namespace is gone.
const CONTENT_FINALIZER: &str = "kubernetes";

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ns"]),
        // Deleting all namespaces at once is no verb of theirs.
        verbs: Verb::ALL.into_iter().filter(|verb| *verb != Verb::DeleteCollection).collect(),
        resets: vec![&["status"]],
        subresources: vec![
            Subresource::status(&[&["spec"]], Status),
            Subresource {
                verbs: vec![Verb::Update],
                ..Subresource::part("finalize", &[&["status"]], Finalize)
            },
        ],
        selectable: vec![Selectable::field("status.phase"), Selectable::at("name", &["metadata.name"])],
        columns: vec![NAME, described("Status", "The status of the namespace"), AGE],
        name_rule: meta::LABEL,
        strategy: Arc::new(Namespace),
        ..Kind::cluster("", "v1", "Namespace", "namespaces")
    }
}

struct Namespace;

impl Strategy for Namespace {
    fn default(&self, _version: &str, obj: &mut Value) {
        obj.at_mut("status").set_default("phase", "Active");
        self.canonicalize(obj);
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        obj.set("status", json!({"phase": "Active"}));
        let finalizers = obj.at_mut("spec").at_mut("finalizers");
        match finalizers {
            Value::Array(list) if list.iter().any(|name| name == CONTENT_FINALIZER) => {}
            Value::Array(list) => list.push(CONTENT_FINALIZER.into()),
            other => *other = json!([CONTENT_FINALIZER]),
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        new.copy_from(old, &["spec", "finalizers"]);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let finalizers = spec.child("finalizers");
        for finalizer in finalizers.items() {
            finalizer_name(&Node::new(finalizer.value(), finalizers.path), errs);
        }
    }

    fn canonicalize(&self, obj: &mut Value) {
        let name = obj.at("metadata").text("name").to_owned();
        if !name.is_empty() {
            obj.at_mut("metadata").at_mut("labels").set(NAME_LABEL, name);
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.at("status").text("phase").into(), column::age(obj, now)]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let phase = Node::new(status.value().at("phase"), status.path.child("Phase"));
        let (wanted, state) = match new.at("metadata").has("deletionTimestamp") {
            true => ("Terminating", "is not empty"),
            false => ("Active", "is empty"),
        };
        if phase.str() != wanted {
            errs.push(phase.invalid_text(format!("may only be '{wanted}' if `deletionTimestamp` {state}")));
        }
    }
}

struct Finalize;

impl Strategy for Finalize {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        for finalizer in spec.child("finalizers").items() {
            finalizer_name(&finalizer, errs);
        }
    }
}

fn finalizer_name(node: &Node<'_>, errs: &mut ErrorList) {
    node.complaints(names::qualified_name(node.str()), errs);
    meta::standard_or_qualified(node, errs);
}
