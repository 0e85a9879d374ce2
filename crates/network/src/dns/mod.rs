//! The cluster's resolver, in process on every node.
//!
//! [`answer`] turns a question into a reply from the zone, or says that somebody else must be asked;
//! [`forward`] asks them, with failover and a cache; [`server`] is the sockets around both. The zone
//! itself is `netplan`'s, and is swapped whole, so that no question ever waits for an update.

mod answer;
mod forward;
mod server;

pub use answer::{Outcome, State, answer};
pub use forward::{Forwarder, Upstream};
pub use server::{Config, Error, Server};
