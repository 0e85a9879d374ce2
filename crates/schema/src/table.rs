//! The table's vocabulary.

use std::collections::HashMap;

/// Every message that one family of objects needs, and the resources that carry them.
#[derive(Debug, Default)]
pub struct Table {
    pub(crate) messages: Vec<Message>,
    pub(crate) by_name: HashMap<Box<str>, MessageId>,
    pub(crate) resources: Vec<Resource>,
}

/// A message's place in its table. Meaningless in another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u32);

impl std::default::Default for MessageId {
    fn default() -> Self {
        MessageId(u32::MAX)
    }
}

/// One object shape: a Go struct, or one of the types whose JSON form is not an object.
#[derive(Debug, Default)]
pub struct Message {
    /// The protobuf name, e.g. `k8s.io.api.core.v1.PodSpec`.
    pub name: Box<str>,
    pub form: Form,
    /// In Go struct order, which is the order of upstream's JSON.
    pub fields: Vec<Field>,
    /// JSON name to the path of field indices; more than one index where inlined structs lie between.
    pub(crate) by_json: HashMap<Box<str>, Box<[u16]>>,
    /// Field indices in ascending protobuf number.
    pub(crate) by_number: Vec<u16>,
    /// `+structType=atomic`, or a CRD object's `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// The type registers as a kind of this group, version and kind.
    pub kinds: Vec<(Box<str>, Box<str>, Box<str>)>,
    /// Union members, as (discriminator, members), where declared.
    pub preserve_unknown: bool,
    /// A CRD's `x-kubernetes-embedded-resource`.
    pub embedded_resource: bool,
}

/// How a message looks in JSON and protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// A JSON object of its fields.
    #[default]
    Object,
    /// JSON is the form of its only field (`ExtraValue`, `Verbs`; in CRDs a list of lists).
    Wrapper,
    /// RFC 3339 in whole seconds; protobuf `{1: seconds, 2: nanos}`.
    Time,
    /// RFC 3339 with six digits; protobuf as `Time`.
    MicroTime,
    /// A Go duration string; protobuf `{1: nanoseconds}`.
    Duration,
    /// A canonical quantity string; protobuf `{1: string}`.
    Quantity,
    /// A JSON number or string; protobuf `{1: type, 2: int, 3: string}`.
    IntOrString,
    /// Any JSON value; protobuf `{1: bytes}` (`RawExtension`, `FieldsV1`, apiextensions `JSON`).
    Raw,
    /// `JSONSchemaPropsOrArray`: a schema or a list of schemas.
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`: a schema or a boolean.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`: a schema or a list of strings.
    SchemaOrStrings,
    /// Any JSON value, schema-less (CRDs only).
    Any,
}

/// One field of a message.
#[derive(Debug, Default)]
pub struct Field {
    /// The JSON name; empty for an inlined struct.
    pub json: Box<str>,
    /// The protobuf field number; 0 where the field has none (TypeMeta's, and all of a CRD's).
    pub number: u32,
    pub ty: Type,
    pub cardinality: Cardinality,
    /// A Go pointer (or a nilable named type): absent and zero differ.
    pub pointer: bool,
    /// When the JSON encoder leaves the field out.
    pub omit: Omit,
    /// An inlined Go struct: flat in JSON, nested in protobuf where `number` is not 0.
    pub inline: bool,
    pub required: bool,
    /// JSON null is a value of its own (CRD `nullable`).
    pub nullable: bool,
    pub list: ListType,
    /// Keys of a `ListType::Map`, each with its default where the schema has one.
    pub list_keys: Vec<Box<str>>,
    pub map: MapType,
    pub patch: PatchStrategy,
    /// Strategic merge's merge key.
    pub merge_key: Option<Box<str>>,
    pub default: Option<Default>,
    /// Known values of an enumerated string.
    pub values: Vec<Box<str>>,
    pub immutable: bool,
}

/// A default, as JSON text.
pub type Default = Box<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar(Scalar),
    Message(MessageId),
}

impl std::default::Default for Type {
    fn default() -> Self {
        Type::Scalar(Scalar::String)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Int32,
    Int64,
    UInt32,
    UInt64,
    Double,
    String,
    /// base64 in JSON.
    Bytes,
    /// A CRD's `number`: integer or float as written.
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    One,
    List,
    /// A map from strings.
    Map,
}

/// What Go's `omitempty` and `omitzero` leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Omit {
    /// Always written: null for a nil pointer, slice or map.
    Never,
    /// `omitempty`: false, 0, "", nil, and empty lists and maps; never a struct value.
    #[default]
    Empty,
    /// `omitzero`: as `Empty`, and a struct value that is wholly zero.
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MapType {
    #[default]
    Granular,
    Atomic,
}

/// Strategic merge's strategy for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Namespaced,
    Cluster,
}

/// One served (or switchable) resource.
#[derive(Debug, Default)]
pub struct Resource {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub plural: Box<str>,
    pub scope: Scope,
    pub message: MessageId,
    /// Generally available and served by default.
    pub default_on: bool,
    pub subresources: Vec<Subresource>,
}

/// A subresource and the kind of its body.
#[derive(Debug, Default)]
pub struct Subresource {
    pub name: Box<str>,
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
}

impl Table {
    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// Looks a message up by its protobuf name, e.g. `k8s.io.api.core.v1.Pod`.
    pub fn named(&self, name: &str) -> Option<MessageId> {
        self.by_name.get(name).copied()
    }

    pub fn messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().enumerate().map(|(i, m)| (MessageId(i as u32), m))
    }

    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }
}

impl Message {
    /// The field that JSON calls `name`, with the inlined fields that lead to it; the last one is the field itself.
    pub fn path(&self, name: &str) -> Option<&[u16]> {
        self.by_json.get(name).map(|p| &**p)
    }

    /// The directly declared field with this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match self.path(name)? {
            [one] => Some(&self.fields[*one as usize]),
            _ => None,
        }
    }

    /// Fields in ascending protobuf number, as upstream's encoder writes them.
    pub fn in_wire_order(&self) -> impl Iterator<Item = &Field> {
        self.by_number.iter().map(|&i| &self.fields[i as usize])
    }
}
