//! The namespaces of a pod.

use std::collections::BTreeMap;

use crate::bundle::IdMap;
use crate::cri::{Error, IdMapping, NamespaceMode, PodSandboxConfig, Result};
use crate::shim::protocol::{IdRange, RunPod};

/// The kinds of namespaces that a pod may have of its own.
pub const POD_NAMESPACES: &[&str] = &["user", "network", "ipc", "uts", "pid"];

/// What the shim is asked to make for this sandbox.
pub fn run_pod(config: &PodSandboxConfig, netns: &str) -> Result<RunPod> {
    let linux = config.linux.clone().unwrap_or_default();
    let options = linux.security_context.unwrap_or_default().namespace_options.unwrap_or_default();
    let own = |mode: NamespaceMode| mode != NamespaceMode::Node;
    let network = own(options.network());
    let (uids, gids) = id_maps(config)?;
    let ranges = |maps: &[IdMap]| {
        maps.iter().map(|map| IdRange { container: map.container, host: map.host, size: map.size }).collect()
    };
    let mut sysctls = BTreeMap::new();
    if network {
        // A port below 1024 and a ping need no privilege inside a network of one's own.
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        if uids.is_empty() {
            sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    for (name, value) in &linux.sysctls {
        check_sysctl(name, network, own(options.ipc()))?;
        sysctls.insert(name.clone(), value.clone());
    }
    Ok(RunPod {
        network,
        ipc: own(options.ipc()),
        uts: network,
        pid: options.pid() == NamespaceMode::Pod,
        uids: ranges(&uids),
        gids: ranges(&gids),
        hostname: config.hostname.clone(),
        sysctls,
        netns: if network { netns.to_owned() } else { String::new() },
    })
}

/// Only what a pod's own namespaces hold may be set; anything else would be set for the whole machine.
fn check_sysctl(name: &str, network: bool, ipc: bool) -> Result<()> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let dotted = name.replace('/', ".");
    if dotted.contains("..") {
        return Err(Error::invalid(format!("invalid sysctl {name:?}")));
    }
    let ipc_key = IPC.contains(&&*dotted) || dotted.starts_with("fs.mqueue.");
    match () {
        () if dotted.starts_with("net.") && network => Ok(()),
        () if dotted.starts_with("net.") => {
            Err(Error::invalid(format!("sysctl {name:?} not allowed in host network namespace")))
        }
        () if ipc_key && ipc => Ok(()),
        () if ipc_key => Err(Error::invalid(format!("sysctl {name:?} not allowed in host ipc namespace"))),
        () => Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace"))),
    }
}

/// The id mappings of the pod's user namespace; empty when it has none.
pub fn id_maps(config: &PodSandboxConfig) -> Result<(Vec<IdMap>, Vec<IdMap>)> {
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = context.and_then(|context| context.namespace_options.as_ref());
    let Some(userns) = options.and_then(|options| options.userns_options.as_ref()) else {
        return Ok(Default::default());
    };
    match userns.mode() {
        NamespaceMode::Node => return Ok(Default::default()),
        NamespaceMode::Pod => {}
        other => return Err(Error::invalid(format!("unsupported user namespace mode: {other:?}"))),
    }
    if context.is_some_and(|context| context.privileged) {
        return Err(Error::invalid("a privileged sandbox cannot have a user namespace"));
    }
    let maps = |what: &str, list: &[IdMapping]| -> Result<Vec<IdMap>> {
        if list.is_empty() {
            return Err(Error::invalid(format!("user namespace: no {what} mappings")));
        }
        list.iter()
            .map(|map| match map.length {
                0 => Err(Error::invalid(format!("user namespace: a {what} mapping has length 0"))),
                size => Ok(IdMap { container: map.container_id, host: map.host_id, size }),
            })
            .collect()
    };
    Ok((maps("uid", &userns.uids)?, maps("gid", &userns.gids)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_sysctls_are_set() {
        for (name, network, ipc, expected) in [
            ("net.core.somaxconn", true, true, Ok(())),
            ("net/ipv4/tcp_syncookies", true, false, Ok(())),
            ("net.core.somaxconn", false, true, Err("not allowed in host network namespace")),
            ("kernel.shmmax", true, true, Ok(())),
            ("fs.mqueue.msg_max", true, false, Err("not allowed in host ipc namespace")),
            ("kernel.pid_max", true, true, Err("not in a separate kernel namespace")),
            ("net.../../vm/overcommit_memory", true, true, Err("invalid sysctl")),
        ] {
            match (check_sysctl(name, network, ipc), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.message.contains(part), "{error}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}
