//! ClusterRoleBinding: who holds a role's permissions, everywhere.

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
            "io.k8s.api.rbac.v1.ClusterRoleBinding",
            [
                "Users in the clusterRoleBinding",
                "Groups in the clusterRoleBinding",
                "ServiceAccounts in the clusterRoleBinding",
            ],
        ),
        strategy: Arc::new(ClusterRoleBinding),
        ..Kind::cluster(GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings")
    }
}

struct ClusterRoleBinding;

impl Strategy for ClusterRoleBinding {
    fn default(&self, _version: &str, obj: &mut Value) {
        rules::default_binding(obj);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        rules::binding(obj, Scope::Cluster, &["ClusterRole"], errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        rules::same_role(new, old, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        rules::cells(obj, now)
    }
}
