//! What of a request the audit log keeps, by a policy.
//!
//! The first rule that matches decides. Without any that does, nothing is kept.

use api::User;
use grammar::field::{ErrorList, Path, invalid, not_supported, required};
use grammar::names;
use serde_json::Value;

use crate::Attributes;
use crate::tree::{items, text, texts};

/// How much is kept. Each level keeps what the one before keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// When an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

/// What is kept of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit: Vec<Stage>,
    pub omit_managed_fields: bool,
}

/// A parsed `audit.k8s.io/v1` Policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    fallback: Verdict,
}

#[derive(Clone, Debug)]
struct Rule {
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    urls: Vec<String>,
    verdict: Verdict,
}

#[derive(Clone, Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads a policy. Stages that the policy omits are omitted by every rule.
    pub fn from_tree(policy: &Value) -> Result<Policy, ErrorList> {
        validate(policy).into_result()?;
        let everywhere = stages(policy);
        let managed = |value: &Value| value["omitManagedFields"].as_bool();
        let by_default = managed(policy).unwrap_or_default();
        let rules = items(policy, "rules").iter().map(|rule| {
            let mut omit = stages(rule);
            omit.extend(everywhere.iter().filter(|stage| !stages(rule).contains(stage)));
            let level = LEVELS.iter().find(|(name, _)| *name == text(rule, "level"));
            Rule {
                users: texts(rule, "users"),
                groups: texts(rule, "userGroups"),
                verbs: texts(rule, "verbs"),
                namespaces: texts(rule, "namespaces"),
                resources: items(rule, "resources").iter().map(Resources::from_tree).collect(),
                urls: texts(rule, "nonResourceURLs"),
                verdict: Verdict {
                    level: level.map(|(_, level)| *level).unwrap_or_default(),
                    omit,
                    omit_managed_fields: managed(rule).unwrap_or(by_default),
                },
            }
        });
        let rules = rules.collect();
        let fallback = Verdict { level: Level::None, omit: everywhere, omit_managed_fields: by_default };
        Ok(Policy { rules, fallback })
    }

    pub fn judge(&self, user: &User, request: &Attributes<'_>) -> &Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(user, request));
        rule.map_or(&self.fallback, |rule| &rule.verdict)
    }
}

impl Rule {
    /// An empty list asks for nothing.
    fn matches(&self, user: &User, request: &Attributes<'_>) -> bool {
        let asks = |list: &[String], text: &str| list.is_empty() || list.iter().any(|item| item == text);
        let grouped = self.groups.is_empty() || self.groups.iter().any(|group| user.in_group(group));
        if !asks(&self.users, &user.name) || !grouped || !asks(&self.verbs, request.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return request.is_resource
                && asks(&self.namespaces, request.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.matches(request)));
        }
        self.urls.is_empty()
            || (!request.is_resource && self.urls.iter().any(|url| covers(url, request.path)))
    }
}

impl Resources {
    fn from_tree(resources: &Value) -> Resources {
        Resources {
            group: text(resources, "group").to_owned(),
            resources: texts(resources, "resources"),
            names: texts(resources, "resourceNames"),
        }
    }

    fn matches(&self, request: &Attributes<'_>) -> bool {
        if self.group != "*" && self.group != request.group {
            return false;
        }
        let named = self.names.is_empty() || self.names.iter().any(|name| name == request.name);
        self.resources.is_empty()
            || (named && self.resources.iter().any(|own| resource_matches(own, request)))
    }
}

/// `*`, `pods`, `pods/log`, `*/log` or `pods/*`; the last is the resource and all its subresources.
fn resource_matches(own: &str, request: &Attributes<'_>) -> bool {
    match own.split_once('/') {
        _ if own == "*" => true,
        None => request.subresource.is_empty() && own == request.resource,
        Some((resource, "*")) if resource == request.resource => true,
        Some(("*", sub)) => !request.subresource.is_empty() && sub == request.subresource,
        Some((resource, sub)) => resource == request.resource && sub == request.subresource,
    }
}

fn covers(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}

fn stages(value: &Value) -> Vec<Stage> {
    let names = items(value, "omitStages").iter().filter_map(Value::as_str);
    names
        .filter_map(|name| STAGES.iter().find(|(known, _)| *known == name))
        .map(|(_, stage)| *stage)
        .collect()
}

fn validate(policy: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_stages(policy, &Path::new("omitStages"), &mut errors);
    let rules = Path::new("rules");
    for (at, rule) in items(policy, "rules").iter().enumerate() {
        check_rule(rule, &rules.index(at), &mut errors);
    }
    errors
}

fn check_rule(rule: &Value, path: &Path<'_>, errors: &mut ErrorList) {
    let level = text(rule, "level");
    if level.is_empty() {
        errors.push(required(&path.child("level"), ""));
    } else if !LEVELS.iter().any(|(name, _)| *name == level) {
        errors.push(not_supported(&path.child("level"), level, &LEVELS.map(|(name, _)| name)));
    }
    let urls = path.child("nonResourceURLs");
    for (at, url) in texts(rule, "nonResourceURLs").iter().enumerate().filter(|(_, url)| *url != "*") {
        if !url.starts_with('/') {
            let detail = "non-resource URL rules must begin with a '/' character";
            errors.push(invalid(&urls.index(at), url.as_str(), detail));
        }
        if url.strip_suffix(|_| true).is_some_and(|head| head.contains('*')) {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.push(invalid(&urls.index(at), url.as_str(), detail));
        }
    }
    let resources = path.child("resources");
    for entry in items(rule, "resources") {
        let group = text(entry, "group");
        let complaints = names::name_is_dns_subdomain(group, false);
        if !matches!(group, "" | "*") && !complaints.is_empty() {
            let detail = complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            errors.push(invalid(&resources.child("group"), group, detail));
        }
        if !items(entry, "resourceNames").is_empty() && items(entry, "resources").is_empty() {
            let detail = "using resourceNames requires at least one resource";
            errors.push(invalid(&resources.child("resourceNames"), entry["resourceNames"].clone(), detail));
        }
    }
    check_stages(rule, &path.child("omitStages"), errors);
    let about_resources = !items(rule, "resources").is_empty() || !items(rule, "namespaces").is_empty();
    if !items(rule, "nonResourceURLs").is_empty() && about_resources {
        let detail = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(invalid(&urls, rule["nonResourceURLs"].clone(), detail));
    }
}

fn check_stages(value: &Value, path: &Path<'_>, errors: &mut ErrorList) {
    for (at, stage) in texts(value, "omitStages").iter().enumerate() {
        if !STAGES.iter().any(|(name, _)| name == stage) {
            let detail = "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic";
            errors.push(invalid(&path.index(at), stage.as_str(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::from_tree(&json!({"omitStages": ["RequestReceived"], "omitManagedFields": true, "rules": [
            {"level": "None", "users": ["quiet"]},
            {"level": "Metadata", "resources": [{"resources": ["secrets", "*/token"]}], "omitStages": ["Panic"]},
            {"level": "Request", "resources": [{"group": "apps", "resources": ["deployments/*"]}], "omitManagedFields": false},
            {"level": "RequestResponse", "namespaces": ["loud"], "verbs": ["create"]},
            {"level": "Metadata", "resources": [{"resources": ["configmaps"], "resourceNames": ["a"]}]},
            {"level": "Metadata", "userGroups": ["ops"], "nonResourceURLs": ["/api*"]}]}))
        .unwrap();
        let check = |user: &str, request: Attributes<'_>, want: Level| {
            let user = User::new(user, &["ops"]);
            assert_eq!(policy.judge(&user, &request).level, want, "{request:?}");
        };
        let get = Attributes { verb: "get", is_resource: true, namespace: "x", ..Attributes::default() };
        let deployments = Attributes { group: "apps", resource: "deployments", ..get };
        check("quiet", Attributes { resource: "secrets", ..get }, Level::None);
        check("jane", Attributes { resource: "secrets", ..get }, Level::Metadata);
        check(
            "jane",
            Attributes { resource: "serviceaccounts", subresource: "token", ..get },
            Level::Metadata,
        );
        check("jane", Attributes { group: "apps", resource: "secrets", ..get }, Level::None);
        check("jane", deployments, Level::Request);
        check("jane", Attributes { subresource: "scale", ..deployments }, Level::Request);
        check("jane", Attributes { resource: "pods", namespace: "loud", ..get }, Level::None);
        check(
            "jane",
            Attributes { resource: "pods", namespace: "loud", verb: "create", ..get },
            Level::RequestResponse,
        );
        check("jane", Attributes { resource: "configmaps", name: "a", ..get }, Level::Metadata);
        check("jane", Attributes { resource: "configmaps", name: "b", ..get }, Level::None);
        check("jane", Attributes { verb: "get", path: "/apis", ..Attributes::default() }, Level::Metadata);
        check("jane", Attributes { verb: "get", path: "/healthz", ..Attributes::default() }, Level::None);

        let user = User::new("jane", &[]);
        let verdict = policy.judge(&user, &Attributes { resource: "secrets", ..get });
        assert_eq!(verdict.omit, [Stage::Panic, Stage::RequestReceived]);
        assert!(verdict.omit_managed_fields && !policy.judge(&user, &deployments).omit_managed_fields);
    }

    #[test]
    fn a_broken_policy_is_refused_in_upstreams_words() {
        let check = |rule: Value, want: &str| {
            let got = Policy::from_tree(&json!({"rules": [rule]})).unwrap_err().to_string();
            assert_eq!(got, want, "{rule}");
        };
        check(json!({}), "rules[0].level: Required value");
        check(
            json!({"level": "All"}),
            r#"rules[0].level: Unsupported value: "All": supported values: "None", "Metadata", "Request", "RequestResponse""#,
        );
        check(
            json!({"level": "None", "nonResourceURLs": ["x"]}),
            r#"rules[0].nonResourceURLs[0]: Invalid value: "x": non-resource URL rules must begin with a '/' character"#,
        );
        check(
            json!({"level": "None", "omitStages": ["Never"]}),
            r#"rules[0].omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#,
        );
    }
}
