//! Role: permissions within a namespace.

use std::sync::Arc;

use grammar::field::ErrorList;

use crate::kind::{Kind, Scope};
use crate::node::Node;
use crate::rbac::{GROUP, rules};
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        create_on_update: true,
        name_rule: rules::NAME_RULE,
        strategy: Arc::new(Role),
        ..Kind::namespaced(GROUP, "v1", "Role", "roles")
    }
}

struct Role;

impl Strategy for Role {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        rules::policy_rules(obj, Scope::Namespaced, errs);
    }
}
