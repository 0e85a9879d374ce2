//! Putting the revision into stored bytes, and stored bytes into lists and watch frames, without decoding them.

use crate::envelope::{put_field, put_tag, put_varint, varint_len};
use crate::proto::wire::{Reader, WireError};

/// ObjectMeta's protobuf number in every object, and resourceVersion's in ObjectMeta.
const METADATA: u32 = 1;
const RESOURCE_VERSION: u32 = 6;

/// A stored message with room for its revision: what stands before, inside and after the metadata.
#[derive(Clone, Copy)]
pub struct Splice<'a> {
    before: &'a [u8],
    /// ObjectMeta up to its resourceVersion.
    meta_head: &'a [u8],
    /// ObjectMeta behind it.
    meta_tail: &'a [u8],
    after: &'a [u8],
}

impl<'a> Splice<'a> {
    /// Finds the place. Bytes without metadata get an empty one at the front.
    pub fn find(message: &'a [u8]) -> Result<Splice<'a>, WireError> {
        let mut reader = Reader::new(message);
        while !reader.done() {
            let start = reader.at;
            let (number, wire) = reader.tag()?;
            if number != METADATA || wire != 2 {
                reader.payload(wire)?;
                continue;
            }
            let meta = reader.slice()?;
            let (head, tail) = Splice::around(meta, RESOURCE_VERSION)?;
            return Ok(Splice {
                before: &message[..start],
                meta_head: head,
                meta_tail: tail,
                after: &message[reader.at..],
            });
        }
        Ok(Splice {
            before: &message[..0],
            meta_head: &message[..0],
            meta_tail: &message[..0],
            after: message,
        })
    }

    /// The bytes before and behind a field; where it is absent, those of lower and higher numbers.
    fn around(meta: &'a [u8], number: u32) -> Result<(&'a [u8], &'a [u8]), WireError> {
        let mut reader = Reader::new(meta);
        while !reader.done() {
            let start = reader.at;
            let (found, wire) = reader.tag()?;
            if found > number {
                return Ok((&meta[..start], &meta[start..]));
            }
            reader.payload(wire)?;
            if found == number {
                return Ok((&meta[..start], &meta[reader.at..]));
            }
        }
        Ok((meta, &meta[meta.len()..]))
    }

    /// The message's length with this revision in it.
    pub fn len(&self, revision: u64) -> usize {
        let meta = self.meta_len(revision);
        self.before.len() + 1 + varint_len(meta as u64) + meta + self.after.len()
    }

    fn meta_len(&self, revision: u64) -> usize {
        let digits = revision.checked_ilog10().unwrap_or(0) as usize + 1;
        self.meta_head.len() + 2 + digits + self.meta_tail.len()
    }

    /// Appends the message with this revision in it.
    pub fn write(&self, revision: u64, out: &mut Vec<u8>) {
        out.reserve(self.len(revision));
        out.extend_from_slice(self.before);
        put_tag(out, METADATA);
        put_varint(out, self.meta_len(revision) as u64);
        out.extend_from_slice(self.meta_head);
        put_field(out, RESOURCE_VERSION, itoa::Buffer::new().format(revision).as_bytes());
        out.extend_from_slice(self.meta_tail);
        out.extend_from_slice(self.after);
    }
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListHead {
    pub revision: u64,
    pub continue_token: String,
    pub remaining: Option<i64>,
}

impl ListHead {
    /// `metav1.ListMeta`.
    pub fn proto(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.continue_token.len());
        put_field(&mut out, 1, b"");
        put_field(&mut out, 2, itoa::Buffer::new().format(self.revision).as_bytes());
        put_field(&mut out, 3, self.continue_token.as_bytes());
        if let Some(remaining) = self.remaining {
            put_varint(&mut out, 4 << 3);
            put_varint(&mut out, remaining as u64);
        }
        out
    }
}

/// A frame of a protobuf watch: four bytes of length, then a `metav1.WatchEvent` whose object is an envelope.
pub fn watch_frame(event: &str, envelope: &[u8]) -> Vec<u8> {
    let raw = 1 + varint_len(envelope.len() as u64) + envelope.len();
    let len = 1 + varint_len(event.len() as u64) + event.len() + 1 + varint_len(raw as u64) + raw;
    let mut out = Vec::with_capacity(4 + len);
    out.extend_from_slice(&u32::try_from(len).expect("objects are far smaller than 4 GiB").to_be_bytes());
    put_field(&mut out, 1, event.as_bytes());
    put_tag(&mut out, 2);
    put_varint(&mut out, raw as u64);
    put_field(&mut out, 1, envelope);
    out
}

/// Reads one frame: event, envelope, and the bytes used; nothing when the frame is not whole yet.
pub fn read_watch_frame(bytes: &[u8]) -> Result<Option<(&str, &[u8], usize)>, WireError> {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    let Some(frame) = rest.get(..len) else { return Ok(None) };
    let (mut event, mut envelope) = ("", &frame[..0]);
    let mut reader = Reader::new(frame);
    while !reader.done() {
        let (number, wire) = reader.tag()?;
        match (number, reader.payload(wire)?) {
            (1, crate::proto::wire::Payload::Bytes(text)) => {
                event = std::str::from_utf8(text)
                    .map_err(|_| WireError::BadValue { field: "Type".into(), why: "is not UTF-8".into() })?;
            }
            (2, crate::proto::wire::Payload::Bytes(raw)) => envelope = crate::special::only_bytes(raw)?,
            _ => {}
        }
    }
    Ok(Some((event, envelope, 4 + len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_replaces_what_stood_there() {
        let mut meta = Vec::new();
        put_field(&mut meta, 1, b"web");
        put_field(&mut meta, 6, b"");
        put_field(&mut meta, 7, b"tail");
        let mut message = Vec::new();
        put_field(&mut message, 1, &meta);
        put_field(&mut message, 2, b"spec");

        let splice = Splice::find(&message).unwrap();
        for revision in [0, 7, 10, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            splice.write(revision, &mut out);
            assert_eq!(out.len(), splice.len(revision));
            let again = Splice::find(&out).unwrap();
            let mut back = Vec::new();
            again.write(revision, &mut back);
            assert_eq!(back, out, "splicing twice changes nothing");
            let text = revision.to_string();
            assert!(out.windows(text.len()).any(|w| w == text.as_bytes()));
        }
    }

    #[test]
    fn frames_are_read_back_and_partial_ones_wait() {
        let frame = watch_frame("ADDED", b"k8s\0whatever");
        assert_eq!(read_watch_frame(&frame).unwrap(), Some(("ADDED", &b"k8s\0whatever"[..], frame.len())));
        for cut in 0..frame.len() {
            assert_eq!(read_watch_frame(&frame[..cut]).unwrap(), None);
        }
    }
}
