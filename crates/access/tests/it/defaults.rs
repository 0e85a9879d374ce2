//! The default objects against the ones that upstream's own functions build, and how they are kept up to date.

use std::collections::BTreeMap;

use access::rbac::aggregate;
use access::rbac::defaults::objects;
use access::rbac::reconcile::{Step, reconcile};
use serde_json::{Value, json};

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
}

#[test]
fn they_are_upstreams() {
    let recorded = include_str!("../data/defaults.jsonl").lines();
    let mut recorded: BTreeMap<String, Value> = recorded
        .map(|line| serde_json::from_str(line).expect("recorded data is JSON"))
        .map(|object: Value| (key(&object), object))
        .collect();
    println!("{} default objects", recorded.len());
    for object in objects() {
        let want =
            recorded.remove(&key(&object)).unwrap_or_else(|| panic!("{} is not upstream's", key(&object)));
        assert_eq!(object, want);
    }
    assert!(recorded.is_empty(), "missing: {:?}", recorded.keys());
}

#[test]
fn a_fresh_copy_needs_nothing() {
    for object in objects() {
        assert_eq!(reconcile(Some(&object), &object), Step::Nothing, "{}", key(&object));
        assert_eq!(reconcile(None, &object), Step::Create(object.clone()));
    }
}

fn role(rules: Value) -> Value {
    json!({"kind": "ClusterRole", "metadata": {"name": "x"}, "rules": rules})
}

fn binding(role: &str, subjects: Value) -> Value {
    json!({"kind": "ClusterRoleBinding", "metadata": {"name": "x", "uid": "u"},
        "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
}

#[test]
fn what_is_missing_is_added_and_what_was_added_stays() {
    let get = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
    let (jane, joe) = (json!({"kind": "User", "name": "jane"}), json!({"kind": "User", "name": "joe"}));
    let check = |existing: &Value, expected: &Value, want: Step| {
        assert_eq!(reconcile(Some(existing), expected), want, "{existing} {expected}");
    };
    let own = role(json!([get("pods"), get("secrets")]));
    check(&own, &role(json!([get("pods")])), Step::Nothing);
    check(
        &own,
        &role(json!([get("nodes"), get("pods")])),
        Step::Update(role(json!([get("pods"), get("secrets"), get("nodes")]))),
    );
    let mut protected = own.clone();
    protected["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
    check(&protected, &role(json!([get("nodes")])), Step::Protected);
    check(&protected, &role(json!([get("pods")])), Step::Nothing);

    let mut labelled = own.clone();
    labelled["metadata"]["labels"] = json!({"a": "mine"});
    let mut expected = role(json!([get("pods")]));
    expected["metadata"]["labels"] = json!({"a": "theirs", "b": "theirs"});
    let mut merged = labelled.clone();
    merged["metadata"]["labels"] = json!({"a": "mine", "b": "theirs"});
    check(&labelled, &expected, Step::Update(merged));

    let mut gathers = role(json!([]));
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let mut updated = own.clone();
    updated["aggregationRule"] = gathers["aggregationRule"].clone();
    check(&own, &gathers, Step::Update(updated));
    check(&gathers, &role(json!([])), Step::Update(role(json!([]))));

    check(
        &binding("a", json!([jane])),
        &binding("a", json!([joe, jane])),
        Step::Update(binding("a", json!([jane, joe]))),
    );
    check(&binding("a", json!([jane])), &binding("a", json!([])), Step::Nothing);
    let other = binding("b", json!([joe]));
    check(&binding("a", json!([jane])), &other, Step::Recreate { uid: "u".into(), object: other.clone() });
}

#[test]
fn aggregating_roles_gather_what_their_labels_select() {
    let mut roles = objects();
    roles.retain(|object| object["kind"] == "ClusterRole");
    // `edit` gathers `view`, and `admin` gathers `edit`: the chain settles after one round for each link.
    for _ in 0..3 {
        for at in 0..roles.len() {
            if let Some(rules) = aggregate::rules(&roles[at], &roles).unwrap() {
                roles[at]["rules"] = rules.into();
            }
        }
    }
    let rules = |name: &str| {
        let role = roles.iter().find(|role| role["metadata"]["name"] == name).unwrap();
        role["rules"].as_array().unwrap().len()
    };
    assert!(rules("admin") > rules("edit") && rules("edit") > rules("view") && rules("view") > 5);
    for role in &roles {
        assert_eq!(aggregate::rules(role, &roles).unwrap(), None, "{}", key(role));
    }
}
