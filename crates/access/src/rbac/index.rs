//! The roles and bindings of a cluster, indexed by who they speak of.
//!
//! A decision looks at the bindings that name the user or one of their groups and at no others, so its cost does not
//! grow with the cluster. Bindings are tried in the order of their names, cluster-wide ones first: upstream's order is
//! that of a hash map, and any order gives the same permission.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::User;
use grammar::go::quote;
use serde_json::Value;

use super::rule::Rule;
use crate::tree::{items, name, namespace, text};
use crate::{Attributes, Decision};

/// Every Role, ClusterRole, RoleBinding and ClusterRoleBinding of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The rules of roles by namespace and name; the namespace of a ClusterRole is empty.
    roles: HashMap<String, HashMap<String, Arc<[Rule]>>>,
    /// The bindings of each namespace; those that hold everywhere are under the empty one.
    scopes: HashMap<String, Scope>,
}

#[derive(Clone, Debug, Default)]
struct Scope {
    bindings: BTreeMap<String, Arc<Binding>>,
    /// Whom a binding speaks of, to the bindings in the order of their names. Service accounts count as users.
    users: HashMap<String, BTreeMap<String, Arc<Binding>>>,
    groups: HashMap<String, BTreeMap<String, Arc<Binding>>>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    namespace: String,
    role_kind: String,
    role_name: String,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct Subject {
    who: Who,
    /// `User "jane"`, as a reason names it.
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    User(String),
    Group(String),
    /// An unknown kind, or an account without a namespace: it applies to nobody.
    Nobody,
}

/// A binding points at a role that does not exist, or at something that is no role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingRole {
    NotFound { resource: &'static str, name: String },
    UnknownKind(String),
}

impl std::fmt::Display for MissingRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MissingRole::NotFound { resource, name } => f.write_str(&not_found_reason(resource, name)),
            MissingRole::UnknownKind(kind) => write!(f, "unsupported role reference kind: {}", quote(kind)),
        }
    }
}

/// The words for a role that is not there. `resource` is in the singular, as upstream's listers have it.
pub fn not_found_reason(resource: &str, name: &str) -> String {
    format!("{resource}.{} {} not found", super::GROUP, quote(name))
}

/// The rules that hold for somebody, and what could not be resolved on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub rules: Vec<Rule>,
    pub errors: Vec<MissingRole>,
}

impl Resolved {
    /// The errors as one text, or empty. Equal ones are named once.
    pub fn error(&self) -> String {
        aggregate(&self.errors)
    }
}

impl Index {
    /// Takes in one object of the four kinds, in place of the one that had its name. Others are none of its business.
    pub fn set(&mut self, object: &Value) {
        let kind = text(object, "kind");
        match kind {
            "Role" | "ClusterRole" => {
                let rules = items(object, "rules").iter().map(Rule::from_tree).collect();
                let space = self.roles.entry(namespace(object).to_owned()).or_default();
                space.insert(name(object).to_owned(), rules);
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                self.remove(kind, namespace(object), name(object));
                let scope = self.scopes.entry(namespace(object).to_owned()).or_default();
                scope.add(Arc::new(Binding::from_tree(object)));
            }
            _ => {}
        }
    }

    /// Forgets one object; the namespace of cluster-scoped kinds is empty.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        match kind {
            "Role" | "ClusterRole" => {
                if let Some(space) = self.roles.get_mut(namespace) {
                    space.remove(name);
                    if space.is_empty() {
                        self.roles.remove(namespace);
                    }
                }
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                if let Some(scope) = self.scopes.get_mut(namespace) {
                    scope.remove(name);
                    if scope.bindings.is_empty() {
                        self.scopes.remove(namespace);
                    }
                }
            }
            _ => {}
        }
    }

    pub fn decide(&self, user: &User, request: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        let allowed = self.visit(user, request.namespace, |binding, subject, rules| match rules {
            Ok(rules) if rules.iter().any(|rule| rule.allows(request)) => {
                Some(format!("RBAC: allowed by {}", binding.describe(subject)))
            }
            Ok(_) => None,
            Err(error) => {
                errors.push(error);
                None
            }
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None if errors.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    /// Every rule that holds for a user in a namespace, or across the cluster where it is empty.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Resolved {
        let mut resolved = Resolved::default();
        self.visit(user, namespace, |_, _, rules| -> Option<()> {
            match rules {
                Ok(rules) => resolved.rules.extend(rules.iter().cloned()),
                Err(error) => resolved.errors.push(error),
            }
            None
        });
        resolved
    }

    /// The rules behind a reference in a binding of `namespace`.
    pub fn role(&self, kind: &str, name: &str, namespace: &str) -> Result<&Arc<[Rule]>, MissingRole> {
        let (space, resource) = match kind {
            "ClusterRole" => ("", "clusterrole"),
            "Role" => (namespace, "role"),
            _ => return Err(MissingRole::UnknownKind(kind.into())),
        };
        // A Role lives in a namespace: a cluster-wide binding finds none, whatever the ClusterRoles are called.
        let found = (kind == "ClusterRole" || !space.is_empty())
            .then(|| self.roles.get(space).and_then(|roles| roles.get(name)))
            .flatten();
        found.ok_or_else(|| MissingRole::NotFound { resource, name: name.into() })
    }

    fn visit<T>(
        &self,
        user: &User,
        namespace: &str,
        mut found: impl FnMut(&Binding, &Subject, Result<&Arc<[Rule]>, MissingRole>) -> Option<T>,
    ) -> Option<T> {
        let spaces = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        for space in spaces {
            let Some(scope) = self.scopes.get(*space) else { continue };
            for binding in scope.of(user) {
                let subject = binding.subjects.iter().find(|subject| subject.who.is(user));
                let subject = subject.expect("the index holds a binding only under its own subjects");
                let rules = self.role(&binding.role_kind, &binding.role_name, space);
                if let Some(answer) = found(binding, subject, rules) {
                    return Some(answer);
                }
            }
        }
        None
    }
}

impl Scope {
    fn add(&mut self, binding: Arc<Binding>) {
        for subject in &binding.subjects {
            let listed = match &subject.who {
                Who::User(name) => self.users.entry(name.clone()).or_default(),
                Who::Group(name) => self.groups.entry(name.clone()).or_default(),
                Who::Nobody => continue,
            };
            listed.insert(binding.name.clone(), binding.clone());
        }
        self.bindings.insert(binding.name.clone(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else { return };
        for subject in &binding.subjects {
            let (map, key) = match &subject.who {
                Who::User(name) => (&mut self.users, name),
                Who::Group(name) => (&mut self.groups, name),
                Who::Nobody => continue,
            };
            if let Some(listed) = map.get_mut(key) {
                listed.remove(name);
                if listed.is_empty() {
                    map.remove(key);
                }
            }
        }
    }

    /// The bindings that speak of `user`, each once, in the order of their names.
    fn of(&self, user: &User) -> Vec<&Binding> {
        let lists = self.users.get(&user.name).into_iter();
        let lists = lists.chain(user.groups.iter().filter_map(|group| self.groups.get(group)));
        let mut bindings: Vec<&Binding> =
            lists.flat_map(|list| list.values().map(|binding| &**binding)).collect();
        bindings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        bindings.dedup_by(|a, b| std::ptr::eq(*a, *b));
        bindings
    }
}

impl Binding {
    fn from_tree(object: &Value) -> Binding {
        let space = namespace(object);
        Binding {
            name: name(object).to_owned(),
            namespace: space.to_owned(),
            role_kind: text(&object["roleRef"], "kind").to_owned(),
            role_name: text(&object["roleRef"], "name").to_owned(),
            subjects: items(object, "subjects")
                .iter()
                .map(|subject| Subject::from_tree(subject, space))
                .collect(),
        }
    }

    fn describe(&self, subject: &Subject) -> String {
        let (kind, name) = match &*self.namespace {
            "" => ("ClusterRoleBinding", quote(&self.name)),
            namespace => ("RoleBinding", quote(&format!("{}/{namespace}", self.name))),
        };
        format!("{kind} {name} of {} {} to {}", self.role_kind, quote(&self.role_name), subject.text)
    }
}

impl Subject {
    /// An account without a namespace is one of the binding's own.
    fn from_tree(subject: &Value, binding_namespace: &str) -> Subject {
        let (kind, name) = (text(subject, "kind"), text(subject, "name"));
        let account_namespace = match text(subject, "namespace") {
            "" => binding_namespace,
            own => own,
        };
        let who = match kind {
            "User" => Who::User(name.into()),
            "Group" => Who::Group(name.into()),
            "ServiceAccount" if !account_namespace.is_empty() => {
                Who::User(format!("system:serviceaccount:{account_namespace}:{name}"))
            }
            _ => Who::Nobody,
        };
        let text = match kind {
            "ServiceAccount" => format!("{kind} {}", quote(&format!("{name}/{account_namespace}"))),
            _ => format!("{kind} {}", quote(name)),
        };
        Subject { who, text }
    }
}

impl Who {
    fn is(&self, user: &User) -> bool {
        match self {
            Who::User(name) => *name == user.name,
            Who::Group(name) => user.in_group(name),
            Who::Nobody => false,
        }
    }
}

/// Several errors as one text: brackets where more than one is left once equal ones are named once.
fn aggregate(errors: &[MissingRole]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match &*texts {
        [] => String::new(),
        [one] => one.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}
