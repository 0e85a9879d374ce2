//! The daemon's side of the shims: starting them, talking to them, noticing their death.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::cri::stream::{RESIZE_QUEUE, Session};
use crate::cri::{Code, Error, Result};
use crate::shim::protocol::{
    Answer, CHUNK, Exec, Hello, Input, MAX_FRAME, Operation, Reply, Request, Resize, Status, VERSION, frame,
    take_frame,
};
use crate::shim::{PID_FILE, SOCKET, start_time};

/// Frames that wait to be written to a shim. A sender waits when the queue is full.
const SEND_QUEUE: usize = 64;

/// Bytes of a process' output that wait for their reader. The shim stops reading from the process when its
/// connection stalls, and the process then waits, too.
const STREAM_BUFFER: usize = 64 << 10;

/// The program that shims are started from: an anonymous file that nothing can write to any more, so that a
/// container that is entered cannot change what the host runs.
#[derive(Clone)]
pub struct Executable {
    memfd: Arc<OwnedFd>,
    /// What goes before a shim's own arguments: `shim` for the boga binary.
    prefix: Vec<OsString>,
}

impl Executable {
    pub fn seal(program: &Path, prefix: Vec<OsString>) -> io::Result<Executable> {
        use rustix::fs::{MemfdFlags, SealFlags};
        let mut source = File::open(program)?;
        let memfd = rustix::fs::memfd_create("boga-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut copy = File::from(memfd);
        io::copy(&mut source, &mut copy)?;
        // It is executed through a descriptor opened for reading: one open for writing would make it busy.
        let sealed = File::open(crate::launch::descriptor_path(copy.as_fd()))?;
        rustix::fs::fchmod(&copy, rustix::fs::Mode::from_raw_mode(0o500))?;
        rustix::fs::fcntl_add_seals(
            &copy,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        Ok(Executable { memfd: Arc::new(sealed.into()), prefix })
    }

    /// Starts a shim that serves `directory`, in the cgroup `cgroup`, and waits until it does.
    pub async fn start(&self, directory: &Path, cgroup: Option<&str>) -> Result<()> {
        let program = format!("/proc/self/fd/{}", self.memfd.as_raw_fd());
        let mut command = tokio::process::Command::new(program);
        command.arg0("boga-shim").args(&self.prefix).arg(directory).args(cgroup);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output =
            command.output().await.map_err(|error| Error::unknown(format!("start a shim: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(Error::unknown(format!("start a shim: {}", message.trim())))
    }
}

/// Whether the shim that last served `directory` is alive.
pub fn alive(directory: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(directory.join(PID_FILE)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid: i32 = pid.parse().ok()?;
    let started: u64 = started.parse().ok()?;
    (start_time(pid)? == started).then_some(pid)
}

async fn connect(directory: &Path) -> io::Result<UnixStream> {
    // Socket addresses are short; through a descriptor of its directory any socket can be reached.
    let directory = File::open(directory)?;
    UnixStream::connect(crate::launch::descriptor_path(directory.as_fd()).join(SOCKET)).await
}

fn lost() -> Error {
    Error::new(Code::Unavailable, "the connection to the sandbox's shim was lost")
}

type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// A lasting connection to a shim. Calls made on a connection that is lost fail.
pub struct Shim {
    directory: PathBuf,
    pub pid: i32,
    send: mpsc::Sender<Vec<u8>>,
    /// `None` once the connection is lost.
    pending: Pending,
    next: AtomicU64,
}

impl Shim {
    /// Connects. Statuses that the shim tells by itself go to `events`, until its end closes the channel.
    pub async fn connect(directory: &Path) -> Result<(Shim, mpsc::UnboundedReceiver<Status>)> {
        let stream = connect(directory).await.map_err(|error| {
            Error::new(Code::Unavailable, format!("connect to the shim of {}: {error}", directory.display()))
        })?;
        let (reader, writer) = stream.into_split();
        let (send, queue) = mpsc::channel(SEND_QUEUE);
        // A status is small, there are few per container, and each must arrive: the queue has no bound of its
        // own, but that of the containers in a pod.
        let (event_sender, events) = mpsc::unbounded_channel();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(write_all(writer, queue));
        tokio::spawn(read_all(reader, pending.clone(), event_sender));
        let mut shim =
            Shim { directory: directory.to_owned(), pid: 0, send, pending, next: AtomicU64::new(1) };
        match shim.call(Operation::Hello(Hello { version: VERSION, pid: 0 })).await? {
            Answer::Hello(hello) => shim.pid = hello.pid,
            other => return Err(unexpected(&other)),
        }
        Ok((shim, events))
    }

    /// One request and its answer. An error that the shim answers with is returned as its text.
    pub async fn call(&self, operation: Operation) -> Result<Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.pending.lock().as_mut().ok_or_else(lost)?.insert(id, sender);
        let request = frame(&Request { id, operation: Some(operation) });
        self.send.send(request).await.map_err(|_| lost())?;
        match receiver.await.map_err(|_| lost())? {
            Answer::Error(message) => Err(Error::unknown(message)),
            answer => Ok(answer),
        }
    }

    /// A call that is answered by a status.
    pub async fn status(&self, operation: Operation) -> Result<Status> {
        match self.call(operation).await? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    pub fn connected(&self) -> bool {
        self.pending.lock().is_some()
    }

    /// Opens a process' streams on a connection of their own.
    pub async fn stream(&self, operation: Operation) -> Result<Session> {
        let (stdin, stderr) = match &operation {
            Operation::Exec(Exec { stdin, stderr, .. }) => (*stdin, *stderr),
            Operation::Attach(attach) => (attach.stdin, attach.stderr),
            _ => return Err(Error::unknown("only exec and attach have streams")),
        };
        let stream = connect(&self.directory).await.map_err(|_| lost())?;
        let (mut reader, mut writer) = stream.into_split();
        let request = frame(&Request { id: 1, operation: Some(operation) });
        writer.write_all(&request).await.map_err(|_| lost())?;
        let mut buffer = Vec::new();
        match next_reply(&mut reader, &mut buffer).await {
            Some(Reply { answer: Some(Answer::Error(message)), .. }) => return Err(Error::unknown(message)),
            Some(Reply { answer: Some(Answer::Status(_)), .. }) => {}
            _ => return Err(lost()),
        }
        Ok(session(reader, buffer, writer, stdin, stderr))
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::unknown(format!("unexpected answer of a shim: {answer:?}"))
}

async fn write_all(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_all(mut reader: OwnedReadHalf, pending: Pending, events: mpsc::UnboundedSender<Status>) {
    let mut buffer = Vec::new();
    while let Some(reply) = next_reply(&mut reader, &mut buffer).await {
        let Some(answer) = reply.answer else { continue };
        if reply.id == 0 {
            if let Answer::Status(status) = answer {
                let _ = events.send(status);
            }
            continue;
        }
        let waiting = pending.lock().as_mut().and_then(|pending| pending.remove(&reply.id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
    // Whoever still waits learns that no answer comes.
    *pending.lock() = None;
}

async fn next_reply(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Option<Reply> {
    loop {
        if let Some(reply) = take_frame(buffer).ok()? {
            return Some(reply);
        }
        if buffer.len() > MAX_FRAME + 4 || reader.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Ties a stream connection to the four ends of a session.
fn session(
    mut reader: OwnedReadHalf,
    mut buffer: Vec<u8>,
    mut writer: OwnedWriteHalf,
    stdin: bool,
    stderr: bool,
) -> Session {
    let (out_read, mut out_write) = tokio::io::duplex(STREAM_BUFFER);
    let (err_read, mut err_write) = tokio::io::duplex(STREAM_BUFFER);
    let (in_write, mut in_read) = tokio::io::duplex(STREAM_BUFFER);
    let (resize, mut sizes) = mpsc::channel::<crate::cri::TerminalSize>(RESIZE_QUEUE);
    let (exit_sender, exit) = oneshot::channel();
    let send = |operation| frame(&Request { id: 0, operation: Some(operation) });
    tokio::spawn(async move {
        let input = async {
            let mut chunk = vec![0; CHUNK];
            let (mut open, mut sizing) = (stdin, true);
            loop {
                let bytes = tokio::select! {
                    read = in_read.read(&mut chunk), if open => match read {
                        Ok(count) if count > 0 => {
                            send(Operation::Input(Input { data: chunk[..count].to_vec(), end: false }))
                        }
                        _ => {
                            open = false;
                            send(Operation::Input(Input { data: Vec::new(), end: true }))
                        }
                    },
                    size = sizes.recv(), if sizing => match size {
                        Some(size) => send(Operation::Resize(Resize {
                            width: size.width.into(),
                            height: size.height.into(),
                        })),
                        None => {
                            sizing = false;
                            continue;
                        }
                    },
                    else => std::future::pending().await,
                };
                if writer.write_all(&bytes).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let output = async {
            while let Some(reply) = next_reply(&mut reader, &mut buffer).await {
                match reply.answer {
                    Some(Answer::Output(output)) => {
                        let end = if output.stderr { &mut err_write } else { &mut out_write };
                        if end.write_all(&output.data).await.is_err() && output.stderr == stderr {
                            // Nobody reads any more.
                            return Err(lost());
                        }
                    }
                    Some(Answer::Status(status)) => return Ok(status.exit_code),
                    Some(Answer::Error(message)) => return Err(Error::unknown(message)),
                    _ => {}
                }
            }
            Err(lost())
        };
        let mut exit_sender = exit_sender;
        let result = tokio::select! {
            result = output => result,
            () = input => Err(lost()),
            // The session was dropped: closing the connection is what ends an exec.
            () = exit_sender.closed() => return,
        };
        let _ = exit_sender.send(result);
    });
    Session {
        stdin: stdin.then(|| Box::pin(in_write) as crate::cri::stream::Writer),
        stdout: Some(Box::pin(out_read)),
        stderr: stderr.then(|| Box::pin(err_read) as crate::cri::stream::Reader),
        resize,
        exit,
    }
}
