//! The service account `default`, which every active namespace has.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use serde_json::json;

use crate::plan::{Action, Kind, Operation, Plan, Target};

/// The account that pods run under unless they name another.
pub const NAME: &str = "default";

pub struct View<'a> {
    pub namespace: &'a Namespace,
    pub account: Option<&'a ServiceAccount>,
}

pub fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let phase = view.namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    if view.account.is_none() && phase == Some("Active") {
        let namespace = view.namespace.metadata.name.clone().unwrap_or_default();
        let body = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": namespace},
        });
        let target = Target { kind: Kind::SERVICE_ACCOUNT, namespace, name: NAME.into() };
        plan.push(0, Operation::new(target, Action::Create { body: Arc::new(body) }));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::typed::Typed;

    #[test]
    fn an_active_namespace_without_the_account_gets_it() {
        let account = ServiceAccount::default();
        let table =
            [("Active", None, 1), ("Active", Some(&account), 0), ("Terminating", None, 0), ("", None, 0)];
        for (phase, account, count) in table {
            let tree = json!({"metadata": {"name": "team"}, "status": {"phase": phase}});
            let namespace = Namespace::from_tree(&tree).unwrap();
            let plan = reconcile(&View { namespace: &namespace, account });
            assert_eq!(plan.operations.len(), count, "{phase} {account:?}");
            assert!(
                plan.operations
                    .iter()
                    .all(|one| one.target.namespace == "team" && one.target.name == "default")
            );
        }
    }
}
