//! PodDisruptionBudget: how many pods of a set may be away at once by somebody's will.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::condition;
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

/// Marks the selectors of `policy/v1beta1` that the two versions read differently.
const OLD_MARK: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
const EVICTION_POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["pdb"]),
        unconditional_update: false,
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        columns: vec![
            NAME,
            described("Min Available", "The minimum number of pods that must be available."),
            described("Max Unavailable", "The maximum number of pods that may be unavailable."),
            described("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.")
                .integer(),
            AGE,
        ],
        strategy: Arc::new(PodDisruptionBudget),
        ..Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
    }
}

struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        unmark(obj, &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        unmark(new, old.path(&["spec", "selector"]));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), false, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let old_selector = Node::root(old.path(&["spec", "selector"]));
        let mut faults = ErrorList::new();
        if old_selector.is_set() {
            check::label_selector(&old_selector, false, &mut faults);
        }
        validate_spec(&new.child("spec"), !faults.is_empty(), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let amount = |key: &str| -> Value {
            match spec.at(key) {
                Value::Null => "N/A".into(),
                Value::String(text) => text.as_str().into(),
                number => number.to_string().into(),
            }
        };
        vec![
            column::name(obj),
            amount("minAvailable"),
            amount("maxUnavailable"),
            status.int("disruptionsAllowed").unwrap_or_default().into(),
            column::age(obj, now),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        condition::validate(&status.child("conditions"), errs);
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        workload::counts(&status, &counts, errs);
    }
}

/// Takes the old version's mark out of a changed selector, unless the mark is all there is to it.
fn unmark(obj: &mut Value, old: &Value) {
    let selector = obj.path(&["spec", "selector"]);
    let only_mark = json!({"matchExpressions": [{"key": OLD_MARK, "operator": "Exists"}]});
    if selector.is_null() || selector == old || *selector == only_mark {
        return;
    }
    let selector = obj.at_mut("spec").at_mut("selector");
    if let Some(Value::Array(expressions)) = selector.find_mut(&["matchExpressions"]) {
        expressions.retain(|requirement| requirement.text("key") != OLD_MARK);
    }
}

fn validate_spec(spec: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    let (min, max) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if min.is_set() && max.is_set() {
        errs.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for amount in [min, max] {
        if amount.is_set() {
            workload::int_or_percent(&amount, errs);
            workload::at_most_all(&amount, errs);
        }
    }
    let (selector, policy) = (spec.child("selector"), spec.child("unhealthyPodEvictionPolicy"));
    if selector.is_set() {
        check::label_selector(&selector, lenient, errs);
    }
    if policy.is_set() {
        policy.one_of(EVICTION_POLICIES, errs);
    }
}
