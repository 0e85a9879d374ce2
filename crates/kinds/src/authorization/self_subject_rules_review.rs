//! SelfSubjectRulesReview: what may I do in a namespace?

use crate::authorization::GROUP;
use crate::kind::Kind;

pub(crate) fn kind() -> Kind {
    Kind::review(GROUP, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews")
}
