//! Control groups: one interface over version 1 (a hierarchy for each controller) and version 2 (one for all).
//!
//! A [`Cgroup`] is a path such as `/kubepods/burstable/pod42/web`, the same in every hierarchy. What one of
//! the versions cannot do is refused by name.

mod device_filter;
mod stats;
mod v1;
mod v2;

pub use stats::{CpuStats, MemoryStats, Pressure, Stall, Stats};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::bundle::Resources;
use crate::launch::{Attempt, Failure};

type Result<T> = std::result::Result<T, Failure>;

/// Which of the kernel's two interfaces a machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V1,
    V2,
}

/// The hierarchies of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    kind: Kind,
    /// Controller to mount point. With v2 there is one entry, under the empty name.
    mounts: BTreeMap<String, PathBuf>,
}

/// Controllers of v1 that boga uses where they are mounted.
const CONTROLLERS: &[&str] =
    &["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb"];

/// Rounds of killing before giving up on a group whose processes fork faster than they are killed.
const MAX_KILL_ROUNDS: usize = 100;

impl Hierarchies {
    /// Looks at what is mounted. A v2 hierarchy without controllers beside v1 ones counts as v1.
    pub fn detect() -> Result<Arc<Hierarchies>> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").attempt(|| "read the mounts")?;
        Hierarchies::parse(&mountinfo).map(Arc::new)
    }

    fn parse(mountinfo: &str) -> Result<Hierarchies> {
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => v2 = v2.or(Some(PathBuf::from(mount))),
                Some("cgroup") => {
                    for option in right.next_back().unwrap_or("").split(',') {
                        if CONTROLLERS.contains(&option) {
                            v1.entry(option.to_owned()).or_insert_with(|| PathBuf::from(mount));
                        }
                    }
                }
                _ => {}
            }
        }
        match (v1.is_empty(), v2) {
            (false, _) => Ok(Hierarchies { kind: Kind::V1, mounts: v1 }),
            (true, Some(mount)) => {
                Ok(Hierarchies { kind: Kind::V2, mounts: BTreeMap::from([(String::new(), mount)]) })
            }
            (true, None) => Err(Failure::new("no control group hierarchy is mounted")),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The group at `path`, which need not exist yet.
    pub fn group(self: &Arc<Self>, path: &str) -> Result<Cgroup> {
        let relative: PathBuf =
            Path::new(path).components().filter(|part| *part != Component::RootDir).collect();
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(Failure(format!("invalid cgroup path {path:?}")));
        }
        Ok(Cgroup { hierarchies: self.clone(), path: relative })
    }
}

/// One group, in every hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    hierarchies: Arc<Hierarchies>,
    path: PathBuf,
}

impl Cgroup {
    pub fn kind(&self) -> Kind {
        self.hierarchies.kind
    }

    /// The group's directory under every controller (with v2: one, without a name).
    pub fn directories(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.hierarchies.mounts.iter().map(|(controller, mount)| (&**controller, mount.join(&self.path)))
    }

    /// The group's directory under one controller.
    fn directory(&self, controller: &str) -> Option<PathBuf> {
        let key = if self.kind() == Kind::V2 { "" } else { controller };
        self.hierarchies.mounts.get(key).map(|mount| mount.join(&self.path))
    }

    pub fn exists(&self) -> bool {
        self.directories().any(|(_, directory)| directory.exists())
    }

    /// Makes the group and its ancestors.
    pub fn create(&self) -> Result<()> {
        for (controller, mount) in &self.hierarchies.mounts {
            if self.kind() == Kind::V2 {
                v2::create(mount, &self.path)?;
            } else {
                v1::create(controller, mount, &self.path)?;
            }
        }
        Ok(())
    }

    /// Moves a process into the group; 0 is the caller.
    pub fn join(&self, pid: i32) -> Result<()> {
        for (_, directory) in self.directories() {
            write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Sets limits. Those that `resources` leaves out stay as they are.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        match self.kind() {
            Kind::V1 => v1::apply(self, resources),
            Kind::V2 => v2::apply(self, resources),
        }
    }

    /// Restricts the devices that the group's processes may open or create.
    pub fn apply_devices(&self, resources: &Resources) -> Result<()> {
        match self.kind() {
            Kind::V1 => v1::apply_devices(self, resources),
            Kind::V2 => v2::apply_devices(self, resources),
        }
    }

    /// The processes of the group and of the groups below it.
    pub fn pids(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for (_, directory) in self.directories() {
            collect_pids(&directory, &mut pids);
        }
        pids
    }

    /// Kills everything in the group and below it. The dying may take a moment.
    pub fn kill(&self) {
        if self.kind() == Kind::V2
            && let Some(directory) = self.directory("")
            && std::fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        let mut killed = BTreeSet::new();
        for _ in 0..MAX_KILL_ROUNDS {
            let fresh: Vec<i32> = self.pids().into_iter().filter(|pid| !killed.contains(pid)).collect();
            if fresh.is_empty() {
                return;
            }
            for pid in fresh {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                killed.insert(pid);
            }
        }
    }

    /// Removes the group and the groups below it; `false` while processes are still in them.
    pub fn remove(&self) -> Result<bool> {
        let mut gone = true;
        for (_, directory) in self.directories() {
            gone &= remove_tree(&directory).attempt(|| format!("remove cgroup {}", directory.display()))?;
        }
        Ok(gone)
    }

    /// How many of the group's processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.kind() == Kind::V1 { "memory.oom_control" } else { "memory.events" };
        self.directory("memory").map_or(0, |directory| keyed(&directory.join(file), "oom_kill").unwrap_or(0))
    }

    pub fn stats(&self) -> Stats {
        match self.kind() {
            Kind::V1 => v1::stats(self),
            Kind::V2 => v2::stats(self),
        }
    }
}

/// All groups directly below `path`, by name.
pub fn children(hierarchies: &Arc<Hierarchies>, path: &str) -> BTreeSet<String> {
    let Ok(group) = hierarchies.group(path) else { return BTreeSet::new() };
    group
        .directories()
        .filter_map(|(_, directory)| std::fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn collect_pids(directory: &Path, pids: &mut BTreeSet<i32>) {
    if let Ok(text) = std::fs::read_to_string(directory.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
    }
    for child in subdirectories(directory) {
        collect_pids(&child, pids);
    }
}

fn remove_tree(directory: &Path) -> io::Result<bool> {
    let mut gone = true;
    for child in subdirectories(directory) {
        gone &= remove_tree(&child)?;
    }
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(gone),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(error) => Err(error),
    }
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn write(path: &Path, value: &str) -> Result<()> {
    std::fs::write(path, value).attempt(|| format!("failed to write {:?} to {}", value, path.display()))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `key` in a file of `key value` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(v1).unwrap();
        assert_eq!(found.kind, Kind::V1);
        assert_eq!(found.mounts.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(v2).unwrap();
        assert_eq!(found.kind, Kind::V2);
        assert!(Hierarchies::parse("1 0 0:1 / / rw - ext4 /dev/vda rw\n").is_err());
    }

    #[test]
    fn paths_stay_inside() {
        let found =
            Arc::new(Hierarchies { kind: Kind::V2, mounts: BTreeMap::from([(String::new(), "/cg".into())]) });
        for bad in ["", "/", "../x", "/a/../../b"] {
            assert!(found.group(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            found.group("/kubepods/pod1").unwrap().directory("cpu").unwrap(),
            Path::new("/cg/kubepods/pod1")
        );
    }
}
