//! Starting processes in containers.
//!
//! A launch is two forks away from the shim. The *launcher* prepares: it joins the cgroup, copies the mount
//! namespace and puts the container's mounts together with the host's privileges, joins the pod's namespaces
//! and forks the *init*, as its sibling, so that the shim is the parent of what will be the program. The init
//! finishes inside: /proc, masked paths, the new root, identity, capabilities, the seccomp filter, exec.
//!
//! Launcher and init run from the shim's own image, which is a sealed memfd, and are not dumpable: a container
//! can neither rewrite the program it is entered by nor look into it.
//!
//! Everything here is for processes with one thread; nothing here runs in the daemon.

mod external;
mod failure;
mod mounts;
mod namespaces;
mod process;
mod report;
mod root;
pub(crate) mod seccomp;
mod sys;

pub use external::External;
pub use failure::{Attempt, Failure, Result, reason};
pub use mounts::{RootSource, host_id, overlay};
pub use namespaces::{Held, PodNamespaces, create as create_namespaces};
pub(crate) use process::capability_names;
pub use report::{Report, Sender, channel, receive};
pub use root::{Root, descriptor_path};
pub(crate) use sys::{kill_real_time, place};

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::{Config, Process};
use crate::cgroup::{Cgroup, Hierarchies};
use mounts::{Scene, Source};
use process::Identity;
use root::Missing;
use sys::Fork;

/// The name of the configuration in a bundle, and of the directory its root filesystem is mounted at.
pub const CONFIG: &str = "config.json";
pub const ROOTFS: &str = "rootfs";

/// A mount option of ours: only this directory of the mount is to be seen.
pub const SUB_PATH: &str = "X-boga.subpath=";

/// Standard streams of a process. With a terminal they are not used.
pub struct Streams {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// What to start.
pub enum Job {
    /// The container whose bundle this is.
    Container {
        bundle: PathBuf,
        root: RootSource,
    },
    /// One more process in the container whose init is `init`.
    Exec {
        bundle: PathBuf,
        init: i32,
        process: Process,
    },
    /// The same two, by an external OCI runtime.
    External {
        runtime: PathBuf,
        id: String,
        bundle: PathBuf,
        root: RootSource,
    },
    ExternalExec {
        runtime: PathBuf,
        id: String,
        bundle: PathBuf,
        process: Process,
    },
    /// The end of an external runtime's container.
    ExternalDelete {
        runtime: PathBuf,
        id: String,
        bundle: PathBuf,
    },
}

/// Forks the launcher for `job`. What becomes of it is told on `channel`'s other end.
pub fn spawn(
    job: &Job,
    hierarchies: &Arc<Hierarchies>,
    streams: Option<Streams>,
    report: Sender,
) -> Result<()> {
    match sys::fork(0, false).attempt(|| "fork")? {
        Fork::Parent(_) => Ok(()),
        Fork::Child => {
            let mut launcher = Launcher { hierarchies, streams, report };
            let result = match job {
                Job::Container { bundle, root } => launcher.container(bundle, root),
                Job::Exec { bundle, init, process } => launcher.exec(bundle, *init, process),
                Job::External { runtime, id, bundle, root } => {
                    let streams = launcher.streams.take();
                    unblock().and_then(|()| {
                        External { runtime, id, bundle }.create(root, streams, &launcher.report)
                    })
                }
                Job::ExternalExec { runtime, id, bundle, process } => {
                    let streams = launcher.streams.take();
                    unblock().and_then(|()| {
                        External { runtime, id, bundle }.exec(process, streams, &launcher.report)
                    })
                }
                Job::ExternalDelete { runtime, id, bundle } => {
                    unblock().map(|()| External { runtime, id, bundle }.delete())
                }
            };
            if let Err(failure) = result {
                launcher.report.failed(&failure.0);
            }
            sys::exit(0)
        }
    }
}

/// Forks; `true` in the child. For processes with one thread.
pub(crate) fn fork_child() -> rustix::io::Result<bool> {
    Ok(matches!(sys::fork(0, false)?, Fork::Child))
}

struct Launcher<'a> {
    hierarchies: &'a Arc<Hierarchies>,
    streams: Option<Streams>,
    report: Sender,
}

impl Launcher<'_> {
    fn container(&self, bundle: &Path, source: &RootSource) -> Result<()> {
        let config = read_config(bundle)?;
        let linux = &config.linux;
        let filter = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
        let identity = Identity::new(&config.process)?;
        secure(&config.process)?;
        let cgroup = self.hierarchies.group(&linux.cgroups_path)?;
        cgroup.create()?;
        cgroup.apply(&linux.resources)?;
        cgroup.apply_devices(&linux.resources)?;
        cgroup.join(0)?;

        let opened = namespaces::open_all(&linux.namespaces)?;
        let sources = mounts::take_sources(&config.mounts)?;
        sys::unshare(libc::CLONE_NEWNS).attempt(|| "create the mount namespace")?;
        mounts::isolate()?;
        let userns =
            opened.iter().find(|namespace| namespace.kind == libc::CLONE_NEWUSER).map(|found| &found.fd);
        let target = bundle.join(ROOTFS);
        let owner = root_owner(&config);
        mounts::mount_root(source, &target, userns, owner)?;
        namespaces::join(&opened, libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)?;
        let mut new = 0;
        for namespace in linux.namespaces.iter().filter(|namespace| namespace.path.is_empty()) {
            new |= namespaces::flag(&namespace.r#type)?;
        }
        let here =
            new & (libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP);
        if here != 0 {
            sys::unshare(here).attempt(|| "create the container's namespaces")?;
        }

        let root = Root::open(&target)?.owned_by(owner);
        let scene = self.scene(&config, &root, userns, &cgroup);
        for (mount, source) in config.mounts.iter().zip(&sources) {
            if !mounts::belongs_inside(mount) {
                mounts::attach(&scene, mount, source.as_ref())?;
            }
        }
        mounts::fill_dev(&scene, &linux.devices)?;
        root.ensure(Path::new(&config.process.cwd), Missing::Directory)
            .attempt(|| format!("mkdir {}", config.process.cwd))?;
        self.own_streams(&config);
        process::set_rlimits(&config.process.rlimits)?;

        // From here on the root is where the process stands: its path may lead through directories that the
        // pod's user namespace cannot enter.
        rustix::process::chdir(&target).attempt(|| format!("enter {}", target.display()))?;
        namespaces::join(&opened, libc::CLONE_NEWUSER)?;
        namespaces::join(&opened, libc::CLONE_NEWPID)?;
        match sys::fork(new & libc::CLONE_NEWPID, true).attempt(|| "fork the container's init")? {
            Fork::Parent(pid) => self.report.pid(pid),
            Fork::Child => {
                let failure = self
                    .init(&config, &cgroup, &sources, userns, &identity, filter.as_ref())
                    .unwrap_or_else(|failure| failure);
                self.report.failed(&format!("error during container init: {failure}"));
                sys::exit(1)
            }
        }
        Ok(())
    }

    /// Returns the failure of exec, or of a step before it.
    fn init(
        &self,
        config: &Config,
        cgroup: &Cgroup,
        sources: &[Option<Source>],
        userns: Option<&OwnedFd>,
        identity: &Identity,
        filter: Option<&seccomp::Filter>,
    ) -> Result<Failure> {
        rustix::process::setsid().attempt(|| "setsid")?;
        if userns.is_some() {
            sys::become_user(0, 0, &[]).attempt(|| "become root of the user namespace")?;
            // The copy belongs to the pod's user namespace: the container may mount in it, and cannot undo
            // what the host put there.
            sys::unshare(libc::CLONE_NEWNS).attempt(|| "create the inner mount namespace")?;
            mounts::unlock()?;
        }
        let root = Root::open(Path::new("."))?;
        let scene = self.scene(config, &root, userns, cgroup);
        for (mount, source) in config.mounts.iter().zip(sources) {
            if mounts::belongs_inside(mount) {
                mounts::attach(&scene, mount, source.as_ref())?;
            }
        }
        let mut process = config.process.clone();
        process::add_home(
            &mut process,
            root.read(Path::new("/etc/passwd"), crate::users::MAX_FILE)?.as_deref(),
        );
        mounts::make_readonly(&root, &config.linux.readonly_paths)?;
        mounts::mask(&root, &config.linux.masked_paths)?;
        confine(&process)?;
        mounts::enter()?;
        if process.terminal {
            self.terminal(true)?;
        } else {
            self.place_streams()?;
        }
        if config.root.readonly {
            mounts::readonly_root()?;
        }
        finish(&process, identity, filter)
    }

    fn exec(&self, bundle: &Path, init: i32, process: &Process) -> Result<()> {
        let config = read_config(bundle)?;
        let filter = config.linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
        let identity = Identity::new(process)?;
        secure(process)?;
        self.hierarchies.group(&config.linux.cgroups_path)?.join(0)?;
        self.own_streams(&config);
        process::set_rlimits(&process.rlimits)?;
        confine(process)?;
        namespaces::join_process(init)?;
        match sys::fork(0, true).attempt(|| "fork")? {
            Fork::Parent(pid) => self.report.pid(pid),
            Fork::Child => {
                let failure = self
                    .inside(&config, process, &identity, filter.as_ref())
                    .unwrap_or_else(|failure| failure);
                self.report.failed(&failure.0);
                sys::exit(1)
            }
        }
        Ok(())
    }

    /// The part of an exec that happens in the container. Returns the failure of exec, or of a step before it.
    fn inside(
        &self,
        config: &Config,
        process: &Process,
        identity: &Identity,
        filter: Option<&seccomp::Filter>,
    ) -> Result<Failure> {
        rustix::process::setsid().attempt(|| "setsid")?;
        if !config.linux.uid_mappings.is_empty() {
            sys::become_user(0, 0, &[]).attempt(|| "become root of the user namespace")?;
        }
        let mut process = process.clone();
        let root = Root::open(Path::new("/"))?;
        let passwd = root.read(Path::new("/etc/passwd"), crate::users::MAX_FILE).unwrap_or_default();
        process::add_home(&mut process, passwd.as_deref());
        if process.terminal {
            self.terminal(false)?;
        } else {
            self.place_streams()?;
        }
        finish(&process, identity, filter)
    }

    fn scene<'a>(
        &self,
        config: &Config,
        root: &'a Root,
        userns: Option<&'a OwnedFd>,
        cgroup: &'a Cgroup,
    ) -> Scene<'a> {
        let (root_uid, root_gid) = root_owner(config);
        Scene {
            root,
            userns,
            root_uid,
            root_gid,
            tty_gid: host_id(&config.linux.gid_mappings, 5).unwrap_or(5),
            cgroup: Some(cgroup),
        }
    }

    /// Gives the pipes to the container's user, who could otherwise not open /dev/stdout anew.
    fn own_streams(&self, config: &Config) {
        let Some(streams) = &self.streams else { return };
        let user = &config.process.user;
        let uid = host_id(&config.linux.uid_mappings, user.uid);
        let gid = host_id(&config.linux.gid_mappings, user.gid);
        for fd in [&streams.stdin, &streams.stdout, &streams.stderr] {
            let Ok(stat) = rustix::fs::fstat(fd) else { continue };
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
                let (uid, gid) = (uid.map(rustix::fs::Uid::from_raw), gid.map(rustix::fs::Gid::from_raw));
                let _ = rustix::fs::fchown(fd, uid, gid);
            }
        }
    }

    fn place_streams(&self) -> Result<()> {
        let streams = self.streams.as_ref().ok_or_else(|| Failure::new("no standard streams"))?;
        for (fd, number) in [(&streams.stdin, 0), (&streams.stdout, 1), (&streams.stderr, 2)] {
            sys::place(fd.as_fd(), number).attempt(|| "place the standard streams")?;
        }
        Ok(())
    }

    /// Opens a terminal of the container's own devpts, sends one end to the shim and becomes its session.
    fn terminal(&self, console: bool) -> Result<()> {
        use rustix::fs::{Mode, OFlags};
        const DEVPTS_MAGIC: i64 = 0x1cd1;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let master =
            rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).attempt(|| "open /dev/pts/ptmx")?;
        let filesystem = rustix::fs::fstatfs(&master).attempt(|| "statfs /dev/pts/ptmx")?;
        if filesystem.f_type as i64 != DEVPTS_MAGIC {
            return Err(Failure::new("/dev/pts of the container is not a devpts"));
        }
        rustix::pty::unlockpt(&master).attempt(|| "unlock the terminal")?;
        let peer = sys::terminal_peer(master.as_fd()).attempt(|| "open the terminal")?;
        if console {
            let root = Root::open(Path::new("/"))?;
            let place = root.ensure(Path::new("/dev/console"), Missing::File)?;
            mounts::cover(&peer, &place, "/dev/console")?;
        }
        for number in 0..3 {
            sys::place(peer.as_fd(), number).attempt(|| "place the terminal")?;
        }
        sys::control_terminal().attempt(|| "take the terminal")?;
        self.report.terminal(&master);
        Ok(())
    }
}

/// The ids that the container's root user has on the host. One that is not mapped stays the host's, which the
/// container sees as nobody's.
fn root_owner(config: &Config) -> (u32, u32) {
    let host = |maps| host_id(maps, 0).unwrap_or(0);
    (host(&config.linux.uid_mappings), host(&config.linux.gid_mappings))
}

pub fn read_config(bundle: &Path) -> Result<Config> {
    let path = bundle.join(CONFIG);
    let text = std::fs::read(&path).attempt(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| Failure(format!("{}: {error}", path.display())))
}

/// Shuts the launcher off from what it is about to enter, and gives it the program's standing with the OOM
/// killer in place of the shim's.
fn secure(process: &Process) -> Result<()> {
    set_oom_score(process.oom_score_adj.unwrap_or(0)).attempt(|| "set the OOM score")?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0).attempt(|| "become undumpable")
}

/// Sets this process' standing with the OOM killer. Going below one's own takes CAP_SYS_RESOURCE, which a
/// daemon that itself runs in a container may lack; the score then stays what it is.
pub(crate) fn set_oom_score(score: i32) -> std::io::Result<()> {
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        result => result,
    }
}

/// Arranges for the AppArmor profile to be taken on with the next exec. Done while /proc is the host's.
fn confine(process: &Process) -> Result<()> {
    if process.apparmor_profile.is_empty() {
        return Ok(());
    }
    let value = format!("exec {}", process.apparmor_profile);
    let modern = std::fs::write("/proc/self/attr/apparmor/exec", &value);
    modern
        .or_else(|_| std::fs::write("/proc/self/attr/exec", &value))
        .attempt(|| format!("apply the AppArmor profile {}", process.apparmor_profile))
}

/// Undoes what exec would pass on: the signals that the shim blocks, and the one that Rust ignores.
fn unblock() -> Result<()> {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    SigSet::empty().thread_set_mask().map_err(|errno| Failure(format!("unblock signals: {errno}")))?;
    // SAFETY: the default action is no function of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    Ok(())
}

fn finish(process: &Process, identity: &Identity, filter: Option<&seccomp::Filter>) -> Result<Failure> {
    unblock()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::close_on_exec_from(3).attempt(|| "close descriptors on exec")?;
    let program = process::find_program(process)?;
    process::assume(process, identity, filter)?;
    Ok(process::execute(&program))
}
