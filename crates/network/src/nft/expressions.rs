//! Steps to the kernel's expressions.
//!
//! A rule runs on sixteen registers of four bytes. Keys are laid out in neighbouring registers in the
//! order of the set's parts, which is also the layout of [`netplan::rules::Key`].

use netplan::addr::Family;
use netplan::rules::{At, Chain, Field, FieldKind, MASQUERADE_MARK, Scope, Set, Step};

use crate::netlink::Writer;

/// The first of the sixteen registers; register 0 is the verdict.
const FIRST: u32 = 8;
const VERDICT: u32 = 0;

pub(super) mod verdict {
    pub const DROP: i32 = 0;
    pub const JUMP: i32 = -3;
    pub const GOTO: i32 = -4;
}

/// The nested expressions of one rule.
pub(super) fn rule(writer: &mut Writer, steps: &[Step], family: Family) {
    let mut rule = Rule { writer, family };
    for step in steps {
        rule.step(step);
    }
}

struct Rule<'w> {
    writer: &'w mut Writer,
    family: Family,
}

const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;

impl Rule<'_> {
    fn step(&mut self, step: &Step) {
        const NEW: u32 = 8;
        const DESTINATION_TRANSLATED: u32 = 0x20;
        const CT_STATE: u32 = 0;
        const CT_STATUS: u32 = 2;
        match step {
            Step::NewConnection => self.ct_bit(CT_STATE, NEW),
            Step::Translated => self.ct_bit(CT_STATUS, DESTINATION_TRANSLATED),
            Step::FromThisNode => self.is_local(1),
            Step::ToThisNode => self.is_local(2),
            Step::NotToLoopback => self.not_loopback(),
            Step::In(key, set) => self.member(key, *set, false),
            Step::NotIn(key, set) => self.member(key, *set, true),
            Step::Marked => {
                self.load_mark();
                self.mask(FIRST, MASQUERADE_MARK, 0);
                self.compare(FIRST, Compare::NotEqual, &[0; 4]);
            }
            Step::Mark => self.rewrite_mark(!MASQUERADE_MARK, MASQUERADE_MARK),
            Step::Unmark => self.rewrite_mark(!MASQUERADE_MARK, 0),
            Step::Jump(chain) => self.verdict(verdict::JUMP, Some(*chain)),
            Step::Goto(chain) => self.verdict(verdict::GOTO, Some(*chain)),
            Step::Drop => self.verdict(verdict::DROP, None),
            Step::Dispatch(key, set) => {
                self.load(FIRST, key);
                self.lookup(*set, FIRST, Some(VERDICT), false);
            }
            Step::Balance { at, first, count, remember } => self.balance(*at, *first, *count, *remember),
            Step::Resume { at, scope, remember } => self.resume(*at, *scope, *remember),
            Step::Masquerade => {
                const FULLY_RANDOM: u32 = 0x10;
                self.expression("masq", |w| w.be32(1, FULLY_RANDOM));
            }
            Step::Reject => {
                let port_unreachable = match self.family {
                    Family::V4 => 3,
                    Family::V6 => 4,
                };
                self.expression("reject", |w| {
                    w.be32(1, 0);
                    w.data(2, &[port_unreachable]);
                });
            }
        }
    }

    /// The frontend's key, then the index drawn; with affinity the client stands before them.
    fn balance(&mut self, at: At, first: u32, count: u32, remember: Option<u32>) {
        let client = FIRST;
        let frontend = client + self.words(FieldKind::Address);
        self.load(client, &[Field::Source]);
        let index = self.load(frontend, at.key());
        self.expression("numgen", |w| {
            w.be32(1, index);
            w.be32(2, count);
            w.be32(3, 1);
            w.be32(4, first);
        });
        // The endpoint takes the place of the index, right behind the key that affinity is known by.
        self.lookup(at.endpoints(), frontend, Some(index), false);
        if let Some(seconds) = remember {
            // Updating would only prolong what is remembered, not replace it.
            self.remember(at.sticky(), DYNSET_DELETE, client, index, seconds);
            self.remember(at.sticky(), DYNSET_UPDATE, client, index, seconds);
        }
        self.translate(index);
    }

    fn resume(&mut self, at: At, scope: Scope, seconds: u32) {
        let client = FIRST;
        let frontend = client + self.words(FieldKind::Address);
        self.load(client, &[Field::Source]);
        let endpoint = self.load(frontend, at.key());
        self.lookup(at.sticky(), client, Some(endpoint), false);
        self.lookup(at.live(scope), frontend, None, false);
        self.remember(at.sticky(), DYNSET_UPDATE, client, endpoint, seconds);
        self.translate(endpoint);
    }

    fn member(&mut self, key: &[Field], set: Set, inverted: bool) {
        self.load(FIRST, key);
        self.lookup(set, FIRST, None, inverted);
    }

    /// Loads fields into neighbouring registers; returns the register behind them.
    fn load(&mut self, mut register: u32, fields: &[Field]) -> u32 {
        for field in fields {
            let (source, destination) = match self.family {
                Family::V4 => (12, 16),
                Family::V6 => (8, 24),
            };
            let len = self.family.address_len() as u32;
            register += match field {
                Field::Source => self.payload(register, PAYLOAD_NETWORK, source, len),
                Field::Destination => self.payload(register, PAYLOAD_NETWORK, destination, len),
                Field::DestinationPort => self.payload(register, PAYLOAD_TRANSPORT, 2, 2),
                Field::Protocol => {
                    const L4_PROTOCOL: u32 = 16;
                    self.meta(register, L4_PROTOCOL);
                    1
                }
            };
        }
        register
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, len: u32) -> u32 {
        self.expression("payload", |w| {
            w.be32(1, register);
            w.be32(2, base);
            w.be32(3, offset);
            w.be32(4, len);
        });
        len.div_ceil(4)
    }

    fn words(&self, kind: FieldKind) -> u32 {
        (kind.padded_len(self.family) / 4) as u32
    }

    fn meta(&mut self, register: u32, key: u32) {
        self.expression("meta", |w| {
            w.be32(1, register);
            w.be32(2, key);
        });
    }

    fn load_mark(&mut self) {
        self.meta(FIRST, META_MARK);
    }

    fn rewrite_mark(&mut self, keep: u32, flip: u32) {
        self.load_mark();
        self.mask(FIRST, keep, flip);
        self.expression("meta", |w| {
            w.be32(2, META_MARK);
            w.be32(3, FIRST);
        });
    }

    fn ct_bit(&mut self, key: u32, bit: u32) {
        self.expression("ct", |w| {
            w.be32(1, FIRST);
            w.be32(2, key);
        });
        self.mask(FIRST, bit, 0);
        self.compare(FIRST, Compare::NotEqual, &[0; 4]);
    }

    fn is_local(&mut self, which: u32) {
        const ADDRESS_TYPE: u32 = 3;
        const LOCAL: u32 = 2;
        self.expression("fib", |w| {
            w.be32(1, FIRST);
            w.be32(2, ADDRESS_TYPE);
            w.be32(3, which);
        });
        self.compare(FIRST, Compare::Equal, &LOCAL.to_ne_bytes());
    }

    fn not_loopback(&mut self) {
        match self.family {
            Family::V4 => {
                self.payload(FIRST, PAYLOAD_NETWORK, 16, 1);
                self.compare(FIRST, Compare::NotEqual, &[127]);
            }
            Family::V6 => {
                self.load(FIRST, &[Field::Destination]);
                self.compare(FIRST, Compare::NotEqual, &std::net::Ipv6Addr::LOCALHOST.octets());
            }
        }
    }

    fn mask(&mut self, register: u32, keep: u32, flip: u32) {
        self.expression("bitwise", |w| {
            w.be32(1, register);
            w.be32(2, register);
            w.be32(3, 4);
            w.nest(4, |w| w.data(1, &keep.to_ne_bytes()));
            w.nest(5, |w| w.data(1, &flip.to_ne_bytes()));
        });
    }

    fn compare(&mut self, register: u32, compare: Compare, value: &[u8]) {
        self.expression("cmp", |w| {
            w.be32(1, register);
            w.be32(2, compare as u32);
            w.nest(3, |w| w.data(1, value));
        });
    }

    fn verdict(&mut self, code: i32, chain: Option<Chain>) {
        self.expression("immediate", |w| {
            w.be32(1, VERDICT);
            w.nest(2, |w| verdict_data(w, code, chain));
        });
    }

    fn lookup(&mut self, set: Set, key: u32, result: Option<u32>, inverted: bool) {
        self.expression("lookup", |w| {
            w.text(1, set.name());
            w.be32(2, key);
            if let Some(register) = result {
                w.be32(3, register);
            }
            if inverted {
                w.be32(5, 1);
            }
        });
    }

    fn remember(&mut self, set: Set, operation: u32, key: u32, data: u32, seconds: u32) {
        self.expression("dynset", |w| {
            w.text(1, set.name());
            w.be32(3, operation);
            w.be32(4, key);
            w.be32(5, data);
            w.data(6, &(u64::from(seconds) * 1000).to_be_bytes());
        });
    }

    fn translate(&mut self, endpoint: u32) {
        const DESTINATION: u32 = 1;
        let port = endpoint + self.words(FieldKind::Address);
        let family = u32::from(super::encode::protocol_family(self.family));
        self.expression("nat", |w| {
            w.be32(1, DESTINATION);
            w.be32(2, family);
            w.be32(3, endpoint);
            w.be32(5, port);
        });
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Writer)) {
        const LIST_ELEMENT: u16 = 1;
        self.writer.nest(LIST_ELEMENT, |w| {
            w.text(1, name);
            w.nest(2, data);
        });
    }
}

/// A verdict as data of an expression or element.
pub(super) fn verdict_data(writer: &mut Writer, code: i32, chain: Option<Chain>) {
    const VERDICT_DATA: u16 = 2;
    writer.nest(VERDICT_DATA, |w| {
        w.data(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            w.text(2, &chain.to_string());
        }
    });
}

const META_MARK: u32 = 3;
const DYNSET_UPDATE: u32 = 1;
const DYNSET_DELETE: u32 = 2;

#[derive(Clone, Copy)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
}
