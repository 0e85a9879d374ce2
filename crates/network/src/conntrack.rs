//! Cutting tracked UDP flows that lead to endpoints which no longer answer.

use std::net::IpAddr;

use netplan::addr::{Family, Protocol as Transport};
use netplan::conntrack::{Flow, UdpServices};

use crate::netlink::{Attributes, Error, Message, Protocol, Socket};

const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
const FIXED: usize = 4;

/// The attributes of a listed flow.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// Deletes the flows of one family that `services` calls stale; returns how many.
///
/// # Errors
/// When flows cannot be listed. A flow that ended meanwhile is no error.
pub fn flush_stale_udp(family: Family, services: &UdpServices) -> Result<usize, Error> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let header = header(family);
    let tracked = socket.dump(GET, &header, &|_| {}, &|message, found| found.extend(tracked(message)))?;
    let mut deleted = 0;
    for entry in tracked.iter().filter(|entry| services.is_stale(&entry.flow)) {
        let result = socket.request(DELETE, 0, &header, |w| {
            w.data(TUPLE_ORIGINAL | 0x8000, &entry.original);
            // The id, so that a new flow between the same ends is not mistaken for the old one.
            w.data(ID, &entry.id);
            if let Some(zone) = &entry.zone {
                w.data(ZONE, zone);
            }
        });
        match result {
            Ok(()) => deleted += 1,
            Err(error) if error.is(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

fn header(family: Family) -> [u8; FIXED] {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    [family as u8, 0, 0, 0]
}

struct Tracked {
    flow: Flow,
    original: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// A listed UDP flow; `None` for others.
fn tracked(message: &Message<'_>) -> Option<Tracked> {
    let attributes = message.attributes(FIXED);
    let original = attributes.get(TUPLE_ORIGINAL)?;
    let (protocol, [_, destination]) = tuple(original.nested())?;
    let (_, [answered_by, _]) = tuple(attributes.inside(TUPLE_REPLY))?;
    (protocol == Transport::Udp as u8).then(|| Tracked {
        flow: Flow { destination, answered_by },
        original: original.value.to_vec(),
        id: attributes.get(ID).map_or_else(Vec::new, |id| id.value.to_vec()),
        zone: attributes.get(ZONE).map(|zone| zone.value.to_vec()),
    })
}

/// Protocol, source and destination of one direction.
fn tuple(attributes: Attributes<'_>) -> Option<(u8, [(IpAddr, u16); 2])> {
    let (addresses, ports) = (attributes.inside(1), attributes.inside(2));
    let address = |v4: u16, v6: u16| addresses.get(v4).or_else(|| addresses.get(v6))?.address();
    let protocol = *ports.get(1)?.value.first()?;
    let source = (address(1, 3)?, ports.get(2)?.be16()?);
    let destination = (address(2, 4)?, ports.get(3)?.be16()?);
    Some((protocol, [source, destination]))
}
