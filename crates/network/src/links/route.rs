//! The few requests of rtnetlink that pods and nodes need.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netplan::addr::{Cidr, Family};

use super::{Error, Mac};
use crate::netlink::{Message, Protocol, Socket, Writer, flag};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;

/// Marks the routes that are ours among those of others (`rtm_protocol`; unassigned).
const OUR_ROUTES: u8 = 176;
const MAIN_TABLE: u8 = 254;
const ONLINK: u32 = 4;
/// The operational state "up" (RFC 2863).
const OPERATIONAL: u8 = 6;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `veth`, `vxlan`, `bridge` and so on; empty for hardware.
    pub kind: String,
    pub alias: String,
    pub mtu: u32,
    pub up: bool,
    /// Ready to carry packets.
    pub running: bool,
}

/// A route through a device, to neighbours on it or over a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub to: Cidr,
    pub device: u32,
    pub gateway: Option<IpAddr>,
}

/// An entry that never expires. With `tunnel`, frames to `mac` are sent to that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Neighbour {
    Address { device: u32, address: IpAddr, mac: Mac },
    Tunnel { device: u32, mac: Mac, node: IpAddr },
}

/// A routing socket in the current network namespace.
pub struct Rtnl {
    socket: Socket,
}

impl Rtnl {
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> Result<Rtnl, Error> {
        let socket = Socket::open(Protocol::Route).map_err(Error::netlink("opening", "routing"))?;
        Ok(Rtnl { socket })
    }

    /// # Errors
    /// When the kernel refuses to list.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let parse = |message: &Message<'_>, found: &mut Vec<Link>| found.extend(link(message));
        let listed = self.socket.dump(GET_LINK, &link_header(0, 0), &|_| {}, &parse);
        listed.map_err(Error::netlink("listing", "links"))
    }

    /// # Errors
    /// When the kernel refuses to say.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut found = None;
        let result = self.socket.converse(
            GET_LINK,
            flag::ACK,
            &link_header(0, 0),
            |w| w.text(3, name),
            &mut |message| found = link(message),
        );
        match result {
            Ok(()) => Ok(found),
            Err(error) if error.is(libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::netlink("looking for link", name)(error)),
        }
    }

    /// # Errors
    /// When there is no such link.
    pub fn index(&mut self, name: &str) -> Result<u32, Error> {
        Ok(self.link(name)?.ok_or_else(|| Error::NoLink(name.to_owned()))?.index)
    }

    /// Makes a pair of devices, the second one in another namespace.
    pub(super) fn add_veth(
        &mut self,
        name: &str,
        mac: Mac,
        peer: (&str, Mac, BorrowedFd<'_>),
        mtu: u32,
    ) -> Result<(), Error> {
        let (peer_name, peer_mac, namespace) = peer;
        let body = |w: &mut Writer| {
            w.text(3, name);
            w.data(1, &mac);
            w.ne32(4, mtu);
            w.nest(18, |w| {
                w.data(1, b"veth");
                w.nest(2, |w| {
                    w.nest(1, |w| {
                        w.fixed(&link_header(0, 0));
                        w.text(3, peer_name);
                        w.data(1, &peer_mac);
                        w.ne32(4, mtu);
                        w.ne32(28, namespace.as_raw_fd() as u32);
                    });
                });
            });
        };
        self.new_link(name, body)
    }

    pub(super) fn add_vxlan(
        &mut self,
        name: &str,
        id: u32,
        local: IpAddr,
        port: u16,
        mac: Mac,
        mtu: u32,
    ) -> Result<(), Error> {
        let body = |w: &mut Writer| {
            w.text(3, name);
            w.data(1, &mac);
            w.ne32(4, mtu);
            w.nest(18, |w| {
                w.data(1, b"vxlan");
                w.nest(2, |w| {
                    w.ne32(1, id);
                    w.address(if local.is_ipv4() { 4 } else { 17 }, local);
                    w.data(7, &[0]);
                    w.data(15, &port.to_be_bytes());
                });
            });
        };
        self.new_link(name, body)
    }

    pub(super) fn add_bridge(&mut self, name: &str) -> Result<(), Error> {
        self.new_link(name, |w| {
            w.text(3, name);
            w.nest(18, |w| w.data(1, b"bridge"));
        })
    }

    fn new_link(&mut self, name: &str, body: impl FnOnce(&mut Writer)) -> Result<(), Error> {
        let made = self.socket.request(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link_header(0, 0), body);
        made.map_err(Error::netlink("making link", name))
    }

    /// Deletes a link; one that is not there is no error.
    pub(super) fn delete_link(&mut self, name: &str) -> Result<(), Error> {
        match self.socket.request(DELETE_LINK, 0, &link_header(0, 0), |w| w.text(3, name)) {
            Err(error) if !error.is(libc::ENODEV) => Err(Error::netlink("deleting link", name)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn set_up(&mut self, index: u32) -> Result<(), Error> {
        let raised = self.socket.request(NEW_LINK, 0, &link_header(index, libc::IFF_UP as u32), |_| {});
        raised.map_err(Error::netlink("raising link", index))
    }

    pub(super) fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), Error> {
        let set = self.socket.request(NEW_LINK, 0, &link_header(index, 0), |w| w.data(20, alias.as_bytes()));
        set.map_err(Error::netlink("naming link", index))
    }

    pub(super) fn add_address(&mut self, index: u32, address: IpAddr) -> Result<(), Error> {
        const NO_DUPLICATE_DETECTION: u8 = 2;
        let family = Family::of(address);
        let flags = if family == Family::V6 { NO_DUPLICATE_DETECTION } else { 0 };
        let [a, b, c, d] = index.to_ne_bytes();
        let header = [protocol_family(family), family.bits(), flags, 0, a, b, c, d];
        let added = self.socket.request(NEW_ADDRESS, flag::CREATE | flag::REPLACE, &header, |w| {
            w.address(1, address);
            w.address(2, address);
        });
        added.map_err(Error::netlink("adding address", address))
    }

    pub(super) fn addresses(&mut self, index: u32) -> Result<Vec<IpAddr>, Error> {
        let parse = |message: &Message<'_>, found: &mut Vec<IpAddr>| {
            let of_link =
                message.body.get(4..8).and_then(|b| b.first_chunk()).map(|b| u32::from_ne_bytes(*b));
            if of_link == Some(index) {
                let attributes = message.attributes(ADDRESS_HEADER);
                found.extend(attributes.get(2).or_else(|| attributes.get(1)).and_then(|a| a.address()));
            }
        };
        let listed = self.socket.dump(GET_ADDRESS, &[0; ADDRESS_HEADER], &|_| {}, &parse);
        listed.map_err(Error::netlink("listing", "addresses"))
    }

    pub(super) fn add_route(&mut self, route: &Route) -> Result<(), Error> {
        let added = self.route(NEW_ROUTE, flag::CREATE | flag::REPLACE, route);
        added.map_err(Error::netlink("adding route to", route.to))
    }

    pub(super) fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        match self.route(DELETE_ROUTE, 0, route) {
            Err(error) if !error.is(libc::ESRCH) => Err(Error::netlink("deleting route to", route.to)(error)),
            _ => Ok(()),
        }
    }

    fn route(&mut self, kind: u16, flags: u16, route: &Route) -> Result<(), crate::netlink::Error> {
        const LINK_SCOPE: u8 = 253;
        const UNICAST: u8 = 1;
        let scope = if route.gateway.is_some() { 0 } else { LINK_SCOPE };
        let family = protocol_family(route.to.family());
        let mut header =
            [family, route.to.prefix(), 0, 0, MAIN_TABLE, OUR_ROUTES, scope, UNICAST, 0, 0, 0, 0];
        if route.gateway.is_some() {
            header[8..].copy_from_slice(&ONLINK.to_ne_bytes());
        }
        self.socket.request(kind, flags, &header, |w| {
            w.address(1, route.to.first());
            w.ne32(4, route.device);
            if let Some(gateway) = route.gateway {
                w.address(5, gateway);
            }
        })
    }

    /// The routes that we have made.
    pub(super) fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let mut header = [0; ROUTE_HEADER];
        header[4] = MAIN_TABLE;
        let parse = |message: &Message<'_>, found: &mut Vec<Route>| found.extend(our_route(message));
        let listed = self.socket.dump(GET_ROUTE, &header, &|_| {}, &parse);
        listed.map_err(Error::netlink("listing", "routes"))
    }

    pub(super) fn add_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), Error> {
        let added = self.neighbour(NEW_NEIGHBOUR, flag::CREATE | flag::REPLACE, neighbour);
        added.map_err(Error::netlink("adding neighbour", format!("{neighbour:?}")))
    }

    pub(super) fn delete_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), Error> {
        match self.neighbour(DELETE_NEIGHBOUR, 0, neighbour) {
            Err(error) if !error.is(libc::ENOENT) => {
                Err(Error::netlink("deleting neighbour", format!("{neighbour:?}"))(error))
            }
            _ => Ok(()),
        }
    }

    fn neighbour(
        &mut self,
        kind: u16,
        flags: u16,
        neighbour: &Neighbour,
    ) -> Result<(), crate::netlink::Error> {
        let (device, mac, address) = match neighbour {
            Neighbour::Address { device, address, mac } => (*device, mac, *address),
            Neighbour::Tunnel { device, mac, node } => (*device, mac, *node),
        };
        let (family, own) = match neighbour {
            Neighbour::Address { address, .. } => (protocol_family(Family::of(*address)), 0),
            Neighbour::Tunnel { .. } => (libc::AF_BRIDGE as u8, NTF_SELF),
        };
        let header = neighbour_header(family, device, own);
        self.socket.request(kind, flags, &header, |w| {
            w.address(1, address);
            w.data(2, mac);
        })
    }

    /// The permanent neighbours on a device, addresses and tunnels.
    pub(super) fn neighbours(&mut self, device: u32) -> Result<Vec<Neighbour>, Error> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_BRIDGE] {
            let header = neighbour_header(family as u8, 0, 0);
            let parse = |message: &Message<'_>, found: &mut Vec<Neighbour>| found.extend(permanent(message));
            let listed = self.socket.dump(GET_NEIGHBOUR, &header, &|_| {}, &parse);
            all.extend(listed.map_err(Error::netlink("listing", "neighbours"))?);
        }
        all.retain(|neighbour| match neighbour {
            Neighbour::Address { device: of, .. } | Neighbour::Tunnel { device: of, .. } => *of == device,
        });
        Ok(all)
    }
}

const NTF_SELF: u8 = 2;
const PERMANENT: u16 = 0x80;

fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// `change` are the flags to raise.
fn link_header(index: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&change.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn neighbour_header(family: u8, device: u32, flags: u8) -> [u8; NEIGHBOUR_HEADER] {
    let mut header = [0; NEIGHBOUR_HEADER];
    header[0] = family;
    header[4..8].copy_from_slice(&device.to_ne_bytes());
    header[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    header[10] = flags;
    header
}

fn link(message: &Message<'_>) -> Option<Link> {
    let word =
        |at: usize| message.body.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let attributes = message.attributes(LINK_HEADER);
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Some(Link {
        index: word(4)?,
        name: text(attributes.get(3)?.text()),
        kind: text(attributes.inside(18).get(1).and_then(|a| a.text())),
        alias: text(attributes.get(20).and_then(|a| a.text())),
        mtu: attributes.get(4).and_then(|a| a.ne32()).unwrap_or(0),
        up: word(8)? & libc::IFF_UP as u32 != 0,
        running: attributes.get(16).and_then(|a| a.value.first()) == Some(&OPERATIONAL),
    })
}

fn our_route(message: &Message<'_>) -> Option<Route> {
    let [family, prefix, _, _, table, protocol] = *message.body.first_chunk()?;
    if table != MAIN_TABLE || protocol != OUR_ROUTES {
        return None;
    }
    let family = if family == libc::AF_INET as u8 { Family::V4 } else { Family::V6 };
    let attributes = message.attributes(ROUTE_HEADER);
    let to = attributes.get(1).and_then(|a| a.address()).unwrap_or(family.unspecified());
    Some(Route {
        to: Cidr::new(to, prefix)?,
        device: attributes.get(4)?.ne32()?,
        gateway: attributes.get(5).and_then(|a| a.address()),
    })
}

fn permanent(message: &Message<'_>) -> Option<Neighbour> {
    let header: &[u8; NEIGHBOUR_HEADER] = message.body.first_chunk()?;
    let device = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let attributes = message.attributes(NEIGHBOUR_HEADER);
    let mac: Mac = attributes.get(2)?.value.try_into().ok()?;
    let address = attributes.get(1)?.address()?;
    if state & PERMANENT == 0 {
        return None;
    }
    Some(match header[0] == libc::AF_BRIDGE as u8 {
        true => Neighbour::Tunnel { device, mac, node: address },
        false => Neighbour::Address { device, address, mac },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Messages;

    #[test]
    fn no_reply_breaks_the_parsers() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let whole = Message { kind: 0, flags: 0, sequence: 0, body: bytes };
            for message in Messages(bytes).chain([whole]) {
                let _ = (link(&message), our_route(&message), permanent(&message));
            }
        });
    }
}
