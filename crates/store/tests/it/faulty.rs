//! A disk that behaves as badly as real ones may: what was not synced is dropped, torn or reordered by a power
//! cut, and writes and syncs fail.

use std::io;
use std::sync::Arc;

use base::random::{Random, SeededRandom};
use parking_lot::Mutex;
use store::Medium;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// What goes wrong, and at which of the writes, syncs and changes of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// From then on the disk answers nothing.
    PowerCutAt(u64),
    /// One write fails and leaves a part of itself; what follows works.
    WriteFailsAt(u64),
    /// One sync fails, and the kernel forgets what it had to write; what follows works.
    SyncFailsAt(u64),
}

/// Clones share the disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    durable: Vec<u8>,
    /// What a reader sees: the durable bytes and everything since.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    fault: Fault,
    operations: u64,
    dead: bool,
    random: SeededRandom,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl FaultyDisk {
    pub fn new(seed: u64) -> FaultyDisk {
        let (durable, seen, unsynced) = (Vec::new(), Vec::new(), Vec::new());
        let random = SeededRandom::new(seed);
        let state = State { durable, seen, unsynced, fault: Fault::None, operations: 0, dead: false, random };
        FaultyDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// A sound disk with these bytes on it.
    pub fn holding(bytes: Vec<u8>) -> FaultyDisk {
        let disk = FaultyDisk::new(0);
        {
            let mut state = disk.state.lock();
            (state.seen, state.durable) = (bytes.clone(), bytes);
        }
        disk
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().seen.clone()
    }

    /// Counting begins anew.
    pub fn plan(&self, fault: Fault) {
        let mut state = self.state.lock();
        (state.fault, state.operations) = (fault, 0);
    }

    /// The machine goes down and comes up again, with whatever reached the platters.
    pub fn after_power_cut(&self) -> FaultyDisk {
        let mut state = self.state.lock();
        state.dead = true;
        let mut changes = state.unsynced.clone();
        let State { random, durable, .. } = &mut *state;
        let mut image = durable.clone();
        // Everything or nothing made it, or the first part of it in order, or any part in any order.
        let survivors = [0, 100, 50, 90][random.below(4) as usize];
        if random.below(3) == 0 {
            changes.truncate(random.below(changes.len() as u64 + 1) as usize);
            changes.iter().for_each(|change| change.apply(&mut image));
            changes.clear();
        }
        if survivors != 100 {
            for at in (1..changes.len()).rev() {
                changes.swap(at, random.below(at as u64 + 1) as usize);
            }
        }
        for change in changes {
            if random.below(100) >= survivors {
                continue;
            }
            match change {
                Change::Write(at, data) if random.below(4) == 0 => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            place(&mut image, at as usize + n * SECTOR, sector);
                        }
                    }
                }
                whole => whole.apply(&mut image),
            }
        }
        let next = FaultyDisk::holding(image);
        next.state.lock().random = SeededRandom::new(random.next_u64());
        next
    }
}

fn place(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at..end].copy_from_slice(data);
}

impl State {
    fn alive(&mut self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }

    fn count(&mut self) -> io::Result<u64> {
        self.alive()?;
        self.operations += 1;
        if self.fault == Fault::PowerCutAt(self.operations) {
            self.dead = true;
        }
        self.alive()?;
        Ok(self.operations)
    }

    fn apply(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => place(image, *at as usize, data),
            Change::SetLen(len) => image.resize(*len as usize, 0),
        }
    }
}

impl Medium for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.alive()?;
        Ok(state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive()?;
        let start = offset as usize;
        let found = state.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let operation = state.count()?;
        if state.fault == Fault::WriteFailsAt(operation) {
            let part = state.random.below(data.len() as u64 + 1) as usize;
            state.apply(Change::Write(offset, data[..part].to_vec()));
            return Err(io::Error::other("the write failed"));
        }
        state.apply(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count()?;
        state.apply(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let operation = state.count()?;
        if state.fault == Fault::SyncFailsAt(operation) {
            state.unsynced.clear();
            return Err(io::Error::other("the sync failed"));
        }
        state.unsynced.clear();
        // Every sync is of everything written so far.
        let State { durable, seen, .. } = &mut *state;
        durable.clone_from(seen);
        Ok(())
    }
}
