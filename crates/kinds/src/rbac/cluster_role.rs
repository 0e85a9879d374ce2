//! ClusterRole: permissions everywhere, or a collection of other cluster roles.

use std::sync::Arc;

use grammar::field::ErrorList;
use serde_json::Value;

use crate::check;
use crate::kind::{Kind, Scope};
use crate::node::Node;
use crate::rbac::{GROUP, rules};
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        create_on_update: true,
        name_rule: rules::NAME_RULE,
        strategy: Arc::new(ClusterRole),
        ..Kind::cluster(GROUP, "v1", "ClusterRole", "clusterroles")
    }
}

struct ClusterRole;

impl Strategy for ClusterRole {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(obj, false, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let mut before = ErrorList::new();
        let root = Node::root(old);
        let rule = root.child("aggregationRule");
        rule.child("clusterRoleSelectors")
            .items()
            .for_each(|selector| check::label_selector(&selector, false, &mut before));
        validate(new, !before.is_empty(), errs);
    }
}

/// `lenient` keeps selector values that an older server let in.
fn validate(obj: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    rules::policy_rules(obj, Scope::Cluster, errs);
    let rule = obj.child("aggregationRule");
    if !rule.is_set() {
        return;
    }
    let selectors = rule.child("clusterRoleSelectors");
    if selectors.is_empty() {
        errs.push(
            selectors.required("at least one clusterRoleSelector required if aggregationRule is non-nil"),
        );
    }
    for selector in selectors.items() {
        let mut found = ErrorList::new();
        check::label_selector(&selector, lenient, &mut found);
        // Values that are kept for old times' sake still make no selector.
        if !found.is_empty() || check::has_invalid_label_value(selector.value()) {
            found.push(selector.invalid_as(&Value::Null, "invalid label selector."));
        }
        errs.extend(found);
    }
}
