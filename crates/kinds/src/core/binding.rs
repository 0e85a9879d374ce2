//! Binding: the assignment of a pod to a node. It is written, never read: a POST to `/bindings` is one to the
//! `/binding` of the pod it names.

use std::sync::Arc;

use grammar::field::ErrorList;

use crate::kind::{Kind, Verb};
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        stored: false,
        verbs: vec![Verb::Create],
        strategy: Arc::new(Binding),
        ..Kind::namespaced("", "v1", "Binding", "bindings")
    }
}

struct Binding;

impl Strategy for Binding {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let target = obj.child("target");
        let (kind, name) = (target.child("kind"), target.child("name"));
        if !matches!(kind.str(), "" | "Node") {
            errs.push(kind.not_supported(&["Node", "<empty>"]));
        }
        match name.str() {
            "" => errs.push(name.required("")),
            text if matches!(kind.str(), "" | "Node") => name.complaints(meta::SUBDOMAIN(text, false), errs),
            _ => {}
        }
    }
}
