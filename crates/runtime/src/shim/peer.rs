//! One connection to the shim.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::protocol::{Answer, Output, Reply, Request, Status, frame, take_frame};

/// What a connection's own process may have waiting for it before no more is read from the process.
pub const HIGH_WATER: usize = 256 << 10;

/// What a client that only watches may fall behind before it is cut off, so that it never slows a container.
pub const MAX_BACKLOG: usize = 1 << 20;

/// How a connection takes part in a process' streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    pub task: u64,
    /// The request that opened the stream; what ends it is answered with this id.
    pub request: u64,
    pub stdout: bool,
    pub stderr: bool,
    pub stdin: bool,
    /// The process lives for this connection.
    pub owns: bool,
}

pub struct Peer {
    socket: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    pub subscribed: bool,
    pub role: Option<Role>,
    /// Close as soon as everything is written.
    pub closing: bool,
}

impl Peer {
    pub fn new(socket: UnixStream) -> std::io::Result<Peer> {
        socket.set_nonblocking(true)?;
        Ok(Peer {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            subscribed: false,
            role: None,
            closing: false,
        })
    }

    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    pub fn backlog(&self) -> usize {
        self.output.len()
    }

    /// Reads what has arrived; `false` when the connection is over.
    pub fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend(&buffer[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// The next whole request; an error ends the connection.
    pub fn next(&mut self) -> Result<Option<Request>, String> {
        let request = take_frame(&mut self.input);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        request
    }

    pub fn reply(&mut self, id: u64, answer: Answer) {
        self.output.extend(frame(&Reply { id, answer: Some(answer) }));
    }

    pub fn output(&mut self, data: &[u8], stderr: bool) {
        self.reply(0, Answer::Output(Output { data: data.to_vec(), stderr }));
    }

    /// Tells a subscriber that a container's status has changed.
    pub fn event(&mut self, status: &Status) {
        self.reply(0, Answer::Status(status.clone()));
    }

    /// Writes what the socket takes; `false` when the connection is over.
    pub fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(0) => return false,
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        self.output = Vec::new();
        !self.closing
    }
}
