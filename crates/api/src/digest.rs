//! The few facts that stand beside every object at rest, read without decoding the rest of it.

use schema::{Cardinality, MessageId, Scalar, Table, Type};
use serde_json::Value;

use crate::proto::wire::{self, Payload, Payloads, Reader, Span, WireError};

/// What lists, watches and collectors ask of an object without decoding it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub name: Box<str>,
    pub namespace: Box<str>,
    pub uid: Box<str>,
    pub labels: Box<[(Box<str>, Box<str>)]>,
    pub owners: Box<[Box<str>]>,
    pub deleting: bool,
}

const NAME: u32 = 1;
const NAMESPACE: u32 = 3;
const UID: u32 = 5;
const DELETION_TIMESTAMP: u32 = 9;
const LABELS: u32 = 11;
const OWNER_REFERENCES: u32 = 13;
const OWNER_UID: u32 = 4;

impl Digest {
    /// Out of a message whose field 1 is an ObjectMeta, as that of every object is.
    pub fn of_proto(message: &[u8]) -> Result<Digest, WireError> {
        let mut digest = Digest::default();
        let mut reader = Reader::new(message);
        while !reader.done() {
            let (number, wire) = reader.tag()?;
            if let (1, Payload::Bytes(meta)) = (number, reader.payload(wire)?) {
                digest.read(meta)?;
                // ObjectMeta comes first, and nothing behind it is of interest.
                break;
            }
        }
        Ok(digest)
    }

    fn read(&mut self, meta: &[u8]) -> Result<(), WireError> {
        let (mut labels, mut owners) = (Vec::new(), Vec::new());
        let mut reader = Reader::new(meta);
        while !reader.done() {
            let (number, wire) = reader.tag()?;
            let Payload::Bytes(bytes) = reader.payload(wire)? else { continue };
            match number {
                NAME => self.name = text(bytes),
                NAMESPACE => self.namespace = text(bytes),
                UID => self.uid = text(bytes),
                DELETION_TIMESTAMP => self.deleting = true,
                LABELS => {
                    let (key, value) = wire::map_entry(bytes)?;
                    let value = if let Some(Payload::Bytes(value)) = value { value } else { b"" };
                    labels.push((text(key), text(value)));
                }
                OWNER_REFERENCES => {
                    let mut owner = Reader::new(bytes);
                    while !owner.done() {
                        let (number, wire) = owner.tag()?;
                        if let (OWNER_UID, Payload::Bytes(uid)) = (number, owner.payload(wire)?) {
                            owners.push(text(uid));
                        }
                    }
                }
                _ => {}
            }
        }
        self.labels = labels.into();
        self.owners = owners.into();
        Ok(())
    }

    /// Out of a tree.
    pub fn of_tree(tree: &Value) -> Digest {
        let meta = &tree["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or_default().into();
        let labels = meta["labels"].as_object().into_iter().flatten();
        let owners = meta["ownerReferences"].as_array().into_iter().flatten();
        Digest {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            labels: labels.map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into())).collect(),
            owners: owners.map(|owner| owner["uid"].as_str().unwrap_or_default().into()).collect(),
            deleting: !meta["deletionTimestamp"].is_null(),
        }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// The scalar at `path` of a message, as a field selector compares it; empty where it is absent or no scalar.
pub fn pluck<S: AsRef<str>>(
    table: &Table,
    id: MessageId,
    bytes: &[u8],
    path: &[S],
) -> Result<String, WireError> {
    let Some((first, rest)) = path.split_first() else { return Ok(String::new()) };
    let (mut message, mut bytes) = (table.message(id), bytes);
    let Some(indices) = message.path(first.as_ref()) else { return Ok(String::new()) };
    for (i, &index) in indices.iter().enumerate() {
        let field = &message.fields[usize::from(index)];
        let mut spans = vec![Span::default(); message.fields.len()];
        wire::scan(message, bytes, &mut spans)?;
        let span = spans[usize::from(index)];
        if span.count == 0 {
            return Ok(String::new());
        }
        let last = i + 1 == indices.len();
        match (field.ty, field.cardinality) {
            (Type::Message(inner), Cardinality::One) => {
                let Some(Payload::Bytes(nested)) = wire::last(bytes, span, field) else {
                    return Ok(String::new());
                };
                if last {
                    return pluck(table, inner, nested, rest);
                }
                (message, bytes) = (table.message(inner), nested);
            }
            (Type::Scalar(scalar), Cardinality::One) if rest.is_empty() => {
                return Ok(match (scalar, wire::last(bytes, span, field)) {
                    (Scalar::Bool, Some(Payload::Varint(v))) => (v != 0).to_string(),
                    (Scalar::Int32, Some(Payload::Varint(v))) => (v as i32).to_string(),
                    (_, Some(Payload::Varint(v))) => (v as i64).to_string(),
                    (_, Some(Payload::Bytes(v))) => String::from_utf8_lossy(v).into_owned(),
                    _ => String::new(),
                });
            }
            (Type::Scalar(Scalar::String), Cardinality::Map) if rest.len() == 1 => {
                for payload in Payloads::new(bytes, span, field) {
                    let Payload::Bytes(entry) = payload else { continue };
                    if let (key, Some(Payload::Bytes(value))) = wire::map_entry(entry)?
                        && key == rest[0].as_ref().as_bytes()
                    {
                        return Ok(String::from_utf8_lossy(value).into_owned());
                    }
                }
                return Ok(String::new());
            }
            _ => return Ok(String::new()),
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto;

    #[test]
    fn a_digest_is_the_same_from_bytes_and_from_a_tree() {
        let table = schema::builtin();
        let id = table.named("k8s.io.api.core.v1.Pod").unwrap();
        let tree = json!({
            "metadata": {
                "name": "web-0", "namespace": "shop", "uid": "u-1",
                "labels": {"app": "web", "tier": ""},
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u-9"}],
                "deletionTimestamp": "2024-01-01T00:00:00Z",
            },
            "spec": {"nodeName": "n1", "hostNetwork": true, "containers": [{"name": "c"}]},
            "status": {"phase": "Running"},
        });
        let bytes = proto::encode(table, id, &tree).unwrap();
        let digest = Digest::of_proto(&bytes).unwrap();
        assert_eq!(digest, Digest::of_tree(&tree));
        assert_eq!(digest.label("app"), Some("web"));
        for (path, want) in [
            (&["spec", "nodeName"][..], "n1"),
            (&["status", "phase"], "Running"),
            (&["spec", "hostNetwork"], "true"),
            (&["metadata", "labels", "app"], "web"),
            (&["spec", "absent"], ""),
            (&["spec", "containers"], ""),
        ] {
            assert_eq!(pluck(table, id, &bytes, path).unwrap(), want, "{path:?}");
        }
    }
}
