//! What becomes of a request under a namespace's policy.

use std::collections::{BTreeMap, BTreeSet};

use grammar::field::ErrorList;
use grammar::go::quote;
use serde_json::Value;

use super::checks::{Violations, evaluate};
use super::policy::{Level, Policy, Standard};
use crate::tree::{items, name, text};

/// Of a namespace's pods no more than these are looked at when its labels change; the answer says so.
pub const MAX_PODS_CHECKED: usize = 3_000;

/// What is admitted without a look.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    pub users: BTreeSet<String>,
    pub namespaces: BTreeSet<String>,
    pub runtime_classes: BTreeSet<String>,
}

/// The plugin's configuration: the policy of namespaces without labels, and who is exempt.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub defaults: Policy,
    pub exemptions: Exemptions,
}

/// What the plugin answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// 403, with this text behind `… is forbidden: `.
    pub refusal: Option<String>,
    pub warnings: Vec<String>,
    /// Without the prefix `pod-security.kubernetes.io/`.
    pub audit: BTreeMap<&'static str, String>,
}

/// The subresources of pods that change nothing that a standard looks at.
pub fn is_ignored(subresource: &str) -> bool {
    matches!(
        subresource,
        "exec" | "attach" | "binding" | "eviction" | "log" | "portforward" | "proxy" | "status"
    )
}

impl Config {
    /// A pod that is written. `old` is the pod before an update.
    pub fn pod(&self, user: &str, namespace: &Value, pod: &Value, old: Option<&Value>) -> Outcome {
        if let Some(exempt) = self.exempt(user, namespace) {
            return exempt;
        }
        let (policy, errors) = self.policy(namespace);
        if errors.is_empty() && policy.is_privileged() {
            return Outcome::noted("enforce-policy", "privileged:latest".to_owned());
        }
        if old.is_some_and(|old| !is_significant(pod, old)) {
            return Outcome::default();
        }
        self.evaluate(policy, &errors, pod, true)
    }

    /// Something with a pod template: it is never refused, since its pods will be. `template` has the form of a pod.
    pub fn template(&self, user: &str, namespace: &Value, template: &Value) -> Outcome {
        if let Some(exempt) = self.exempt(user, namespace) {
            return exempt;
        }
        let (policy, errors) = self.policy(namespace);
        let silent = policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged;
        if errors.is_empty() && silent {
            return Outcome::default();
        }
        self.evaluate(policy, &errors, template, false)
    }

    /// A namespace that is written. `Err` are its invalid labels. `pods` are those that it holds already.
    pub fn namespace(
        &self,
        namespace: &Value,
        old: Option<&Value>,
        pods: impl FnOnce() -> Vec<Value>,
    ) -> Result<Outcome, ErrorList> {
        let (policy, errors) = self.policy(namespace);
        let Some(old) = old else {
            return if errors.is_empty() {
                Ok(self.exempt_namespace(namespace, policy))
            } else {
                Err(errors)
            };
        };
        let (before, old_errors) = self.policy(old);
        if !errors.is_empty() && errors != old_errors {
            return Err(errors);
        }
        let (new, was) = (policy.enforce, before.enforce);
        if new == was
            || new.level == Level::Privileged
            || (new.version == was.version && new.level <= was.level)
        {
            return Ok(Outcome::default());
        }
        if self.exemptions.namespaces.contains(name(namespace)) {
            return Ok(self.exempt_namespace(namespace, policy));
        }
        let warnings = self.existing_pods(name(namespace), new, pods());
        Ok(Outcome { warnings, ..Outcome::default() })
    }

    fn policy(&self, namespace: &Value) -> (Policy, ErrorList) {
        Policy::from_labels(&namespace["metadata"]["labels"], self.defaults)
    }

    fn exempt(&self, user: &str, namespace: &Value) -> Option<Outcome> {
        let reason = if self.exemptions.namespaces.contains(name(namespace)) {
            "namespace"
        } else if self.exemptions.users.contains(user) {
            "user"
        } else {
            return None;
        };
        Some(Outcome::noted("exempt", reason.to_owned()))
    }

    fn evaluate(&self, policy: Policy, errors: &ErrorList, pod: &Value, enforce: bool) -> Outcome {
        let class = text(&pod["spec"], "runtimeClassName");
        if !class.is_empty() && self.exemptions.runtime_classes.contains(class) {
            return Outcome::noted("exempt", "runtimeClass".to_owned());
        }
        let mut outcome = Outcome::default();
        if !errors.is_empty() {
            outcome.audit.insert("error", format!("Failed to parse policy: {errors}"));
        }
        if enforce {
            outcome.audit.insert("enforce-policy", policy.enforce.to_string());
            outcome.refusal = violation("violates", policy.enforce, &evaluate(policy.enforce, pod));
        }
        if let Some(text) = violation("would violate", policy.audit, &evaluate(policy.audit, pod)) {
            outcome.audit.insert("audit-violations", text);
        }
        // A refusal says it all: a warning beside it would repeat it.
        if outcome.refusal.is_none() {
            outcome.warnings.extend(violation("would violate", policy.warn, &evaluate(policy.warn, pod)));
        }
        outcome
    }

    /// Warns whoever labels an exempt namespace that the labels do nothing.
    fn exempt_namespace(&self, namespace: &Value, policy: Policy) -> Outcome {
        let same = |a: Standard, b: Standard| {
            a == b || (a.level == Level::Privileged && b.level == Level::Privileged)
        };
        let defaults = self.defaults;
        let unchanged = same(policy.enforce, defaults.enforce)
            && same(policy.audit, defaults.audit)
            && same(policy.warn, defaults.warn);
        if !self.exemptions.namespaces.contains(name(namespace)) || policy.is_privileged() || unchanged {
            return Outcome::default();
        }
        let labels = &namespace["metadata"]["labels"];
        let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
        let ignored: Vec<_> = modes
            .into_iter()
            .filter(|(mode, standard)| {
                let has =
                    |suffix: &str| !labels[format!("pod-security.kubernetes.io/{mode}{suffix}")].is_null();
                standard.level != Level::Privileged && (has("") || has("-version"))
            })
            .map(|(mode, standard)| format!("{mode}={standard}"))
            .collect();
        let warnings = vec![format!(
            "namespace {} is exempt from Pod Security, and the policy ({}) will be ignored",
            quote(name(namespace)),
            ignored.join(", ")
        )];
        Outcome { warnings, ..Outcome::default() }
    }

    /// Warnings about pods that a stricter level would not have let in. One pod of each controller is looked at first.
    fn existing_pods(&self, namespace: &str, standard: Standard, pods: Vec<Value>) -> Vec<String> {
        let exempt =
            |pod: &Value| self.exemptions.runtime_classes.contains(text(&pod["spec"], "runtimeClassName"));
        let mut controllers = BTreeSet::new();
        let (mut first, later): (Vec<Value>, Vec<Value>) =
            pods.into_iter().filter(|pod| !exempt(pod)).partition(|pod| {
                let owners = items(&pod["metadata"], "ownerReferences").iter();
                let mut controller = owners.filter(|owner| owner["controller"] == true);
                controller.next().is_none_or(|owner| controllers.insert(text(owner, "uid").to_owned()))
            });
        first.extend(later);
        let total = first.len();
        first.truncate(MAX_PODS_CHECKED);
        let mut bad: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for pod in &first {
            let violations = evaluate(standard, pod);
            if !violations.is_empty() {
                bad.entry(violations.reasons()).or_default().push(name(pod));
            }
        }
        let mut warnings = Vec::new();
        if first.len() < total {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {} of {total} existing pods",
                first.len()
            ));
        }
        if !bad.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {} violate the new PodSecurity enforce level {}",
                quote(namespace),
                quote(&standard.to_string())
            ));
        }
        let mut each: Vec<String> = bad
            .into_iter()
            .map(|(reasons, pods)| {
                let name = pods.iter().min().copied().unwrap_or_default();
                match pods.len() {
                    1 => format!("{name}: {reasons}"),
                    2 => format!("{name} (and 1 other pod): {reasons}"),
                    more => format!("{name} (and {} other pods): {reasons}", more - 1),
                }
            })
            .collect();
        each.sort();
        warnings.extend(each);
        warnings
    }
}

impl Outcome {
    fn noted(key: &'static str, value: String) -> Outcome {
        Outcome { audit: BTreeMap::from([(key, value)]), ..Outcome::default() }
    }
}

fn violation(verb: &str, standard: Standard, violations: &Violations) -> Option<String> {
    let text = || format!("{verb} PodSecurity {}: {violations}", quote(&standard.to_string()));
    (!violations.is_empty()).then(text)
}

/// Whether an update changes what the standards look at: nothing else of a running pod can be changed.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let (new, old) = (&pod["spec"], &old["spec"]);
    let fixed = ["containers", "initContainers"].iter().any(|key| {
        let (new, old) = (items(new, key), items(old, key));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    });
    let known = items(old, "ephemeralContainers");
    fixed
        || items(new, "ephemeralContainers").iter().any(|new| {
            let old = known.iter().find(|old| old["name"] == new["name"]);
            old.is_none_or(|old| old["image"] != new["image"])
        })
}
