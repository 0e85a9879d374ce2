//! Everything that is served: built-in and custom resources in one map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kinds::Kind;
use schema::{MessageId, Table};

/// How the objects of one version are encoded.
#[derive(Clone)]
pub enum Codec {
    /// Protobuf at rest, by the built-in table.
    Builtin { message: MessageId },
    /// JSON at rest, by a structural schema of its own.
    Custom { table: Arc<Table>, root: MessageId },
}

impl Codec {
    pub fn table(&self) -> &Table {
        match self {
            Codec::Builtin { .. } => schema::builtin(),
            Codec::Custom { table, .. } => table,
        }
    }

    pub fn message(&self) -> MessageId {
        match self {
            Codec::Builtin { message } => *message,
            Codec::Custom { root, .. } => *root,
        }
    }

    pub fn is_builtin(&self) -> bool {
        matches!(self, Codec::Builtin { .. })
    }
}

/// One kind in one served version.
pub struct Resource {
    pub kind: Arc<Kind>,
    pub version: String,
    /// `apps/v1`.
    pub api_version: String,
    pub codec: Codec,
    /// The group and version at rest, and their codec.
    pub stored_api_version: String,
    pub stored: Codec,
}

impl Resource {
    /// A built-in kind in one of its versions.
    pub fn builtin(kind: &Arc<Kind>, version: &str) -> Option<Resource> {
        let table = schema::builtin();
        let message = table.kind(&kind.group, version, &kind.kind)?;
        let (group, stored) = kind.stored_version();
        let stored_message = table.kind(group, stored, &kind.kind)?;
        Some(Resource {
            kind: kind.clone(),
            version: version.to_owned(),
            api_version: api_version(&kind.group, version),
            codec: Codec::Builtin { message },
            stored_api_version: api_version(group, stored),
            stored: Codec::Builtin { message: stored_message },
        })
    }

    /// Whether bytes at rest are already of the served version.
    pub fn is_stored_version(&self) -> bool {
        self.api_version == self.stored_api_version
    }

    /// The folder of all objects of this kind, or of those in one namespace.
    pub fn folder(&self, namespace: &str) -> String {
        match namespace {
            "" => format!("{}/", self.kind.key_prefix),
            namespace if self.kind.is_namespaced() => format!("{}/{namespace}/", self.kind.key_prefix),
            _ => format!("{}/", self.kind.key_prefix),
        }
    }

    /// The resource with its group, as messages name it.
    pub fn qualified(&self) -> api::status::Qualified<'_> {
        api::status::Qualified::new(&self.kind.group, &self.kind.plural)
    }

    /// The kind with its group, as `Invalid` names it.
    pub fn qualified_kind(&self) -> api::status::Qualified<'_> {
        api::status::Qualified::new(&self.kind.group, &self.kind.kind)
    }
}

pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The served resources at one moment. It is replaced whole when a definition comes or goes.
#[derive(Default)]
pub struct Catalog {
    /// By group, then version, then plural.
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Resource>>>>,
    by_kind: HashMap<(String, String), Arc<Resource>>,
}

impl Catalog {
    /// Every built-in kind in the versions that are on by default.
    pub fn builtin() -> Catalog {
        let mut catalog = Catalog::default();
        for kind in kinds::all() {
            for version in kind.versions.iter().filter(|version| version.default_on) {
                if let Some(resource) = Resource::builtin(kind, &version.name) {
                    catalog.insert(resource);
                }
            }
        }
        catalog
    }

    pub fn insert(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        let key = (resource.api_version.clone(), resource.kind.kind.to_string());
        self.by_kind.insert(key, resource.clone());
        self.groups
            .entry(resource.kind.group.to_string())
            .or_default()
            .entry(resource.version.clone())
            .or_default()
            .insert(resource.kind.plural.to_string(), resource);
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    /// The resource whose objects say this of themselves.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.by_kind.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// The preferred version of a group's resource.
    pub fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        let versions = self.groups.get(group)?;
        versions
            .values()
            .filter_map(|resources| resources.get(plural))
            .min_by_key(|r| r.kind.versions.iter().position(|v| *v.name == *r.version).unwrap_or(usize::MAX))
    }

    pub fn groups(&self) -> &BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Resource>>>> {
        &self.groups
    }

    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.values().flat_map(|versions| versions.values().flat_map(|resources| resources.values()))
    }
}
