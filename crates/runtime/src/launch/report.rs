//! What a launch tells the shim: the pid, a terminal, a failure; or nothing more, once the program runs.
//!
//! The channel is a pair of packet sockets. Its writing ends close on exec, so that the end of the channel
//! without a failure means that the kernel has accepted the program.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::failure::{Attempt, Result};

/// The longest failure that is passed on; the rest is cut.
const MAX_MESSAGE: usize = 4096;

/// One message of a launch.
#[derive(Debug)]
pub enum Report {
    /// The process that will become the program, in the shim's pid namespace.
    Pid(i32),
    /// The side of the container's terminal that the shim keeps.
    Terminal(OwnedFd),
    Failed(String),
}

/// The shim's end and the launch's end.
pub fn channel() -> Result<(OwnedFd, Sender)> {
    let (receive, send) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .attempt(|| "socketpair")?;
    Ok((receive, Sender(send)))
}

pub struct Sender(OwnedFd);

impl Sender {
    pub fn pid(&self, pid: i32) {
        let mut message = vec![b'P'];
        message.extend(pid.to_le_bytes());
        self.send(&message, None);
    }

    pub fn terminal(&self, terminal: &OwnedFd) {
        self.send(b"T", Some(terminal.as_fd()));
    }

    pub fn failed(&self, message: &str) {
        let mut end = message.len().min(MAX_MESSAGE);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let mut packet = vec![b'E'];
        packet.extend(&message.as_bytes()[..end]);
        self.send(&packet, None);
    }

    /// A shim that is gone cannot be told anything; the process then dies with it.
    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.into_iter().collect::<Vec<_>>();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let _ = sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    }
}

/// The next report; `None` at the end of the channel, `WouldBlock` when there is none yet.
pub fn receive(channel: &OwnedFd) -> std::result::Result<Option<Report>, Errno> {
    let (bytes, fd) = receive_packet(channel)?;
    Ok(match (bytes.split_first(), fd) {
        (None, _) => None,
        (Some((b'P', pid)), _) => pid.try_into().ok().map(|pid| Report::Pid(i32::from_le_bytes(pid))),
        (Some((b'T', _)), Some(fd)) => Some(Report::Terminal(fd)),
        (Some((_, text)), _) => Some(Report::Failed(String::from_utf8_lossy(text).into_owned())),
    })
}

/// The descriptor that arrives with the next message on a socket.
pub fn receive_fd(socket: &OwnedFd) -> Option<OwnedFd> {
    receive_packet(socket).ok()?.1
}

fn receive_packet(channel: &OwnedFd) -> std::result::Result<(Vec<u8>, Option<OwnedFd>), Errno> {
    let mut bytes = vec![0; MAX_MESSAGE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    bytes.truncate(received.bytes);
    Ok((bytes, fd))
}
