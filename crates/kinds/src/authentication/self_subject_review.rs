//! SelfSubjectReview: who am I?

use crate::kind::Kind;

pub(crate) fn kind() -> Kind {
    Kind::review("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews")
}
