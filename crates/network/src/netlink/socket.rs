//! A blocking netlink socket and its conversations.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

use super::read::{Attributes, Message, Messages};
use super::{Writer, flag};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Route,
    Netfilter,
}

/// What the kernel says against one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub sequence: u32,
    pub errno: i32,
    /// The kernel's own words, where it has any.
    pub message: Option<String>,
    /// Where in our message the offending attribute begins.
    pub offset: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("netlink: {operation}")]
    Socket {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("netlink: {}", describe(.0))]
    Refused(Failure),
    #[error("netlink: a listing changed {0} times while it was read")]
    Unsteady(usize),
}

impl Error {
    /// Whether the kernel refused with this error number.
    pub fn is(&self, errno: i32) -> bool {
        matches!(self, Error::Refused(failure) if failure.errno == errno)
    }
}

fn describe(failure: &Failure) -> String {
    let error = io::Error::from_raw_os_error(failure.errno);
    match &failure.message {
        Some(message) => format!("{error}: {message}"),
        None => error.to_string(),
    }
}

/// A reply of the kernel fits: dumps are cut to what the reader offers, at most 32 KiB.
const READ_BUFFER: usize = 64 * 1024;
/// Room for the errors of a refused transaction; what does not fit is an error all the same.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// A listing that changes while it is read is begun anew this often.
const DUMP_ATTEMPTS: usize = 10;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Set on error messages that quote only the header of what they refuse.
const CAPPED: u16 = 0x100;
const HAS_ATTRIBUTES: u16 = 0x200;

/// An open socket, bound to the network namespace of the thread that opened it.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    send_buffer: usize,
    buffer: Vec<u8>,
}

impl Socket {
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open(protocol: Protocol) -> Result<Socket, Error> {
        let number = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, number)
            .map_err(|errno| socket_error("opening the socket", errno))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))
            .map_err(|errno| socket_error("binding the socket", errno))?;
        // Both only make errors more telling, so an old kernel may go without.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            let on: libc::c_int = 1;
            // SAFETY: the descriptor is open, and the value pointed to is an int that outlives the call.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                );
            }
        }
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        Ok(Socket { fd, sequence: 1, send_buffer: 0, buffer: vec![0; READ_BUFFER] })
    }

    /// The number for the next message.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends one request and waits for the acknowledgement that it must have asked for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Writer),
    ) -> Result<(), Error> {
        self.converse(kind, flags | flag::ACK, fixed, body, &mut |_| {})
    }

    /// Sends one request and hands every reply to `each`, until the acknowledgement or the end of the
    /// listing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn converse(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Writer),
        each: &mut dyn FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let mut writer = Writer::new();
        writer.message(kind, flags | flag::REQUEST, sequence, fixed, body);
        self.send(writer.bytes())?;
        let mut interrupted = false;
        loop {
            let len = self.receive(MsgFlags::empty())?.unwrap_or(0);
            for message in Messages(&self.buffer[..len]).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & flag::DUMP_INTERRUPTED != 0;
                match message.kind {
                    DONE if interrupted => return Err(Error::Unsteady(1)),
                    DONE => return Ok(()),
                    ERROR => return failure(&message).map_or(Ok(()), |failure| Err(Error::Refused(failure))),
                    _ => each(&message),
                }
            }
        }
    }

    /// Lists objects, beginning anew when they change meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses, or the objects never hold still.
    pub fn dump<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        body: &dyn Fn(&mut Writer),
        parse: &dyn Fn(&Message<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            match self.converse(kind, flag::DUMP, fixed, body, &mut |message| parse(message, &mut found)) {
                Err(Error::Unsteady(_)) => {}
                other => return other.map(|()| found),
            }
        }
        Err(Error::Unsteady(DUMP_ATTEMPTS))
    }

    /// Sends several messages at once, which the kernel works off before it returns, and collects
    /// what it says against them.
    ///
    /// # Errors
    /// When the socket fails; refusals are in the result.
    pub fn batch(&mut self, messages: &[u8]) -> Result<Vec<Failure>, Error> {
        self.send(messages)?;
        let mut failures = Vec::new();
        while let Some(len) = self.receive(MsgFlags::MSG_DONTWAIT)? {
            let errors = Messages(&self.buffer[..len]).filter(|message| message.kind == ERROR);
            failures.extend(errors.filter_map(|message| failure(&message)));
        }
        Ok(failures)
    }

    /// One send is one transaction, so the socket must take it whole.
    fn send(&mut self, messages: &[u8]) -> Result<(), Error> {
        // The kernel counts its own bookkeeping too, and doubles what it is asked for.
        if messages.len() > self.send_buffer {
            let wanted = messages.len().next_power_of_two().max(RECEIVE_BUFFER);
            if setsockopt(&self.fd, sockopt::SndBufForce, &wanted).is_ok() {
                self.send_buffer = wanted;
            }
        }
        let sent = send(self.fd.as_raw_fd(), messages, MsgFlags::empty());
        sent.map(drop).map_err(|errno| socket_error("sending", errno))
    }

    /// The length of what arrived; `None` when nothing is there and waiting was not asked for.
    fn receive(&mut self, flags: MsgFlags) -> Result<Option<usize>, Error> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Ok(len) => return Ok(Some(len)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(socket_error("receiving", errno)),
            }
        }
    }
}

fn socket_error(operation: &'static str, errno: Errno) -> Error {
    Error::Socket { operation, source: errno.into() }
}

/// What an error message says; an acknowledgement says nothing.
fn failure(message: &Message<'_>) -> Option<Failure> {
    const QUOTED_HEADER: usize = 4 + 16;
    const MESSAGE: u16 = 1;
    const OFFSET: u16 = 2;
    let errno = i32::from_ne_bytes(*message.body.first_chunk()?);
    if errno == 0 {
        return None;
    }
    let mut failure = Failure { sequence: message.sequence, errno: -errno, message: None, offset: None };
    if message.flags & HAS_ATTRIBUTES != 0 {
        let quoted = message
            .body
            .get(4..8)
            .and_then(|len| len.first_chunk())
            .map_or(0, |len| u32::from_ne_bytes(*len));
        let skip = if message.flags & CAPPED != 0 {
            QUOTED_HEADER
        } else {
            4 + (quoted as usize).next_multiple_of(4)
        };
        let attributes = Attributes(message.body.get(skip..).unwrap_or_default());
        failure.message = attributes.get(MESSAGE).and_then(|a| a.text()).map(str::to_owned);
        failure.offset = attributes.get(OFFSET).and_then(|a| a.ne32()).map(|offset| offset as usize);
    }
    Some(failure)
}
