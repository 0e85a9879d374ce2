//! Wires: from the node to its pods, and from node to node.
//!
//! A pod hangs on a veth of its own, without a bridge: inside it has its address alone and a default
//! route to a gateway that exists nowhere but in its neighbour table, outside the node has a route to
//! that one address. So every packet of a pod is routed, and passes the service table, even between
//! pods of one node.
//!
//! Between nodes, the pod ranges of others are routed through one VXLAN device with static neighbours
//! ([`nodes`]), or directly where all nodes share a link. Hardware addresses are computed from the
//! addresses they stand for, so nodes need not tell each other.

pub mod nodes;
pub mod pods;
mod route;

use std::io;
use std::net::IpAddr;

use netplan::addr::{Family, to_bits};

use crate::netlink;

pub use route::{Link, Rtnl};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{operation} {subject}")]
    Netlink {
        operation: &'static str,
        subject: String,
        #[source]
        source: netlink::Error,
    },
    #[error("{operation} {subject}")]
    Io {
        operation: &'static str,
        subject: String,
        #[source]
        source: io::Error,
    },
    #[error("link {0} is not there")]
    NoLink(String),
    #[error("{0:?} cannot name a link: 1 to 15 bytes without slash, colon or space")]
    BadName(String),
    #[error(transparent)]
    Namespace(#[from] crate::netns::Error),
}

impl Error {
    fn netlink(operation: &'static str, subject: impl ToString) -> impl FnOnce(netlink::Error) -> Error {
        let subject = subject.to_string();
        move |source| Error::Netlink { operation, subject, source }
    }
}

pub type Mac = [u8; 6];

/// The hardware address for an IP address, locally administered. For IPv4 it is unique; IPv6
/// addresses that differ only above their last four bytes share one, which is harmless on links
/// that carry a single address each.
pub fn mac_of(address: IpAddr) -> Mac {
    let [a, b, c, d] = (to_bits(address) as u32).to_be_bytes();
    [0x0a, if address.is_ipv4() { 0x58 } else { 0x66 }, a, b, c, d]
}

/// Writes a kernel setting of the current network namespace, such as `net/ipv4/ip_forward`.
///
/// # Errors
/// When there is no such setting, or it may not be written.
pub fn set_sysctl(name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    // What is right already need not be writable.
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    let fail = |source| Error::Io { operation: "setting", subject: name.replace('/', "."), source };
    std::fs::write(&path, value).map_err(fail)
}

/// Lets the node route for pods of these families.
///
/// # Errors
/// When a setting cannot be written.
pub fn prepare_node(families: &[Family]) -> Result<(), Error> {
    if families.contains(&Family::V4) {
        set_sysctl("net/ipv4/ip_forward", "1")?;
    }
    if families.contains(&Family::V6) {
        keep_router_advertisements()?;
        set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A node that begins to forward would stop to listen to routers, and lose its own default route
/// where that came from one. Devices that listen so far are told to go on all the same.
fn keep_router_advertisements() -> Result<(), Error> {
    const UNLESS_FORWARDING: &str = "1";
    const ALWAYS: &str = "2";
    let devices = std::fs::read_dir("/proc/sys/net/ipv6/conf").map_err(|source| Error::Io {
        operation: "listing",
        subject: "net.ipv6.conf".to_owned(),
        source,
    })?;
    for device in devices.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let name = format!("net/ipv6/conf/{device}/accept_ra");
        // A device may vanish between the listing and the reading.
        let now = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        if now.trim() == UNLESS_FORWARDING && device != "all" {
            set_sysctl(&name, ALWAYS)?;
        }
    }
    Ok(())
}
