//! Every decision that upstream's Go authorizers were recorded to make.

use access::node::Graph;
use access::rbac::{Index, Rule, covers, defaults, escalation};
use access::{Attributes, Decision};
use api::User;
use grammar::selector::fields;
use serde_json::Value;

fn recorded(text: &str) -> Value {
    serde_json::from_str(text).expect("recorded data is JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rules(value: &Value) -> Vec<Rule> {
    list(value).iter().map(Rule::from_tree).collect()
}

fn user(case: &Value) -> User {
    let groups: Vec<_> = list(&case["groups"]).iter().filter_map(Value::as_str).collect();
    User::new(case["user"].as_str().unwrap(), &groups)
}

/// Asks what was recorded; the answer and its reason must be upstream's.
fn check(case: &Value, decide: impl Fn(&User, &Attributes<'_>) -> Decision) -> bool {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    let selector: fields::Selector = text("fields").parse().unwrap();
    let request = Attributes {
        verb: text("verb"),
        group: text("group"),
        version: "v1",
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: text("path"),
        is_resource: !text("resource").is_empty(),
        fields: selector.terms(),
    };
    let reason = text("reason").to_owned();
    let want = if case["allowed"] == true { Decision::Allow(reason) } else { Decision::NoOpinion(reason) };
    assert_eq!(decide(&user(case), &request), want, "{case}");
    want.is_allowed()
}

fn world(recorded: &Value) -> Index {
    let mut index = Index::default();
    list(&recorded["objects"]).iter().for_each(|object| index.set(object));
    defaults::objects().iter().for_each(|object| index.set(object));
    index
}

#[test]
fn roles_allow_what_upstream_allows() {
    let data = recorded(include_str!("../data/rbac.json"));
    let index = world(&data);
    let cases = list(&data["decisions"]);
    let allowed =
        cases.iter().filter(|case| check(case, |user, request| index.decide(user, request))).count();
    println!("{} RBAC decisions, {allowed} of them allowed", cases.len());
    assert!(cases.len() >= 400 && allowed >= 100);
}

#[test]
fn nodes_may_do_what_upstream_lets_them_do() {
    let data = recorded(include_str!("../data/node.json"));
    let mut graph = Graph::default();
    let (mut asked, mut allowed) = (0, 0);
    for step in list(&data) {
        if let Some(object) = step.get("set") {
            graph.set(object);
        } else if let [Value::String(kind), Value::String(namespace), Value::String(name)] =
            list(&step["remove"])
        {
            graph.remove(kind, namespace, name);
        } else {
            asked += 1;
            allowed += usize::from(check(&step["ask"], |user, request| graph.decide(user, request)));
        }
    }
    println!("{asked} decisions about nodes, {allowed} of them allowed");
    assert!(asked >= 400 && allowed >= 100);
}

#[test]
fn rules_cover_what_upstream_says_they_cover() {
    let data = recorded(include_str!("../data/rbac.json"));
    for case in list(&data["covers"]) {
        let missing = covers(&rules(&case["owner"]), &rules(&case["servant"])).err().unwrap_or_default();
        assert_eq!(missing, rules(&case["missing"]), "{case}");
    }
    println!("{} pairs of rules", list(&data["covers"]).len());
}

#[test]
fn escalations_are_refused_in_upstreams_words() {
    let data = recorded(include_str!("../data/rbac.json"));
    let index = world(&data);
    let mut refused = 0;
    for case in list(&data["escalations"]) {
        let namespace = case["namespace"].as_str().unwrap();
        let got = escalation::confirm(&index, &user(case), namespace, &rules(&case["rules"])).err();
        refused += usize::from(got.is_some());
        assert_eq!(got.unwrap_or_default(), case["error"].as_str().unwrap(), "{case}");
    }
    println!("{} escalations, {refused} refused", list(&data["escalations"]).len());
}
