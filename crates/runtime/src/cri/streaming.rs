//! Streams behind URLs, as the CRI's Exec, Attach and PortForward answer with: WebSockets, in the protocols
//! that upstream's clients speak.
//!
//! A URL carries a token that is good once and for a minute. The server stands on one address, normally the
//! loopback's; whoever has the token may use it.

pub mod client;
mod server;

pub use server::{Limits, Server};

/// The first byte of a message says which stream it belongs to.
pub(crate) mod channel {
    pub(crate) const STDIN: u8 = 0;
    pub(crate) const STDOUT: u8 = 1;
    pub(crate) const STDERR: u8 = 2;
    pub(crate) const ERROR: u8 = 3;
    pub(crate) const RESIZE: u8 = 4;
    /// The end of the channel that the next byte names; since version 5.
    pub(crate) const CLOSE: u8 = 255;
}

/// The versions of the remote command protocol, the best first.
pub(crate) const REMOTE_COMMAND: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Port forwarding: for each port a data and an error channel, each beginning with the port's number.
pub(crate) const PORT_FORWARD: &str = "v4.channel.k8s.io";
