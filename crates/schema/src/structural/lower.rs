//! Makes a table of a structural schema.

use grammar::go;

use super::schema::{Additional, Schema};
use crate::table::{
    Cardinality, Field, Form, ListType, MapType, Message, MessageId, Omit, Resource, Scalar, Scope,
    Subresource, Table, Type,
};
use crate::text::builtin;

/// What a definition says of one version of its resource.
#[derive(Clone, Debug)]
pub struct Definition<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub list_kind: &'a str,
    pub plural: &'a str,
    pub scope: Scope,
    pub has_status: bool,
    pub has_scale: bool,
}

/// The table of one version of a custom resource: its kind, its list, and copies of the shared messages they name.
///
/// The schema is taken as structural; what is not is lowered as far as it goes.
pub fn table(definition: &Definition<'_>, schema: &Schema) -> Table {
    let mut lowering = Lowering::default();
    let prefix: Vec<&str> = definition.group.rsplit('.').collect();
    let name = format!("{}.{}.{}", prefix.join("."), definition.version, definition.kind);
    let root = Schema { embedded_resource: true, ..schema.clone() };
    let kind = lowering.object(&root, &name);
    let own = |kind: &str| (definition.group.into(), definition.version.into(), kind.into());
    lowering.messages[kind.0 as usize].kinds.push(own(definition.kind));

    let list = Message {
        name: format!("{name}List").into(),
        fields: vec![
            text_field("apiVersion"),
            text_field("kind"),
            Field {
                ty: lowering.shared("k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta"),
                ..json_field("metadata")
            },
            Field {
                ty: Type::Message(kind),
                cardinality: Cardinality::List,
                required: true,
                ..json_field("items")
            },
        ],
        kinds: vec![own(definition.list_kind)],
        ..Message::default()
    };
    lowering.messages.push(list);

    let mut subresources = Vec::new();
    if definition.has_status {
        subresources.push(subresource("status", definition.group, definition.version, definition.kind));
    }
    if definition.has_scale {
        subresources.push(subresource("scale", "autoscaling", "v1", "Scale"));
    }
    let resource = Resource {
        group: definition.group.into(),
        version: definition.version.into(),
        kind: definition.kind.into(),
        plural: definition.plural.into(),
        scope: definition.scope,
        default_on: true,
        subresources,
        ..Resource::default()
    };
    Table::new(lowering.messages, vec![resource])
        .expect("the resource's kind is the message made for it above")
}

/// The table of a schema that stands alone, its root first: an embedded resource only if it says so.
pub(super) fn fragment(schema: &Schema) -> (Table, MessageId) {
    let mut lowering = Lowering::default();
    let wrapped = Field { json: "value".into(), ..lowering.field("value", schema, false, "value") };
    lowering.messages.push(Message {
        name: "fragment".into(),
        form: Form::Wrapper,
        fields: vec![wrapped],
        ..Message::default()
    });
    let id = MessageId(lowering.messages.len() as u32 - 1);
    (Table::new(lowering.messages, Vec::new()).expect("a table without resources has none to resolve"), id)
}

fn subresource(name: &str, group: &str, version: &str, kind: &str) -> Subresource {
    Subresource { name: name.into(), group: group.into(), version: version.into(), kind: kind.into() }
}

/// A field of a custom resource: written as it is found, for there is no Go struct to leave zeros out.
fn json_field(name: &str) -> Field {
    Field { json: name.into(), omit: Omit::Never, pointer: true, ..Field::default() }
}

fn text_field(name: &str) -> Field {
    Field { ty: Type::Scalar(Scalar::String), ..json_field(name) }
}

#[derive(Default)]
struct Lowering {
    messages: Vec<Message>,
}

/// What a schema is as a field's value.
struct Shape {
    ty: Type,
    cardinality: Cardinality,
}

impl Lowering {
    fn push(&mut self, message: Message) -> MessageId {
        self.messages.push(message);
        MessageId(self.messages.len() as u32 - 1)
    }

    /// A copy of a built-in message and of those that it names.
    fn shared(&mut self, name: &str) -> Type {
        if let Some(at) = self.messages.iter().position(|m| &*m.name == name) {
            return Type::Message(MessageId(at as u32));
        }
        let from = builtin();
        let original =
            from.message(from.named(name).expect("the shared messages stand in the built-in table"));
        let id = self.push(Message { kinds: Vec::new(), ..original.clone() });
        for at in 0..original.fields.len() {
            if let Type::Message(named) = original.fields[at].ty {
                let ty = self.shared(&from.message(named).name);
                self.messages[id.0 as usize].fields[at].ty = ty;
            }
        }
        Type::Message(id)
    }

    fn field(&mut self, name: &str, s: &Schema, required: bool, path: &str) -> Field {
        let shape = self.shape(s, path);
        let item = if s.kind == "array" { s.item() } else { s.additional() };
        let item = item.filter(|_| shape.cardinality != Cardinality::One);
        Field {
            ty: shape.ty,
            cardinality: shape.cardinality,
            required,
            nullable: s.nullable,
            default: s.default.as_ref().map(|value| value.to_string().into()),
            item_nullable: item.is_some_and(|item| item.nullable),
            item_default: item.and_then(|item| item.default.as_ref()).map(|value| value.to_string().into()),
            list: match s.list_type.as_deref() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: s.list_map_keys.iter().map(|key| key.as_str().into()).collect(),
            map: if s.map_type.as_deref() == Some("atomic") { MapType::Atomic } else { MapType::Granular },
            values: s.values.iter().filter_map(|value| value.as_str()).map(Into::into).collect(),
            ..json_field(name)
        }
    }

    fn shape(&mut self, s: &Schema, path: &str) -> Shape {
        let one = |ty: Type| Shape { ty, cardinality: Cardinality::One };
        if s.int_or_string {
            return one(self.shared("k8s.io.apimachinery.pkg.util.intstr.IntOrString"));
        }
        match s.kind.as_str() {
            "string" => one(Type::Scalar(Scalar::String)),
            "boolean" => one(Type::Scalar(Scalar::Bool)),
            "integer" => one(Type::Scalar(Scalar::Int64)),
            "number" => one(Type::Scalar(Scalar::Number)),
            "array" if s.preserves_unknown() => one(Type::Message(self.wrapper(s, path))),
            "array" => {
                let ty = match s.item() {
                    Some(item) => self.element(item, &format!("{path}.items")),
                    None => Type::Message(self.any(false)),
                };
                Shape { ty, cardinality: Cardinality::List }
            }
            "object" | "" if s.properties.is_empty() && !s.embedded_resource && !s.preserves_unknown() => {
                match &s.additional_properties {
                    None => one(Type::Message(self.object(s, path))),
                    Some(Additional::Allowed(_)) => {
                        Shape { ty: Type::Message(self.any(false)), cardinality: Cardinality::Map }
                    }
                    Some(Additional::Schema(schema)) => {
                        let ty = self.element(schema, &format!("{path}.additionalProperties"));
                        Shape { ty, cardinality: Cardinality::Map }
                    }
                }
            }
            // With a schema for every other key, preserving what is unknown has nothing left to preserve.
            "object" | "" if s.properties.is_empty() && !s.embedded_resource && s.additional().is_some() => {
                self.shape(&Schema { preserve_unknown: None, ..s.clone() }, path)
            }
            "object" | "" => one(Type::Message(self.object(s, path))),
            _ => one(Type::Message(self.any(s.preserves_unknown()))),
        }
    }

    /// An item's or map value's type. Lists and maps among them get a message of their own.
    fn element(&mut self, s: &Schema, path: &str) -> Type {
        let shape = self.shape(s, path);
        match shape.cardinality {
            Cardinality::One => shape.ty,
            _ => {
                let field = self.field("items", s, false, path);
                Type::Message(self.push(Message {
                    name: path.into(),
                    form: Form::Wrapper,
                    fields: vec![field],
                    ..Message::default()
                }))
            }
        }
    }

    /// A list that preserves its items' unknown fields, which no field can say of itself.
    fn wrapper(&mut self, s: &Schema, path: &str) -> MessageId {
        let plain = Schema { preserve_unknown: None, ..s.clone() };
        let field = self.field("items", &plain, false, path);
        self.push(Message {
            name: path.into(),
            form: Form::Wrapper,
            fields: vec![field],
            preserve_unknown: true,
            ..Message::default()
        })
    }

    fn any(&mut self, preserve_unknown: bool) -> MessageId {
        let name = if preserve_unknown { "any" } else { "any.pruned" };
        match self.messages.iter().position(|m| &*m.name == name) {
            Some(at) => MessageId(at as u32),
            None => self.push(Message {
                name: name.into(),
                form: Form::Any,
                preserve_unknown,
                ..Message::default()
            }),
        }
    }

    fn object(&mut self, s: &Schema, path: &str) -> MessageId {
        // The place is taken before the fields are made, so that the root comes first.
        let id = self.push(Message { name: path.into(), ..Message::default() });
        let mut fields = Vec::new();
        if s.embedded_resource {
            for name in ["apiVersion", "kind"] {
                let default = s.properties.get(name).and_then(|p| p.default.as_ref());
                fields
                    .push(Field { default: default.map(|value| go::json(value).into()), ..text_field(name) });
            }
            let ty = self.shared("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            let default = s.properties.get("metadata").and_then(|p| p.default.as_ref());
            fields.push(Field {
                ty,
                default: default.map(|value| value.to_string().into()),
                ..json_field("metadata")
            });
        }
        for (name, property) in &s.properties {
            if s.embedded_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let required = s.required.contains(name);
            fields.push(self.field(name, property, required, &format!("{path}.{name}")));
        }
        self.messages[id.0 as usize] = Message {
            name: path.into(),
            form: if s.kind == "object" { Form::Object } else { Form::Any },
            fields,
            atomic: s.map_type.as_deref() == Some("atomic"),
            preserve_unknown: s.preserves_unknown(),
            open: matches!(s.additional_properties, Some(Additional::Allowed(_))),
            embedded_resource: s.embedded_resource,
            ..Message::default()
        };
        id
    }
}
