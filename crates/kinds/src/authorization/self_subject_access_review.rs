//! SelfSubjectAccessReview: may I do something?

use std::sync::Arc;

use grammar::field::ErrorList;

use crate::authorization::{GROUP, question};
use crate::kind::Kind;
use crate::node::Node;
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        strategy: Arc::new(SelfSubjectAccessReview),
        ..Kind::review(GROUP, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews")
    }
}

struct SelfSubjectAccessReview;

impl Strategy for SelfSubjectAccessReview {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        question::attributes(&obj.child("spec"), errs);
        question::bare_metadata(&obj.child("metadata"), errs);
    }
}
