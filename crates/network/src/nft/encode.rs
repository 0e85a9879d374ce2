//! The table, its sets, chains and elements as messages of a transaction.

use std::net::IpAddr;

use netplan::addr::{Family, from_bits, to_bits};
use netplan::rules::{Chain, ChainKind, Data, FieldKind, Key, MapsTo, Set, TABLE, Value, Verdict};

use super::expressions::{rule, verdict, verdict_data};
use crate::netlink::{Writer, flag};

/// The subsystem number of nftables, in the upper half of message types.
const NFTABLES: u16 = 10;

pub(super) mod kind {
    use super::NFTABLES;
    pub const NEW_TABLE: u16 = NFTABLES << 8;
    pub const GET_TABLE: u16 = NFTABLES << 8 | 1;
    pub const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
    pub const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
    pub const GET_CHAIN: u16 = NFTABLES << 8 | 4;
    pub const DELETE_CHAIN: u16 = NFTABLES << 8 | 5;
    pub const NEW_RULE: u16 = NFTABLES << 8 | 6;
    pub const DELETE_RULE: u16 = NFTABLES << 8 | 8;
    pub const NEW_SET: u16 = NFTABLES << 8 | 9;
    pub const NEW_ELEMENTS: u16 = NFTABLES << 8 | 12;
    pub const GET_ELEMENTS: u16 = NFTABLES << 8 | 13;
    pub const DELETE_ELEMENTS: u16 = NFTABLES << 8 | 14;
    pub const BATCH_BEGIN: u16 = 16;
    pub const BATCH_END: u16 = 17;
}

/// Clients remembered for affinity in each map. When it is full, further clients are balanced anew
/// with each connection.
const STICKY_CLIENTS: u32 = 65_536;

/// Elements of one message stay below the 64 KiB that an attribute can hold, with room for the last.
const ELEMENT_BYTES: usize = 60_000;

pub(super) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u8,
        Family::V6 => libc::NFPROTO_IPV6 as u8,
    }
}

pub(super) fn fixed_header(family: Family) -> [u8; 4] {
    [protocol_family(family), 0, 0, 0]
}

/// What a message of the transaction is about, to name it when the kernel refuses it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Table,
    Set(Set),
    Chain(Chain),
    Rule(Chain),
    Elements(Set),
}

/// One transaction: all of it happens or none.
pub(super) struct Transaction {
    pub writer: Writer,
    pub family: Family,
    /// Where each message begins, by sequence number from `first` on.
    pub subjects: Vec<(Subject, usize)>,
    pub first: u32,
}

impl Transaction {
    pub fn new(family: Family, first: u32) -> Transaction {
        let mut writer = Writer::new();
        writer.message(kind::BATCH_BEGIN, flag::REQUEST, 0, &batch_header(), |_| {});
        Transaction { writer, family, subjects: Vec::new(), first }
    }

    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    pub fn end(&mut self) {
        self.writer.message(kind::BATCH_END, flag::REQUEST, 0, &batch_header(), |_| {});
    }

    fn message(&mut self, subject: Subject, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let sequence = self.first.wrapping_add(self.subjects.len() as u32);
        self.subjects.push((subject, self.writer.len()));
        self.writer.message(kind, flags | flag::REQUEST, sequence, &fixed_header(self.family), |w| {
            w.text(1, TABLE);
            body(w);
        });
    }

    /// Makes an empty table of the layout, whatever was there before.
    pub fn new_table(&mut self, layout: &str) {
        self.message(Subject::Table, kind::NEW_TABLE, flag::CREATE, |_| {});
        self.message(Subject::Table, kind::DELETE_TABLE, 0, |_| {});
        self.message(Subject::Table, kind::NEW_TABLE, flag::CREATE, |w| {
            const USER_DATA: u16 = 6;
            // The comment, which `nft list` shows: type, length, text with its NUL.
            let mut comment = vec![0, layout.len() as u8 + 1];
            comment.extend(layout.as_bytes());
            comment.push(0);
            w.data(USER_DATA, &comment);
        });
    }

    pub fn delete_table(&mut self) {
        self.message(Subject::Table, kind::NEW_TABLE, flag::CREATE, |_| {});
        self.message(Subject::Table, kind::DELETE_TABLE, 0, |_| {});
    }

    pub fn new_set(&mut self, set: Set) {
        let family = self.family;
        self.message(Subject::Set(set), kind::NEW_SET, flag::CREATE, |w| {
            let key_len: usize = set.key().iter().map(|kind| kind.padded_len(family)).sum();
            let key_len = if let [only] = set.key() { only.len(family) } else { key_len };
            w.text(2, set.name());
            w.be32(3, set_flags(set));
            w.be32(4, type_number(set.key(), family));
            w.be32(5, key_len as u32);
            let endpoint: &[FieldKind] = &[FieldKind::Address, FieldKind::Port];
            match set.maps_to() {
                MapsTo::Nothing => {}
                MapsTo::Verdict => {
                    const VERDICT_TYPE: u32 = 0xffff_ff00;
                    w.be32(6, VERDICT_TYPE);
                    w.be32(7, 0);
                }
                MapsTo::Endpoint => {
                    w.be32(6, type_number(endpoint, family));
                    w.be32(7, endpoint.iter().map(|kind| kind.padded_len(family)).sum::<usize>() as u32);
                }
            }
            if set.is_dynamic() {
                w.nest(9, |w| w.be32(1, STICKY_CLIENTS));
            } else if is_ranged_concatenation(set) {
                w.nest(9, |w| {
                    w.nest(2, |w| set.key().iter().for_each(|kind| field_len(w, kind.len(family))))
                });
            }
            w.be32(10, set as u32);
        });
    }

    pub fn new_chain(&mut self, chain: Chain) {
        self.message(Subject::Chain(chain), kind::NEW_CHAIN, flag::CREATE, |w| {
            w.text(3, &chain.to_string());
            if let Chain::Base(base) = chain {
                let (chain_kind, hook, priority) = base.attached();
                w.nest(4, |w| {
                    w.be32(1, hook as u32);
                    w.data(2, &priority.to_be_bytes());
                });
                w.text(
                    7,
                    match chain_kind {
                        ChainKind::Filter => "filter",
                        ChainKind::Nat => "nat",
                    },
                );
            }
        });
    }

    pub fn new_rules(&mut self, chain: Chain, any_address: bool) {
        let family = self.family;
        for steps in chain.rules(any_address) {
            self.message(Subject::Rule(chain), kind::NEW_RULE, flag::CREATE | flag::APPEND, |w| {
                w.text(2, &chain.to_string());
                w.nest(4, |w| rule(w, &steps, family));
            });
        }
    }

    /// A chain that leads to others holds on to them until it is empty.
    pub fn delete_chain(&mut self, chain: Chain) {
        self.message(Subject::Rule(chain), kind::DELETE_RULE, 0, |w| w.text(2, &chain.to_string()));
        self.message(Subject::Chain(chain), kind::DELETE_CHAIN, 0, |w| w.text(3, &chain.to_string()));
    }

    pub fn new_elements(&mut self, elements: &[(Set, Key, Value)]) {
        self.elements(kind::NEW_ELEMENTS, flag::CREATE | flag::EXCLUSIVE, elements);
    }

    pub fn delete_elements(&mut self, elements: &[(Set, Key, Value)]) {
        self.elements(kind::DELETE_ELEMENTS, 0, elements);
    }

    /// Neighbours of one set share a message.
    fn elements(&mut self, kind: u16, flags: u16, elements: &[(Set, Key, Value)]) {
        let (mut rest, family) = (elements, self.family);
        while let Some((set, ..)) = rest.first() {
            let of_set = rest.iter().take_while(|(other, ..)| other == set).count();
            let (mut same, others) = rest.split_at(of_set);
            while !same.is_empty() {
                self.message(Subject::Elements(*set), kind, flags, |w| {
                    w.text(2, set.name());
                    w.nest(3, |w| {
                        let start = w.len();
                        while let Some(((_, key, value), more)) = same.split_first()
                            && w.len() - start < ELEMENT_BYTES
                        {
                            element(w, *set, key, value, family);
                            same = more;
                        }
                    });
                });
            }
            rest = others;
        }
    }
}

fn batch_header() -> [u8; 4] {
    let [high, low] = NFTABLES.to_be_bytes();
    [libc::AF_UNSPEC as u8, 0, high, low]
}

fn set_flags(set: Set) -> u32 {
    const INTERVAL: u32 = 0x4;
    const MAP: u32 = 0x8;
    const TIMEOUT: u32 = 0x10;
    const EVALUATED: u32 = 0x20;
    const CONCATENATED: u32 = 0x80;
    let mut flags = 0;
    flags |= if set.maps_to() == MapsTo::Nothing { 0 } else { MAP };
    flags |= if set.is_dynamic() { TIMEOUT | EVALUATED } else { 0 };
    flags |= if set.is_interval() { INTERVAL } else { 0 };
    flags | if is_ranged_concatenation(set) { CONCATENATED } else { 0 }
}

pub(super) fn is_ranged_concatenation(set: Set) -> bool {
    set.is_interval() && set.key().len() > 1
}

fn field_len(writer: &mut Writer, len: usize) {
    const LIST_ELEMENT: u16 = 1;
    writer.nest(LIST_ELEMENT, |w| w.be32(1, len as u32));
}

/// The type that `nft list` shows; the kernel keeps it without looking. Six bits each part.
fn type_number(parts: &[FieldKind], family: Family) -> u32 {
    parts.iter().fold(0, |number, kind| {
        let one = match (kind, family) {
            (FieldKind::Address, Family::V4) => 7,
            (FieldKind::Address, Family::V6) => 8,
            (FieldKind::Protocol, _) => 12,
            (FieldKind::Port, _) => 13,
            // A packet mark: four bytes in the machine's order.
            (FieldKind::Index, _) => 19,
        };
        number << 6 | one
    })
}

fn element(writer: &mut Writer, set: Set, key: &Key, value: &Value, family: Family) {
    const LIST_ELEMENT: u16 = 1;
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const KEY_END: u16 = 10;
    const INTERVAL_END: u32 = 1;
    let ranged = is_ranged_concatenation(set);
    writer.nest(LIST_ELEMENT, |w| {
        w.nest(KEY, |w| w.data(1, key.bytes()));
        if let Some(end) = value.end.as_ref().filter(|_| ranged) {
            w.nest(KEY_END, |w| w.data(1, end.bytes()));
        }
        match &value.data {
            Data::Nothing => {}
            Data::Endpoint(endpoint) => w.nest(DATA, |w| w.data(1, endpoint.bytes())),
            Data::Verdict(Verdict::Drop) => w.nest(DATA, |w| verdict_data(w, verdict::DROP, None)),
            Data::Verdict(Verdict::Goto(chain)) => {
                w.nest(DATA, |w| verdict_data(w, verdict::GOTO, Some(*chain)));
            }
        }
    });
    // A range of a single part is two elements: where it begins and where it is over. One that
    // reaches the last address is never over.
    if let Some(end) = value.end.as_ref().filter(|_| !ranged)
        && let Some(over) = after(end, family)
    {
        writer.nest(LIST_ELEMENT, |w| {
            w.nest(KEY, |w| w.data(1, over.bytes()));
            w.be32(FLAGS, INTERVAL_END);
        });
    }
}

fn after(key: &Key, family: Family) -> Option<Key> {
    let next = to_bits(address_of(key)?).checked_add(1)?;
    let fits = family == Family::V6 || next <= u128::from(u32::MAX);
    fits.then(|| Key::new().address(from_bits(family, next)))
}

pub(super) fn address_of(key: &Key) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(key.bytes()) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(key.bytes()).ok().map(Into::into)
}
