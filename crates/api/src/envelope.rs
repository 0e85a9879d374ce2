//! The `k8s\0` envelope around protobuf: the magic, then a `runtime.Unknown` with the type beside the message.

use std::fmt;

use crate::proto::wire::{BYTES, Payload, Reader, WireError};

pub const MAGIC: &[u8; 4] = b"k8s\0";

/// An opened envelope. The message stays where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_encoding: &'a str,
    pub content_type: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    Empty,
    EmptyBody,
    NoMagic,
    Wire(WireError),
    NotText,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeError::Empty => f.write_str("empty data"),
            EnvelopeError::EmptyBody => f.write_str("empty body"),
            EnvelopeError::NoMagic => f.write_str(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
            ),
            EnvelopeError::Wire(error) => error.fmt(f),
            EnvelopeError::NotText => f.write_str("type metadata is not UTF-8"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<WireError> for EnvelopeError {
    fn from(error: WireError) -> Self {
        EnvelopeError::Wire(error)
    }
}

/// Opens an envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    if bytes.is_empty() {
        return Err(EnvelopeError::Empty);
    }
    let body = bytes.strip_prefix(MAGIC).ok_or(EnvelopeError::NoMagic)?;
    if body.is_empty() {
        return Err(EnvelopeError::EmptyBody);
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| EnvelopeError::NotText);
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(body);
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        let payload = reader.payload(wire)?;
        let Payload::Bytes(payload) = payload else {
            if number <= 4 {
                return Err(WireError::WrongWireType { wire, field: "Unknown".into() }.into());
            }
            continue;
        };
        match number {
            1 => {
                let mut meta = Reader::new(payload);
                while !meta.done() {
                    let (number, wire) = meta.tag()?;
                    match (number, meta.payload(wire)?) {
                        (1, Payload::Bytes(v)) => envelope.api_version = text(v)?,
                        (2, Payload::Bytes(v)) => envelope.kind = text(v)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = payload,
            3 => envelope.content_encoding = text(payload)?,
            4 => envelope.content_type = text(payload)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Puts a message into an envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    head(&mut out, api_version, kind, raw.len());
    out.extend_from_slice(raw);
    tail(&mut out);
    out
}

/// What stands before a message of `len` bytes, so that a list can be streamed behind it.
pub fn head(out: &mut Vec<u8>, api_version: &str, kind: &str, len: usize) {
    out.extend_from_slice(MAGIC);
    let (version, name) = (field_len(api_version.len()), field_len(kind.len()));
    put_tag(out, 1);
    put_varint(out, (version + name) as u64);
    put_field(out, 1, api_version.as_bytes());
    put_field(out, 2, kind.as_bytes());
    put_tag(out, 2);
    put_varint(out, len as u64);
}

/// What stands behind it: empty encoding and type, as upstream writes them.
pub fn tail(out: &mut Vec<u8>) {
    put_field(out, 3, b"");
    put_field(out, 4, b"");
}

/// The tag of a length-delimited field.
pub fn put_tag(out: &mut Vec<u8>, number: u32) {
    put_varint(out, u64::from(number) << 3 | u64::from(BYTES));
}

/// A length-delimited field.
pub fn put_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that a varint takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A length-delimited field with a one-byte tag.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}
