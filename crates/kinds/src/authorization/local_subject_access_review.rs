//! LocalSubjectAccessReview: may somebody do something in this namespace?

use std::sync::Arc;

use grammar::field::ErrorList;

use crate::authorization::{GROUP, question};
use crate::kind::{Kind, Scope};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        scope: Scope::Namespaced,
        strategy: Arc::new(LocalSubjectAccessReview),
        ..Kind::review(GROUP, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews")
    }
}

struct LocalSubjectAccessReview;

impl Strategy for LocalSubjectAccessReview {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
        question::subject(&spec, errs);
        question::attributes(&spec, errs);
        question::bare_metadata_but_namespace(&metadata, errs);
        let (resource, other) = (spec.child("resourceAttributes"), spec.child("nonResourceAttributes"));
        let namespace = resource.child("namespace");
        if resource.is_set() && namespace.str() != metadata.text("namespace") {
            errs.push(namespace.invalid_text("must match metadata.namespace"));
        }
        if other.is_set() {
            errs.push(other.invalid("disallowed on this kind of request"));
        }
    }
}
