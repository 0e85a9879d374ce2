//! What the schema says about a field of a patch.

use schema::{Cardinality, Field, Form, Message, MessageId, Table, Type};

use super::Error;
use crate::typed::find_field;

/// A type that a patch may reach.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    table: &'t Table,
    shape: Shape<'t>,
}

#[derive(Clone, Copy)]
enum Shape<'t> {
    Struct(&'t Message),
    List(&'t Field),
    Map,
    Scalar(&'static str),
}

/// How a field is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta<'t> {
    pub(super) strategy: Strategy,
    pub(super) retain_keys: bool,
    /// Empty where the list's items are not told apart by a key.
    pub(super) merge_key: &'t str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Maps merge, lists are replaced.
    Unset,
    Merge,
    Replace,
}

impl<'t> Place<'t> {
    pub(super) fn of_message(table: &'t Table, id: MessageId) -> Self {
        let message = table.message(id);
        match (message.form, message.fields.first()) {
            (Form::Wrapper, Some(field)) => Place { table, shape: Shape::Struct(message) }.of_field(field),
            _ => Place { table, shape: Shape::Struct(message) },
        }
    }

    fn of_field(self, field: &'t Field) -> Self {
        match field.cardinality {
            Cardinality::One => self.of_item(field),
            Cardinality::List => Place { shape: Shape::List(field), ..self },
            Cardinality::Map => Place { shape: Shape::Map, ..self },
        }
    }

    fn of_item(self, field: &'t Field) -> Self {
        use schema::Scalar;
        match field.ty {
            Type::Message(id) => Place::of_message(self.table, id),
            Type::Scalar(scalar) => {
                let kind = match scalar {
                    Scalar::Bool => "bool",
                    Scalar::Int32 => "int32",
                    Scalar::Int64 => "int64",
                    Scalar::UInt32 => "uint32",
                    Scalar::UInt64 => "uint64",
                    Scalar::Double | Scalar::Number => "float64",
                    Scalar::String => "string",
                    Scalar::Bytes => "slice",
                };
                Place { shape: Shape::Scalar(kind), ..self }
            }
        }
    }

    /// The Go kind, which messages name.
    pub(super) fn kind(self) -> &'static str {
        match self.shape {
            Shape::Struct(_) => "struct",
            Shape::List(_) => "slice",
            Shape::Map => "map",
            Shape::Scalar(kind) => kind,
        }
    }

    /// The type of the map field `name`.
    pub(super) fn map_field(self, name: &str) -> Result<(Place<'t>, Meta<'t>), Error> {
        let field = self.find(name)?;
        Ok((self.of_field(field), meta(field)))
    }

    /// The type of the items of the list field `name`.
    pub(super) fn list_field(self, name: &str) -> Result<(Place<'t>, Meta<'t>), Error> {
        let field = self.find(name)?;
        let place = match self.of_field(field).shape {
            Shape::List(list) => match self.of_item(list) {
                Place { shape: Shape::List(_) | Shape::Scalar("slice"), .. } => {
                    return Err(Error::failed("unexpected slice of slice"));
                }
                item => item,
            },
            shape if field.pointer && field.cardinality == Cardinality::One => Place { shape, ..self },
            _ => {
                return Err(Error::failed(format!("expected slice or array type, but got: {}", self.kind())));
            }
        };
        Ok((place, meta(field)))
    }

    /// Names that differ in case alone match where no exact one does, as in Go's decoder.
    fn find(self, name: &str) -> Result<&'t Field, Error> {
        let Shape::Struct(message) = self.shape else {
            return Err(Error::failed(format!(
                "merging an object in json but data type is not struct, instead is: {}",
                self.kind()
            )));
        };
        find_field(self.table, message, name)
            .or_else(|| self.find_folded(message, name))
            .filter(|field| !field.json.is_empty())
            .ok_or_else(|| {
                let last = message.name.rsplit('.').next().unwrap_or_default();
                Error::failed(format!(
                    "unable to find api field in struct {last} for the json field {}",
                    crate::go::quote(name)
                ))
            })
    }

    fn find_folded(self, message: &'t Message, name: &str) -> Option<&'t Field> {
        message.fields.iter().find_map(|field| match field.ty {
            Type::Message(id) if field.inline => self.find_folded(self.table.message(id), name),
            _ => field.json.eq_ignore_ascii_case(name).then_some(field),
        })
    }
}

fn meta(field: &Field) -> Meta<'_> {
    let strategy = match (field.patch.merge, field.patch.replace) {
        (true, _) => Strategy::Merge,
        (_, true) => Strategy::Replace,
        _ => Strategy::Unset,
    };
    Meta {
        strategy,
        retain_keys: field.patch.retain_keys,
        merge_key: field.merge_key.as_deref().unwrap_or_default(),
    }
}
