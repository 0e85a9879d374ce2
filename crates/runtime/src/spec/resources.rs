//! Limits.

use std::collections::BTreeMap;

use crate::bundle::{Cpu, Hugepages, Memory, Resources};
use crate::cgroup::Kind;
use crate::cri::{Error, LinuxContainerResources, Result};

/// The limits of a container. Zero in the CRI means "not set".
pub fn resources(wanted: &LinuxContainerResources, kind: Kind) -> Result<Resources> {
    if kind == Kind::V1
        && let Some(key) = wanted.unified.keys().next()
    {
        return Err(Error::invalid(format!(
            "unified resource {key:?} needs cgroup v2, and this machine has v1"
        )));
    }
    let set = |value: i64| (value != 0).then_some(value);
    let positive = |value: i64| u64::try_from(value).ok().filter(|&value| value != 0);
    let limit = set(wanted.memory_limit_in_bytes);
    Ok(Resources {
        devices: Vec::new(),
        memory: Memory {
            limit,
            // Without a limit of memory there is none for memory and swap together.
            swap: set(wanted.memory_swap_limit_in_bytes).filter(|&swap| limit.is_some() || swap < 0),
        },
        cpu: Cpu {
            shares: positive(wanted.cpu_shares),
            quota: set(wanted.cpu_quota),
            period: positive(wanted.cpu_period),
            cpus: wanted.cpuset_cpus.clone(),
            mems: wanted.cpuset_mems.clone(),
        },
        pids: None,
        hugepage_limits: wanted
            .hugepage_limits
            .iter()
            .map(|limit| Hugepages { page_size: limit.page_size.clone(), limit: limit.limit })
            .collect(),
        unified: wanted.unified.clone(),
    })
}

/// What `current` becomes when `change` is applied: what the change leaves out stays.
pub fn update(
    current: &LinuxContainerResources,
    change: &LinuxContainerResources,
) -> LinuxContainerResources {
    fn number(new: i64, old: i64) -> i64 {
        if new != 0 { new } else { old }
    }
    fn text(new: &str, old: &str) -> String {
        if new.is_empty() { old.to_owned() } else { new.to_owned() }
    }
    let mut unified: BTreeMap<String, String> = current.unified.clone();
    unified.extend(change.unified.clone());
    LinuxContainerResources {
        cpu_period: number(change.cpu_period, current.cpu_period),
        cpu_quota: number(change.cpu_quota, current.cpu_quota),
        cpu_shares: number(change.cpu_shares, current.cpu_shares),
        memory_limit_in_bytes: number(change.memory_limit_in_bytes, current.memory_limit_in_bytes),
        oom_score_adj: number(change.oom_score_adj, current.oom_score_adj),
        cpuset_cpus: text(&change.cpuset_cpus, &current.cpuset_cpus),
        cpuset_mems: text(&change.cpuset_mems, &current.cpuset_mems),
        hugepage_limits: if change.hugepage_limits.is_empty() {
            current.hugepage_limits.clone()
        } else {
            change.hugepage_limits.clone()
        },
        unified,
        memory_swap_limit_in_bytes: number(
            change.memory_swap_limit_in_bytes,
            current.memory_swap_limit_in_bytes,
        ),
    }
}
