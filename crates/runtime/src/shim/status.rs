//! The status of a container on disk, where it outlives both shim and daemon.
//!
//! One block is reserved before the container starts and overwritten in place afterwards, so that a full disk
//! cannot keep an exit code from being recorded. A checksum tells a write that a crash cut short.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use prost::Message;

use super::protocol::Status;

const FILE: &str = "status";

/// The reserved size: one block of any filesystem.
const BLOCK: usize = 4096;

/// Length and checksum, before the message.
const HEADER: usize = 12;

/// The longest failure text that is kept, so that the message always fits its block.
const MAX_FAILURE: usize = 3000;

/// Reserves the block. Without it the container must not be started.
pub fn reserve(bundle: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(bundle.join(FILE))?;
    let mode = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(&file, mode, 0, BLOCK as u64) {
        // Where a filesystem cannot reserve, writing zeros takes the space as well.
        Err(rustix::io::Errno::OPNOTSUPP) => file.write_all_at(&[0; BLOCK], 0),
        result => Ok(result?),
    }
}

/// Writes the status. An exit is on the disk before this returns, since it is told to the world afterwards; a
/// start need not be, since a machine that crashes loses the process, too.
pub fn write(bundle: &Path, status: &Status) -> io::Result<()> {
    let mut status = status.clone();
    let mut end = status.failure.len().min(MAX_FAILURE);
    while !status.failure.is_char_boundary(end) {
        end -= 1;
    }
    status.failure.truncate(end);
    let message = status.encode_to_vec();
    let mut block = Vec::with_capacity(HEADER + message.len());
    block.extend((message.len() as u32).to_le_bytes());
    block.extend(checksum(&message).to_le_bytes());
    block.extend(message);
    let file = OpenOptions::new().write(true).open(bundle.join(FILE))?;
    file.write_all_at(&block, 0)?;
    if status.finished_at != 0 {
        file.sync_data()?;
    }
    Ok(())
}

/// The status that was written last; `None` when the container was never started.
pub fn read(bundle: &Path) -> Option<Status> {
    let file = File::open(bundle.join(FILE)).ok()?;
    let mut block = vec![0; BLOCK];
    file.read_exact_at(&mut block, 0).ok()?;
    let length = u32::from_le_bytes(block[..4].try_into().ok()?) as usize;
    let expected = u64::from_le_bytes(block[4..HEADER].try_into().ok()?);
    let message = block.get(HEADER..HEADER.checked_add(length)?)?;
    if length == 0 || checksum(message) != expected {
        return None;
    }
    Status::decode(message).ok()
}

/// FNV-1a; enough to notice a torn write.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        reserve(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None);
        let mut status = Status { container: "a".into(), pid: 5, started_at: 1, ..Status::default() };
        write(dir.path(), &status).unwrap();
        assert_eq!(read(dir.path()), Some(status.clone()));
        status =
            Status { finished_at: 9, exit_code: 137, oom_killed: true, failure: "é".repeat(4000), ..status };
        write(dir.path(), &status).unwrap();
        let got = read(dir.path()).unwrap();
        assert_eq!((got.exit_code, got.failure.len()), (137, MAX_FAILURE));
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BLOCK as u64);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER + 3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
