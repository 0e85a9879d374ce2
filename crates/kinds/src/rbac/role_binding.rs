//! RoleBinding: who holds a role's permissions within a namespace.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::kind::{Kind, Scope};
use crate::node::Node;
use crate::rbac::{GROUP, rules};
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        create_on_update: true,
        name_rule: rules::NAME_RULE,
        columns: rules::columns(
            "io.k8s.api.rbac.v1.RoleBinding",
            ["Users in the roleBinding", "Groups in the roleBinding", "ServiceAccounts in the roleBinding"],
        ),
        strategy: Arc::new(RoleBinding),
        ..Kind::namespaced(GROUP, "v1", "RoleBinding", "rolebindings")
    }
}

struct RoleBinding;

impl Strategy for RoleBinding {
    fn default(&self, _version: &str, obj: &mut Value) {
        rules::default_binding(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        rules::binding(obj, Scope::Namespaced, &["Role", "ClusterRole"], errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        rules::same_role(new, old, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        rules::cells(obj, now)
    }
}
