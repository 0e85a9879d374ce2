//! The shim: one small process with one thread for each pod.
//!
//! It is the parent of the pod's containers and outlives the daemon. It keeps the pod's namespaces, owns the
//! pipes and terminals of the processes it started, writes their logs and records their exits. It serves a
//! unix socket in its directory, to a daemon that comes and goes; see [`protocol`]. When it dies, everything
//! it started is killed.

mod logs;
mod peer;
mod pod;
pub mod protocol;
mod serve;
pub mod status;
mod task;

pub use logs::{MAX_LINE, timestamp};

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::cgroup::Hierarchies;
use crate::launch::{Attempt, Failure, Result};

/// The names of a shim's socket and of the file with its pid and start time.
pub const SOCKET: &str = "shim.sock";
pub const PID_FILE: &str = "shim.pid";

/// The kernel's OOM killer turns to a shim last.
const OOM_SCORE: i32 = -999;

/// `boga shim DIRECTORY [CGROUP]`: becomes a shim that serves `DIRECTORY`/shim.sock, in a cgroup of its own.
///
/// Returns, with the exit code, once the shim serves in the background or has failed to.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let mut args = args.into_iter();
    let (Some(directory), cgroup, None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: boga shim DIRECTORY [CGROUP]");
        return 2;
    };
    match start(&PathBuf::from(directory), cgroup.and_then(|cgroup| cgroup.into_string().ok())) {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("shim: {failure}");
            1
        }
    }
}

fn start(directory: &Path, cgroup: Option<String>) -> Result<()> {
    let directory = directory.canonicalize().attempt(|| format!("open {}", directory.display()))?;
    // Socket addresses are short; names relative to the directory always fit.
    std::env::set_current_dir(&directory).attempt(|| format!("enter {}", directory.display()))?;
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET).attempt(|| "bind the shim's socket")?;
    std::fs::set_permissions(SOCKET, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .attempt(|| "restrict the shim's socket")?;
    let hierarchies = Hierarchies::detect()?;
    if let Some(cgroup) = cgroup {
        let group = hierarchies.group(&cgroup)?;
        group.create()?;
        group.join(0)?;
    }
    let (mut ready, mut tell) = io::pipe().attempt(|| "pipe")?;
    match crate::launch::fork_child().attempt(|| "fork")? {
        true => {
            drop(ready);
            let prepared = settle();
            match prepared {
                Ok(()) => {
                    let _ = tell.write_all(b"ok");
                    drop(tell);
                    let code = match serve::run(directory, listener, hierarchies) {
                        Ok(()) => 0,
                        Err(failure) => {
                            eprintln!("shim: {failure}");
                            1
                        }
                    };
                    std::process::exit(code);
                }
                Err(failure) => {
                    let _ = tell.write_all(failure.0.as_bytes());
                    std::process::exit(1);
                }
            }
        }
        false => {
            drop(tell);
            let mut report = String::new();
            ready.read_to_string(&mut report).attempt(|| "wait for the shim")?;
            match &*report {
                "ok" => Ok(()),
                "" => Err(Failure::new("the shim died while it started")),
                failure => Err(Failure::new(failure)),
            }
        }
    }
}

/// Takes the shim out of the daemon's session and makes it the parent of orphans.
fn settle() -> Result<()> {
    rustix::process::setsid().attempt(|| "setsid")?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .attempt(|| "become a subreaper")?;
    crate::launch::set_oom_score(OOM_SCORE).attempt(|| "protect the shim from the OOM killer")?;
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").attempt(|| "open /dev/null")?;
    for number in 0..2 {
        crate::launch::place(null.as_fd(), number).attempt(|| "let go of the standard streams")?;
    }
    let errors =
        std::fs::OpenOptions::new().create(true).append(true).open("shim.log").attempt(|| "open shim.log")?;
    crate::launch::place(errors.as_fd(), 2).attempt(|| "let go of the standard streams")?;
    let pid = std::process::id();
    let line = format!("{pid} {}\n", start_time(pid as i32).unwrap_or(0));
    std::fs::write(PID_FILE, line).attempt(|| "write the shim's pid")
}

/// When the process with this pid was started, in the kernel's ticks: what tells it from a later one that got
/// the same number.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, so fields are counted from its closing parenthesis.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
