//! Netlink: messages of nested attributes, and blocking sockets that carry them.

mod read;
mod socket;
mod write;

pub use read::{Attribute, Attributes, Message, Messages};
pub use socket::{Error, Failure, Protocol, Socket};
pub use write::Writer;

/// Message flags of `linux/netlink.h`.
pub mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCLUSIVE: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}
