//! What must hold whatever the roles are.

use access::Attributes;
use access::node::Graph;
use access::rbac::{Index, Rule, covers};
use api::User;
use base::random::{Random, SeededRandom};
use serde_json::{Value, json};

const ROUNDS: u64 = 400;

fn rounds() -> u64 {
    ROUNDS * std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn pick<'a>(random: &mut SeededRandom, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

fn some(random: &mut SeededRandom, from: &[&str]) -> Vec<String> {
    (0..=random.below(2)).map(|_| pick(random, from).to_owned()).collect()
}

fn rule(random: &mut SeededRandom) -> Rule {
    let verbs = some(random, &["get", "list", "create", "*"]);
    if random.below(4) == 0 {
        return Rule { verbs, urls: some(random, &["/a", "/a/*", "/a/b", "*"]), ..Rule::default() };
    }
    Rule {
        verbs,
        groups: some(random, &["", "apps", "*"]),
        resources: some(random, &["pods", "pods/log", "*/log", "*"]),
        names: if random.below(3) == 0 { some(random, &["a", "b"]) } else { Vec::new() },
        urls: Vec::new(),
    }
}

fn rules(random: &mut SeededRandom) -> Vec<Rule> {
    (0..=random.below(3)).map(|_| rule(random)).collect()
}

fn requests() -> Vec<Attributes<'static>> {
    let mut all = Vec::new();
    for verb in ["get", "list", "create", "delete"] {
        for group in ["", "apps"] {
            for (resource, subresource) in [("pods", ""), ("pods", "log"), ("nodes", "log"), ("nodes", "")] {
                for name in ["", "a", "c"] {
                    all.push(Attributes {
                        verb,
                        group,
                        resource,
                        subresource,
                        name,
                        is_resource: true,
                        ..Attributes::default()
                    });
                }
            }
        }
        for path in ["/a", "/a/b", "/c"] {
            all.push(Attributes { verb, path, ..Attributes::default() });
        }
    }
    all
}

#[test]
fn covering_is_reflexive_transitive_and_sound() {
    let requests = requests();
    for seed in 0..rounds() {
        let mut random = SeededRandom::new(seed);
        let (a, b, c) = (rules(&mut random), rules(&mut random), rules(&mut random));
        assert!(covers(&a, &a).is_ok(), "{a:?}");
        if covers(&a, &b).is_ok() {
            if covers(&b, &c).is_ok() {
                assert!(covers(&a, &c).is_ok(), "{a:?} {b:?} {c:?}");
            }
            for request in &requests {
                let allows = |rules: &[Rule]| rules.iter().any(|rule| rule.allows(request));
                assert!(allows(&a) || !allows(&b), "{a:?} covers {b:?} but not {request:?}");
            }
        }
        if let Err(missing) = covers(&a, &b) {
            let both: Vec<Rule> = a.iter().chain(&missing).cloned().collect();
            assert!(covers(&both, &b).is_ok(), "what is missing is all that is missing");
        }
    }
}

#[test]
fn a_rule_survives_its_tree() {
    for seed in 0..rounds() {
        let rule = rule(&mut SeededRandom::new(seed));
        assert_eq!(Rule::from_tree(&rule.to_tree()), rule);
    }
}

fn binding(random: &mut SeededRandom) -> Value {
    let namespace = pick(random, &["", "x"]);
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let subjects: Vec<_> = (0..random.below(3))
        .map(|_| json!({"kind": pick(random, &["User", "Group"]), "name": pick(random, &["jane", "joe", "devs"])}))
        .collect();
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": pick(random, &["1", "2", "3"])},
        "roleRef": {"kind": "ClusterRole", "name": pick(random, &["all", "none", "gone"])}, "subjects": subjects})
}

fn pod(random: &mut SeededRandom) -> Value {
    let volumes: Vec<_> =
        (0..random.below(3)).map(|_| json!({"secret": {"secretName": pick(random, &["s", "t"])}})).collect();
    json!({"kind": "Pod", "metadata": {"namespace": "x", "name": pick(random, &["1", "2", "3"])},
        "spec": {"nodeName": pick(random, &["", "n", "m"]), "volumes": volumes}})
}

fn name(object: &Value) -> (&str, &str, &str) {
    let meta = &object["metadata"];
    let text = |value: &'_ Value| value.as_str().map(str::len).unwrap_or_default();
    assert!(text(&meta["name"]) > 0);
    (object["kind"].as_str().unwrap(), meta["namespace"].as_str().unwrap(), meta["name"].as_str().unwrap())
}

#[test]
fn an_index_knows_the_present_and_not_the_past() {
    let users = [User::new("jane", &["devs"]), User::new("joe", &[]), User::new("devs", &["joe", "jane"])];
    let all = json!({"kind": "ClusterRole", "metadata": {"name": "all"},
        "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let none = json!({"kind": "ClusterRole", "metadata": {"name": "none"}});
    for seed in 0..rounds() {
        let mut random = SeededRandom::new(seed);
        let (mut index, mut graph) = (Index::default(), Graph::default());
        let mut present: Vec<Value> = vec![all.clone(), none.clone()];
        present.iter().for_each(|object| index.set(object));
        for _ in 0..12 {
            let object = if random.below(2) == 0 { binding(&mut random) } else { pod(&mut random) };
            present.retain(|other| {
                other["roleRef"].is_null() && other["spec"].is_null() || name(other) != name(&object)
            });
            if random.below(3) > 0 {
                index.set(&object);
                graph.set(&object);
                present.push(object);
            } else {
                let (kind, namespace, name) = name(&object);
                index.remove(kind, namespace, name);
                graph.remove(kind, namespace, name);
            }
        }
        let (mut fresh, mut fresh_graph) = (Index::default(), Graph::default());
        for object in &present {
            fresh.set(object);
            fresh_graph.set(object);
        }
        assert_eq!(graph, fresh_graph, "seed {seed}");
        for user in &users {
            for namespace in ["", "x", "y"] {
                let request =
                    Attributes { verb: "get", is_resource: true, namespace, ..Attributes::default() };
                assert_eq!(index.decide(user, &request), fresh.decide(user, &request), "seed {seed}");
                assert_eq!(index.rules_for(user, namespace), fresh.rules_for(user, namespace), "seed {seed}");
            }
        }
    }
}
