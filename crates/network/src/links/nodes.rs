//! The way to the pods of other nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netplan::addr::Cidr;
use netplan::pods::tunnel_address;

use super::route::{Neighbour, Route, Rtnl};
use super::{Error, mac_of};

/// The tunnel device of a node.
pub const TUNNEL_DEVICE: &str = "boga-vxlan";

/// The device that holds routes to service addresses; see [`route_services`].
pub const SERVICE_DEVICE: &str = "boga-services";

/// What VXLAN adds to a packet: an outer IP header, UDP, its own header and an inner Ethernet one.
pub const fn tunnel_overhead(underlay_is_v6: bool) -> u32 {
    if underlay_is_v6 { 70 } else { 50 }
}

/// This node's end of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub id: u32,
    pub port: u16,
    /// The node's own address on the network between nodes.
    pub local: IpAddr,
    /// The pod ranges of this node; the device has the first address of each.
    pub pod_cidrs: Vec<Cidr>,
    /// Of the packets inside.
    pub mtu: u32,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    pub pod_cidrs: Vec<Cidr>,
}

/// How packets get to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Underlay {
    Tunnel(Tunnel),
    /// All nodes are neighbours on this device.
    Direct {
        device: String,
    },
}

/// Makes the routes to the pods of all peers, and takes away those of nodes that are gone.
///
/// # Errors
/// When the kernel refuses. What was done before that stays, and calling again completes it.
pub fn connect(underlay: &Underlay, peers: &[Peer]) -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    match underlay {
        Underlay::Tunnel(tunnel) => {
            let device = ensure_tunnel(&mut rtnl, tunnel)?;
            let (neighbours, routes) = tunnelled(device, peers);
            let before: BTreeSet<Neighbour> = rtnl.neighbours(device)?.into_iter().collect();
            before.difference(&neighbours).try_for_each(|neighbour| rtnl.delete_neighbour(neighbour))?;
            neighbours.difference(&before).try_for_each(|neighbour| rtnl.add_neighbour(neighbour))?;
            reroute(&mut rtnl, &routes)
        }
        Underlay::Direct { device } => {
            rtnl.delete_link(TUNNEL_DEVICE)?;
            let device = rtnl.index(device)?;
            let routes = peers.iter().flat_map(|peer| {
                let same = |cidr: &&Cidr| cidr.family() == netplan::addr::Family::of(peer.address);
                peer.pod_cidrs.iter().filter(same).map(move |cidr| Route {
                    to: *cidr,
                    device,
                    gateway: Some(peer.address),
                })
            });
            reroute(&mut rtnl, &routes.collect())
        }
    }
}

/// Takes away the tunnel and all routes to other nodes.
///
/// # Errors
/// When the kernel refuses.
pub fn disconnect() -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    rtnl.delete_link(TUNNEL_DEVICE)?;
    reroute(&mut rtnl, &BTreeSet::new())
}

/// Gives service addresses a route. Translation happens after routing has found a way at all, so on a
/// node without a default route nothing could be sent to a service otherwise. Nothing ever leaves
/// over the device, a bridge without ports: what is not translated, the service table drops.
///
/// # Errors
/// When the kernel refuses.
pub fn route_services(service_cidrs: &[Cidr]) -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    if rtnl.link(SERVICE_DEVICE)?.is_none() {
        rtnl.add_bridge(SERVICE_DEVICE)?;
    }
    let device = rtnl.index(SERVICE_DEVICE)?;
    rtnl.set_up(device)?;
    service_cidrs.iter().try_for_each(|cidr| rtnl.add_route(&Route { to: *cidr, device, gateway: None }))
}

fn ensure_tunnel(rtnl: &mut Rtnl, tunnel: &Tunnel) -> Result<u32, Error> {
    let known_by = format!("{} {} {}", tunnel.id, tunnel.port, tunnel.local);
    let present = rtnl.link(TUNNEL_DEVICE)?;
    if present.as_ref().is_none_or(|link| link.alias != known_by || link.mtu != tunnel.mtu) {
        rtnl.delete_link(TUNNEL_DEVICE)?;
        let mac =
            tunnel.pod_cidrs.first().map_or([0x0a, 0x58, 0, 0, 0, 0], |cidr| mac_of(tunnel_address(*cidr)));
        rtnl.add_vxlan(TUNNEL_DEVICE, tunnel.id, tunnel.local, tunnel.port, mac, tunnel.mtu)?;
        let device = rtnl.index(TUNNEL_DEVICE)?;
        rtnl.set_alias(device, &known_by)?;
    }
    let device = rtnl.index(TUNNEL_DEVICE)?;
    for cidr in &tunnel.pod_cidrs {
        rtnl.add_address(device, tunnel_address(*cidr))?;
    }
    rtnl.set_up(device)?;
    Ok(device)
}

/// A node is known by the first address of its first range; all its ranges lie behind that.
fn tunnelled(device: u32, peers: &[Peer]) -> (BTreeSet<Neighbour>, BTreeSet<Route>) {
    let (mut neighbours, mut routes) = (BTreeSet::new(), BTreeSet::new());
    for peer in peers {
        let Some(first) = peer.pod_cidrs.first() else { continue };
        let mac = mac_of(tunnel_address(*first));
        neighbours.insert(Neighbour::Tunnel { device, mac, node: peer.address });
        for cidr in &peer.pod_cidrs {
            let gateway = tunnel_address(*cidr);
            neighbours.insert(Neighbour::Address { device, address: gateway, mac });
            routes.insert(Route { to: *cidr, device, gateway: Some(gateway) });
        }
    }
    (neighbours, routes)
}

/// Of our routes, those over a gateway lead to other nodes.
fn reroute(rtnl: &mut Rtnl, wanted: &BTreeSet<Route>) -> Result<(), Error> {
    let present: BTreeSet<Route> =
        rtnl.routes()?.into_iter().filter(|route| route.gateway.is_some()).collect();
    present.difference(wanted).try_for_each(|route| rtnl.delete_route(route))?;
    wanted.difference(&present).try_for_each(|route| rtnl.add_route(route))
}
