//! Control groups, version 1.

use std::path::Path;

use super::{Cgroup, CpuStats, MemoryStats, Result, Stats, keyed, number, write};
use crate::bundle::{DeviceRule, Memory, Resources};
use crate::launch::{Attempt, Failure};

/// The kernel's notion of "no limit", rounded down to whole pages by any kernel.
const UNLIMITED: u64 = i64::MAX as u64 / 4096 * 4096;

pub(super) fn create(controller: &str, mount: &Path, path: &Path) -> Result<()> {
    let directory = mount.join(path);
    std::fs::create_dir_all(&directory).attempt(|| format!("create cgroup {}", directory.display()))?;
    if controller == "cpuset" {
        // A new cpuset is empty, and no process can be put into an empty one.
        let mut parent = mount.to_owned();
        for part in path.components() {
            let child = parent.join(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = std::fs::read_to_string(child.join(file)).unwrap_or_default();
                if own.trim().is_empty() {
                    let inherited =
                        std::fs::read_to_string(parent.join(file)).attempt(|| format!("read {file}"))?;
                    write(&child.join(file), inherited.trim())?;
                }
            }
            parent = child;
        }
    }
    Ok(())
}

pub(super) fn apply(group: &Cgroup, resources: &Resources) -> Result<()> {
    if let Some(key) = resources.unified.keys().next() {
        return Err(Failure(format!("cgroup setting {key:?} needs cgroup v2, and this machine has v1")));
    }
    let set = |controller: &str, file: &str, value: &str| -> Result<()> {
        let directory = group.directory(controller).ok_or_else(|| {
            Failure(format!("cannot set {file}: the {controller} controller is not mounted"))
        })?;
        write(&directory.join(file), value)
    };
    let cpu = &resources.cpu;
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        set("cpu", "cpu.shares", &shares.to_string())?;
    }
    let period = cpu.period.filter(|&period| period != 0).map(|period| period.to_string());
    let quota = cpu.quota.filter(|&quota| quota != 0).map(|quota| quota.to_string());
    // While a new period would make the old quota exceed the parent's share, the quota has to go first.
    let period_late = match (&period, &quota) {
        (Some(period), Some(_)) => set("cpu", "cpu.cfs_period_us", period).is_err(),
        (Some(period), None) => set("cpu", "cpu.cfs_period_us", period).map(|()| false)?,
        _ => false,
    };
    if let Some(quota) = &quota {
        set("cpu", "cpu.cfs_quota_us", quota)?;
    }
    if let (true, Some(period)) = (period_late, &period) {
        set("cpu", "cpu.cfs_period_us", period)?;
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            set("cpuset", file, value)?;
        }
    }
    apply_memory(group, &resources.memory, &set)?;
    if let Some(pids) = &resources.pids {
        let limit = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        set("pids", "pids.max", &limit)?;
    }
    for limit in &resources.hugepage_limits {
        set("hugetlb", &format!("hugetlb.{}.limit_in_bytes", limit.page_size), &limit.limit.to_string())?;
    }
    Ok(())
}

/// The sum of memory and swap may never be below the memory alone, so which limit goes first depends on the
/// direction.
fn apply_memory(group: &Cgroup, memory: &Memory, set: &dyn Fn(&str, &str, &str) -> Result<()>) -> Result<()> {
    let limit = memory.limit.filter(|&limit| limit != 0).map(|limit| limit.to_string());
    let swap = memory.swap.filter(|&swap| swap != 0).map(|swap| swap.to_string());
    let file = "memory.memsw.limit_in_bytes";
    let counts_swap = group.directory("memory").is_some_and(|directory| directory.join(file).exists());
    let set_limit = || limit.as_ref().map_or(Ok(()), |limit| set("memory", "memory.limit_in_bytes", limit));
    let set_swap = || match &swap {
        // Without swap accounting there is no swap to limit.
        Some(swap) if counts_swap => set("memory", file, swap),
        _ => Ok(()),
    };
    if set_limit().is_ok() {
        return set_swap();
    }
    set_swap()?;
    set_limit().map_err(|failure| {
        let used =
            group.directory("memory").and_then(|directory| number(&directory.join("memory.usage_in_bytes")));
        match used {
            Some(used) => Failure(format!("{failure} (current usage: {used} bytes)")),
            None => failure,
        }
    })
}

pub(super) fn apply_devices(group: &Cgroup, resources: &Resources) -> Result<()> {
    let Some(directory) = group.directory("devices") else {
        return Err(Failure::new("cannot restrict devices: the devices controller is not mounted"));
    };
    for rule in &resources.devices {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        write(&directory.join(file), &rule_line(rule))?;
    }
    Ok(())
}

fn rule_line(rule: &DeviceRule) -> String {
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => number.to_string(),
        _ => "*".to_owned(),
    };
    let kind = if rule.r#type.is_empty() { "a" } else { &rule.r#type };
    format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
}

pub(super) fn stats(group: &Cgroup) -> Stats {
    let read = |controller: &str, file: &str| number(&group.directory(controller)?.join(file));
    let memory_stat = |key: &str| keyed(&group.directory("memory")?.join("memory.stat"), key);
    let limit = |file: &str| read("memory", file).filter(|&limit| limit < UNLIMITED);
    let usage = read("memory", "memory.usage_in_bytes");
    let with_swap = read("memory", "memory.memsw.usage_in_bytes");
    let memory_limit = limit("memory.limit_in_bytes");
    Stats {
        cpu: CpuStats { usage_nanoseconds: read("cpuacct", "cpuacct.usage"), pressure: None },
        memory: MemoryStats {
            usage,
            working_set: usage
                .map(|usage| usage.saturating_sub(memory_stat("total_inactive_file").unwrap_or(0))),
            rss: memory_stat("total_rss"),
            faults: memory_stat("total_pgfault"),
            major_faults: memory_stat("total_pgmajfault"),
            limit: memory_limit,
            swap: with_swap.zip(usage).map(|(both, memory)| both.saturating_sub(memory)),
            swap_limit: limit("memory.memsw.limit_in_bytes")
                .zip(memory_limit)
                .map(|(both, memory)| both.saturating_sub(memory)),
            pressure: None,
        },
        io_pressure: None,
        processes: read("pids", "pids.current"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_rules_are_written_as_the_kernel_reads_them() {
        let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
            allow,
            r#type: kind.to_owned(),
            major,
            minor,
            access: access.to_owned(),
        };
        for (rule, expected) in [
            (rule(false, "a", None, None, "rwm"), "a *:* rwm"),
            (rule(true, "c", Some(1), Some(3), "rw"), "c 1:3 rw"),
            (rule(true, "c", Some(136), Some(-1), "rwm"), "c 136:* rwm"),
            (rule(true, "", None, None, "m"), "a *:* m"),
        ] {
            assert_eq!(rule_line(&rule), expected);
        }
    }
}
