//! From the schema table to the three forms a value may take: scalar, list, map.

use schema::{Cardinality, Field, Form, ListType, MapType, Message, MessageId, Omit, Scalar, Table, Type};
use serde_json::Value;

use crate::fieldset::{PathElement, Set};

/// How to read a whole object.
#[derive(Clone, Copy, Debug)]
pub enum Typing<'t> {
    /// By a message of a table.
    Message(&'t Table, MessageId),
    /// By its own looks: maps are granular, lists are atomic.
    Deduced,
}

impl<'t> Typing<'t> {
    pub(crate) fn root(self) -> Node<'t> {
        match self {
            Typing::Message(table, id) => {
                Node { table: Some(table), kind: Kind::Message(id, Override::None), preserve: false }
            }
            Typing::Deduced => Node { table: None, kind: Kind::Deduced, preserve: false },
        }
    }
}

/// A place in the schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'t> {
    table: Option<&'t Table>,
    kind: Kind<'t>,
    /// An enclosing schema keeps unknown fields, and what is below inherits that.
    preserve: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind<'t> {
    Message(MessageId, Override),
    Scalar(Scalar),
    List(&'t Field),
    Map(&'t Field),
    /// Any value; maps are granular and deduced in turn.
    Deduced,
    /// Any value, owned as a whole.
    Atomic,
}

/// What a field says of the struct in it, against what the struct says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Override {
    None,
    Atomic,
    Granular,
}

/// The one field that makes an atomic struct granular again, which the table has no word for.
const GRANULAR_FIELD: (&str, &str) = ("k8s.io.api.core.v1.PersistentVolumeSpec", "claimRef");

/// The forms that a value at a place may take. Usually exactly one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Atom<'t> {
    pub(crate) scalar: Option<Primitive>,
    pub(crate) list: Option<ListAtom<'t>>,
    pub(crate) map: Option<MapAtom<'t>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primitive {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ListAtom<'t> {
    pub(crate) element: Node<'t>,
    pub(crate) relation: Relation<'t>,
}

/// What the items of a list are to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Relation<'t> {
    /// The list is owned as a whole.
    Atomic,
    /// Items are told apart by their value.
    Set,
    /// Items are told apart by these fields.
    Keyed(&'t [Box<str>]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MapAtom<'t> {
    pub(crate) atomic: bool,
    message: Option<(&'t Table, &'t Message)>,
    element: Option<Node<'t>>,
    preserve: bool,
}

impl<'t> Node<'t> {
    fn at(self, kind: Kind<'t>) -> Self {
        Node { kind, ..self }
    }

    /// The forms that a value may take here.
    pub(crate) fn atom(self) -> Atom<'t> {
        match self.kind {
            Kind::Message(id, relation) => self.message_atom(id, relation),
            Kind::Scalar(scalar) => Atom { scalar: Some(primitive(scalar)), ..Atom::default() },
            Kind::List(field) => {
                let list = ListAtom { element: self.single(field), relation: relation(field) };
                Atom { list: Some(list), ..Atom::default() }
            }
            Kind::Map(field) => {
                let map = MapAtom {
                    atomic: field.map == MapType::Atomic,
                    message: None,
                    element: Some(self.single(field)),
                    preserve: self.preserve,
                };
                Atom { map: Some(map), ..Atom::default() }
            }
            Kind::Deduced => self.any(Kind::Deduced, false),
            Kind::Atomic => self.any(Kind::Atomic, true),
        }
    }

    /// Any value at all; lists are always atomic, maps as told.
    fn any(self, element: Kind<'t>, atomic: bool) -> Atom<'t> {
        Atom {
            scalar: Some(Primitive::Untyped),
            list: Some(ListAtom { element: self.at(Kind::Atomic), relation: Relation::Atomic }),
            map: Some(MapAtom {
                atomic,
                message: None,
                element: Some(self.at(element)),
                preserve: self.preserve,
            }),
        }
    }

    fn message_atom(self, id: MessageId, relation: Override) -> Atom<'t> {
        let Some(table) = self.table else { return self.any(Kind::Deduced, false) };
        let message = table.message(id);
        let scalar = |primitive| Atom { scalar: Some(primitive), ..Atom::default() };
        match message.form {
            Form::Object => Atom { map: Some(self.object(table, message, relation)), ..Atom::default() },
            Form::Any => {
                Atom { map: Some(self.object(table, message, relation)), ..self.any(Kind::Deduced, false) }
            }
            Form::Wrapper => match message.fields.first() {
                Some(field) => self.inheriting(message).field(field).atom(),
                None => self.any(Kind::Atomic, true),
            },
            Form::Time | Form::MicroTime | Form::Quantity | Form::IntOrString => scalar(Primitive::Untyped),
            Form::Duration => scalar(Primitive::String),
            Form::Raw if message.name.ends_with("RawExtension") => self.any(Kind::Atomic, true),
            Form::Raw if message.name.ends_with("FieldsV1") => {
                Atom { map: self.any(Kind::Deduced, false).map, ..Atom::default() }
            }
            Form::Raw | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                self.any(Kind::Deduced, false)
            }
        }
    }

    /// Without fields of its own, or where it says so, an object may have any fields.
    fn object(self, table: &'t Table, message: &'t Message, relation: Override) -> MapAtom<'t> {
        let preserve = self.inheriting(message).preserve;
        let free_form = preserve || message.open || message.fields.is_empty();
        MapAtom {
            atomic: match relation {
                Override::None => message.atomic,
                Override::Atomic => true,
                Override::Granular => false,
            },
            message: Some((table, message)),
            element: free_form.then(|| self.at(Kind::Deduced)),
            preserve,
        }
    }

    fn inheriting(self, message: &Message) -> Self {
        Node { preserve: self.preserve || message.preserve_unknown, ..self }
    }

    fn field(self, field: &'t Field) -> Node<'t> {
        match field.cardinality {
            Cardinality::One => match self.single(field) {
                node @ Node { kind: Kind::Message(id, _), .. } => {
                    let relation = match field.map {
                        MapType::Atomic => Override::Atomic,
                        MapType::Granular => Override::None,
                    };
                    node.at(Kind::Message(id, relation))
                }
                node => node,
            },
            Cardinality::List => self.at(Kind::List(field)),
            Cardinality::Map => self.at(Kind::Map(field)),
        }
    }

    /// The type of one item of the field.
    fn single(self, field: &'t Field) -> Node<'t> {
        match field.ty {
            Type::Scalar(scalar) => self.at(Kind::Scalar(scalar)),
            Type::Message(id) => self.at(Kind::Message(id, Override::None)),
        }
    }
}

fn primitive(scalar: Scalar) -> Primitive {
    match scalar {
        Scalar::Bool => Primitive::Boolean,
        Scalar::String | Scalar::Bytes => Primitive::String,
        Scalar::Int32 | Scalar::Int64 | Scalar::UInt32 | Scalar::UInt64 | Scalar::Double | Scalar::Number => {
            Primitive::Numeric
        }
    }
}

fn relation(field: &Field) -> Relation<'_> {
    match field.list {
        ListType::Set => Relation::Set,
        ListType::Map => Relation::Keyed(&field.list_keys),
        ListType::Atomic => Relation::Atomic,
    }
}

impl<'t> Atom<'t> {
    /// Narrows to the form that `value` has, where that is one of several. Null fits every form.
    pub(crate) fn deduce(self, value: Option<&Value>) -> Atom<'t> {
        match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) if self.scalar.is_some() => {
                Atom { scalar: self.scalar, ..Atom::default() }
            }
            Some(Value::Array(_)) if self.list.is_some() => Atom { list: self.list, ..Atom::default() },
            Some(Value::Object(_)) if self.map.is_some() => Atom { map: self.map, ..Atom::default() },
            _ => self,
        }
    }

    /// Whether two narrowings of one atom came out alike.
    pub(crate) fn same_forms(&self, other: &Atom<'_>) -> bool {
        self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }

    /// The form to walk: a map before a scalar before a list.
    pub(crate) fn form(self) -> AtomForm<'t> {
        match self {
            Atom { map: Some(map), .. } => AtomForm::Map(map),
            Atom { scalar: Some(scalar), .. } => AtomForm::Scalar(scalar),
            Atom { list: Some(list), .. } => AtomForm::List(list),
            Atom { .. } => unreachable!("every node offers at least one form"),
        }
    }
}

/// One chosen form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtomForm<'t> {
    Scalar(Primitive),
    List(ListAtom<'t>),
    Map(MapAtom<'t>),
}

impl<'t> MapAtom<'t> {
    /// The type of a declared field.
    pub(crate) fn declared(&self, name: &str) -> Option<Node<'t>> {
        let (table, message) = self.message?;
        let field = find_field(table, message, name)?;
        let node = Node { table: Some(table), kind: Kind::Deduced, preserve: self.preserve }.field(field);
        match node.kind {
            Kind::Message(id, _) if (&*message.name, name) == GRANULAR_FIELD => {
                Some(node.at(Kind::Message(id, Override::Granular)))
            }
            _ => Some(node),
        }
    }

    /// The type of any field: declared, or what undeclared fields are; `None` where those are not allowed.
    pub(crate) fn item(&self, name: &str) -> Option<Node<'t>> {
        self.declared(name).or_else(|| self.undeclared())
    }

    /// The type of fields that are not declared.
    pub(crate) fn undeclared(&self) -> Option<Node<'t>> {
        self.element.map(|node| Node { preserve: self.preserve, ..node })
    }

    /// A map of which nothing is known but that it is one.
    pub(crate) fn is_deduced(&self) -> bool {
        let fields = self.message.map_or(0, |(_, message)| message.fields.len());
        fields == 0 && matches!(self.element, Some(Node { kind: Kind::Deduced, .. }))
    }

    /// What the key field `name` of a list item is when it is absent.
    pub(crate) fn key_default(&self, name: &str) -> Option<Value> {
        let (table, message) = self.message?;
        let field = find_field(table, message, name)?;
        if let Some(text) = &field.default {
            return serde_json::from_str(text).ok();
        }
        // Upstream's published schemas give the zero value as the default of a field that is always written.
        match field.ty {
            Type::Scalar(scalar)
                if scalar != Scalar::Bytes
                    && field.cardinality == Cardinality::One
                    && !field.pointer
                    && field.omit == Omit::Never =>
            {
                match primitive(scalar) {
                    Primitive::String => Some(Value::from("")),
                    Primitive::Boolean => Some(Value::from(false)),
                    Primitive::Numeric => Some(Value::from(0)),
                    Primitive::Untyped => None,
                }
            }
            _ => None,
        }
    }
}

/// Finds a field by its JSON name, through inlined structs.
pub(crate) fn find_field<'t>(table: &'t Table, message: &'t Message, name: &str) -> Option<&'t Field> {
    let (last, parents) = message.path(name)?.split_last()?;
    let mut holder = message;
    for &index in parents {
        let Type::Message(id) = holder.fields.get(index as usize)?.ty else { return None };
        holder = table.message(id);
    }
    holder.fields.get(*last as usize)
}

/// Adds every declared field that has members below it. A manager that owns parts of a struct thereby counts as
/// keeping the struct itself.
pub(crate) fn with_named_fields(set: &Set, typing: Typing<'_>) -> Set {
    fn walk(set: &Set, node: Option<Node<'_>>) -> Set {
        let atom = node.map(Node::atom).unwrap_or_default();
        set.map_edges(|element, member, below| {
            let mut declared = false;
            let inner = match element {
                PathElement::Field(name) => atom.map.and_then(|map| {
                    declared = map.declared(name).is_some();
                    map.item(name)
                }),
                PathElement::Key(_) => atom.list.map(|list| list.element),
                _ => None,
            };
            let has_children = !below.is_empty();
            Some((member || declared && has_children, walk(below, inner)))
        })
    }
    walk(set, Some(typing.root()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The forms of a place in one line, to compare with what upstream's schema says of it.
    fn describe(node: Node<'_>, depth: usize) -> String {
        let atom = node.atom();
        let inner = |node: Node<'_>| match depth {
            0 => String::new(),
            _ => format!("of[{}]", describe(node, depth - 1)),
        };
        let mut out = Vec::new();
        if let Some(scalar) = atom.scalar {
            out.push(format!("s:{}", format!("{scalar:?}").to_lowercase()));
        }
        if let Some(list) = atom.list {
            let relation = match list.relation {
                Relation::Atomic => "atomic-list".to_owned(),
                Relation::Set => "list()".to_owned(),
                Relation::Keyed(keys) => format!("list({})", keys.join(",")),
            };
            out.push(relation + &inner(list.element));
        }
        if let Some(map) = atom.map {
            let relation = if map.atomic { "atomic-map" } else { "map" };
            out.push(relation.to_owned() + &map.element.map_or_else(String::new, inner));
        }
        out.join(" ")
    }

    /// Recorded from the schema that client-go publishes for apply configurations.
    #[test]
    fn every_built_in_field_has_the_shape_that_upstream_gives_it() {
        let recorded: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(include_str!("../../tests/data/shapes.json")).unwrap();
        let table = schema::builtin();
        let (mut fields, mut absent, mut wrong) = (0, Vec::new(), Vec::new());
        for (name, shapes) in &recorded {
            let Some(id) = table.named(name) else {
                absent.push(name);
                continue;
            };
            let root = Typing::Message(table, id).root();
            let map = root.atom().map.unwrap();
            for (field, wanted) in shapes {
                // The server itself reads raw extensions as untyped, whatever this schema says.
                if name.ends_with("RawExtension") {
                    continue;
                }
                fields += 1;
                let got = if field.is_empty() {
                    describe(root, 0)
                } else {
                    let Some(node) = map.declared(field) else {
                        wrong.push(format!("{name}.{field}: not declared"));
                        continue;
                    };
                    let default = match map.key_default(field) {
                        Some(default) if node.atom().scalar.is_some() => format!(" default={default}"),
                        _ => String::new(),
                    };
                    describe(node, 1) + &default
                };
                if got != *wanted {
                    wrong.push(format!("{name}.{field}: {got}, wanted {wanted}"));
                }
            }
        }
        println!("shapes.json: {} messages, {fields} fields, {} differ", recorded.len(), wrong.len());
        assert!(wrong.is_empty() && absent.is_empty(), "{}\nabsent: {absent:?}", wrong.join("\n"));
    }
}
