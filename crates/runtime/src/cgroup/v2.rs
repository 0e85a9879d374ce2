//! Control groups, version 2.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Cgroup, CpuStats, MemoryStats, Pressure, Result, Stats, device_filter, keyed, number, write};
use crate::bundle::Resources;
use crate::launch::{Attempt, Failure};

/// Controllers handed down to every group, where the parent has them.
const CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

pub(super) fn create(mount: &Path, path: &Path) -> Result<()> {
    let mut directory = mount.to_owned();
    for part in path.components() {
        let offered = std::fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        let wanted: Vec<String> = CONTROLLERS
            .iter()
            .filter(|controller| offered.split_whitespace().any(|name| name == **controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        if !wanted.is_empty() {
            write(&directory.join("cgroup.subtree_control"), &wanted.join(" "))?;
        }
        directory.push(part);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result.attempt(|| format!("create cgroup {}", directory.display()))?,
        }
    }
    Ok(())
}

pub(super) fn apply(group: &Cgroup, resources: &Resources) -> Result<()> {
    let directory = group.directory("").ok_or_else(|| Failure::new("no cgroup hierarchy"))?;
    for (file, value) in files(resources)? {
        write(&directory.join(file), &value)?;
    }
    Ok(())
}

/// The files to write, in order, and their values.
fn files(resources: &Resources) -> Result<Vec<(String, String)>> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |file: &str, value: String| files.insert(file.to_owned(), value);
    let cpu = &resources.cpu;
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        set("cpu.weight", weight(shares).to_string());
    }
    let period = cpu.period.filter(|&period| period != 0);
    let quota = cpu.quota.filter(|&quota| quota != 0);
    if period.is_some() || quota.is_some() {
        let quota = quota.filter(|&quota| quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        set("cpu.max", format!("{quota} {}", period.unwrap_or(100_000)));
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            set(file, value.clone());
        }
    }
    let limit = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let memory = &resources.memory;
    let (memory_limit, both) =
        (memory.limit.filter(|&value| value != 0), memory.swap.filter(|&value| value != 0));
    if let Some(memory_limit) = memory_limit {
        set("memory.max", limit(memory_limit));
    }
    // The specification counts memory and swap together; version 2 counts swap alone.
    match (memory_limit, both) {
        (_, Some(-1)) => drop(set("memory.swap.max", "max".to_owned())),
        (Some(memory), Some(both)) if memory >= 0 => {
            let swap = both.checked_sub(memory).filter(|&swap| swap >= 0).ok_or_else(|| {
                Failure(format!("memory+swap limit {both} should be >= memory limit {memory}"))
            })?;
            set("memory.swap.max", swap.to_string());
        }
        (_, Some(_)) => return Err(Failure::new("unable to set swap limit without memory limit")),
        (_, None) => {}
    }
    if let Some(pids) = &resources.pids {
        set("pids.max", if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() });
    }
    for pages in &resources.hugepage_limits {
        set(&format!("hugetlb.{}.max", pages.page_size), pages.limit.to_string());
    }
    for (file, value) in &resources.unified {
        if file.contains('/') || !file.contains('.') {
            return Err(Failure(format!("unified resource {file:?} must be a file name")));
        }
        set(file, value.clone());
    }
    Ok(files.into_iter().collect())
}

/// The weight that stands for a number of shares: 2 is 1, 1024 is 100 and 262144 is 10000, with the curve
/// between them that runc and crun use.
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn apply_devices(group: &Cgroup, resources: &Resources) -> Result<()> {
    let directory = group.directory("").ok_or_else(|| Failure::new("no cgroup hierarchy"))?;
    device_filter::attach(&directory, &resources.devices)
}

pub(super) fn stats(group: &Cgroup) -> Stats {
    let path = |file: &str| group.directory("").map(|directory| directory.join(file)).unwrap_or_default();
    let stat = |key: &str| keyed(&path("memory.stat"), key);
    let usage = number(&path("memory.current"));
    Stats {
        cpu: CpuStats {
            usage_nanoseconds: keyed(&path("cpu.stat"), "usage_usec").map(|usage| usage.saturating_mul(1000)),
            pressure: Pressure::read(&path("cpu.pressure")),
        },
        memory: MemoryStats {
            usage,
            working_set: usage.map(|usage| usage.saturating_sub(stat("inactive_file").unwrap_or(0))),
            rss: stat("anon"),
            faults: stat("pgfault"),
            major_faults: stat("pgmajfault"),
            limit: number(&path("memory.max")),
            swap: number(&path("memory.swap.current")),
            swap_limit: number(&path("memory.swap.max")),
            pressure: Pressure::read(&path("memory.pressure")),
        },
        io_pressure: Pressure::read(&path("io.pressure")),
        processes: number(&path("pids.current")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Cpu, Hugepages, Memory, Pids};

    #[test]
    fn shares_become_weights() {
        for (shares, expected) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    #[test]
    fn limits_become_files() {
        let resources = Resources {
            cpu: Cpu {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: "0-1".into(),
                ..Cpu::default()
            },
            memory: Memory { limit: Some(1 << 20), swap: Some(3 << 20) },
            pids: Some(Pids { limit: 100 }),
            hugepage_limits: vec![Hugepages { page_size: "2MB".into(), limit: 4 << 20 }],
            unified: BTreeMap::from([("memory.high".into(), "1000".into())]),
            ..Resources::default()
        };
        let expected = [
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "100"),
            ("cpuset.cpus", "0-1"),
            ("hugetlb.2MB.max", "4194304"),
            ("memory.high", "1000"),
            ("memory.max", "1048576"),
            ("memory.swap.max", "2097152"),
            ("pids.max", "100"),
        ];
        let expected: Vec<(String, String)> =
            expected.iter().map(|&(f, v)| (f.to_owned(), v.to_owned())).collect();
        assert_eq!(files(&resources).unwrap(), expected);
    }

    #[test]
    fn impossible_limits_are_refused() {
        for memory in [Memory { limit: Some(10), swap: Some(5) }, Memory { limit: None, swap: Some(5) }] {
            assert!(files(&Resources { memory, ..Resources::default() }).is_err());
        }
        let lifted = Resources { memory: Memory { limit: Some(-1), swap: Some(-1) }, ..Resources::default() };
        assert_eq!(files(&lifted).unwrap().len(), 2);
        let outside =
            Resources { unified: BTreeMap::from([("../x.y".into(), "1".into())]), ..Resources::default() };
        assert!(files(&outside).is_err());
    }
}
