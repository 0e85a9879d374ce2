//! Objects and lists in the form that a client asked for.

use std::sync::Arc;

use api::envelope::{put_field, put_tag, put_varint, varint_len};
use api::splice::{ListHead, Splice};
use api::{Status, Value, envelope, json, yaml};
use base::clock::Wall;
use bytes::Bytes;
use kinds::column::Description;
use serde_json::{Map, json};
use store::{Entry, Revision};

use crate::body::{self, Body};
use crate::catalog::{Codec, Resource};
use crate::negotiate::{Format, Include, Shape, View};
use crate::{object, prose};

/// One object, from its bytes at rest.
pub fn object(
    resource: &Resource,
    value: &[u8],
    revision: Option<Revision>,
    view: View,
    now: Wall,
) -> Result<Bytes, Status> {
    match (view.shape, view.format) {
        (Shape::Object, Format::Json) => {
            let mut out = Vec::with_capacity(value.len() * 2 + 64);
            object::write_json(resource, value, revision, &mut out)?;
            Ok(finish_json(out, view))
        }
        (Shape::Object, Format::Protobuf) => Ok(proto_envelope(resource, value, revision)?.into()),
        (Shape::Object, Format::Yaml) => {
            let tree = object::served_tree(resource, value, revision)?;
            yaml_of(&tree)
        }
        (Shape::Table, _) => {
            let stored = object::stored_tree(resource, value, revision)?;
            let head = ListHead { revision: revision.unwrap_or_default(), ..ListHead::default() };
            let rows = vec![row(resource, &stored, view.include, now)];
            tree("meta.k8s.io/v1", &table(resource, rows, &head, true), view)
        }
        (Shape::Metadata, _) => {
            let partial = partial(object::served_tree(resource, value, revision)?);
            tree("meta.k8s.io/v1", &partial, view)
        }
    }
}

/// A tree of a built-in type that is not at rest: a status, a review, a scale, a table.
pub fn tree(api_version: &str, tree: &Value, view: View) -> Result<Bytes, Status> {
    let kind = tree["kind"].as_str().unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let table = schema::builtin();
    let message = table.kind(group, version, kind);
    match (view.format, message) {
        (Format::Yaml, _) => yaml_of(tree),
        (Format::Protobuf, Some(message)) => {
            let raw = api::proto::encode(table, message, tree).map_err(Status::internal)?;
            Ok(envelope::seal(api_version, kind, &raw).into())
        }
        (_, message) => {
            let mut out = Vec::with_capacity(512);
            match message {
                Some(message) => json::encode(table, message, tree, &mut out),
                None => json::encode_any(tree, &mut out),
            }
            Ok(finish_json(out, view))
        }
    }
}

fn finish_json(mut out: Vec<u8>, view: View) -> Bytes {
    if view.pretty {
        out = indent(&out);
    }
    out.push(b'\n');
    out.into()
}

fn yaml_of(tree: &Value) -> Result<Bytes, Status> {
    yaml::print(tree).map(Bytes::from).map_err(Status::internal)
}

/// The bytes of one object with their envelope, as watches carry them too.
pub fn proto_envelope(
    resource: &Resource,
    value: &[u8],
    revision: Option<Revision>,
) -> Result<Vec<u8>, Status> {
    let mut raw = Vec::with_capacity(value.len() + 32);
    object::write_proto(resource, value, revision, &mut raw)?;
    Ok(envelope::seal(&resource.api_version, &resource.kind.kind, &raw))
}

/// What a list found, ready to be written.
pub struct List {
    pub resource: Arc<Resource>,
    pub entries: Vec<Arc<Entry>>,
    pub head: ListHead,
}

/// A streamed list hands out about this much at a time.
const CHUNK: usize = 64 * 1024;

impl List {
    /// The list's body. Objects are encoded as the client takes them, so a long list costs one chunk of memory.
    pub fn body(self, view: View, now: Wall) -> Result<Body, Status> {
        match (view.shape, view.format) {
            (Shape::Object, Format::Protobuf) if self.resource.codec.is_builtin() => self.protobuf(),
            (Shape::Object, Format::Json) if !view.pretty => Ok(self.json()),
            _ => self.tree(view, now).map(body::full),
        }
    }

    fn list_meta(&self) -> Value {
        list_meta(&self.head)
    }

    fn json(self) -> Body {
        let mut head = Vec::with_capacity(256);
        let meta = self.list_meta();
        match &self.resource.codec {
            Codec::Builtin { .. } => {
                head.extend_from_slice(b"{\"kind\":\"");
                head.extend_from_slice(self.resource.kind.list_kind.as_bytes());
                head.extend_from_slice(b"\",\"apiVersion\":\"");
                head.extend_from_slice(self.resource.api_version.as_bytes());
                head.extend_from_slice(b"\",\"metadata\":");
                let table = schema::builtin();
                let id = table
                    .named("k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta")
                    .expect("meta/v1 is in the table");
                json::encode(table, id, &meta, &mut head);
                head.extend_from_slice(b",\"items\":[");
                self.chunks(head, b"]}\n".to_vec(), b",")
            }
            // Unstructured lists are printed with their keys in order.
            Codec::Custom { .. } => {
                head.extend_from_slice(b"{\"apiVersion\":\"");
                head.extend_from_slice(self.resource.api_version.as_bytes());
                head.extend_from_slice(b"\",\"items\":[");
                let mut tail = b"],\"kind\":\"".to_vec();
                tail.extend_from_slice(self.resource.kind.list_kind.as_bytes());
                tail.extend_from_slice(b"\",\"metadata\":");
                json::encode_any(&meta, &mut tail);
                tail.extend_from_slice(b"}\n");
                self.chunks(head, tail, b",")
            }
        }
    }

    fn chunks(self, head: Vec<u8>, tail: Vec<u8>, separator: &'static [u8]) -> Body {
        let resource = self.resource;
        let state = (self.entries.into_iter(), Some(head), Some(tail), true);
        body::stream(futures_util::stream::unfold(
            state,
            move |(mut entries, mut head, mut tail, mut first)| {
                let resource = resource.clone();
                async move {
                    let mut out = head.take().unwrap_or_else(|| Vec::with_capacity(CHUNK + 4096));
                    while out.len() < CHUNK {
                        let Some(entry) = entries.next() else {
                            let end = tail.take()?;
                            out.extend_from_slice(&end);
                            break;
                        };
                        let mark = out.len();
                        if !first {
                            out.extend_from_slice(separator);
                        }
                        match object::write_json(&resource, &entry.value, Some(entry.modified), &mut out) {
                            Ok(()) => first = false,
                            Err(status) => {
                                tracing::error!(key = %entry.key, %status, "a stored object is left out of a list");
                                out.truncate(mark);
                            }
                        }
                    }
                    Some((Bytes::from(out), (entries, head, tail, first)))
                }
            },
        ))
    }

    /// Lengths come before contents in protobuf, so the list is measured first and then streamed.
    fn protobuf(self) -> Result<Body, Status> {
        let meta = self.head.proto();
        let mut raw_len = 1 + varint_len(meta.len() as u64) + meta.len();
        if !self.resource.is_stored_version() {
            let mut raw = Vec::new();
            put_field(&mut raw, 1, &meta);
            for entry in &self.entries {
                let mut item = Vec::with_capacity(entry.value.len() + 32);
                object::write_proto(&self.resource, &entry.value, Some(entry.modified), &mut item)?;
                put_field(&mut raw, 2, &item);
            }
            return Ok(body::full(envelope::seal(
                &self.resource.api_version,
                &self.resource.kind.list_kind,
                &raw,
            )));
        }
        for entry in &self.entries {
            let len = spliced(entry)?.len(entry.modified);
            raw_len += 1 + varint_len(len as u64) + len;
        }
        let mut head = Vec::with_capacity(256);
        envelope::head(&mut head, &self.resource.api_version, &self.resource.kind.list_kind, raw_len);
        put_field(&mut head, 1, &meta);
        let mut tail = Vec::new();
        envelope::tail(&mut tail);
        let state = (self.entries.into_iter(), Some(head), Some(tail));
        Ok(body::stream(futures_util::stream::unfold(
            state,
            |(mut entries, mut head, mut tail)| async move {
                let mut out = head.take().unwrap_or_else(|| Vec::with_capacity(CHUNK + 4096));
                while out.len() < CHUNK {
                    let Some(entry) = entries.next() else {
                        out.extend_from_slice(&tail.take()?);
                        break;
                    };
                    let splice = spliced(&entry).expect("the same bytes were measured");
                    let len = splice.len(entry.modified);
                    put_tag(&mut out, 2);
                    put_varint(&mut out, len as u64);
                    splice.write(entry.modified, &mut out);
                }
                Some((Bytes::from(out), (entries, head, tail)))
            },
        )))
    }

    fn tree(self, view: View, now: Wall) -> Result<Bytes, Status> {
        let resource = &self.resource;
        match view.shape {
            Shape::Table => {
                let mut rows = Vec::with_capacity(self.entries.len());
                for entry in &self.entries {
                    let stored = object::stored_tree(resource, &entry.value, Some(entry.modified))?;
                    rows.push(row(resource, &stored, view.include, now));
                }
                tree("meta.k8s.io/v1", &table(resource, rows, &self.head, true), view)
            }
            Shape::Metadata => {
                let mut items = Vec::with_capacity(self.entries.len());
                for entry in &self.entries {
                    items.push(partial(object::served_tree(resource, &entry.value, Some(entry.modified))?));
                }
                let list = json!({
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": self.list_meta(),
                    "items": items,
                });
                tree("meta.k8s.io/v1", &list, view)
            }
            Shape::Object => {
                let mut items = Vec::with_capacity(self.entries.len());
                for entry in &self.entries {
                    items.push(object::served_tree(resource, &entry.value, Some(entry.modified))?);
                }
                if resource.codec.is_builtin() {
                    for item in &mut items {
                        // Items of typed lists do not repeat their type.
                        item.as_object_mut().map(|o| (o.remove("kind"), o.remove("apiVersion")));
                    }
                }
                let list = json!({
                    "kind": resource.kind.list_kind,
                    "apiVersion": resource.api_version,
                    "metadata": self.list_meta(),
                    "items": items,
                });
                tree(&resource.api_version, &list, view)
            }
        }
    }
}

fn spliced(entry: &Entry) -> Result<Splice<'_>, Status> {
    let raw = envelope::open(&entry.value).map_err(Status::internal)?.raw;
    Splice::find(raw).map_err(Status::internal)
}

fn list_meta(head: &ListHead) -> Value {
    let mut meta = Map::new();
    meta.insert("resourceVersion".into(), head.revision.to_string().into());
    if !head.continue_token.is_empty() {
        meta.insert("continue".into(), head.continue_token.clone().into());
    }
    if let Some(remaining) = head.remaining {
        meta.insert("remainingItemCount".into(), remaining.into());
    }
    Value::Object(meta)
}

/// A `meta.k8s.io/v1` Table. Watches name the columns in their first event alone.
pub fn table(resource: &Resource, rows: Vec<Value>, head: &ListHead, columns: bool) -> Value {
    let definitions: Vec<Value> = resource
        .kind
        .columns
        .iter()
        .map(|column| {
            let description = match &column.description {
                Description::Text(text) => text.to_string(),
                Description::Field(message, field) => prose::field(message, field),
            };
            json!({
                "name": column.name,
                "type": column.ty,
                "format": column.format,
                "description": description,
                "priority": column.priority,
            })
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta(head),
        "columnDefinitions": if columns { Value::Array(definitions) } else { Value::Null },
        "rows": rows,
    })
}

/// One row of a table, from a tree in the stored version.
pub fn row(resource: &Resource, stored: &Value, include: Include, now: Wall) -> Value {
    let cells = resource.kind.cells(stored, now);
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => partial(stored.clone()),
        Include::Object => {
            let mut served = stored.clone();
            object::to_served(resource, &mut served);
            served
        }
    };
    json!({"cells": cells, "object": object})
}

/// `PartialObjectMetadata` of an object.
pub fn partial(mut tree: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": tree["metadata"].take(),
    })
}

/// JSON with two spaces a level, as upstream prints it for people.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 3 / 2);
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for (at, &byte) in json.iter().enumerate() {
        if inside {
            out.push(byte);
            inside = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => {
                inside = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(json.get(at.wrapping_sub(1)), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    newline(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_is_indented_as_upstream_does() {
        let text = br#"{"a":{},"b":[1,2],"c":{"d":"x:{,}\""},"e":[]}"#;
        let want = "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2\n  ],\n  \"c\": {\n    \"d\": \"x:{,}\\\"\"\n  },\n  \"e\": []\n}";
        assert_eq!(String::from_utf8(indent(text)).unwrap(), want);
    }
}
