//! What becomes of a packet: an interpreter of the table, for tests and explanations.
//!
//! It follows the first packet of a connection through the hooks in the kernel's order and runs the
//! same [`Step`]s that the encoder turns into bytecode.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::{Family, from_bits};
use crate::rules::{At, BaseChain, Chain, Data, Field, Key, Ruleset, Scope, Set, Step, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The IP protocol number: what is no service's protocol walks too.
    pub protocol: u8,
    pub destination_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Where it goes, and whether it goes under this node's address.
    Sent {
        to: (IpAddr, u16),
        masqueraded: bool,
    },
    Rejected,
    Dropped,
}

/// A node with its table and what its packets have left behind.
pub struct Walker<'a> {
    pub rules: &'a Ruleset,
    pub family: Family,
    pub any_address: bool,
    pub node_addresses: Vec<IpAddr>,
    /// Draws a number below the bound.
    pub random: &'a mut dyn FnMut(u32) -> u32,
    /// Which endpoint each client was given, and until when.
    pub remembered: BTreeMap<(Set, Key), (Key, u64)>,
    /// Seconds.
    pub now: u64,
}

struct State {
    packet: Packet,
    translated: bool,
    marked: bool,
    masqueraded: bool,
}

enum End {
    Accept,
    Reject,
    Drop,
}

impl Walker<'_> {
    /// A packet that this node sends when `source` is its own, and one that it receives otherwise.
    pub fn walk(&mut self, packet: Packet) -> Outcome {
        let mut state = State { packet, translated: false, marked: false, masqueraded: false };
        let own = self.is_local(packet.source);
        let early: &[BaseChain] = if own {
            &[BaseChain::FilterOutputEarly, BaseChain::NatOutput, BaseChain::FilterOutput]
        } else {
            &[BaseChain::FilterPreroutingEarly, BaseChain::NatPrerouting]
        };
        if let Some(outcome) = self.hooks(early, &mut state) {
            return outcome;
        }
        let arrives = self.is_local(state.packet.destination);
        let late: &[BaseChain] = match (own, arrives) {
            (true, true) => &[BaseChain::NatPostrouting, BaseChain::FilterInput],
            (true, false) => &[BaseChain::NatPostrouting],
            (false, true) => &[BaseChain::FilterInput],
            (false, false) => &[BaseChain::FilterForward, BaseChain::NatPostrouting],
        };
        let outcome = self.hooks(late, &mut state);
        outcome.unwrap_or(Outcome::Sent {
            to: (state.packet.destination, state.packet.destination_port),
            masqueraded: state.masqueraded,
        })
    }

    fn hooks(&mut self, chains: &[BaseChain], state: &mut State) -> Option<Outcome> {
        chains.iter().find_map(|base| match self.run(Chain::Base(*base), state) {
            Some(End::Drop) => Some(Outcome::Dropped),
            Some(End::Reject) => Some(Outcome::Rejected),
            Some(End::Accept) | None => None,
        })
    }

    /// `None` when the chain ends without a verdict, which returns to the caller.
    fn run(&mut self, chain: Chain, state: &mut State) -> Option<End> {
        for rule in chain.rules(self.any_address) {
            for step in rule {
                let matched = match step {
                    Step::NewConnection => true,
                    Step::Translated => state.translated,
                    Step::FromThisNode => self.is_local(state.packet.source),
                    Step::ToThisNode => self.is_local(state.packet.destination),
                    Step::NotToLoopback => !state.packet.destination.is_loopback(),
                    Step::In(key, set) => self.find(set, &key_of(&state.packet, key)).is_some(),
                    Step::NotIn(key, set) => self.find(set, &key_of(&state.packet, key)).is_none(),
                    Step::Marked => state.marked,
                    Step::Mark => {
                        state.marked = true;
                        true
                    }
                    Step::Unmark => {
                        state.marked = false;
                        true
                    }
                    Step::Jump(next) => match self.run(next, state) {
                        None => true,
                        end => return end,
                    },
                    Step::Goto(next) => return self.run(next, state),
                    Step::Dispatch(key, set) => match self.find(set, &key_of(&state.packet, key)) {
                        Some(Data::Verdict(Verdict::Goto(next))) => return self.run(next, state),
                        Some(Data::Verdict(Verdict::Drop)) => return Some(End::Drop),
                        _ => false,
                    },
                    Step::Balance { at, first, count, remember } => {
                        match self.balance(at, first, count, remember, state) {
                            true => return Some(End::Accept),
                            false => false,
                        }
                    }
                    Step::Resume { at, scope, remember } => match self.resume(at, scope, remember, state) {
                        true => return Some(End::Accept),
                        false => false,
                    },
                    Step::Masquerade => {
                        state.masqueraded = true;
                        return Some(End::Accept);
                    }
                    Step::Reject => return Some(End::Reject),
                    Step::Drop => return Some(End::Drop),
                };
                if !matched {
                    break;
                }
            }
        }
        None
    }

    fn balance(&mut self, at: At, first: u32, count: u32, remember: Option<u32>, state: &mut State) -> bool {
        let index = first + (self.random)(count);
        let frontend = key_of(&state.packet, at.key());
        let Some(Data::Endpoint(endpoint)) = self.find(at.endpoints(), &frontend.index(index)) else {
            return false;
        };
        if let Some(seconds) = remember {
            let client = Key::new().address(state.packet.source).then(&frontend);
            self.remembered.insert((at.sticky(), client), (endpoint, self.now + u64::from(seconds)));
        }
        self.translate(&endpoint, state)
    }

    fn resume(&mut self, at: At, scope: Scope, remember: u32, state: &mut State) -> bool {
        let frontend = key_of(&state.packet, at.key());
        let client = Key::new().address(state.packet.source).then(&frontend);
        let Some((endpoint, expires)) = self.remembered.get(&(at.sticky(), client)).cloned() else {
            return false;
        };
        let live = frontend.then(&endpoint);
        if expires <= self.now || self.find(at.live(scope), &live).is_none() {
            return false;
        }
        let until = self.now + u64::from(remember);
        self.remembered.insert((at.sticky(), client), (endpoint, until));
        self.translate(&endpoint, state)
    }

    fn translate(&self, endpoint: &Key, state: &mut State) -> bool {
        let (address, rest) = endpoint.bytes().split_at(self.family.address_len());
        let bits = address.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        state.packet.destination = from_bits(self.family, bits);
        state.packet.destination_port = u16::from_be_bytes([rest[0], rest[1]]);
        state.translated = true;
        true
    }

    fn find(&self, set: Set, key: &Key) -> Option<Data> {
        if !set.is_interval() {
            return self.rules.elements.get(&(set, *key)).map(|value| value.data.clone());
        }
        let elements = self.rules.elements.iter().filter(|((of, _), _)| *of == set);
        let mut ranges = elements.filter_map(|((_, first), value)| Some((first, value.end.as_ref()?, value)));
        let inside = |first: &Key, last: &Key| {
            let mut at = 0;
            set.key().iter().all(|kind| {
                let field = at..at + kind.len(self.family);
                at += kind.padded_len(self.family);
                let part = &key.bytes()[field.clone()];
                first.bytes()[field.clone()] <= *part && *part <= last.bytes()[field]
            })
        };
        ranges.find(|(first, last, _)| inside(first, last)).map(|(_, _, value)| value.data.clone())
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.node_addresses.contains(&address)
    }
}

fn key_of(packet: &Packet, fields: &[Field]) -> Key {
    fields.iter().fold(Key::new(), |key, field| match field {
        Field::Source => key.address(packet.source),
        Field::Destination => key.address(packet.destination),
        Field::Protocol => key.number(packet.protocol),
        Field::DestinationPort => key.port(packet.destination_port),
    })
}
