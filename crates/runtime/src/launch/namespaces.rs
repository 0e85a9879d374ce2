//! Namespaces: made for a pod, mapped, held and joined.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::failure::{Attempt, Failure, Result};
use super::sys::{self, Fork};
use crate::bundle::{IdMap, Namespace};

/// What a pod's namespaces are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNamespaces {
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    /// One pid namespace for all containers. Its init process reaps orphans and lives as long as the pod.
    pub pid: bool,
    /// When not empty, all of the above belong to a user namespace with these mappings.
    pub uids: Vec<IdMap>,
    pub gids: Vec<IdMap>,
    pub hostname: String,
    pub sysctls: BTreeMap<String, String>,
}

/// The pod's namespaces, kept alive by descriptors.
#[derive(Default)]
pub struct Held {
    /// By the specification's word for each kind, in the order of joining.
    pub namespaces: Vec<(&'static str, OwnedFd)>,
    /// The init process of the pod's pid namespace.
    pub init: Option<i32>,
}

const KINDS: &[(&str, &str, i32)] = &[
    ("user", "user", libc::CLONE_NEWUSER),
    ("network", "net", libc::CLONE_NEWNET),
    ("ipc", "ipc", libc::CLONE_NEWIPC),
    ("uts", "uts", libc::CLONE_NEWUTS),
    ("pid", "pid", libc::CLONE_NEWPID),
    ("mount", "mnt", libc::CLONE_NEWNS),
    ("cgroup", "cgroup", libc::CLONE_NEWCGROUP),
];

/// The clone flag of a namespace kind, by the specification's word.
pub fn flag(kind: &str) -> Result<i32> {
    KINDS
        .iter()
        .find_map(|&(name, _, flag)| (name == kind).then_some(flag))
        .ok_or_else(|| Failure(format!("unknown namespace type {kind:?}")))
}

/// Makes the namespaces of a pod.
pub fn create(wanted: &PodNamespaces) -> Result<Held> {
    let user = !wanted.uids.is_empty();
    let chosen = [
        ("user", user),
        ("network", wanted.network),
        ("ipc", wanted.ipc),
        ("uts", wanted.uts),
        ("pid", wanted.pid),
    ];
    let kinds: Vec<_> = KINDS.iter().filter(|(name, ..)| chosen.contains(&(*name, true))).collect();
    if kinds.is_empty() {
        return Ok(Held::default());
    }
    let flags = kinds.iter().fold(0, |flags, (.., flag)| flags | flag);
    let (go_read, mut go_write) = std::io::pipe().attempt(|| "pipe")?;
    let (mut done_read, done_write) = std::io::pipe().attempt(|| "pipe")?;
    let child = match sys::fork(flags, false).attempt(|| "create the pod's namespaces")? {
        Fork::Child => {
            drop((go_write, done_read));
            holder(wanted, go_read, done_write)
        }
        Fork::Parent(pid) => pid,
    };
    drop((go_read, done_write));
    let made = (|| {
        if user {
            write_mappings(child, &wanted.uids, &wanted.gids)?;
        }
        go_write.write_all(b"1").attempt(|| "release the holder")?;
        let mut report = String::new();
        done_read.read_to_string(&mut report).attempt(|| "wait for the holder")?;
        if report != "ready" {
            return Err(Failure(if report.is_empty() {
                "the namespace holder died".to_owned()
            } else {
                report
            }));
        }
        kinds.iter().map(|&&(name, file, _)| Ok((name, open(child, file)?))).collect::<Result<Vec<_>>>()
    })();
    match made {
        Ok(namespaces) if wanted.pid => Ok(Held { namespaces, init: Some(child) }),
        Ok(namespaces) => {
            end(child);
            Ok(Held { namespaces, init: None })
        }
        Err(failure) => {
            end(child);
            Err(failure)
        }
    }
}

/// The first process in the pod's namespaces: sets them up, reports, and stays if it is a pid namespace's init.
fn holder(wanted: &PodNamespaces, mut go: std::io::PipeReader, mut done: std::io::PipeWriter) -> ! {
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
    let mut byte = [0];
    if !matches!(go.read(&mut byte), Ok(1)) {
        sys::exit(1);
    }
    let report = match prepare(wanted) {
        Ok(()) => "ready".to_owned(),
        Err(failure) => failure.0,
    };
    let _ = done.write_all(report.as_bytes());
    drop(done);
    // Only an init of a pid namespace is kept; any other is killed as soon as its namespaces are held.
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(_) => {}
            // Without children there is nothing to reap until a signal says that an orphan arrived.
            Err(_) => pause_for_child(),
        }
    }
}

fn pause_for_child() {
    use nix::sys::signal::{SigSet, Signal};
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    let _ = set.thread_block();
    // A child that arrived before the signal was blocked is found by the next waitpid; one that exits later
    // leaves the signal pending.
    if nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG)).is_err() {
        let _ = set.wait();
    }
}

fn prepare(wanted: &PodNamespaces) -> Result<()> {
    if !wanted.uids.is_empty() {
        sys::become_user(0, 0, &[]).attempt(|| "become root of the user namespace")?;
    }
    if wanted.uts && !wanted.hostname.is_empty() {
        rustix::system::sethostname(wanted.hostname.as_bytes()).attempt(|| "set the hostname")?;
    }
    if wanted.network {
        sys::loopback_up().attempt(|| "bring up the loopback interface")?;
    }
    for (name, value) in &wanted.sysctls {
        let path = sysctl_path(name);
        std::fs::write(&path, value).attempt(|| format!("write sysctl key {name:?}"))?;
    }
    Ok(())
}

/// `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding`: the first separator decides, as in sysctl(8).
fn sysctl_path(name: &str) -> std::path::PathBuf {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let name: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    Path::new("/proc/sys").join(name)
}

fn open(pid: i32, file: &str) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{file}");
    Ok(std::fs::File::open(&path).attempt(|| format!("open {path}"))?.into())
}

fn write_mappings(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let lines: String =
            mappings.iter().map(|map| format!("{} {} {}\n", map.container, map.host, map.size)).collect();
        std::fs::write(format!("/proc/{pid}/{file}"), lines).attempt(|| format!("write the {file}"))?;
    }
    Ok(())
}

/// A user namespace that exists only to say how ids map.
pub fn id_mapping(uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let child = match sys::fork(libc::CLONE_NEWUSER, false).attempt(|| "create a user namespace")? {
        Fork::Child => {
            let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
            loop {
                nix::unistd::pause();
            }
        }
        Fork::Parent(pid) => pid,
    };
    let mapped = write_mappings(child, uids, gids).and_then(|()| open(child, "user"));
    end(child);
    mapped
}

/// Kills and reaps a child of this process.
fn end(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let _ = kill_process(pid, Signal::KILL);
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// A namespace that a container joins.
pub struct Joined {
    pub kind: i32,
    pub fd: OwnedFd,
}

/// Opens the namespaces that `list` wants joined. Opening comes before joining any: afterwards the paths may
/// mean something else.
pub fn open_all(list: &[Namespace]) -> Result<Vec<Joined>> {
    list.iter()
        .filter(|namespace| !namespace.path.is_empty())
        .map(|namespace| {
            let file = std::fs::File::open(&namespace.path)
                .attempt(|| format!("open the {} namespace {}", namespace.r#type, namespace.path))?;
            Ok(Joined { kind: flag(&namespace.r#type)?, fd: file.into() })
        })
        .collect()
}

/// Joins every opened namespace of one of `kinds`.
pub fn join(opened: &[Joined], kinds: i32) -> Result<()> {
    for namespace in opened.iter().filter(|namespace| namespace.kind & kinds != 0) {
        sys::setns(namespace.fd.as_fd(), namespace.kind).attempt(|| {
            let name = KINDS.iter().find(|(.., flag)| *flag == namespace.kind).map_or("", |(name, ..)| name);
            format!("join the {name} namespace")
        })?;
    }
    Ok(())
}

/// Joins all namespaces of process `pid` that differ from the caller's, in one step.
pub fn join_process(pid: i32) -> Result<()> {
    let what = || format!("join the namespaces of process {pid}");
    let mut flags = 0;
    for &(_, file, flag) in KINDS {
        let own = std::fs::read_link(format!("/proc/self/ns/{file}")).attempt(what)?;
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).attempt(what)?;
        if own != theirs {
            flags |= flag;
        }
    }
    let target = Pid::from_raw(pid).ok_or_else(|| Failure(format!("invalid pid {pid}")))?;
    let pidfd = rustix::process::pidfd_open(target, rustix::process::PidfdFlags::empty()).attempt(what)?;
    if flags != 0 {
        sys::setns(pidfd.as_fd(), flags).attempt(what)?;
    }
    Ok(())
}
