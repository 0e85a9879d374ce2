//! TokenReview: whose token is this?

use crate::kind::Kind;

pub(crate) fn kind() -> Kind {
    Kind::review("authentication.k8s.io", "v1", "TokenReview", "tokenreviews")
}
