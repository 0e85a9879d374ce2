//! The pod's namespaces, as the protocol asks for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use super::protocol::{IdRange, Pod, RunPod};
use crate::bundle::IdMap;
use crate::launch::{Attempt, Held, PodNamespaces, Result, create_namespaces, descriptor_path};

/// Makes the namespaces, and binds the network's to its file.
pub fn create(wanted: RunPod) -> Result<(Held, Pod)> {
    let netns = wanted.netns.clone();
    let held = create_namespaces(&PodNamespaces {
        network: wanted.network,
        ipc: wanted.ipc,
        uts: wanted.uts,
        pid: wanted.pid,
        uids: id_maps(&wanted.uids),
        gids: id_maps(&wanted.gids),
        hostname: wanted.hostname,
        sysctls: wanted.sysctls,
    })?;
    if !netns.is_empty()
        && let Some((_, namespace)) = held.namespaces.iter().find(|(kind, _)| *kind == "network")
    {
        File::create(&netns).attempt(|| format!("create {netns}"))?;
        rustix::mount::mount_bind(descriptor_path(namespace.as_fd()), &*netns)
            .attempt(|| format!("bind the network namespace to {netns}"))?;
    }
    let pod = describe(&held);
    Ok((held, pod))
}

/// Where others find the namespaces: behind the shim's descriptors, for as long as it lives.
pub fn describe(held: &Held) -> Pod {
    let shim = std::process::id();
    let namespaces: BTreeMap<String, String> = held
        .namespaces
        .iter()
        .map(|(kind, fd)| ((*kind).to_owned(), format!("/proc/{shim}/fd/{}", fd.as_raw_fd())))
        .collect();
    Pod { namespaces }
}

fn id_maps(ranges: &[IdRange]) -> Vec<IdMap> {
    ranges
        .iter()
        .map(|range| IdMap { container: range.container, host: range.host, size: range.size })
        .collect()
}
