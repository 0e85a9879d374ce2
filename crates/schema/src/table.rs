//! The table's vocabulary.

use std::collections::HashMap;

use crate::names::Names;

/// Every message that one family of objects needs, and the resources that carry them.
#[derive(Debug, Default)]
pub struct Table {
    messages: Vec<Message>,
    by_name: HashMap<Box<str>, MessageId>,
    resources: Vec<Resource>,
    /// By kind alone: few groups share one, so what follows is a short scan.
    by_kind: HashMap<Box<str>, Vec<MessageId>>,
    /// Places in `resources` by plural.
    by_plural: HashMap<Box<str>, Vec<u32>>,
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
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The protobuf name, e.g. `k8s.io.api.core.v1.PodSpec`.
    pub name: Box<str>,
    pub form: Form,
    /// In Go struct order, which is the order of upstream's JSON.
    pub fields: Vec<Field>,
    pub(crate) names: Names,
    /// By field: what an encoder does with a field that was never set. Kept apart from the fields, because
    /// encoders look at every one of these and at few fields.
    pub(crate) unset: Vec<Unset>,
    pub(crate) in_order: bool,
    /// Field indices in ascending protobuf number.
    pub(crate) wire_order: Vec<u16>,
    /// Field index by protobuf number; `u16::MAX` where there is none.
    pub(crate) by_number: Vec<u16>,
    /// `+structType=atomic`, or a CRD object's `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// The type registers as a kind of this group, version and kind.
    pub kinds: Vec<(Box<str>, Box<str>, Box<str>)>,
    /// A CRD's `x-kubernetes-preserve-unknown-fields`. Without it, even a `Form::Any` keeps no fields of objects.
    pub preserve_unknown: bool,
    /// A CRD's `additionalProperties` without a schema: other keys stay, though objects below them lose their fields.
    pub open: bool,
    /// A CRD's `x-kubernetes-embedded-resource`.
    pub embedded_resource: bool,
}

/// What becomes of a field that was never set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unset {
    /// JSON has its zero value, or it is inlined and its own fields decide.
    printed: bool,
    /// Protobuf has its zero value.
    written: bool,
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
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// The JSON name; empty for an inlined struct.
    pub json: Box<str>,
    /// `,"name":`, as it stands between two fields of an object.
    pub(crate) key: Box<str>,
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
    /// Keys of a `ListType::Map`: fields of the element, which carry their defaults.
    pub list_keys: Vec<Box<str>>,
    /// `MapType::Atomic` on a map, or on a field of a message, makes the whole value one unit.
    pub map: MapType,
    pub patch: PatchStrategy,
    /// Strategic merge's merge key.
    pub merge_key: Option<Box<str>>,
    pub default: Option<Default>,
    /// Null is a value of its own as an item or a map's value.
    pub item_nullable: bool,
    /// What a null becomes as an item or a map's value.
    pub item_default: Option<Default>,
    /// Known values of an enumerated string.
    pub values: Vec<Box<str>>,
    pub immutable: bool,
}

impl Field {
    /// The name with its quotes and colon, behind the comma that separates it from the field before.
    pub fn key(&self) -> &str {
        &self.key
    }
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

/// Kinds that every group and version has: the bodies of options, and the frame of a watch.
const EVERYWHERE: [&str; 7] = [
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

impl Table {
    /// Joins messages into a table and works out what codecs look up.
    ///
    /// Ids in fields are places in `messages`. A resource's message is the one that is registered as its kind.
    pub(crate) fn new(messages: Vec<Message>, resources: Vec<Resource>) -> Result<Table, String> {
        let mut table = Table { messages, ..Table::default() };
        table.by_name.reserve(table.messages.len());
        for at in 0..table.messages.len() {
            let id = MessageId(at as u32);
            table.by_name.insert(table.messages[at].name.clone(), id);
            for (_, _, kind) in &table.messages[at].kinds {
                let ids = table.by_kind.entry(kind.clone()).or_default();
                if ids.last() != Some(&id) {
                    ids.push(id);
                }
            }
            let mut inlined = Vec::new();
            inlined_names(&table.messages, id, &mut Vec::new(), &mut inlined);
            let message = &mut table.messages[at];
            message.names = Names::new(&message.fields, inlined);
            message.index_numbers();
        }
        let unset: Vec<Vec<Unset>> = table
            .messages
            .iter()
            .map(|message| message.fields.iter().map(|field| table.unset(field)).collect())
            .collect();
        for (message, unset) in table.messages.iter_mut().zip(unset) {
            message.unset = unset;
        }
        for (at, mut resource) in resources.into_iter().enumerate() {
            resource.message = table
                .kind(&resource.group, &resource.version, &resource.kind)
                .ok_or_else(|| format!("no message is registered as the kind of {}", resource.plural))?;
            table.by_plural.entry(resource.plural.clone()).or_default().push(at as u32);
            table.resources.push(resource);
        }
        Ok(table)
    }

    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// Looks a message up by its protobuf name, e.g. `k8s.io.api.core.v1.Pod`.
    pub fn named(&self, name: &str) -> Option<MessageId> {
        self.by_name.get(name).copied()
    }

    fn unset(&self, field: &Field) -> Unset {
        // A struct is there whether or not anything was set in it; pointers and slices, named ones too, are not.
        let (slice, structure) = match field.ty {
            Type::Scalar(scalar) => (scalar == Scalar::Bytes, false),
            Type::Message(id) => match self.message(id).form {
                Form::Wrapper => (true, false),
                _ => (false, true),
            },
        };
        let one = field.cardinality == Cardinality::One;
        let value = one && !field.pointer && !slice;
        Unset {
            printed: field.inline
                || field.omit == Omit::Never
                || (value && structure && field.omit != Omit::Zero),
            written: field.inline || value,
        }
    }

    /// Looks a message up by what its objects say of themselves. Options and watch events are of every group.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<MessageId> {
        let ids = self.by_kind.get(kind)?;
        let of = |group: &str, version: &str| {
            let same =
                |k: &(Box<str>, Box<str>, Box<str>)| &*k.0 == group && &*k.1 == version && &*k.2 == kind;
            ids.iter().copied().find(|&id| self.message(id).kinds.iter().any(same))
        };
        of(group, version).or_else(|| if EVERYWHERE.contains(&kind) { of("", "v1") } else { None })
    }

    pub fn messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().enumerate().map(|(i, m)| (MessageId(i as u32), m))
    }

    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Looks a resource up as a URL names it.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        let places = self.by_plural.get(plural)?;
        let mut resources = places.iter().map(|&at| &self.resources[at as usize]);
        resources.find(|r| &*r.group == group && &*r.version == version)
    }

    /// The resource whose objects are of this kind.
    pub fn resource_of(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| &*r.kind == kind && &*r.group == group && &*r.version == version)
    }
}

/// Adds the names that `id` answers to through inlined structs, with their paths.
fn inlined_names(
    messages: &[Message],
    id: MessageId,
    above: &mut Vec<u16>,
    names: &mut Vec<(Box<str>, Box<[u16]>)>,
) {
    for (at, field) in messages[id.0 as usize].fields.iter().enumerate() {
        above.push(at as u16);
        match field.ty {
            Type::Message(inlined) if field.inline => inlined_names(messages, inlined, above, names),
            _ if above.len() > 1 => names.push((field.json.clone(), above.as_slice().into())),
            _ => {}
        }
        above.pop();
    }
}

impl Message {
    /// The field that JSON calls `name`, with the inlined fields that lead to it; the last one is the field itself.
    pub fn path(&self, name: &str) -> Option<&[u16]> {
        self.names.find(&self.fields, name)
    }

    /// The directly declared field with this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match self.path(name)? {
            [one] => Some(&self.fields[*one as usize]),
            _ => None,
        }
    }

    /// The place in `fields` of the field with this protobuf number.
    pub fn by_number(&self, number: u32) -> Option<u16> {
        self.by_number.get(number as usize).copied().filter(|&at| at != u16::MAX)
    }

    /// The places in `fields` in ascending protobuf number; fields without one are not among them.
    pub fn wire_indices(&self) -> impl DoubleEndedIterator<Item = u16> {
        self.wire_order.iter().copied()
    }

    /// Fields in ascending protobuf number, as upstream's encoder writes them.
    pub fn in_wire_order(&self) -> impl Iterator<Item = &Field> {
        self.wire_order.iter().map(|&i| &self.fields[i as usize])
    }

    /// Whether fields in ascending protobuf number are in struct order too, as almost everywhere.
    pub fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// Whether JSON may show the field at this place though it was never set.
    pub fn prints_unset(&self, at: usize) -> bool {
        self.unset[at].printed
    }

    /// Whether protobuf has the field at this place though it was never set.
    pub fn writes_unset(&self, at: usize) -> bool {
        self.unset[at].written
    }

    fn index_numbers(&mut self) {
        let numbered = |at: &u16| self.fields[*at as usize].number != 0;
        self.wire_order = (0..self.fields.len() as u16).filter(numbered).collect();
        self.wire_order.sort_by_key(|&at| self.fields[at as usize].number);
        self.in_order = self.wire_order.is_sorted();
        for field in &mut self.fields {
            field.key = format!(",\"{}\":", field.json).into();
        }
        let highest = self.fields.iter().map(|f| f.number).max().unwrap_or(0);
        self.by_number = vec![u16::MAX; highest as usize + 1];
        for &at in &self.wire_order {
            self.by_number[self.fields[at as usize].number as usize] = at;
        }
    }
}
