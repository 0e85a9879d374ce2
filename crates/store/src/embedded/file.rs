//! The layout of the store's file: one page that says what it is, then the engine's database.
//!
//! ```text
//!      0  the title: text lines naming the format and the oldest reader, with a checksum
//!   2048  mark A     two sectors, written in turn after each commit:
//!   3072  mark B     the revision that is known to be durable
//!   4096  redb
//! ```
//!
//! The title lets `head -3` and every later version say what the file is before anything interprets it. The marks
//! are written after the commit that they name is durable and are not synced themselves, so whichever survives is
//! a lower bound: a database that opens at an earlier revision has lost acknowledged writes and is refused.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest;

use super::medium::Medium;
use crate::entry::Revision;

/// What this version of the program writes.
pub(crate) const FORMAT: u32 = 1;
/// The oldest format version whose readers understand what this version writes.
const OLDEST_READER: u32 = 1;
/// The format that a file has while it is being created; it holds nothing yet.
const UNFINISHED: u32 = 0;

pub(super) const DATABASE_AT: u64 = 4_096;
const TITLE_BYTES: usize = 512;
const MARKS_AT: [u64; 2] = [2_048, 3_072];
const MARK_BYTES: usize = 24;

/// What a file says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Title {
    /// Nothing was ever written, or the file's creation was cut short.
    Empty,
    Format {
        format: u32,
        oldest_reader: u32,
    },
    /// Something else, or damage.
    Foreign,
}

fn title(format: u32, oldest_reader: u32) -> [u8; TITLE_BYTES] {
    let text = format!("BOGA STORE\nformat {format}\noldest reader {oldest_reader}\n");
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    let check: String = sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{text}check {check}\n");
    let mut page = [0; TITLE_BYTES];
    page[..text.len()].copy_from_slice(text.as_bytes());
    page
}

pub(super) fn read_title(medium: &dyn Medium) -> io::Result<Title> {
    let len = medium.len()?;
    if len == 0 {
        return Ok(Title::Empty);
    }
    if len < DATABASE_AT {
        return Ok(Title::Foreign);
    }
    let mut page = [0; TITLE_BYTES];
    medium.read(0, &mut page)?;
    if page == title(UNFINISHED, UNFINISHED) || (len == DATABASE_AT && page == [0; TITLE_BYTES]) {
        return Ok(Title::Empty);
    }
    let text = String::from_utf8_lossy(&page);
    let number = |line: Option<&str>, name: &str| line?.strip_prefix(name)?.parse::<u32>().ok();
    let mut lines = text.lines().skip(1);
    let parsed = number(lines.next(), "format ").zip(number(lines.next(), "oldest reader "));
    // A title is compared whole: there is one way to write each.
    Ok(match parsed {
        Some((format, oldest_reader)) if page == title(format, oldest_reader) => {
            Title::Format { format, oldest_reader }
        }
        _ => Title::Foreign,
    })
}

pub(super) fn readable(oldest_reader: u32) -> bool {
    oldest_reader <= FORMAT
}

/// Starts a file over, durably marked as unfinished until [`finish`] is called.
pub(super) fn begin(medium: &dyn Medium) -> io::Result<()> {
    medium.set_len(DATABASE_AT)?;
    medium.write(0, &title(UNFINISHED, UNFINISHED))?;
    medium.write(MARKS_AT[0], &[0; MARK_BYTES])?;
    medium.write(MARKS_AT[1], &[0; MARK_BYTES])?;
    medium.sync()
}

/// Names the format, once everything below it is durable.
pub(super) fn finish(medium: &dyn Medium) -> io::Result<()> {
    medium.write(0, &title(FORMAT, OLDEST_READER))?;
    medium.sync()
}

fn mark(revision: Revision) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&revision.to_le_bytes());
    let sum = digest::digest(&digest::SHA256, &mark[..8]);
    mark[8..].copy_from_slice(&sum.as_ref()[..MARK_BYTES - 8]);
    mark
}

/// The newest revision that the marks promise. A damaged mark promises nothing.
pub(super) fn read_marks(medium: &dyn Medium) -> io::Result<Revision> {
    let mut newest = 0;
    for at in MARKS_AT {
        let mut found = [0; MARK_BYTES];
        medium.read(at, &mut found)?;
        let revision = Revision::from_le_bytes(*found.first_chunk().expect("a mark begins with a revision"));
        if found == mark(revision) {
            newest = newest.max(revision);
        }
    }
    Ok(newest)
}

pub(super) fn write_mark(medium: &dyn Medium, revision: Revision, turn: u64) -> io::Result<()> {
    medium.write(MARKS_AT[(turn % 2) as usize], &mark(revision))
}

/// The database's part of the file, as redb sees it.
///
/// Until [`Body::settle`] is called every write is held in memory and laid over what is read. So opening a file,
/// which may repair it, changes nothing on disk before the whole of it was found sound.
#[derive(Clone, Debug)]
pub(super) struct Body {
    medium: Arc<dyn Medium>,
    synced: bool,
    held: Arc<Mutex<Option<Held>>>,
}

#[derive(Debug, Default)]
struct Held {
    steps: Vec<Step>,
    /// As the steps leave it, and as it is on disk.
    len: u64,
    on_disk: u64,
}

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Body {
    pub(super) fn held(medium: Arc<dyn Medium>, synced: bool) -> io::Result<Body> {
        let len = medium.len()?.saturating_sub(DATABASE_AT);
        let held = Held { steps: Vec::new(), len, on_disk: len };
        Ok(Body { medium, synced, held: Arc::new(Mutex::new(Some(held))) })
    }

    /// Carries out what was held, in order, and writes through from here on.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut held = self.held.lock();
        for step in held.take().map(|held| held.steps).unwrap_or_default() {
            match step {
                Step::Write(offset, data) => self.medium.write(DATABASE_AT + offset, &data)?,
                Step::SetLen(len) => self.medium.set_len(DATABASE_AT + len)?,
                Step::Sync if self.synced => self.medium.sync()?,
                Step::Sync => {}
            }
        }
        Ok(())
    }
}

impl redb::StorageBackend for Body {
    fn len(&self) -> io::Result<u64> {
        match &*self.held.lock() {
            Some(held) => Ok(held.len),
            None => Ok(self.medium.len()?.saturating_sub(DATABASE_AT)),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.held.lock();
        let Some(held) = &*held else { return self.medium.read(DATABASE_AT + offset, out) };
        let wanted = offset..offset.saturating_add(out.len() as u64);
        if wanted.end > held.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_disk = held.on_disk.clamp(wanted.start, wanted.end);
        let (below, beyond) = out.split_at_mut((on_disk - wanted.start) as usize);
        self.medium.read(DATABASE_AT + offset, below)?;
        beyond.fill(0);
        for step in &held.steps {
            match step {
                Step::Write(at, data) => {
                    let (from, to) = ((*at).max(wanted.start), (at + data.len() as u64).min(wanted.end));
                    if from < to {
                        let source = &data[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
                    }
                }
                // What a shorter length cut off reads as zeros when the file grows again.
                Step::SetLen(len) if *len < wanted.end => {
                    out[(len.max(&wanted.start) - offset) as usize..].fill(0);
                }
                Step::SetLen(_) | Step::Sync => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &mut *self.held.lock() {
            Some(held) => {
                held.len = len;
                held.steps.push(Step::SetLen(len));
                Ok(())
            }
            None => self.medium.set_len(DATABASE_AT + len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &mut *self.held.lock() {
            Some(held) => held.steps.push(Step::Sync),
            None if self.synced => self.medium.sync()?,
            None => {}
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &mut *self.held.lock() {
            Some(held) => {
                held.len = held.len.max(offset + data.len() as u64);
                held.steps.push(Step::Write(offset, data.to_vec()));
                Ok(())
            }
            None => self.medium.write(DATABASE_AT + offset, data),
        }
    }
}
