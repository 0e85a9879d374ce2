//! A small world for each test: its own mounts, processes and network, which end with it.
//!
//! The test binary runs itself again for every test, as the first process of a new pid namespace. When that
//! process exits, the kernel ends whatever is left, so that even a failing test leaks nothing but cgroups and
//! files, and those are counted here.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "BOGA_TEST_WORLD";

/// The parent of all cgroups that tests make; every world has its own below it.
pub const CGROUPS: &str = "boga-test";

/// A directory for one test, and the root filesystem of a busybox in it.
pub struct World {
    pub dir: PathBuf,
    pub name: String,
}

/// Defines a test that runs in a world of its own: `world_test!(name, |world| async move { … });`
#[macro_export]
macro_rules! world_test {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            $crate::world::run(concat!(module_path!(), "::", stringify!($name)), $body);
        }
    };
}

pub fn run<F: Future<Output = ()>>(path: &str, body: impl FnOnce(World) -> F) {
    let name = path.split_once("::").expect("a path has a crate").1;
    if std::env::var_os(INSIDE).as_deref() == Some(OsStr::new(name)) {
        let dir =
            PathBuf::from(std::env::var_os("BOGA_TEST_DIR").expect("the outer process sets the directory"));
        let world = World { dir, name: name.replace("::", "-") };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(body(world));
        return;
    }
    let dir = tempfile::tempdir().expect("make a directory for the test");
    let status = enter(name, dir.path()).status().expect("run the test in its world");
    let left = leftovers(name);
    assert!(status.success(), "{name} failed in its world: {status}");
    assert!(left.is_empty(), "{name} left cgroups behind: {left:?}");
}

fn enter(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its own path"));
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, name).env("BOGA_TEST_DIR", dir);
    // SAFETY: the hook runs in a process that was just forked and has one thread; it makes system calls only.
    unsafe {
        command.pre_exec(|| {
            let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
            if libc::unshare(flags) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => return Err(std::io::Error::last_os_error()),
                0 => {}
                child => {
                    let mut status = 0;
                    libc::waitpid(child, &raw mut status, 0);
                    libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 101 });
                }
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let none = std::ptr::null::<libc::c_char>();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            if libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == -1
                || libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, none.cast()) == -1
            {
                return Err(std::io::Error::last_os_error());
            }
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let mut request: libc::ifreq = std::mem::zeroed();
            (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            if libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw mut request) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            libc::close(socket);
            Ok(())
        });
    }
    command
}

/// Cgroups of the test that are still there; they are removed.
fn leftovers(name: &str) -> Vec<String> {
    let hierarchies = runtime::cgroup::Hierarchies::detect().expect("find the cgroups");
    let own = format!("{CGROUPS}/{}", name.replace("::", "-"));
    let left = runtime::cgroup::children(&hierarchies, &own).into_iter().collect();
    let group = hierarchies.group(&own).expect("the path is valid");
    group.kill();
    let _ = group.remove();
    // An external runtime also makes groups where boga makes none.
    for hierarchy in ["systemd", "unified"] {
        remove_directories(&Path::new("/sys/fs/cgroup").join(hierarchy).join(&own));
    }
    let parent = hierarchies.group(CGROUPS).expect("the path is valid");
    for directory in parent.directories().map(|(_, directory)| directory) {
        let _ = std::fs::remove_dir(directory);
    }
    left
}

fn remove_directories(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.filter_map(|entry| entry.ok()) {
        remove_directories(&entry.path());
    }
    let _ = std::fs::remove_dir(directory);
    if let Some(parent) = directory.parent() {
        let _ = std::fs::remove_dir(parent);
    }
}

impl World {
    /// The path of a cgroup of this test.
    pub fn cgroup(&self, name: &str) -> String {
        format!("/{CGROUPS}/{}/{name}", self.name)
    }

    /// A root filesystem with busybox and little else.
    pub fn busybox(&self) -> PathBuf {
        let root = self.dir.join("busybox");
        if root.exists() {
            return root;
        }
        for directory in ["bin", "etc", "tmp", "home/web"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
        let applets = [
            "sh", "echo", "cat", "sleep", "id", "ls", "env", "true", "false", "head", "tail", "tr", "dd",
            "stty", "mkdir", "rm", "touch", "hostname", "ps", "kill", "mount", "grep", "wc", "seq", "chmod",
            "stat", "unshare", "nc", "ip", "readlink", "yes", "test", "printf", "sync", "cut",
        ];
        for applet in applets {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n").unwrap();
        root
    }

    pub fn shim_program(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_boga-shim"))
    }
}

/// Waits until `condition` yields something; panics when it does not within a generous time.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(value) = condition() {
            return value;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}
