//! OpenAPI v2 and v3, written from the schema table and the catalog.
//!
//! A group's document is made when it is first asked for, and again when the catalog has changed. Its URL carries a
//! hash of its bytes, so clients may keep it for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Value;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};
use kinds::kind::Verb;
use schema::{Cardinality, Field, Form, ListType, MapType, Message, MessageId, Scalar, Table, Type};
use serde_json::{Map, json};
use sha2::{Digest as _, Sha256};

use crate::body::{self, Body};
use crate::catalog::{Catalog, Codec, Resource};
use crate::request::Query;

/// The two dialects. They differ in how references and alternatives are written.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    V2,
    V3,
}

/// Answers `/openapi/…`; nothing where the path is none.
pub(crate) fn serve(
    catalog: &Catalog,
    headers: &HeaderMap,
    path: &str,
    query: &Query,
) -> Option<Response<Body>> {
    match path {
        "/openapi/v2" => Some(document(headers, query, v2(catalog))),
        "/openapi/v3" => Some(document(headers, query, index(catalog))),
        _ => {
            let name = path.strip_prefix("/openapi/v3/")?;
            let (group, version) = group_version(name)?;
            let resources = catalog.groups().get(group)?.get(version)?;
            Some(document(headers, query, v3(resources.values())))
        }
    }
}

fn document(headers: &HeaderMap, query: &Query, tree: Value) -> Response<Body> {
    let mut out = Vec::with_capacity(64 * 1024);
    api::json::encode_any(&tree, &mut out);
    let hash = hash(&out);
    let tag = format!("\"{hash}\"");
    let known = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if known { body::empty() } else { body::full(out) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    if query.text("hash") == hash {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02X}")).collect()
}

/// `api/v1` and `apis/apps/v1`, as paths name them.
fn group_version(name: &str) -> Option<(&str, &str)> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn index(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for (group, versions) in catalog.groups() {
        for (version, resources) in versions {
            let mut out = Vec::new();
            api::json::encode_any(&v3(resources.values()), &mut out);
            let path = path_of(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash(&out));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn v3<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> Value {
    let mut writer = Writer::new(Dialect::V3);
    resources.for_each(|resource| writer.resource(resource));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": writer.paths,
        "components": {
            "schemas": writer.schemas,
            "securitySchemes": {"BearerToken": security()},
        },
    })
}

fn v2(catalog: &Catalog) -> Value {
    let mut writer = Writer::new(Dialect::V2);
    catalog.resources().for_each(|resource| writer.resource(resource));
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": writer.paths,
        "definitions": writer.schemas,
        "securityDefinitions": {"BearerToken": security()},
        "security": [{"BearerToken": []}],
    })
}

fn security() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}

/// Collects schemas and paths.
struct Writer {
    dialect: Dialect,
    schemas: Map<String, Value>,
    paths: Map<String, Value>,
    written: BTreeSet<String>,
}

const LIST_META: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta";
const DELETE_OPTIONS: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.Status";
const PATCH: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.Patch";

impl Writer {
    fn new(dialect: Dialect) -> Writer {
        Writer { dialect, schemas: Map::new(), paths: Map::new(), written: BTreeSet::new() }
    }

    fn resource(&mut self, resource: &Resource) {
        let (object, list) = match &resource.codec {
            Codec::Builtin { message } => {
                let table = schema::builtin();
                let kind = &resource.kind;
                let list = table.kind(&kind.group, &resource.version, &kind.list_kind);
                let object = self.builtin(*message);
                (object, list.map(|list| self.builtin(list)))
            }
            Codec::Custom { table, root } => {
                let name = custom_name(resource, &resource.kind.kind);
                self.custom(table, *root, resource, &name);
                let list = custom_name(resource, &resource.kind.list_kind);
                self.custom_list(resource, &list, &name);
                (name, Some(list))
            }
        };
        self.write_paths(resource, &object, list.as_deref().unwrap_or(&object));
    }

    /// Writes a built-in message and all it refers to; returns its OpenAPI name.
    fn builtin(&mut self, id: MessageId) -> String {
        let table = schema::builtin();
        let message = table.message(id);
        let name = openapi_name(&message.name);
        if !self.written.insert(name.clone()) {
            return name;
        }
        let mut schema = self.message(table, message);
        let kinds: Vec<Value> = message
            .kinds
            .iter()
            .map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}))
            .collect();
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        self.schemas.insert(name.clone(), schema);
        name
    }

    fn message(&mut self, table: &Table, message: &Message) -> Value {
        match message.form {
            Form::Object => {
                let (mut properties, mut required) = (Map::new(), Vec::new());
                self.properties(table, message, &mut properties, &mut required);
                let mut schema = json!({"type": "object"});
                if !properties.is_empty() {
                    schema["properties"] = properties.into();
                }
                if !required.is_empty() {
                    required.sort();
                    schema["required"] = required.into();
                }
                if message.atomic {
                    schema["x-kubernetes-map-type"] = "atomic".into();
                }
                schema
            }
            Form::Wrapper => match message.fields.first() {
                Some(field) => self.field(table, field),
                None => json!({}),
            },
            Form::Time | Form::MicroTime => json!({"type": "string", "format": "date-time"}),
            Form::Duration => json!({"type": "string"}),
            Form::Quantity => match self.dialect {
                Dialect::V2 => json!({"type": "string"}),
                Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            },
            Form::IntOrString => match self.dialect {
                Dialect::V2 => json!({"type": "string", "format": "int-or-string"}),
                Dialect::V3 => {
                    json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
                }
            },
            Form::Raw
                if &*message.name == "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON" =>
            {
                json!({})
            }
            Form::Raw => json!({"type": "object"}),
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings | Form::Any => json!({}),
        }
    }

    fn properties(
        &mut self,
        table: &Table,
        message: &Message,
        properties: &mut Map<String, Value>,
        required: &mut Vec<String>,
    ) {
        for field in &message.fields {
            if field.inline {
                if let Type::Message(inner) = field.ty {
                    self.properties(table, table.message(inner), properties, required);
                }
                continue;
            }
            let schema = self.field(table, field);
            properties.insert(field.json.to_string(), schema);
            if field.required {
                required.push(field.json.to_string());
            }
        }
    }

    fn field(&mut self, table: &Table, field: &Field) -> Value {
        let element = match field.ty {
            Type::Scalar(scalar) => scalar_schema(scalar),
            Type::Message(id) => {
                let name = self.builtin_of(table, id);
                self.reference(&name)
            }
        };
        let mut schema = match field.cardinality {
            Cardinality::One => element,
            Cardinality::List => json!({"type": "array", "items": element}),
            Cardinality::Map => json!({"type": "object", "additionalProperties": element}),
        };
        if let Some(default) =
            field.default.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            schema["default"] = default;
        }
        if !field.values.is_empty() && field.cardinality == Cardinality::One {
            schema["enum"] = json!(field.values);
        }
        if field.cardinality == Cardinality::List {
            schema["x-kubernetes-list-type"] = match field.list {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            }
            .into();
            if field.list == ListType::Map {
                schema["x-kubernetes-list-map-keys"] = json!(field.list_keys);
            }
        }
        if field.map == MapType::Atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(key) = &field.merge_key {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
        let strategies = [
            (field.patch.merge, "merge"),
            (field.patch.replace, "replace"),
            (field.patch.retain_keys, "retainKeys"),
        ];
        let named: Vec<&str> = strategies.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if !named.is_empty() {
            schema["x-kubernetes-patch-strategy"] = named.join(",").into();
        }
        schema
    }

    /// The name of a message that `table` refers to. A custom table's own messages are written inline by
    /// [`Writer::custom`], so what is left here is built in.
    fn builtin_of(&mut self, table: &Table, id: MessageId) -> String {
        let own = &table.message(id).name;
        match schema::builtin().named(own) {
            Some(id) => self.builtin(id),
            None => openapi_name(own),
        }
    }

    fn reference(&self, name: &str) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
        }
    }

    /// A custom kind: its own properties stand inline, its metadata is the built-in one.
    fn custom(&mut self, table: &Table, root: MessageId, resource: &Resource, name: &str) {
        let mut schema = self.inline(table, table.message(root), 0);
        let meta = schema::builtin()
            .named("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta")
            .map(|id| self.builtin(id));
        if let Some(meta) = meta {
            schema["properties"]["metadata"] = self.reference(&meta);
        }
        schema["properties"]["apiVersion"] = json!({"type": "string"});
        schema["properties"]["kind"] = json!({"type": "string"});
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": resource.kind.group, "version": resource.version, "kind": resource.kind.kind}]);
        self.schemas.insert(name.to_owned(), schema);
    }

    /// Custom schemas nest, and may be deep; beyond this level they are shown as any object.
    fn inline(&mut self, table: &Table, message: &Message, depth: u32) -> Value {
        const DEEPEST: u32 = 64;
        if message.form != Form::Object || depth > DEEPEST {
            return if message.form == Form::IntOrString {
                json!({"x-kubernetes-int-or-string": true})
            } else if message.form == Form::Any {
                json!({"x-kubernetes-preserve-unknown-fields": true})
            } else {
                json!({"type": "object"})
            };
        }
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in &message.fields {
            let element = match field.ty {
                Type::Scalar(scalar) => scalar_schema(scalar),
                Type::Message(id) => self.inline(table, table.message(id), depth + 1),
            };
            let schema = match field.cardinality {
                Cardinality::One => element,
                Cardinality::List => json!({"type": "array", "items": element}),
                Cardinality::Map => json!({"type": "object", "additionalProperties": element}),
            };
            properties.insert(field.json.to_string(), schema);
            if field.required {
                required.push(field.json.to_string());
            }
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if message.preserve_unknown {
            schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        schema
    }

    fn custom_list(&mut self, resource: &Resource, list: &str, item: &str) {
        let meta = schema::builtin().named(LIST_META).map(|id| self.builtin(id)).unwrap_or_default();
        let schema = json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": self.reference(&meta),
                "items": {"type": "array", "items": self.reference(item)},
            },
            "x-kubernetes-group-version-kind":
                [{"group": resource.kind.group, "version": resource.version, "kind": resource.kind.list_kind}],
        });
        self.schemas.insert(list.to_owned(), schema);
    }

    fn write_paths(&mut self, resource: &Resource, object: &str, list: &str) {
        let kind = &resource.kind;
        let base = format!("/{}", path_of(&kind.group, &resource.version));
        let plural = &kind.plural;
        let collection = if kind.is_namespaced() {
            format!("{base}/namespaces/{{namespace}}/{plural}")
        } else {
            format!("{base}/{plural}")
        };
        let one = format!("{collection}/{{name}}");
        for verb in &kind.verbs {
            let (path, method, body, answer) = match verb {
                Verb::Create => (&collection, "post", Some(object), object),
                Verb::List => (&collection, "get", None, list),
                Verb::DeleteCollection => (&collection, "delete", Some(DELETE_OPTIONS), STATUS),
                Verb::Get => (&one, "get", None, object),
                Verb::Update => (&one, "put", Some(object), object),
                Verb::Patch => (&one, "patch", Some(PATCH), object),
                Verb::Delete => (&one, "delete", Some(DELETE_OPTIONS), STATUS),
                // Watching is a parameter of list.
                Verb::Watch => continue,
            };
            let operation = self.operation(resource, *verb, body, answer, "");
            insert(&mut self.paths, path, method, operation);
            if *verb == Verb::List && kind.is_namespaced() {
                let operation = self.operation(resource, *verb, None, list, "ForAllNamespaces");
                insert(&mut self.paths, &format!("{base}/{plural}"), "get", operation);
            }
        }
    }

    fn operation(
        &mut self,
        resource: &Resource,
        verb: Verb,
        body: Option<&str>,
        answer: &str,
        suffix: &str,
    ) -> Value {
        let mut parameters = Vec::new();
        for name in query_parameters(verb) {
            parameters.push(self.query_parameter(name));
        }
        let named = |known: &str| schema::builtin().named(known);
        let mut resolve = |name: &str| match named(name) {
            Some(id) => self.builtin(id),
            None => name.to_owned(),
        };
        let answer = resolve(answer);
        let body = body.map(&mut resolve);
        let answer = self.reference(&answer);
        let kind = &resource.kind;
        let id = format!(
            "{}{}{}{suffix}",
            verb.name(),
            camel(&path_of(&kind.group, &resource.version)),
            kind.kind
        );
        let mut operation = json!({
            "operationId": id,
            "x-kubernetes-action": action(verb),
            "x-kubernetes-group-version-kind":
                {"group": kind.group, "version": resource.version, "kind": kind.kind},
        });
        let media = |schema: &Value| {
            let content = |types: &[&str]| -> Map<String, Value> {
                types.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect()
            };
            content(&["application/json", "application/yaml"])
        };
        match self.dialect {
            Dialect::V3 => {
                operation["responses"] = json!({"200": {"description": "OK", "content": media(&answer)}});
                if let Some(body) = &body {
                    operation["requestBody"] = json!({"content": media(&self.reference(body))});
                }
            }
            Dialect::V2 => {
                operation["responses"] = json!({"200": {"description": "OK", "schema": answer}});
                if let Some(body) = &body {
                    parameters.push(json!({"name": "body", "in": "body", "schema": self.reference(body)}));
                }
            }
        }
        operation["parameters"] = parameters.into();
        operation
    }

    fn query_parameter(&self, (name, ty): &(&str, &str)) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"name": name, "in": "query", "type": ty, "uniqueItems": true}),
            Dialect::V3 => json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}),
        }
    }
}

fn insert(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let entry = paths.entry(path).or_insert_with(|| json!({}));
    entry[method] = operation;
    let parameters: Vec<Value> = ["namespace", "name"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        entry["parameters"] = parameters.into();
    }
}

fn query_parameters(verb: Verb) -> &'static [(&'static str, &'static str)] {
    match verb {
        Verb::Create | Verb::Update => &[
            ("pretty", "string"),
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
        ],
        Verb::Patch => &[
            ("pretty", "string"),
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        Verb::Delete => &[
            ("pretty", "string"),
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        Verb::List | Verb::DeleteCollection | Verb::Watch => &[
            ("pretty", "string"),
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        Verb::Get => &[("pretty", "string")],
    }
}

fn action(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "post",
        Verb::Update => "put",
        other => other.name(),
    }
}

fn scalar_schema(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Bool => json!({"type": "boolean"}),
        Scalar::Int32 | Scalar::UInt32 => json!({"type": "integer", "format": "int32"}),
        Scalar::Int64 | Scalar::UInt64 => json!({"type": "integer", "format": "int64"}),
        Scalar::Double => json!({"type": "number", "format": "double"}),
        Scalar::Number => json!({"type": "number"}),
        Scalar::String => json!({"type": "string"}),
        Scalar::Bytes => json!({"type": "string", "format": "byte"}),
    }
}

/// `k8s.io.api.core.v1.Pod` is `io.k8s.api.core.v1.Pod` to OpenAPI.
fn openapi_name(message: &str) -> String {
    match message.strip_prefix("k8s.io.") {
        Some(rest) => format!("io.k8s.{}", rest.replace('_', "-")),
        None => message.to_owned(),
    }
}

/// A custom kind under its group's name, turned round.
fn custom_name(resource: &Resource, kind: &str) -> String {
    let group: Vec<&str> = resource.kind.group.rsplit('.').collect();
    format!("{}.{}.{kind}", group.join("."), resource.version)
}

fn camel(path: &str) -> String {
    path.split(['/', '.'])
        .map(|part| {
            let mut part = part.to_owned();
            if let Some(first) = part.get_mut(0..1) {
                first.make_ascii_uppercase();
            }
            part
        })
        .collect()
}
