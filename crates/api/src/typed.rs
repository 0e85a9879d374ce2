//! Typed objects straight from protobuf.
//!
//! A serde `Deserializer` walks the table, so a `k8s-openapi` struct is filled without JSON in between. Serde code is
//! the heaviest thing that the build knows, so [`Typed`] is implemented here, once, for each type that somebody uses.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api as k8s;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schema::{Cardinality, Field, Form, Message, MessageId, Scalar, Table, Type};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::proto::walk::Outside;
use crate::proto::wire::{self, MAX_DEPTH, Payload, Payloads, Span, WireError};
use crate::{json, proto, special};

/// A built-in kind as a Rust struct. Decoding and encoding are instantiated in this crate alone.
pub trait Typed: Sized + Send + Sync + 'static {
    /// The message in the built-in table.
    const MESSAGE: &'static str;

    fn from_proto(bytes: &[u8], outside: Outside<'_>) -> Result<Self, TypedError>;
    fn from_tree(tree: &Value) -> Result<Self, TypedError>;
    fn to_tree(&self) -> Value;
}

/// Why bytes or a tree are not a typed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedError(String);

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TypedError {}

impl de::Error for TypedError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        TypedError(message.to_string())
    }
}

impl From<WireError> for TypedError {
    fn from(error: WireError) -> Self {
        TypedError(error.to_string())
    }
}

macro_rules! typed {
    ($($message:literal => $type:ty,)*) => {
        $(
            impl Typed for $type {
                const MESSAGE: &'static str = $message;

                fn from_proto(bytes: &[u8], outside: Outside<'_>) -> Result<Self, TypedError> {
                    let table = schema::builtin();
                    let id = table.named($message).expect("every typed message is in the table");
                    serde::Deserialize::deserialize(ValueOf { table, id, bytes, outside, root: true, depth: 0 })
                }

                fn from_tree(tree: &Value) -> Result<Self, TypedError> {
                    serde::Deserialize::deserialize(tree).map_err(|e: serde_json::Error| TypedError(e.to_string()))
                }

                fn to_tree(&self) -> Value {
                    let raw = serde_json::to_value(self).expect("typed objects have string keys only");
                    normal(schema::builtin(), $message, raw)
                }
            }
        )*

        /// Decodes by message name and encodes again: lets a test reach every typed kind.
        #[doc(hidden)]
        pub fn through_typed(message: &str, bytes: &[u8], outside: Outside<'_>) -> Option<Result<Value, TypedError>> {
            match message {
                $($message => Some(<$type as Typed>::from_proto(bytes, outside).map(|object| object.to_tree())),)*
                _ => None,
            }
        }

        /// The messages that have a typed form.
        pub const TYPED_MESSAGES: &[&str] = &[$($message),*];
    };
}

typed! {
    "k8s.io.api.core.v1.Binding" => k8s::core::v1::Binding,
    "k8s.io.api.core.v1.ConfigMap" => k8s::core::v1::ConfigMap,
    "k8s.io.api.core.v1.Endpoints" => k8s::core::v1::Endpoints,
    "k8s.io.api.core.v1.Event" => k8s::core::v1::Event,
    "k8s.io.api.core.v1.LimitRange" => k8s::core::v1::LimitRange,
    "k8s.io.api.core.v1.Namespace" => k8s::core::v1::Namespace,
    "k8s.io.api.core.v1.Node" => k8s::core::v1::Node,
    "k8s.io.api.core.v1.PersistentVolume" => k8s::core::v1::PersistentVolume,
    "k8s.io.api.core.v1.PersistentVolumeClaim" => k8s::core::v1::PersistentVolumeClaim,
    "k8s.io.api.core.v1.Pod" => k8s::core::v1::Pod,
    "k8s.io.api.core.v1.PodTemplate" => k8s::core::v1::PodTemplate,
    "k8s.io.api.core.v1.ReplicationController" => k8s::core::v1::ReplicationController,
    "k8s.io.api.core.v1.ResourceQuota" => k8s::core::v1::ResourceQuota,
    "k8s.io.api.core.v1.Secret" => k8s::core::v1::Secret,
    "k8s.io.api.core.v1.Service" => k8s::core::v1::Service,
    "k8s.io.api.core.v1.ServiceAccount" => k8s::core::v1::ServiceAccount,
    "k8s.io.api.apps.v1.ControllerRevision" => k8s::apps::v1::ControllerRevision,
    "k8s.io.api.apps.v1.DaemonSet" => k8s::apps::v1::DaemonSet,
    "k8s.io.api.apps.v1.Deployment" => k8s::apps::v1::Deployment,
    "k8s.io.api.apps.v1.ReplicaSet" => k8s::apps::v1::ReplicaSet,
    "k8s.io.api.apps.v1.StatefulSet" => k8s::apps::v1::StatefulSet,
    "k8s.io.api.autoscaling.v2.HorizontalPodAutoscaler" => k8s::autoscaling::v2::HorizontalPodAutoscaler,
    "k8s.io.api.batch.v1.CronJob" => k8s::batch::v1::CronJob,
    "k8s.io.api.batch.v1.Job" => k8s::batch::v1::Job,
    "k8s.io.api.certificates.v1.CertificateSigningRequest" => k8s::certificates::v1::CertificateSigningRequest,
    "k8s.io.api.coordination.v1.Lease" => k8s::coordination::v1::Lease,
    "k8s.io.api.discovery.v1.EndpointSlice" => k8s::discovery::v1::EndpointSlice,
    "k8s.io.api.networking.v1.Ingress" => k8s::networking::v1::Ingress,
    "k8s.io.api.networking.v1.NetworkPolicy" => k8s::networking::v1::NetworkPolicy,
    "k8s.io.api.node.v1.RuntimeClass" => k8s::node::v1::RuntimeClass,
    "k8s.io.api.policy.v1.PodDisruptionBudget" => k8s::policy::v1::PodDisruptionBudget,
    "k8s.io.api.rbac.v1.ClusterRole" => k8s::rbac::v1::ClusterRole,
    "k8s.io.api.rbac.v1.ClusterRoleBinding" => k8s::rbac::v1::ClusterRoleBinding,
    "k8s.io.api.rbac.v1.Role" => k8s::rbac::v1::Role,
    "k8s.io.api.rbac.v1.RoleBinding" => k8s::rbac::v1::RoleBinding,
    "k8s.io.api.scheduling.v1.PriorityClass" => k8s::scheduling::v1::PriorityClass,
    "k8s.io.api.storage.v1.CSINode" => k8s::storage::v1::CSINode,
    "k8s.io.api.storage.v1.StorageClass" => k8s::storage::v1::StorageClass,
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" =>
        apiextensions::CustomResourceDefinition,
}

/// Any struct out of any message: what tests of kinds that nobody uses yet go by. Each type that it is called with
/// costs its serde code once more, so the crates above call [`Typed`].
#[doc(hidden)]
pub fn decode_as<T: de::DeserializeOwned>(
    message: &str,
    bytes: &[u8],
    outside: Outside<'_>,
) -> Result<T, TypedError> {
    let table = schema::builtin();
    let id = table.named(message).ok_or_else(|| TypedError(format!("{message} is not in the table")))?;
    T::deserialize(ValueOf { table, id, bytes, outside, root: true, depth: 0 })
}

/// Metadata alone, out of any kind's bytes.
pub fn metadata(bytes: &[u8], revision: Option<u64>) -> Result<meta::ObjectMeta, TypedError> {
    let table = schema::builtin();
    let id = table
        .named("k8s.io.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata")
        .expect("meta/v1 is in the table");
    let outside = Outside { revision, ..Outside::default() };
    let tree = proto::to_tree(table, id, bytes, outside)?;
    serde::Deserialize::deserialize(&tree["metadata"])
        .map_err(|e: serde_json::Error| TypedError(e.to_string()))
}

/// What `k8s-openapi` printed, in Go's normal form.
fn normal(table: &Table, message: &str, tree: Value) -> Value {
    let Some(id) = table.named(message) else { return tree };
    match json::normalize(table, id, &tree) {
        Ok(decoded) => decoded.value,
        Err(_) => tree,
    }
}

/// One message as serde sees it.
#[derive(Clone, Copy)]
struct ValueOf<'t, 'b> {
    table: &'t Table,
    id: MessageId,
    bytes: &'b [u8],
    outside: Outside<'b>,
    root: bool,
    depth: u32,
}

impl<'de> de::Deserializer<'de> for ValueOf<'_, 'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        if self.depth > MAX_DEPTH {
            return Err(WireError::TooDeep.into());
        }
        let message = self.table.message(self.id);
        match message.form {
            Form::Object => {
                let mut entries = Vec::with_capacity(message.fields.len());
                collect(self.table, message, self.bytes, self.outside, self.root, &mut entries)?;
                visitor.visit_map(Entries { of: self, entries: entries.into_iter(), value: None })
            }
            Form::Wrapper => {
                let Some(field) = message.fields.first() else { return visitor.visit_unit() };
                let mut span = [Span::default()];
                wire::scan(message, self.bytes, &mut span)?;
                FieldOf { of: self, field, bytes: self.bytes, span: span[0] }.deserialize_any(visitor)
            }
            Form::Time | Form::MicroTime => {
                let (seconds, nanos) = special::timestamp(self.bytes)?;
                let mut text = special::TimeText::default();
                match message.form {
                    Form::Time => text.seconds(seconds),
                    _ => text.micros(seconds, nanos),
                }
                match text.as_bytes() {
                    Some(text) if !self.bytes.is_empty() => visitor.visit_str(&String::from_utf8_lossy(text)),
                    _ => visitor.visit_unit(),
                }
            }
            Form::Duration => {
                visitor.visit_string(special::duration_text(special::only_varint(self.bytes)? as i64))
            }
            Form::Quantity => {
                let text = special::only_bytes(self.bytes)?;
                visitor.visit_str(&special::canonical_quantity(text).map_err(TypedError)?)
            }
            Form::IntOrString => match special::int_or_string(self.bytes)? {
                special::IntOrString::Int(value) => visitor.visit_i32(value),
                special::IntOrString::Text(text) => visitor.visit_str(&String::from_utf8_lossy(text)),
            },
            Form::Raw => {
                let text = special::only_bytes(self.bytes)?;
                let value = if text.is_empty() {
                    Value::Null
                } else {
                    json::parse_untyped(text).map_err(|e| TypedError(e.to_string()))?
                };
                value.deserialize_any(visitor).map_err(|e| TypedError(e.to_string()))
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings | Form::Any => {
                let tree = proto::to_tree(self.table, self.id, self.bytes, Outside::default())?;
                tree.deserialize_any(visitor).map_err(|e| TypedError(e.to_string()))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let form = self.table.message(self.id).form;
        if matches!(form, Form::Time | Form::MicroTime | Form::Raw) && self.bytes.is_empty() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// A field's name and where its value is.
enum Entry<'t, 'b> {
    Text(&'static str, &'b str),
    Revision(u64),
    Field { field: &'t Field, bytes: &'b [u8], span: Span, metadata: bool },
}

fn collect<'t, 'b>(
    table: &'t Table,
    message: &'t Message,
    bytes: &'b [u8],
    outside: Outside<'b>,
    root: bool,
    entries: &mut Vec<Entry<'t, 'b>>,
) -> Result<(), TypedError> {
    let mut spans = vec![Span::default(); message.fields.len()];
    wire::scan(message, bytes, &mut spans)?;
    for (field, span) in message.fields.iter().zip(spans) {
        if field.inline {
            let Type::Message(id) = field.ty else { continue };
            if field.number == 0 {
                if root && !outside.kind.is_empty() {
                    entries.push(Entry::Text("apiVersion", outside.api_version));
                    entries.push(Entry::Text("kind", outside.kind));
                }
            } else if let Some(Payload::Bytes(nested)) =
                wire::last(bytes, span, field).filter(|_| span.count > 0)
            {
                collect(table, table.message(id), nested, outside, false, entries)?;
            }
            continue;
        }
        if span.count > 0 {
            entries.push(Entry::Field { field, bytes, span, metadata: root && &*field.json == "metadata" });
        }
    }
    Ok(())
}

struct Entries<'t, 'b> {
    of: ValueOf<'t, 'b>,
    entries: std::vec::IntoIter<Entry<'t, 'b>>,
    value: Option<Entry<'t, 'b>>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = TypedError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypedError> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        let key: &str = match &entry {
            Entry::Text(name, _) => name,
            Entry::Revision(_) => "resourceVersion",
            Entry::Field { field, .. } => &field.json,
        };
        let key = seed.deserialize(IntoDeserializer::<TypedError>::into_deserializer(key))?;
        self.value = Some(entry);
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, TypedError> {
        match self.value.take() {
            Some(Entry::Text(_, text)) => {
                seed.deserialize(Scalarly(Payload::Bytes(text.as_bytes()), Scalar::String))
            }
            Some(Entry::Revision(revision)) => seed.deserialize(OwnedText(revision.to_string())),
            Some(Entry::Field { field, bytes, span, metadata }) => {
                match (metadata, self.of.outside.revision, field.ty) {
                    (true, Some(revision), Type::Message(id)) => {
                        seed.deserialize(MetadataOf { of: self.of, field, id, bytes, span, revision })
                    }
                    _ => seed.deserialize(FieldOf { of: self.of, field, bytes, span }),
                }
            }
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// The root's metadata, whose revision comes from outside.
struct MetadataOf<'t, 'b> {
    of: ValueOf<'t, 'b>,
    field: &'t Field,
    id: MessageId,
    bytes: &'b [u8],
    span: Span,
    revision: u64,
}

impl<'de> de::Deserializer<'de> for MetadataOf<'_, 'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let nested = match wire::last(self.bytes, self.span, self.field) {
            Some(Payload::Bytes(nested)) => nested,
            _ => &self.bytes[..0],
        };
        let message = self.of.table.message(self.id);
        let mut entries = Vec::with_capacity(message.fields.len());
        collect(self.of.table, message, nested, Outside::default(), false, &mut entries)?;
        entries.retain(|e| !matches!(e, Entry::Field { field, .. } if &*field.json == "resourceVersion"));
        entries.push(Entry::Revision(self.revision));
        let of = ValueOf { outside: Outside::default(), root: false, depth: self.of.depth + 1, ..self.of };
        visitor.visit_map(Entries { of, entries: entries.into_iter(), value: None })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any newtype_struct
    }
}

/// A field that is present.
#[derive(Clone, Copy)]
struct FieldOf<'t, 'b> {
    of: ValueOf<'t, 'b>,
    field: &'t Field,
    bytes: &'b [u8],
    span: Span,
}

impl<'t, 'de> FieldOf<'t, 'de> {
    fn element(&self, payload: Payload<'de>) -> Result<ElementOf<'t, 'de>, TypedError> {
        Ok(match (self.field.ty, payload) {
            (Type::Message(id), Payload::Bytes(bytes)) => {
                ElementOf::Message(ValueOf { id, bytes, root: false, depth: self.of.depth + 1, ..self.of })
            }
            (Type::Scalar(scalar), payload) => ElementOf::Scalar(Scalarly(payload, scalar)),
            (Type::Message(_), _) => {
                return Err(
                    WireError::WrongWireType { wire: 0, field: wire::go_name(&self.field.json) }.into()
                );
            }
        })
    }
}

impl<'de> de::Deserializer<'de> for FieldOf<'_, 'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let payloads = Payloads::new(self.bytes, self.span, self.field);
        match self.field.cardinality {
            Cardinality::List => visitor.visit_seq(Many { of: self, payloads, value: None }),
            Cardinality::Map => visitor.visit_map(Many { of: self, payloads, value: None }),
            Cardinality::One => match wire::last(self.bytes, self.span, self.field) {
                Some(payload) => self.element(payload)?.deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match (self.field.cardinality, wire::last(self.bytes, self.span, self.field)) {
            (Cardinality::One, Some(payload)) => self.element(payload)?.deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of a list, or the entries of a map.
struct Many<'t, 'b> {
    of: FieldOf<'t, 'b>,
    payloads: Payloads<'b>,
    value: Option<Option<Payload<'b>>>,
}

impl<'de> de::SeqAccess<'de> for Many<'_, 'de> {
    type Error = TypedError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, TypedError> {
        match self.payloads.next() {
            Some(payload) => seed.deserialize(self.of.element(payload)?).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.of.span.count as usize)
    }
}

impl<'de> de::MapAccess<'de> for Many<'_, 'de> {
    type Error = TypedError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypedError> {
        let Some(Payload::Bytes(entry)) = self.payloads.next() else { return Ok(None) };
        let (key, value) = wire::map_entry(entry)?;
        self.value = Some(value);
        seed.deserialize(Scalarly(Payload::Bytes(key), Scalar::String)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, TypedError> {
        let absent = match wire::wire_type(self.of.field.ty) {
            wire::BYTES => Payload::Bytes(b""),
            _ => Payload::Varint(0),
        };
        let payload = self.value.take().flatten().unwrap_or(absent);
        seed.deserialize(self.of.element(payload)?)
    }
}

/// One element.
enum ElementOf<'t, 'b> {
    Message(ValueOf<'t, 'b>),
    Scalar(Scalarly<'b>),
}

impl<'de> de::Deserializer<'de> for ElementOf<'_, 'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match self {
            ElementOf::Message(message) => message.deserialize_any(visitor),
            ElementOf::Scalar(scalar) => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match self {
            ElementOf::Message(message) => message.deserialize_option(visitor),
            ElementOf::Scalar(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// Text that is nowhere in the bytes.
struct OwnedText(String);

impl<'de> de::Deserializer<'de> for OwnedText {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any newtype_struct
    }
}

/// A payload as its scalar.
struct Scalarly<'b>(Payload<'b>, Scalar);

impl<'de> de::Deserializer<'de> for Scalarly<'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match (self.1, self.0) {
            (Scalar::Bool, Payload::Varint(v)) => visitor.visit_bool(v != 0),
            (Scalar::Int32, Payload::Varint(v)) => visitor.visit_i32(v as i32),
            (Scalar::UInt32, Payload::Varint(v)) => visitor.visit_u32(v as u32),
            (Scalar::UInt64, Payload::Varint(v)) => visitor.visit_u64(v),
            (_, Payload::Varint(v)) => visitor.visit_i64(v as i64),
            (_, Payload::Fixed64(v)) => visitor.visit_f64(f64::from_bits(v)),
            (_, Payload::Fixed32(v)) => visitor.visit_f32(f32::from_bits(v)),
            (Scalar::Bytes, Payload::Bytes(v)) => visitor.visit_string(STANDARD.encode(v)),
            (_, Payload::Bytes(v)) => match std::str::from_utf8(v) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => visitor.visit_string(String::from_utf8_lossy(v).into_owned()),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
