//! The last steps before a container's program runs: limits, identity, capabilities, filter, exec.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Resource;

use super::failure::{Attempt, Failure, Result, reason};
use super::seccomp::Filter;
use super::sys;
use crate::bundle::{Capabilities, Process, Rlimit};

/// By number, from 0.
#[rustfmt::skip]
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const SYS_ADMIN: u64 = 1 << 21;

/// All capability names that boga knows.
pub(crate) fn capability_names() -> &'static [&'static str] {
    CAPABILITIES
}

/// The number of the last capability that the running kernel knows.
fn last_capability() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(CAPABILITIES.len() as u32 - 1)
}

/// The capabilities that this process may use and pass on.
fn own_capabilities() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").attempt(|| "read /proc/self/status")?;
    let field = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    field
        .and_then(|field| u64::from_str_radix(field.trim(), 16).ok())
        .ok_or_else(|| Failure::new("/proc/self/status does not tell the capabilities"))
}

/// What must be read from /proc and from the configuration before the root changes and the identity is lost.
pub struct Identity {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    last_capability: u32,
}

impl Identity {
    pub fn new(process: &Process) -> Result<Identity> {
        let none = Capabilities::default();
        let sets = process.capabilities.as_ref().unwrap_or(&none);
        let last_capability = last_capability();
        // What the daemon itself lacks it cannot give, as when it runs in a container of another runtime.
        let known = own_capabilities()?;
        let bits = |names: &[String]| {
            names.iter().try_fold(0u64, |bits, name| {
                let number = CAPABILITIES.iter().position(|known| known == name);
                let number = number.ok_or_else(|| Failure(format!("unknown capability {name:?}")))?;
                Ok(bits | (1 << number) & known)
            })
        };
        Ok(Identity {
            bounding: bits(&sets.bounding)?,
            effective: bits(&sets.effective)?,
            permitted: bits(&sets.permitted)?,
            inheritable: bits(&sets.inheritable)?,
            ambient: bits(&sets.ambient)?,
            last_capability,
        })
    }
}

pub fn set_rlimits(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        let resource = match &*limit.r#type {
            "RLIMIT_AS" => Resource::As,
            "RLIMIT_CORE" => Resource::Core,
            "RLIMIT_CPU" => Resource::Cpu,
            "RLIMIT_DATA" => Resource::Data,
            "RLIMIT_FSIZE" => Resource::Fsize,
            "RLIMIT_LOCKS" => Resource::Locks,
            "RLIMIT_MEMLOCK" => Resource::Memlock,
            "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
            "RLIMIT_NICE" => Resource::Nice,
            "RLIMIT_NOFILE" => Resource::Nofile,
            "RLIMIT_NPROC" => Resource::Nproc,
            "RLIMIT_RSS" => Resource::Rss,
            "RLIMIT_RTPRIO" => Resource::Rtprio,
            "RLIMIT_RTTIME" => Resource::Rttime,
            "RLIMIT_SIGPENDING" => Resource::Sigpending,
            "RLIMIT_STACK" => Resource::Stack,
            other => return Err(Failure(format!("unknown rlimit {other:?}"))),
        };
        let value = |value: u64| (value != u64::MAX).then_some(value);
        let rlimit = rustix::process::Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        rustix::process::setrlimit(resource, rlimit).attempt(|| format!("set {}", limit.r#type))?;
    }
    Ok(())
}

/// Changes to the working directory. Tried before and after the change of identity: the first can cross what
/// only root may cross, the second sees what only the user may see (a root-squashed NFS volume).
fn change_directory(process: &Process) -> Result<()> {
    rustix::process::chdir(&*process.cwd)
        .attempt(|| format!("chdir to cwd ({:?}) set in config.json failed", process.cwd))?;
    // A working directory outside the root would be the way out of it.
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err(Failure::new("current working directory is outside of container mount namespace root")),
    }
}

/// Becomes the user of `process`, with its capabilities, and installs `filter`.
///
/// Without no_new_privs the kernel takes a filter only from a process with CAP_SYS_ADMIN. So that capability
/// is kept, permitted and effective, until the filter is in place; after the filter the process makes no call
/// but the one that drops it, and exec.
pub fn assume(process: &Process, identity: &Identity, filter: Option<&Filter>) -> Result<()> {
    let entered = change_directory(process).is_ok();
    for capability in 0..=identity.last_capability {
        if identity.bounding & (1 << capability) == 0 {
            sys::prctl(libc::PR_CAPBSET_DROP, capability.into()).attempt(|| "drop from the bounding set")?;
        }
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).attempt(|| "keep capabilities")?;
    let user = &process.user;
    sys::become_user(user.uid, user.gid, &user.additional_gids)
        .attempt(|| format!("become user {} with group {}", user.uid, user.gid))?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0).attempt(|| "stop keeping capabilities")?;
    if !entered {
        change_directory(process)?;
    }
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).attempt(|| "set no_new_privs")?;
    }
    let spare = if filter.is_some() && !process.no_new_privileges { SYS_ADMIN } else { 0 };
    sys::capset(identity.effective | spare, identity.permitted | spare, identity.inheritable)
        .attempt(|| "set capabilities")?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).attempt(|| "set the parent death signal")?;
    for capability in 0..=identity.last_capability {
        if identity.ambient & (1 << capability) != 0 {
            sys::raise_ambient(capability).attempt(|| "raise an ambient capability")?;
        }
    }
    if let Some(filter) = filter {
        filter.install().attempt(|| "install the seccomp filter")?;
        if spare != 0 {
            sys::capset(identity.effective, identity.permitted, identity.inheritable)
                .attempt(|| "drop what installing the seccomp filter took")?;
        }
    }
    Ok(())
}

/// A program ready to be executed.
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Looks the program up as the container's user will, in the container's PATH.
pub fn find_program(process: &Process) -> Result<Program> {
    let name = process.args.first().ok_or_else(|| Failure::new("no command specified"))?;
    let path = look_up(name, &process.env)?;
    let c_string =
        |text: &[u8]| CString::new(text).map_err(|_| Failure::new("an argument contains a NUL byte"));
    Ok(Program {
        path: c_string(path.as_os_str().as_bytes())?,
        args: process.args.iter().map(|arg| c_string(arg.as_bytes())).collect::<Result<_>>()?,
        env: process.env.iter().map(|word| c_string(word.as_bytes())).collect::<Result<_>>()?,
    })
}

fn look_up(name: &str, env: &[String]) -> Result<PathBuf> {
    let unusable = |path: &Path| -> Option<String> {
        match std::fs::metadata(path) {
            Err(error) => {
                let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
                Some(format!("stat {}: {}", path.display(), reason(errno)))
            }
            Ok(metadata) if metadata.is_dir() => Some("is a directory".to_owned()),
            Ok(metadata) if metadata.mode() & 0o111 == 0 => Some("permission denied".to_owned()),
            Ok(_) => None,
        }
    };
    if name.contains('/') {
        return match unusable(Path::new(name)) {
            None => Ok(PathBuf::from(name)),
            Some(why) => Err(Failure(format!("exec: {name:?}: {why}"))),
        };
    }
    let path = env.iter().rev().find_map(|word| word.strip_prefix("PATH=")).unwrap_or("");
    path.split(':')
        .map(|directory| Path::new(if directory.is_empty() { "." } else { directory }).join(name))
        .find(|candidate| unusable(candidate).is_none())
        .filter(|_| !name.is_empty())
        .ok_or_else(|| Failure(format!("exec: {name:?}: executable file not found in $PATH")))
}

/// Replaces this process; returns only when the kernel refuses the program.
pub fn execute(program: &Program) -> Failure {
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(&program.args), pointers(&program.env));
    // SAFETY: the path and the strings are NUL-terminated and the arrays end with a null pointer; all of them
    // outlive the call.
    unsafe { libc::execve(program.path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Failure(format!("exec {}: {}", program.path.to_string_lossy(), reason(sys::last_errno())))
}

/// Gives the environment a HOME, from the container's /etc/passwd, when it has none.
pub fn add_home(process: &mut Process, passwd: Option<&[u8]>) {
    if process.env.iter().any(|word| word.starts_with("HOME=")) {
        return;
    }
    let home = passwd
        .and_then(|text| crate::users::home_of(text, process.user.uid))
        .unwrap_or_else(|| "/".to_owned());
    process.env.push(format!("HOME={home}"));
}
