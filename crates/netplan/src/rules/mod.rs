//! The nftables table `boga` of one address family, as a value.
//!
//! ```text
//! prerouting, output ── jump services ─┬─ services   (address . protocol . port → goto chain)
//!                                      └─ node-ports (protocol . port → goto chain)
//!     lb-vip-3          numgen random mod 3 → endpoints (address . protocol . port . index → dnat)
//!     external-vip-3    mark for masquerade, goto lb-vip-3
//! postrouting ── masquerade what is marked, what returns to its own sender, pods leaving the cluster
//! input, forward, output ── reject or drop what no endpoint can answer
//! ```
//!
//! The balancing chains are shared by all services with the same number of endpoints, so a service
//! is nothing but a few elements of maps, and a change of one endpoint a few element changes. The
//! endpoints for the Local policies lie in the same maps from [`LOCAL_INDEX`] on.
//!
//! [`Set`] and [`Chain`] name everything in the table; [`Chain::rules`] says what is in the chains
//! as [`Step`]s, which the encoder in `network` turns into bytecode and [`crate::walk`] interprets.

mod chains;
mod sets;
mod table;

pub use chains::{At, BASE_CHAINS, BaseChain, Chain, ChainKind, Hook, Scope};
pub use sets::{Data, Field, FieldKind, Key, MapsTo, Set, Value, Verdict};
pub use table::{Change, Ruleset};

/// The name of our table in both families.
pub const TABLE: &str = "boga";

/// The packet mark that asks postrouting for masquerade; upstream's default bit 14.
pub const MASQUERADE_MARK: u32 = 1 << 14;

/// Where the indexes of the endpoints for the Local policies begin. No service has as many endpoints.
pub const LOCAL_INDEX: u32 = 1 << 16;

/// One match or action. The steps of a rule run in order until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first packet of a connection.
    NewConnection,
    /// The destination of this connection has been translated.
    Translated,
    /// The sender is this node itself.
    FromThisNode,
    /// The destination is an address of this node.
    ToThisNode,
    NotToLoopback,
    In(&'static [Field], Set),
    NotIn(&'static [Field], Set),
    Marked,
    Mark,
    Unmark,
    Jump(Chain),
    Goto(Chain),
    /// Does what the map says for the key; goes on when it says nothing.
    Dispatch(&'static [Field], Set),
    /// Translates to one of `count` endpoints at random, whose indexes begin at `first`. The choice
    /// is remembered for the client when `remember` says for how many seconds.
    Balance {
        at: At,
        first: u32,
        count: u32,
        remember: Option<u32>,
    },
    /// Translates to the endpoint remembered for the client, while that endpoint lives, and
    /// remembers it anew.
    Resume {
        at: At,
        scope: Scope,
        remember: u32,
    },
    Masquerade,
    Reject,
    Drop,
}
