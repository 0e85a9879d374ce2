//! The algebra of rules: what one allows, and which rules cover which.

use std::collections::HashMap;

use grammar::go::quote;
use serde_json::{Value, json};

use crate::Attributes;
use crate::tree::texts;

/// One rule of a role. Everything in it multiplies: each verb, on each resource of each group, by each name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty means every name.
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

impl Rule {
    pub fn from_tree(rule: &Value) -> Rule {
        Rule {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            names: texts(rule, "resourceNames"),
            urls: texts(rule, "nonResourceURLs"),
        }
    }

    /// The tree in the form that the API serves.
    pub fn to_tree(&self) -> Value {
        let mut tree = json!({"verbs": self.verbs});
        for (key, values) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !values.is_empty() {
                tree[key] = json!(values);
            }
        }
        tree
    }

    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !has_or_star(&self.verbs, request.verb) {
            return false;
        }
        if !request.is_resource {
            return self.urls.iter().any(|url| url_covers(url, request.path));
        }
        has_or_star(&self.groups, request.group)
            && self.resources.iter().any(|resource| resource_allows(resource, request))
            && (self.names.is_empty() || has(&self.names, request.name))
    }

    /// The atoms of this rule: one verb and one resource or URL each, and at most one name.
    fn atoms(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut atoms = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let atom = Rule {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Rule::default()
                    };
                    if self.names.is_empty() {
                        atoms.push(atom);
                    } else {
                        atoms.extend(self.names.iter().map(|name| Rule { names: one(name), ..atom.clone() }));
                    }
                }
            }
        }
        for url in &self.urls {
            atoms.extend(self.verbs.iter().map(|verb| Rule {
                verbs: one(verb),
                urls: one(url),
                ..Rule::default()
            }));
        }
        atoms
    }

    fn covers_atom(&self, atom: &Rule) -> bool {
        let all = |own: &[String], asked: &[String]| has(own, "*") || asked.iter().all(|text| has(own, text));
        all(&self.verbs, &atom.verbs)
            && all(&self.groups, &atom.groups)
            && (has(&self.resources, "*")
                || atom.resources.iter().all(|path| resource_covers(&self.resources, path)))
            && (self.names.is_empty()
                || (!atom.names.is_empty() && atom.names.iter().all(|name| has(&self.names, name))))
            && atom.urls.iter().all(|path| self.urls.iter().any(|own| url_covers(own, path)))
    }
}

/// How a rule reads in the refusal of an escalation.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(key, values)| format!("{key}:{}", quoted_list(values)))
            .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// A list in the form of Go's `%q`.
pub fn quoted_list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Whether whoever holds `owned` may do all that `wanted` allows; else the atoms of `wanted` that are missing.
pub fn covers(owned: &[Rule], wanted: &[Rule]) -> Result<(), Vec<Rule>> {
    let missing: Vec<_> = wanted
        .iter()
        .flat_map(Rule::atoms)
        .filter(|atom| !owned.iter().any(|rule| rule.covers_atom(atom)))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Gathers the verbs of atoms that differ in nothing else, so that a refusal is short enough to read.
pub fn compact(rules: &[Rule]) -> Vec<Rule> {
    let mut gathered: Vec<Rule> = Vec::new();
    let mut places: HashMap<(&str, &str, Option<&str>), usize> = HashMap::new();
    for rule in rules {
        let simple = match (&*rule.groups, &*rule.resources, &*rule.names, &*rule.urls) {
            ([group], [resource], [], []) => Some((group.as_str(), resource.as_str(), None)),
            ([group], [resource], [name], []) => {
                Some((group.as_str(), resource.as_str(), Some(name.as_str())))
            }
            _ => None,
        };
        match simple.and_then(|key| places.get(&key).copied()) {
            Some(at) => gathered[at].verbs.extend(rule.verbs.iter().cloned()),
            None => {
                if let Some(key) = simple {
                    places.insert(key, gathered.len());
                }
                gathered.push(rule.clone());
            }
        }
    }
    gathered
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == text)
}

fn has_or_star(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == "*" || item == text)
}

/// `own` may be `*`, `pods`, `pods/log` or `*/log`.
fn resource_allows(own: &str, request: &Attributes<'_>) -> bool {
    if own == "*" {
        return true;
    }
    if request.subresource.is_empty() {
        return own == request.resource;
    }
    let Some((resource, subresource)) = own.split_once('/') else { return false };
    subresource == request.subresource && (resource == "*" || resource == request.resource)
}

fn resource_covers(own: &[String], path: &str) -> bool {
    has(own, path) || path.split_once('/').is_some_and(|(_, sub)| has(own, &format!("*/{sub}")))
}

/// A trailing star stands for any rest.
fn url_covers(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}
