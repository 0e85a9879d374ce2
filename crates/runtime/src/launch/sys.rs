//! The few system calls that no safe crate offers, each behind a safe function.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

/// Which side of a fork this is.
pub enum Fork {
    Child,
    Parent(i32),
}

/// Forks; with `sibling` the child's parent is the caller's parent.
///
/// The caller must have one thread only: the child continues with a copy of its whole state, and a lock held
/// by a thread that does not exist in the child would never open. `flags` are namespace flags of clone(2).
pub fn fork(flags: i32, sibling: bool) -> Result<Fork> {
    let parent = if sibling { libc::CLONE_PARENT } else { 0 };
    let flags = (flags | parent | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM and without a new stack this is fork(2); the shim and its helpers have one
    // thread, so the child finds no lock held by a thread it lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) };
    match pid {
        -1 => Err(last_errno()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Ends this process at once, without running destructors or flushing what a fork copied.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// What mount_setattr(2) changes.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub userns: u64,
}

/// Changes the mount that `fd` refers to, and with `recursive` all below it.
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attr: MountAttr) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant C string, and the kernel reads exactly the given size of `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// The terminal's other end, opened without looking up any path inside the container.
pub fn terminal_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    const TIOCGPTPEER: libc::c_ulong = 0x5441;
    // SAFETY: the request takes open flags by value and returns a new descriptor, which is owned from here on.
    unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        match libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, flags) {
            -1 => Err(last_errno()),
            fd => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
        }
    }
}

/// Installs a seccomp filter. `flags` are those of seccomp(2).
pub fn seccomp(program: &[libc::sock_filter], flags: u32) -> Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions out of the slice, which outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Joins those namespaces of the process behind `pidfd` that `flags` name.
pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> Result<()> {
    // SAFETY: setns has no memory preconditions.
    if unsafe { libc::setns(fd.as_raw_fd(), flags) } == -1 { Err(last_errno()) } else { Ok(()) }
}

pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: only namespace flags are passed, which share no memory or descriptors with other threads.
    if unsafe { libc::unshare(flags) } == -1 { Err(last_errno()) } else { Ok(()) }
}

/// A prctl(2) that takes numbers only.
pub fn prctl(option: i32, value: u64) -> Result<()> {
    // SAFETY: the options used here take integers, never pointers.
    let result = unsafe { libc::prctl(option, value as libc::c_ulong, 0usize, 0usize, 0usize) };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Raises one capability into the ambient set.
pub fn raise_ambient(capability: u32) -> Result<()> {
    // SAFETY: all arguments are integers.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            capability as libc::c_ulong,
            0usize,
            0usize,
        )
    };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Sets the three capability sets of this thread.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data records, which is what the pointers refer to.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Sets the ids and groups of this, the only, thread.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // SAFETY: the group list is passed with its length; the raw calls change this thread only, and there is
    // no other. The libc wrappers are avoided because they signal other threads.
    unsafe {
        if libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == -1
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
        {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Sends a signal that has a number but no name. The caller is the parent of `pid` and has not reaped it.
pub fn kill_real_time(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: kill takes integers only.
    if unsafe { libc::kill(pid, signal) } == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Marks every descriptor from `first` on to be closed by the next exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: integers only; CLOSE_RANGE_CLOEXEC closes nothing now.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Makes `fd` the process' descriptor number `target`, open across exec.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    // SAFETY: `target` is one of the three standard streams, which no OwnedFd of this process owns.
    unsafe {
        if fd.as_raw_fd() == target {
            if libc::fcntl(target, libc::F_SETFD, 0) == -1 {
                return Err(last_errno());
            }
        } else if libc::dup2(fd.as_raw_fd(), target) == -1 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Makes the terminal on standard input this session's controlling terminal.
pub fn control_terminal() -> Result<()> {
    // SAFETY: the request takes an integer.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) } == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data; both requests read and write it only.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) == -1 {
            return Err(last_errno());
        }
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) == -1 {
            return Err(last_errno());
        }
    }
    Ok(())
}

pub fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
