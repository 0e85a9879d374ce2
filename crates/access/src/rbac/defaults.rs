//! The roles and bindings that every cluster starts with, and the rules of nodes.
//!
//! They are facts of the API and kept as data in `defaults.txt`, whose first lines explain its form.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::reconcile::AUTOUPDATE;
use super::rule::Rule;

const TEXT: &str = include_str!("defaults.txt");
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";

/// Every default object: ClusterRoles and their bindings, then Roles and theirs.
pub fn objects() -> Vec<Value> {
    blocks().filter(|block| block.head[0] != "NodeRules").map(|block| block.object()).collect()
}

/// What every node may do, before the Node authorizer looks closer at what it names.
pub fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let block = blocks().find(|block| block.head[0] == "NodeRules");
        block.map(|block| block.lines.iter().map(|line| rule(line)).collect()).unwrap_or_default()
    });
    &RULES
}

/// A head line with its indented lines.
struct Block {
    head: Vec<&'static str>,
    lines: Vec<Vec<&'static str>>,
}

fn blocks() -> impl Iterator<Item = Block> {
    let mut lines = TEXT.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    std::iter::from_fn(move || {
        let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
        let head = words(lines.next()?);
        let indented = std::iter::from_fn(|| lines.next_if(|line| line.starts_with(' ')));
        Some(Block { head, lines: indented.map(words).collect() })
    })
}

impl Block {
    fn object(&self) -> Value {
        let kind = self.head[0];
        let (namespace, name) = self.head[1].split_once('/').unwrap_or(("", self.head[1]));
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "annotations": { AUTOUPDATE: "true" },
                "labels": { BOOTSTRAPPING: "rbac-defaults" },
            },
        });
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
        for word in &self.head[2..] {
            if let Some((label, value)) = word.split_once('=') {
                object["metadata"]["labels"][label] = value.into();
            } else if let Some((kind, name)) = word.split_once(':') {
                object["roleRef"] = json!({"apiGroup": super::GROUP, "kind": kind, "name": name});
            }
        }
        if kind.ends_with("Binding") {
            if !self.lines.is_empty() {
                object["subjects"] = self.lines.iter().map(|line| subject(line)).collect();
            }
            return object;
        }
        let (selectors, rules): (Vec<_>, Vec<_>) =
            self.lines.iter().partition(|line| line[0] == "aggregates");
        object["rules"] = match &*rules {
            [] => Value::Null,
            rules => rules.iter().map(|line| rule(line).to_tree()).collect(),
        };
        if !selectors.is_empty() {
            let selectors = selectors.iter().filter_map(|line| line[1].split_once('='));
            let selectors: Vec<_> =
                selectors.map(|(key, value)| json!({"matchLabels": {key: value}})).collect();
            object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        object
    }
}

fn rule(words: &[&str]) -> Rule {
    let list = |at: usize| -> Vec<String> {
        let words = words.get(at).into_iter().flat_map(|word| word.split(','));
        words.map(|word| if word == "core" { String::new() } else { word.to_owned() }).collect()
    };
    match words.get(1) {
        Some(&"url") => Rule { verbs: list(0), urls: list(2), ..Rule::default() },
        _ => Rule { verbs: list(0), groups: list(1), resources: list(2), names: list(3), ..Rule::default() },
    }
}

fn subject(words: &[&str]) -> Value {
    let (kind, name) = (words[0], words[1]);
    match name.split_once('/') {
        Some((namespace, name)) if kind == "ServiceAccount" => {
            json!({"kind": kind, "name": name, "namespace": namespace})
        }
        _ => json!({"kind": kind, "apiGroup": super::GROUP, "name": name}),
    }
}
