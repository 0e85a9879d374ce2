//! Exec, attach and port-forward as byte streams in process.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::Result;

pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalSize {
    #[serde(rename = "Width")]
    pub width: u16,
    #[serde(rename = "Height")]
    pub height: u16,
}

/// A process that somebody talks to. Dropping a session closes its streams; a process started by exec is
/// then killed, a container that was attached to lives on.
pub struct Session {
    /// Absent when stdin was not asked for. Shutting it down is end of file for the process.
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// Absent when not asked for, and with a terminal, which has one output only.
    pub stderr: Option<Reader>,
    /// A size sent here is lost when the queue is full: only the last one matters, and another follows.
    pub resize: mpsc::Sender<TerminalSize>,
    /// The exit code, after the last byte of output.
    pub exit: oneshot::Receiver<Result<i32>>,
}

/// One forwarded connection.
pub struct Forward {
    pub reader: Reader,
    pub writer: Writer,
}

/// Terminal sizes that wait to be applied.
pub(crate) const RESIZE_QUEUE: usize = 4;
