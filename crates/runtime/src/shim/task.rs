//! One process that the shim started: a container's own, or one that joined it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use base::clock::Wall;
use rustix::io::Errno;

use super::logs::{Log, Stream};
use super::protocol::{Resize, Status};

/// Input that waits for a process to read it. While this much waits, no more is taken from the client.
pub const MAX_INPUT: usize = 64 << 10;

/// What is read at once from a process that has ended, in case something else holds its pipes open and writes
/// on.
const MAX_DRAIN: usize = 1 << 20;

/// A request that waits for something to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub peer: u64,
    pub request: u64,
}

pub struct Task {
    pub container: String,
    pub bundle: PathBuf,
    pub cgroup: String,
    /// The external OCI runtime that runs the container, if any.
    pub runtime: Option<PathBuf>,
    /// A process that joined a container, rather than the container's own.
    pub exec: bool,
    /// The channel of a launch that is under way.
    pub launch: Option<OwnedFd>,
    pub pid: Option<i32>,
    pub failure: Option<String>,
    pub status: Status,
    /// Set when the process was reaped.
    pub code: Option<i32>,
    pub starter: Option<Waiter>,
    pub stoppers: Vec<Waiter>,
    pub stdin: Option<OwnedFd>,
    pub stdin_once: bool,
    pub input: VecDeque<u8>,
    pub input_ended: bool,
    /// Output pipes, or one terminal. `true` is stderr.
    pub outputs: Vec<(OwnedFd, bool)>,
    pub tty: bool,
    /// The last size asked for, which may be known before there is a terminal.
    pub size: Option<Resize>,
    pub log: Option<Log>,
}

/// What reading an output came to.
pub enum Reading<'a> {
    Data(&'a [u8]),
    Nothing,
    End,
}

impl Task {
    pub fn running(&self) -> bool {
        self.launch.is_none() && self.failure.is_none() && self.code.is_none()
    }

    /// Ended, and everything about it told.
    pub fn finished(&self) -> bool {
        self.status.finished_at != 0
    }

    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.outputs.first().map(|(fd, _)| fd).filter(|_| self.tty)
    }

    /// Where input goes: a pipe, or the terminal.
    pub fn input_end(&self) -> Option<&OwnedFd> {
        self.stdin.as_ref().or(self.terminal())
    }

    pub fn read<'a>(&self, index: usize, buffer: &'a mut [u8]) -> Reading<'a> {
        match rustix::io::read(&self.outputs[index].0, &mut *buffer) {
            Ok(0) => Reading::End,
            Ok(count) => Reading::Data(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => Reading::Nothing,
            // A terminal without any process on its other end reports an error.
            Err(_) => Reading::End,
        }
    }

    pub fn log(&mut self, data: &[u8], stderr: bool, now: Wall) {
        let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
        if let Some(log) = &mut self.log {
            log.write(stream, data, now);
        }
    }

    /// Everything the process has left in its pipes.
    pub fn drain(&mut self, buffer: &mut [u8]) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        for index in 0..self.outputs.len() {
            let mut total = 0;
            while total < MAX_DRAIN {
                match self.read(index, buffer) {
                    Reading::Data(data) => {
                        total += data.len();
                        found.push((data.to_vec(), self.outputs[index].1));
                    }
                    Reading::Nothing | Reading::End => break,
                }
            }
        }
        self.outputs.clear();
        found
    }

    pub fn add_input(&mut self, data: &[u8], end: bool) {
        if self.input_ended || self.input_end().is_none() {
            return;
        }
        self.input.extend(data);
        // A terminal has no end of file; the client's own Ctrl-D is data.
        self.input_ended |= end && !self.tty;
        self.write_input();
    }

    /// Passes on what the process takes.
    pub fn write_input(&mut self) {
        while !self.input.is_empty() {
            let (head, _) = self.input.as_slices();
            let Some(fd) =
                self.stdin.as_ref().or(self.outputs.first().map(|(fd, _)| fd).filter(|_| self.tty))
            else {
                break;
            };
            match rustix::io::write(fd, head) {
                Ok(count) => drop(self.input.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody will ever read it.
                Err(_) => self.input.clear(),
            }
        }
        self.input = VecDeque::new();
        if self.input_ended {
            self.stdin = None;
        }
    }

    pub fn resize(&mut self, size: Resize) {
        self.size = Some(size);
        self.apply_size();
    }

    pub fn apply_size(&self) {
        if let (Some(terminal), Some(size)) = (self.terminal(), &self.size) {
            let _ = rustix::termios::tcsetwinsize(
                terminal.as_fd(),
                rustix::termios::Winsize {
                    ws_row: size.height.min(u32::from(u16::MAX)) as u16,
                    ws_col: size.width.min(u32::from(u16::MAX)) as u16,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                },
            );
        }
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: i32) {
        if self.code.is_some() {
            return;
        }
        // The shim is the parent and has not reaped it, so the number still means this process.
        if let (Some(pid), Some(signal)) = (
            self.pid.and_then(rustix::process::Pid::from_raw),
            rustix::process::Signal::from_named_raw(signal),
        ) {
            let _ = rustix::process::kill_process(pid, signal);
        } else if let Some(pid) = self.pid {
            let _ = crate::launch::kill_real_time(pid, signal);
        }
    }

    /// Kills the process and what it started in its own process group.
    pub fn kill(&self) {
        if self.code.is_none()
            && let Some(pid) = self.pid.and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
