//! Objects at rest: their bytes, the note beside them, and the way to every form in which they are served.

use std::sync::{Arc, OnceLock};

use api::digest::{Digest, pluck};
use api::{Outside, Status, Value, envelope, json, proto, splice::Splice};
use bytes::Bytes;
use grammar::selector::{Lookup, fields, label};
use store::{Entry, Note, Revision};

use crate::catalog::{Codec, Resource};

/// What stands beside every object in the store's index.
pub struct Beside {
    pub digest: Digest,
    /// The selectable fields, in the kind's order; read when a field selector first asks.
    fields: OnceLock<Box<[Box<str>]>>,
}

/// Makes the note of a stored version. Values that are neither an envelope nor JSON (the allocators' own records)
/// have an empty one.
pub fn annotate(_key: &str, value: &Bytes) -> Note {
    let digest = if value.starts_with(envelope::MAGIC) {
        envelope::open(value).ok().and_then(|e| Digest::of_proto(e.raw).ok()).unwrap_or_default()
    } else {
        json::parse_untyped(value).map(|tree| Digest::of_tree(&tree)).unwrap_or_default()
    };
    Arc::new(Beside { digest, fields: OnceLock::new() })
}

/// The note of an entry that came out of this server's store.
pub fn beside(entry: &Entry) -> &Beside {
    entry.note::<Beside>().expect("this server's store annotates every entry")
}

impl Beside {
    fn fields(&self, resource: &Resource, value: &[u8]) -> &[Box<str>] {
        self.fields.get_or_init(|| {
            if resource.kind.selectable.is_empty() {
                return Box::default();
            }
            let from_tree = || {
                let tree = stored_tree(resource, value, None).unwrap_or_default();
                let known = resource.kind.fields(&tree);
                let skip = known.len() - resource.kind.selectable.len();
                known.into_iter().skip(skip).map(|(_, value)| value.into()).collect()
            };
            let (Codec::Builtin { message }, Ok(envelope)) = (&resource.stored, envelope::open(value)) else {
                return from_tree();
            };
            let table = schema::builtin();
            let read = |field: &kinds::kind::Selectable| {
                let mut found =
                    field.paths.iter().filter_map(|path| pluck(table, *message, envelope.raw, path).ok());
                let value = found.find(|value| !value.is_empty() && value != "false" && value != "0");
                value.unwrap_or_else(|| field.absent.to_string()).into()
            };
            resource.kind.selectable.iter().map(read).collect()
        })
    }
}

/// Label and field selectors of one request.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    pub labels: Option<label::Selector>,
    pub fields: fields::Selector,
}

impl Selectors {
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_everything()
    }

    pub fn matches(&self, resource: &Resource, entry: &Entry) -> bool {
        let beside = beside(entry);
        let labels = self.labels.as_ref().is_none_or(|selector| selector.matches(&Labels(&beside.digest)));
        labels
            && (self.fields.is_everything()
                || self.fields.matches(&Fields { resource, beside, value: &entry.value }))
    }
}

struct Labels<'a>(&'a Digest);

impl Lookup for Labels<'_> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.0.label(name)
    }
}

struct Fields<'a> {
    resource: &'a Resource,
    beside: &'a Beside,
    value: &'a [u8],
}

impl Lookup for Fields<'_> {
    fn lookup(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => return Some(&self.beside.digest.name),
            "metadata.namespace" => return Some(&self.beside.digest.namespace),
            _ => {}
        }
        let at = self.resource.kind.selectable.iter().position(|field| field.label == name)?;
        self.beside.fields(self.resource, self.value).get(at).map(|value| &**value)
    }
}

/// The tree of a stored value in the version at rest.
pub fn stored_tree(resource: &Resource, value: &[u8], revision: Option<Revision>) -> Result<Value, Status> {
    match &resource.stored {
        Codec::Builtin { message } => {
            let envelope = envelope::open(value).map_err(unreadable)?;
            let outside =
                Outside { api_version: &resource.stored_api_version, kind: &resource.kind.kind, revision };
            proto::to_tree(schema::builtin(), *message, envelope.raw, outside).map_err(unreadable)
        }
        Codec::Custom { .. } => {
            let mut tree = json::parse_untyped(value).map_err(unreadable)?;
            if let Some(revision) = revision {
                tree["metadata"]["resourceVersion"] = revision.to_string().into();
            }
            Ok(tree)
        }
    }
}

/// The tree of a stored value in the version that `resource` serves.
pub fn served_tree(resource: &Resource, value: &[u8], revision: Option<Revision>) -> Result<Value, Status> {
    let mut tree = stored_tree(resource, value, revision)?;
    to_served(resource, &mut tree);
    Ok(tree)
}

/// Brings a tree at rest into the served version.
pub fn to_served(resource: &Resource, tree: &mut Value) {
    if !resource.is_stored_version() {
        resource.kind.from_stored(&resource.version, tree);
        tree["apiVersion"] = resource.api_version.clone().into();
    }
}

/// The bytes at rest of a tree in the stored version. They hold no resourceVersion.
pub fn to_bytes(resource: &Resource, tree: &mut Value) -> Result<Bytes, Status> {
    if let Some(meta) = tree["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        meta.remove("selfLink");
    }
    match &resource.stored {
        Codec::Builtin { message } => {
            let raw = proto::encode(schema::builtin(), *message, tree)
                .map_err(|e| Status::bad_request(format!("the object cannot be encoded: {e}")))?;
            Ok(envelope::seal(&resource.stored_api_version, &resource.kind.kind, &raw).into())
        }
        Codec::Custom { .. } => {
            let mut out = Vec::with_capacity(1024);
            json::encode_any(tree, &mut out);
            Ok(out.into())
        }
    }
}

/// Appends the JSON of a stored value, without a newline.
pub fn write_json(
    resource: &Resource,
    value: &[u8],
    revision: Option<Revision>,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    match &resource.stored {
        Codec::Builtin { message } if resource.is_stored_version() => {
            let envelope = envelope::open(value).map_err(unreadable)?;
            let outside = Outside { api_version: &resource.api_version, kind: &resource.kind.kind, revision };
            proto::to_json(schema::builtin(), *message, envelope.raw, outside, out).map_err(unreadable)
        }
        _ => {
            let tree = served_tree(resource, value, revision)?;
            write_tree(resource, &tree, out);
            Ok(())
        }
    }
}

/// Appends the JSON of a tree in the served version.
pub fn write_tree(resource: &Resource, tree: &Value, out: &mut Vec<u8>) {
    match &resource.codec {
        Codec::Builtin { message } => json::encode(schema::builtin(), *message, tree, out),
        Codec::Custom { .. } => json::encode_any(tree, out),
    }
}

/// The protobuf message of a stored value in the served version, without its envelope.
pub fn write_proto(
    resource: &Resource,
    value: &[u8],
    revision: Option<Revision>,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    let Codec::Builtin { message } = &resource.codec else {
        return Err(Status::internal("custom resources have no protobuf form"));
    };
    if resource.is_stored_version() {
        let raw = envelope::open(value).map_err(unreadable)?.raw;
        match revision {
            Some(revision) => Splice::find(raw).map_err(unreadable)?.write(revision, out),
            None => out.extend_from_slice(raw),
        }
        return Ok(());
    }
    let tree = served_tree(resource, value, revision)?;
    out.extend_from_slice(&proto::encode(schema::builtin(), *message, &tree).map_err(unreadable)?);
    Ok(())
}

fn unreadable(error: impl std::fmt::Display) -> Status {
    Status::internal(format_args!("a stored object cannot be read: {error}"))
}
