//! The protobuf wire format, as far as Kubernetes uses it.

use std::fmt;

use schema::{Cardinality, Field, Message, Scalar, Type};

/// Nesting beyond this is refused, in messages as in JSON.
pub const MAX_DEPTH: u32 = 512;

/// What can be wrong with protobuf bytes. The texts are those of upstream's generated decoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    Truncated,
    Overflow,
    IllegalTag {
        field: u64,
        wire: u8,
    },
    WrongWireType {
        wire: u8,
        field: Box<str>,
    },
    UnsupportedWireType(u8),
    TooDeep,
    /// A value of the right wire type that its field cannot hold.
    BadValue {
        field: Box<str>,
        why: String,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => f.write_str("unexpected EOF"),
            WireError::Overflow => f.write_str("proto: integer overflow"),
            WireError::IllegalTag { field, wire } => {
                write!(f, "proto: illegal tag {field} (wire type {wire})")
            }
            WireError::WrongWireType { wire, field } => {
                write!(f, "proto: wrong wireType = {wire} for field {field}")
            }
            WireError::UnsupportedWireType(wire) => write!(f, "proto: illegal wireType {wire}"),
            WireError::TooDeep => f.write_str("proto: exceeded max depth"),
            WireError::BadValue { field, why } => write!(f, "proto: field {field}: {why}"),
        }
    }
}

impl std::error::Error for WireError {}

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// Walks the fields of one message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

/// One field's payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&b) if b < 0x80 => {
                self.at += 1;
                Ok(u64::from(b))
            }
            Some(_) => self.long_varint(),
            None => Err(WireError::Truncated),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if shift >= 64 {
                return Err(WireError::Overflow);
            }
            let b = *self.bytes.get(self.at).ok_or(WireError::Truncated)?;
            self.at += 1;
            value |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Overflow)
    }

    /// The next field's number and wire type.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = self.varint()?;
        let (field, wire) = (tag >> 3, (tag & 7) as u8);
        if field == 0 || field > u64::from(u32::MAX >> 3) {
            return Err(WireError::IllegalTag { field, wire });
        }
        Ok((field as u32, wire))
    }

    #[inline]
    pub(crate) fn slice(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| WireError::Overflow)?)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(len).ok_or(WireError::Overflow)?;
        let slice = self.bytes.get(self.at..end).ok_or(WireError::Truncated)?;
        self.at = end;
        Ok(slice)
    }

    #[inline]
    pub(crate) fn payload(&mut self, wire: u8) -> Result<Payload<'a>, WireError> {
        Ok(match wire {
            BYTES => Payload::Bytes(self.slice()?),
            VARINT => Payload::Varint(self.varint()?),
            FIXED64 => {
                let word = self.take(8)?;
                Payload::Fixed64(u64::from_le_bytes(word.try_into().expect("eight bytes were taken")))
            }
            FIXED32 => {
                let word = self.take(4)?;
                Payload::Fixed32(u32::from_le_bytes(word.try_into().expect("four bytes were taken")))
            }
            other => return Err(WireError::UnsupportedWireType(other)),
        })
    }
}

/// Where one field's occurrences lie: from the first one's tag to the last one's end.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    pub at: u32,
    pub end: u32,
    pub count: u32,
}

/// The wire type that a single value of this type has.
pub(crate) fn wire_type(ty: Type) -> u8 {
    match ty {
        Type::Scalar(Scalar::String | Scalar::Bytes) | Type::Message(_) => BYTES,
        Type::Scalar(Scalar::Double | Scalar::Number) => FIXED64,
        Type::Scalar(_) => VARINT,
    }
}

/// Whether a field may have this wire type; lists of numbers may be packed.
#[inline]
pub(crate) fn fits(field: &Field, wire: u8) -> bool {
    match field.cardinality {
        Cardinality::Map => wire == BYTES,
        Cardinality::List => wire == BYTES || wire == wire_type(field.ty),
        Cardinality::One => wire == wire_type(field.ty),
    }
}

/// Whether the known fields of `message` stand in `bytes` in struct order, the occurrences of each together, as every
/// encoder that we know writes them.
pub(crate) fn is_in_order(message: &Message, bytes: &[u8]) -> Result<bool, WireError> {
    if bytes.len() > u32::MAX as usize {
        return Err(WireError::Overflow);
    }
    let mut reader = Reader::new(bytes);
    let (mut last, mut last_many) = (0, true);
    let mut none_yet = true;
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        reader.payload(wire)?;
        let Some(index) = message.by_number(number) else {
            // An unknown field between the items of a list would part them.
            last_many = false;
            continue;
        };
        let field = &message.fields[usize::from(index)];
        let again = index == last && last_many && !none_yet;
        if !(none_yet || index > last || again) || !fits(field, wire) {
            return Ok(false);
        }
        (last, last_many, none_yet) = (index, field.cardinality != Cardinality::One, false);
    }
    Ok(true)
}

/// Finds each known field of `message` in `bytes`; unknown ones are passed over, as upstream does.
/// `spans` has one entry per field of the message and is all default.
pub(crate) fn scan(message: &Message, bytes: &[u8], spans: &mut [Span]) -> Result<(), WireError> {
    if bytes.len() > u32::MAX as usize {
        return Err(WireError::Overflow);
    }
    let mut reader = Reader::new(bytes);
    while !reader.done() {
        let start = reader.at as u32;
        let (number, wire) = reader.tag()?;
        reader.payload(wire)?;
        let Some(index) = message.by_number(number) else { continue };
        let field = &message.fields[index as usize];
        if !fits(field, wire) {
            return Err(WireError::WrongWireType { wire, field: go_name(&field.json) });
        }
        let span = &mut spans[index as usize];
        if span.count == 0 {
            span.at = start;
        }
        span.end = reader.at as u32;
        span.count += 1;
    }
    Ok(())
}

/// The payloads of one field inside its span, in order; other fields between them are passed over.
pub(crate) struct Payloads<'a> {
    reader: Reader<'a>,
    number: u32,
    /// What is left of a packed run of varints.
    packed: Option<Reader<'a>>,
    unpack: bool,
}

impl<'a> Payloads<'a> {
    pub(crate) fn new(bytes: &'a [u8], span: Span, field: &Field) -> Payloads<'a> {
        let unpack = field.cardinality == Cardinality::List && wire_type(field.ty) != BYTES;
        let reader = Reader { bytes: &bytes[..span.end as usize], at: span.at as usize };
        Payloads { reader, number: field.number, packed: None, unpack }
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Payload<'a>;

    #[inline]
    fn next(&mut self) -> Option<Payload<'a>> {
        loop {
            if let Some(run) = &mut self.packed {
                if run.done() {
                    self.packed = None;
                } else {
                    return run.varint().ok().map(Payload::Varint);
                }
            }
            if self.reader.done() {
                return None;
            }
            // `scan` has walked these bytes, so they are well formed.
            let (number, wire) = self.reader.tag().ok()?;
            let payload = self.reader.payload(wire).ok()?;
            if number != self.number {
                continue;
            }
            match payload {
                Payload::Bytes(run) if self.unpack => self.packed = Some(Reader::new(run)),
                other => return Some(other),
            }
        }
    }
}

/// The last payload of a field that holds one value.
pub(crate) fn last<'a>(bytes: &'a [u8], span: Span, field: &Field) -> Option<Payload<'a>> {
    if span.count == 1 {
        let mut reader = Reader { bytes, at: span.at as usize };
        let (_, wire) = reader.tag().ok()?;
        return reader.payload(wire).ok();
    }
    Payloads::new(bytes, span, field).last()
}

/// Key and value of one map entry. Either may be absent.
pub(crate) fn map_entry(bytes: &[u8]) -> Result<(&[u8], Option<Payload<'_>>), WireError> {
    let mut reader = Reader::new(bytes);
    let (mut key, mut value) = (&bytes[..0], None);
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        match (number, reader.payload(wire)?) {
            (1, Payload::Bytes(k)) => key = k,
            (2, v) => value = Some(v),
            _ => {}
        }
    }
    Ok((key, value))
}

/// The Go field name that upstream's messages use for a JSON name.
pub(crate) fn go_name(json: &str) -> Box<str> {
    let mut name = json.to_owned();
    if let Some(first) = name.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    name.into()
}

/// Writes protobuf from the end towards the front, so that lengths are known when they are needed.
pub(crate) struct Reverse {
    buffer: Vec<u8>,
    at: usize,
}

impl Reverse {
    pub(crate) fn with_capacity(capacity: usize) -> Reverse {
        let capacity = capacity.max(64);
        Reverse { buffer: vec![0; capacity], at: capacity }
    }

    /// Bytes written so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.at
    }

    #[cold]
    fn grow(&mut self, need: usize) {
        let old = self.len();
        let capacity = (self.buffer.len() * 2).max(old + need);
        let mut bigger = vec![0; capacity];
        bigger[capacity - old..].copy_from_slice(&self.buffer[self.at..]);
        self.buffer = bigger;
        self.at = capacity - old;
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.at < bytes.len() {
            self.grow(bytes.len());
        }
        self.at -= bytes.len();
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn varint(&mut self, mut value: u64) {
        if value < 0x80 {
            if self.at == 0 {
                self.grow(1);
            }
            self.at -= 1;
            self.buffer[self.at] = value as u8;
            return;
        }
        let mut scratch = [0; 10];
        let mut used = 0;
        while value >= 0x80 {
            scratch[used] = value as u8 | 0x80;
            value >>= 7;
            used += 1;
        }
        scratch[used] = value as u8;
        self.bytes(&scratch[..=used]);
    }

    #[inline]
    pub(crate) fn tag(&mut self, number: u32, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    /// A length-delimited field whose payload is `bytes`.
    #[inline]
    pub(crate) fn field(&mut self, number: u32, bytes: &[u8]) {
        self.bytes(bytes);
        self.close(number, bytes.len());
    }

    /// Puts length and tag in front of the `len` bytes just written.
    #[inline]
    pub(crate) fn close(&mut self, number: u32, len: usize) {
        self.varint(len as u64);
        self.tag(number, BYTES);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut buffer = self.buffer;
        buffer.drain(..self.at);
        buffer
    }
}
