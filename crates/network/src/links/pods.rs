//! The link of a pod.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use netplan::addr::{Cidr, Family};

use super::route::{Neighbour, Route, Rtnl};
use super::{Error, Mac, mac_of};
use crate::netns;

/// The device inside a pod.
pub const POD_DEVICE: &str = "eth0";

/// The gateways that pods are told of. No device has them: pods know the hardware address already.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The hardware address of the node's end of every pod link.
const NODE_MAC: Mac = [0xee; 6];

/// Links with this prefix are ours.
const PREFIX: &str = "boga";

/// A pod's link as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// The pod's network namespace.
    pub netns: PathBuf,
    /// The node's end, from [`host_device`].
    pub host_device: String,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    pub mtu: u32,
    /// Kept with the device for people and for cleaning up, as "namespace/name".
    pub alias: String,
}

/// A pod link found on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub host_device: String,
    pub alias: String,
}

/// The name of the node's end for something unique, such as a sandbox id or a pod's uid.
pub fn host_device(unique: &str) -> String {
    let hash = unique.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{PREFIX}{:011x}", hash >> 20)
}

/// Gives a pod its link. A link of that name from an earlier attempt is replaced; after an error
/// nothing is left behind.
///
/// # Errors
/// When the namespace is gone or the kernel refuses.
pub fn attach_pod(pod: &PodLink) -> Result<(), Error> {
    check_name(&pod.host_device)?;
    let mut node = Rtnl::open()?;
    node.delete_link(&pod.host_device)?;
    let namespace = File::open(&pod.netns).map_err(|source| Error::Io {
        operation: "opening network namespace",
        subject: pod.netns.display().to_string(),
        source,
    })?;
    let pod_mac = pod.addresses.first().map_or([0x0a, 0x58, 0, 0, 0, 1], |address| mac_of(*address));
    let peer = (POD_DEVICE, pod_mac, namespace.as_fd());
    node.add_veth(&pod.host_device, NODE_MAC, peer, pod.mtu)?;
    let finished = finish(&mut node, pod, pod_mac);
    if finished.is_err() {
        let _ = node.delete_link(&pod.host_device);
    }
    finished
}

fn finish(node: &mut Rtnl, pod: &PodLink, pod_mac: Mac) -> Result<(), Error> {
    netns::run(&pod.netns, || inside(&pod.addresses))??;
    let device = node.index(&pod.host_device)?;
    node.set_alias(device, &pod.alias)?;
    if pod.addresses.iter().any(IpAddr::is_ipv6) {
        super::set_sysctl(&format!("net/ipv6/conf/{}/accept_dad", pod.host_device), "0")?;
    }
    node.set_up(device)?;
    for address in &pod.addresses {
        node.add_neighbour(&Neighbour::Address { device, address: *address, mac: pod_mac })?;
        node.add_route(&Route { to: Cidr::host(*address), device, gateway: None })?;
    }
    wait_until_running(node, &pod.host_device)?;
    netns::run(&pod.netns, || wait_until_running(&mut Rtnl::open()?, POD_DEVICE))?
}

/// A device that was just raised drops packets until the kernel has noticed its carrier, which a
/// pod's first connection would pay for with a second. Asking makes newer kernels notice at once.
fn wait_until_running(rtnl: &mut Rtnl, device: &str) -> Result<(), Error> {
    for _ in 0..CARRIER_ATTEMPTS {
        match rtnl.link(device)? {
            Some(link) if !link.running => std::thread::sleep(CARRIER_PAUSE),
            _ => break,
        }
    }
    Ok(())
}

/// After a second without carrier the link is handed over as it is: it may still come up.
const CARRIER_ATTEMPTS: u32 = 500;
const CARRIER_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// The pod's end: its address alone, and everything else behind the gateway.
fn inside(addresses: &[IpAddr]) -> Result<(), Error> {
    let mut pod = Rtnl::open()?;
    let loopback = pod.index("lo")?;
    pod.set_up(loopback)?;
    let device = pod.index(POD_DEVICE)?;
    pod.set_up(device)?;
    for address in addresses {
        let gateway = gateway(Family::of(*address));
        pod.add_address(device, *address)?;
        pod.add_neighbour(&Neighbour::Address { device, address: gateway, mac: NODE_MAC })?;
        for route in pod_routes(Family::of(*address), device) {
            pod.add_route(&route)?;
        }
    }
    Ok(())
}

fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY_V4.into(),
        Family::V6 => GATEWAY_V6.into(),
    }
}

fn pod_routes(family: Family, device: u32) -> [Route; 2] {
    let gateway = gateway(family);
    let everywhere = Cidr::new(family.unspecified(), 0).expect("zero is a prefix length of every family");
    [
        Route { to: Cidr::host(gateway), device, gateway: None },
        Route { to: everywhere, device, gateway: Some(gateway) },
    ]
}

/// Takes a pod's link away. One that is gone already is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn detach_pod(host_device: &str) -> Result<(), Error> {
    Rtnl::open()?.delete_link(host_device)
}

/// What is wrong with a pod's link; nothing when it is as [`attach_pod`] made it.
///
/// # Errors
/// When the namespace is gone or the kernel refuses to say.
pub fn check_pod(pod: &PodLink) -> Result<Vec<String>, Error> {
    let mut node = Rtnl::open()?;
    let Some(link) = node.link(&pod.host_device)? else {
        return Ok(vec![format!("link {} is not there", pod.host_device)]);
    };
    let mut wrong = Vec::new();
    if !link.up {
        wrong.push(format!("link {} is down", pod.host_device));
    }
    let routes: BTreeSet<Route> = node.routes()?.into_iter().collect();
    for address in &pod.addresses {
        let route = Route { to: Cidr::host(*address), device: link.index, gateway: None };
        if !routes.contains(&route) {
            wrong.push(format!("the node has no route to {address} over {}", pod.host_device));
        }
    }
    wrong.extend(netns::run(&pod.netns, || check_inside(&pod.addresses))??);
    Ok(wrong)
}

fn check_inside(addresses: &[IpAddr]) -> Result<Vec<String>, Error> {
    let mut pod = Rtnl::open()?;
    let Some(link) = pod.link(POD_DEVICE)? else { return Ok(vec![format!("the pod has no {POD_DEVICE}")]) };
    let mut wrong = Vec::new();
    if !link.up {
        wrong.push(format!("{POD_DEVICE} of the pod is down"));
    }
    let present = pod.addresses(link.index)?;
    let routes = pod.routes()?;
    for address in addresses {
        if !present.contains(address) {
            wrong.push(format!("the pod does not have address {address}"));
        }
        if pod_routes(Family::of(*address), link.index).iter().any(|route| !routes.contains(route)) {
            wrong.push(format!("the pod lacks its route out for {address}"));
        }
    }
    Ok(wrong)
}

/// All pod links on the node, so that those of pods that are gone can be taken away.
///
/// # Errors
/// When the kernel refuses to list.
pub fn list_pods() -> Result<Vec<Found>, Error> {
    let links = Rtnl::open()?.links()?;
    let ours = links.into_iter().filter(|link| link.kind == "veth" && link.name.starts_with(PREFIX));
    Ok(ours.map(|link| Found { host_device: link.name, alias: link.alias }).collect())
}

/// The addresses of a pod's device, as a plugin or we have made them.
///
/// # Errors
/// When the namespace is gone or has no such device.
pub fn pod_addresses(netns: &Path) -> Result<Vec<IpAddr>, Error> {
    let listed = netns::run(netns, || {
        let mut pod = Rtnl::open()?;
        let device = pod.index(POD_DEVICE)?;
        pod.addresses(device)
    })?;
    let usable = |address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(listed?.into_iter().filter(usable).collect())
}

/// What the kernel accepts as a device name.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
    let plain =
        !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0);
    if fits && plain { Ok(()) } else { Err(Error::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit() {
        for unique in ["", "a", "3f0c9d5e-6b4f-4a7e-9a53-5b6a3c0d9f11"] {
            let name = host_device(unique);
            assert!(check_name(&name).is_ok() && name.len() == 15, "{name}");
        }
        assert_ne!(host_device("a"), host_device("b"));
        for bad in ["", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
