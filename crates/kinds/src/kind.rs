//! What a kind is: names, versions, paths, verbs, subresources, and the [`Strategy`] that knows its rules.
//!
//! A [`Kind`] is plain data beside one behaviour object. Built-in kinds are made once by [`crate::list`]; a
//! custom resource definition becomes a `Kind` at run time, so that discovery, the registry, tables and RBAC
//! treat both alike.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::column::{self, Column};
use crate::meta::{self, NameRule};
use crate::strategy::{Generic, Strategy};
use crate::tree::Tree;

/// Static for built-in kinds, owned for custom ones.
pub type Text = Cow<'static, str>;

/// One kind of object, as one group serves it.
#[derive(Clone)]
pub struct Kind {
    /// "" for the core group.
    pub group: Text,
    pub kind: Text,
    pub list_kind: Text,
    /// The resource name in paths, e.g. `pods`.
    pub plural: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    pub scope: Scope,
    /// False for reviews: they are created and answered, and leave no trace.
    pub stored: bool,
    /// The preferred version first.
    pub versions: Vec<Version>,
    /// The group and version whose encoding lies in the store, where it is not the first of `versions`.
    pub stored_as: Option<(Text, Text)>,
    /// Every key begins with this: `/registry/pods`.
    pub key_prefix: Text,
    pub verbs: Vec<Verb>,
    pub subresources: Vec<Subresource>,
    /// A PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// An update may leave `metadata.resourceVersion` out.
    pub unconditional_update: bool,
    /// What becomes of dependents when a delete names no propagation policy.
    pub dependents: Dependents,
    /// A change below these paths moves `metadata.generation`. Empty: the generation is not kept.
    pub generation: Vec<Path>,
    /// What the main resource's writes leave as it is: restored on update, and owned by nobody in server-side
    /// apply.
    pub resets: Vec<Path>,
    /// Creates ignore `resets` too. A node's first write carries its status.
    pub resets_on_create: bool,
    /// Field selectors beside `metadata.name` and, for namespaced kinds, `metadata.namespace`.
    pub selectable: Vec<Selectable>,
    pub columns: Vec<Column>,
    /// What a name must look like.
    pub name_rule: NameRule,
    /// Finalizers must be standard ones or carry a domain.
    pub qualified_finalizers: bool,
    /// What the API server allocates for objects of this kind, outside this crate.
    pub allocates: Vec<Allocation>,
    pub strategy: Arc<dyn Strategy>,
}

/// A field path, e.g. `["metadata", "labels"]`.
pub type Path = &'static [&'static str];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// A version in which a kind is served.
#[derive(Clone)]
pub struct Version {
    pub name: Text,
    /// Served unless configuration says otherwise.
    pub default_on: bool,
    /// Between this version and the stored one; none where they are the same.
    pub convert: Option<Conversion>,
}

/// How a version's trees become the stored version's, and back. Both are total: what one side cannot hold
/// travels in annotations.
#[derive(Clone, Copy)]
pub struct Conversion {
    pub to_stored: fn(&mut Value),
    pub from_stored: fn(&mut Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// The verb's name in discovery and RBAC.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// What lies below an object's path.
#[derive(Clone)]
pub struct Subresource {
    pub name: Text,
    pub verbs: Vec<Verb>,
    /// Group, version and kind of the body where it is not the parent's.
    pub body: Option<(Text, Text, Text)>,
    pub role: Role,
}

/// What a subresource does.
#[derive(Clone)]
pub enum Role {
    /// Reads and writes a part of the parent under rules of its own: status, finalize, approval, resize.
    Part(Part),
    Scale(Scale),
    /// Served by code in the API server that is named after it: binding, eviction, token, log, exec, proxy.
    Special,
}

/// A part of an object that is written under rules of its own.
#[derive(Clone)]
pub struct Part {
    /// Restored from the stored object before anything else, and owned by nobody in server-side apply.
    pub resets: Vec<Path>,
    pub strategy: Arc<dyn Strategy>,
}

/// Where the Scale view finds its three values in the parent.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec_replicas: Vec<Text>,
    pub status_replicas: Vec<Text>,
    /// A label selector, a plain map of labels, or a string.
    pub selector: Vec<Text>,
}

/// What becomes of an object's dependents by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    Delete,
    Orphan,
    /// The kind takes no part in garbage collection.
    Unsupported,
}

/// A field that field selectors may name.
#[derive(Clone, Debug)]
pub struct Selectable {
    pub label: Text,
    /// Where the value lies, list items by index; the first path that holds something wins.
    pub paths: Vec<Vec<Text>>,
    /// The value where every path is empty.
    pub absent: Text,
}

/// What the API server reserves under compare-and-swap for an object before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    ClusterIps,
    NodePorts,
    HealthCheckNodePort,
}

impl Kind {
    /// A namespaced kind of one version, `plural` below `/registry`, with every verb and no rules: what a
    /// description starts from.
    pub fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Kind {
        Kind {
            group: group.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            plural: plural.into(),
            singular: kind.to_ascii_lowercase().into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            stored: true,
            versions: vec![Version::of(version)],
            stored_as: None,
            key_prefix: format!("/registry/{plural}").into(),
            verbs: Verb::ALL.to_vec(),
            subresources: Vec::new(),
            create_on_update: false,
            unconditional_update: true,
            dependents: Dependents::Delete,
            generation: Vec::new(),
            resets: Vec::new(),
            resets_on_create: true,
            selectable: Vec::new(),
            columns: column::fallback(),
            name_rule: meta::SUBDOMAIN,
            qualified_finalizers: true,
            allocates: Vec::new(),
            strategy: Arc::new(Generic),
        }
    }

    /// As [`Kind::namespaced`], for a kind outside namespaces.
    pub fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Kind {
        Kind { scope: Scope::Cluster, ..Kind::namespaced(group, version, kind, plural) }
    }

    /// A question outside namespaces that is answered and not stored.
    pub fn review(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Kind {
        Kind {
            stored: false,
            verbs: vec![Verb::Create],
            dependents: Dependents::Unsupported,
            ..Kind::cluster(group, version, kind, plural)
        }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The group and version in which objects are stored, validated and prepared.
    pub fn stored_version(&self) -> (&str, &str) {
        match &self.stored_as {
            Some((group, version)) => (group, version),
            None => (&self.group, &self.versions[0].name),
        }
    }

    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// `group/plural`, or the plural alone for the core group.
    pub fn group_resource(&self) -> String {
        match &*self.group {
            "" => self.plural.to_string(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The key of one object in the store.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        match self.scope {
            Scope::Namespaced => format!("{}/{namespace}/{name}", self.key_prefix),
            Scope::Cluster => format!("{}/{name}", self.key_prefix),
        }
    }

    /// The value of every field that a field selector may name.
    pub fn fields<'a>(&'a self, obj: &'a Value) -> Vec<(&'a str, Cow<'a, str>)> {
        let meta = obj.at("metadata");
        let mut fields = Vec::with_capacity(self.selectable.len() + 2);
        fields.push(("metadata.name", meta.text("name").into()));
        if self.is_namespaced() {
            fields.push(("metadata.namespace", meta.text("namespace").into()));
        }
        fields.extend(self.selectable.iter().map(|field| (&*field.label, field.read(obj))));
        fields
    }

    /// Whether a field selector may name `label`.
    pub fn selects(&self, label: &str) -> bool {
        label == "metadata.name"
            || (label == "metadata.namespace" && self.is_namespaced())
            || self.selectable.iter().any(|field| field.label == label)
    }
}

impl Version {
    /// A version that is served by default and needs no conversion.
    pub fn of(name: &'static str) -> Version {
        Version { name: name.into(), default_on: true, convert: None }
    }
}

impl Selectable {
    /// The field whose label is also its path.
    pub fn field(label: &'static str) -> Selectable {
        Selectable::at(label, &[label])
    }

    /// The first of `paths` (dotted) that holds something.
    pub fn at(label: &'static str, paths: &[&'static str]) -> Selectable {
        let split = |path: &&'static str| path.split('.').map(Text::Borrowed).collect();
        Selectable { label: label.into(), paths: paths.iter().map(split).collect(), absent: "".into() }
    }

    /// The value where the object holds none.
    pub fn or(self, absent: &'static str) -> Selectable {
        Selectable { absent: absent.into(), ..self }
    }

    fn read<'a>(&'a self, obj: &'a Value) -> Cow<'a, str> {
        let step = |value: &'a Value, key: &Text| match value {
            Value::Array(items) => {
                key.parse().ok().and_then(|index: usize| items.get(index)).unwrap_or(&Value::Null)
            }
            value => value.at(key),
        };
        let mut values = self.paths.iter().map(|path| path.iter().fold(obj, step));
        match values.find(|value| !value.is_zero()) {
            Some(Value::String(text)) => text.as_str().into(),
            Some(other) => other.to_string().into(),
            None => (&*self.absent).into(),
        }
    }
}

impl Subresource {
    /// `/status`, which leaves `resets` alone.
    pub fn status(resets: &[Path], strategy: impl Strategy + 'static) -> Subresource {
        Subresource::part("status", resets, strategy)
    }

    /// A part that is read and written under rules of its own.
    pub fn part(name: &'static str, resets: &[Path], strategy: impl Strategy + 'static) -> Subresource {
        Subresource {
            name: name.into(),
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
            body: None,
            role: Role::Part(Part { resets: resets.to_vec(), strategy: Arc::new(strategy) }),
        }
    }

    /// `/scale` over `spec.replicas`, `status.replicas` and `spec.selector`.
    pub fn scale() -> Subresource {
        let path = |a: &'static str, b: &'static str| vec![a.into(), b.into()];
        Subresource {
            name: "scale".into(),
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
            body: Some(("autoscaling".into(), "v1".into(), "Scale".into())),
            role: Role::Scale(Scale {
                spec_replicas: path("spec", "replicas"),
                status_replicas: path("status", "replicas"),
                selector: path("spec", "selector"),
            }),
        }
    }

    /// A subresource that the API server serves by code of its own.
    pub fn special(
        name: &'static str,
        verbs: &[Verb],
        (group, version, kind): (&'static str, &'static str, &'static str),
    ) -> Subresource {
        Subresource {
            name: name.into(),
            verbs: verbs.to_vec(),
            body: Some((group.into(), version.into(), kind.into())),
            role: Role::Special,
        }
    }
}

/// Borrowed names as a description wants them.
pub fn names(names: &[&'static str]) -> Vec<Text> {
    names.iter().copied().map(Text::Borrowed).collect()
}
