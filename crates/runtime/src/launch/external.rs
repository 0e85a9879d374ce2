//! Containers run by an external OCI runtime: runc, crun, Kata.
//!
//! The runtime is called as its specification says: `create`, `start`, `exec`, `delete`. The container's init
//! is left an orphan by `create`, and the shim, a subreaper, becomes its parent.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::failure::{Attempt, Failure, Result};
use super::mounts::{self, RootSource};
use super::{ROOTFS, Sender, Streams, read_config};
use crate::bundle::Process;

/// How much of a runtime's own account of a failure is read.
const MAX_LOG: u64 = 64 << 10;

/// A container of an external runtime.
pub struct External<'a> {
    pub runtime: &'a Path,
    pub id: &'a str,
    pub bundle: &'a Path,
}

impl External<'_> {
    pub fn create(&self, root: &RootSource, streams: Option<Streams>, report: &Sender) -> Result<()> {
        mounts::mount_root(root, &self.bundle.join(ROOTFS), None, (0, 0))?;
        let config = read_config(self.bundle)?;
        let pid_file = self.bundle.join("pid");
        let console = Console::listen(config.process.terminal, self.bundle)?;
        let mut create = self.command();
        create.arg("create").arg("--bundle").arg(self.bundle).arg("--pid-file").arg(&pid_file);
        console.announce(&mut create);
        create.arg(self.id);
        self.run(create, streams)?;
        report.pid(read_pid(&pid_file)?);
        console.pass_on(report)?;
        let mut start = self.command();
        start.arg("start").arg(self.id);
        self.run(start, None)
    }

    pub fn exec(&self, process: &Process, streams: Option<Streams>, report: &Sender) -> Result<()> {
        // Several execs may run at once, so each has files of its own.
        let own = self.bundle.join(format!("exec-{}", std::process::id()));
        std::fs::create_dir_all(&own).attempt(|| format!("create {}", own.display()))?;
        let result = self.exec_in(&own, process, streams, report);
        let _ = std::fs::remove_dir_all(&own);
        result
    }

    fn exec_in(
        &self,
        own: &Path,
        process: &Process,
        streams: Option<Streams>,
        report: &Sender,
    ) -> Result<()> {
        let (file, pid_file) = (own.join("process.json"), own.join("pid"));
        let text = serde_json::to_vec(process).map_err(|error| Failure(error.to_string()))?;
        std::fs::write(&file, text).attempt(|| format!("write {}", file.display()))?;
        let console = Console::listen(process.terminal, own)?;
        let mut exec = self.command();
        exec.arg("exec").arg("--detach").arg("--process").arg(&file).arg("--pid-file").arg(&pid_file);
        console.announce(&mut exec);
        exec.arg(self.id);
        self.run(exec, streams)?;
        report.pid(read_pid(&pid_file)?);
        console.pass_on(report)
    }

    /// Removes what the runtime keeps about a container that has ended, and its root filesystem's mount.
    pub fn delete(&self) {
        let mut delete = self.command();
        delete.arg("delete").arg("--force").arg(self.id);
        let _ = self.run(delete, None);
        let _ = rustix::mount::unmount(self.bundle.join(ROOTFS), rustix::mount::UnmountFlags::DETACH);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(self.bundle.join("runtime")).arg("--log").arg(self.log());
        command.arg("--log-format").arg("json");
        command
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("runtime.log")
    }

    fn run(&self, mut command: Command, streams: Option<Streams>) -> Result<()> {
        match streams {
            Some(streams) => {
                command.stdin(Stdio::from(streams.stdin)).stdout(Stdio::from(streams.stdout));
                command.stderr(Stdio::from(streams.stderr));
            }
            None => drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())),
        }
        let what = || format!("run {}", self.runtime.display());
        let status = command.status().attempt(what)?;
        if status.success() { Ok(()) } else { Err(Failure(self.last_error())) }
    }

    /// The message of the last error in the runtime's log.
    fn last_error(&self) -> String {
        let mut text = String::new();
        if let Ok(file) = File::open(self.log()) {
            let _ = file.take(MAX_LOG).read_to_string(&mut text);
        }
        let message = text.lines().rev().find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned))?
        });
        message.unwrap_or_else(|| format!("{} failed without saying why", self.runtime.display()))
    }
}

fn read_pid(path: &Path) -> Result<i32> {
    let text = std::fs::read_to_string(path).attempt(|| format!("read {}", path.display()))?;
    text.trim().parse().map_err(|_| Failure(format!("{}: not a pid", path.display())))
}

/// The socket on which a runtime hands over a terminal, when one is wanted.
struct Console(Option<Listening>);

struct Listening {
    listener: UnixListener,
    path: PathBuf,
    /// Socket addresses are short and bundles' paths may be long, so the socket is named by way of this
    /// descriptor of its directory.
    directory: File,
}

const CONSOLE: &str = "console.sock";

impl Console {
    fn listen(wanted: bool, directory: &Path) -> Result<Console> {
        if !wanted {
            return Ok(Console(None));
        }
        let path = directory.join(CONSOLE);
        let _ = std::fs::remove_file(&path);
        let directory = File::open(directory).attempt(|| format!("open {}", directory.display()))?;
        let short = super::descriptor_path(directory.as_fd()).join(CONSOLE);
        let listener = UnixListener::bind(short).attempt(|| "bind the console socket")?;
        Ok(Console(Some(Listening { listener, path, directory })))
    }

    fn announce(&self, command: &mut Command) {
        if let Some(Listening { directory, .. }) = &self.0 {
            let (pid, fd) = (std::process::id(), directory.as_raw_fd());
            command.arg("--console-socket").arg(format!("/proc/{pid}/fd/{fd}/{CONSOLE}"));
        }
    }

    fn pass_on(self, report: &Sender) -> Result<()> {
        let Some(Listening { listener, path, .. }) = self.0 else { return Ok(()) };
        let (stream, _) = listener.accept().attempt(|| "accept the terminal")?;
        let _ = std::fs::remove_file(path);
        let terminal = super::report::receive_fd(&OwnedFd::from(stream))
            .ok_or_else(|| Failure::new("the runtime handed over no terminal"))?;
        report.terminal(&terminal);
        Ok(())
    }
}
