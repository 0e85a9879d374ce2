//! One value as the store's file keeps it: a small header, then the stored bytes.
//!
//! ```text
//! record version (1) · flags (1) · created (8) · key length (2) · key
//!   · [expires, ns since the epoch (8)] · [epoch (8) · length (1) · version] · stored bytes
//! ```
//!
//! Numbers are little-endian. The revision that wrote the record is the key it is filed under.

use std::sync::Arc;

use base::clock::Wall;

use crate::entry::{Revision, Stamp};

const RECORD_VERSION: u8 = 1;
const EXPIRES: u8 = 1;
const STAMPED: u8 = 2;
const KNOWN_FLAGS: u8 = EXPIRES | STAMPED;

/// The longest version text of a stamp.
pub(crate) const MAX_STAMP: usize = 255;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: Arc<str>,
    pub(super) created: Revision,
    pub(super) expires: Option<Wall>,
    pub(super) stamp: Option<Stamp>,
}

pub(super) fn encode(header: &Header, stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + header.key.len() + stored.len());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(header.expires.is_some(), EXPIRES) | flag(header.stamp.is_some(), STAMPED);
    out.extend([RECORD_VERSION, flags]);
    out.extend(header.created.to_le_bytes());
    out.extend(u16::try_from(header.key.len()).expect("the store refuses longer keys").to_le_bytes());
    out.extend(header.key.as_bytes());
    if let Some(expires) = header.expires {
        out.extend(expires.0.to_le_bytes());
    }
    if let Some(stamp) = &header.stamp {
        out.extend(stamp.epoch.to_le_bytes());
        out.push(u8::try_from(stamp.version.len()).expect("the store refuses longer versions"));
        out.extend(stamp.version.as_bytes());
    }
    out.extend(stored);
    out
}

/// Takes a record apart; `None` when it is not one. Equal versions share one text.
pub(super) fn decode<'a>(record: &'a [u8], versions: &mut Versions) -> Option<(Header, &'a [u8])> {
    let ([version, flags], rest) = record.split_first_chunk()?;
    if *version != RECORD_VERSION || flags & !KNOWN_FLAGS != 0 {
        return None;
    }
    let (created, rest) = number(rest)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (key, mut rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let key = std::str::from_utf8(key).ok()?.into();
    let (mut expires, mut stamp) = (None, None);
    if flags & EXPIRES != 0 {
        let (at, after) = number(rest)?;
        (expires, rest) = (Some(Wall(at.cast_signed())), after);
    }
    if flags & STAMPED != 0 {
        let (epoch, after) = number(rest)?;
        let (length, after) = after.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*length))?;
        (stamp, rest) =
            (Some(Stamp { version: versions.share(std::str::from_utf8(text).ok()?), epoch }), after);
    }
    Some((Header { key, created, expires, stamp }, rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// The version texts met so far; a store holds millions of values in a few dozen versions.
#[derive(Default)]
pub(super) struct Versions(std::collections::HashSet<Arc<str>>);

impl Versions {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let fresh: Arc<str> = text.into();
        self.0.insert(fresh.clone());
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        let stamp = |version: &str| Some(Stamp { version: version.into(), epoch: u64::MAX });
        for expires in [None, Some(Wall(-1)), Some(Wall(i64::MAX))] {
            for stamp in [None, stamp(""), stamp("apps/v1"), stamp(&"v".repeat(MAX_STAMP))] {
                let header = Header { key: "/registry/k".into(), created: u64::MAX, expires, stamp };
                let record = encode(&header, b"value");
                assert_eq!(decode(&record, &mut Versions::default()), Some((header, &b"value"[..])));
            }
        }
    }

    /// Whatever decodes was written by this encoder, so it encodes to the same bytes.
    #[test]
    fn any_bytes_are_a_record_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            if let Some((header, stored)) = decode(bytes, &mut Versions::default()) {
                assert_eq!(&encode(&header, stored), bytes);
            }
        });
    }
}
