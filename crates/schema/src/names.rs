//! Finds a field by its JSON name, which decoders do once for each key they read.
//!
//! An open-addressed table of small integers: a standard map's hashing would cost more than the rest of the lookup, and
//! a thousand of them would cost more to build than the rest of the table.

use crate::table::Field;

/// The names that one message answers to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// A power of two of places, at least half of them `FREE`. A field's index, or past those, one in `inlined`.
    slots: Box<[u16]>,
    /// 0, 1, 2…: a field's path is one element of it.
    own: Box<[u16]>,
    /// Names that inlined structs bring, with their paths.
    inlined: Box<[(Box<str>, Box<[u16]>)]>,
}

const FREE: u16 = u16::MAX;

impl Names {
    /// As in Go, a name nearer the surface hides a deeper one.
    pub(crate) fn new(fields: &[Field], mut inlined: Vec<(Box<str>, Box<[u16]>)>) -> Names {
        inlined.sort_by_key(|(_, path)| path.len());
        let places = ((fields.len() + inlined.len()) * 2).next_power_of_two();
        let mut names = Names {
            slots: vec![FREE; places].into(),
            own: (0..fields.len() as u16).collect(),
            inlined: inlined.into(),
        };
        let own = fields.iter().enumerate().filter(|(_, f)| !f.inline).map(|(at, _)| at);
        for code in own.chain(fields.len()..fields.len() + names.inlined.len()) {
            let (Ok(slot) | Err(slot)) = names.slot(fields, names.name(fields, code as u16));
            if names.slots[slot] == FREE {
                names.slots[slot] = code as u16;
            }
        }
        names
    }

    pub(crate) fn find(&self, fields: &[Field], name: &str) -> Option<&[u16]> {
        if self.slots.is_empty() {
            return None;
        }
        let code = self.slots[self.slot(fields, name).ok()?] as usize;
        Some(match code.checked_sub(fields.len()) {
            None => &self.own[code..=code],
            Some(at) => &self.inlined[at].1,
        })
    }

    /// The slot that holds the name, or else the free one where it belongs.
    fn slot(&self, fields: &[Field], name: &str) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash(name) as usize & mask;
        loop {
            match self.slots[at] {
                FREE => return Err(at),
                code if self.name(fields, code) == name => return Ok(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn name<'a>(&'a self, fields: &'a [Field], code: u16) -> &'a str {
        match (code as usize).checked_sub(fields.len()) {
            None => &fields[code as usize].json,
            Some(at) => &self.inlined[at].0,
        }
    }
}

/// Names come from the table's author, so nobody can choose them to collide; a key that is looked up can collide with
/// a run of slots no longer than the message's own.
fn hash(name: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for chunk in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(ODD);
        hash ^= hash >> 32;
    }
    hash
}
