//! A container's log, in the CRI's format: `time stream tag line`.
//!
//! The tag is `F` for a line that was ended by a newline and `P` for a part of a longer one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base::clock::Wall;

/// A line is cut into parts of at most this many bytes, as in containerd.
pub const MAX_LINE: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The open log of one container. Writing never fails: what a full disk refuses is lost, the container goes on.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    /// The beginnings of unfinished lines.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Log {
    pub fn open(path: &Path) -> io::Result<Log> {
        let file = open(path)?;
        Ok(Log { path: path.to_owned(), file: Some(file), stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Goes on in a new file under the old name.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = Some(open(&self.path)?);
        Ok(())
    }

    pub fn write(&mut self, stream: Stream, data: &[u8], now: Wall) {
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let entries = split(pending, data, stream, now);
        self.append(&entries);
    }

    /// Writes out what never got its newline.
    pub fn finish(&mut self, now: Wall) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = match stream {
                Stream::Stdout => std::mem::take(&mut self.stdout),
                Stream::Stderr => std::mem::take(&mut self.stderr),
            };
            if !pending.is_empty() {
                let mut entries = Vec::new();
                entry(&mut entries, stream, "P", &pending, now);
                self.append(&entries);
            }
        }
    }

    fn append(&mut self, entries: &[u8]) {
        if let Some(file) = &mut self.file
            && !entries.is_empty()
        {
            let _ = file.write_all(entries);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// The entries that `data` completes; what is left of it stays in `pending`.
fn split(pending: &mut Vec<u8>, data: &[u8], stream: Stream, now: Wall) -> Vec<u8> {
    let mut entries = Vec::new();
    for piece in data.split_inclusive(|&byte| byte == b'\n') {
        let (mut piece, ended) = match piece.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (piece, false),
        };
        while pending.len() + piece.len() > MAX_LINE {
            let (head, rest) = piece.split_at(MAX_LINE - pending.len());
            pending.extend(head);
            entry(&mut entries, stream, "P", pending, now);
            pending.clear();
            piece = rest;
        }
        pending.extend(piece);
        if ended {
            entry(&mut entries, stream, "F", pending, now);
            // A long line should not leave its buffer behind in an idle shim.
            *pending = Vec::new();
        }
    }
    entries
}

fn entry(out: &mut Vec<u8>, stream: Stream, tag: &str, line: &[u8], now: Wall) {
    let _ = write!(out, "{} {} {tag} ", timestamp(now), stream.name());
    out.extend(line);
    out.push(b'\n');
}

/// RFC 3339 with nanoseconds, in UTC.
pub fn timestamp(time: Wall) -> String {
    let seconds = time.secs();
    let nanoseconds = time.0.rem_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days are counted in eras of 400 years from the first of March of year 0, so that leap days come last.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000000Z"),
            (1_795_167_700, "2026-11-20T09:41:40.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(timestamp(Wall::from_secs(seconds)), expected);
        }
        assert_eq!(timestamp(Wall(1_000_000_007)), "1970-01-01T00:00:01.000000007Z");
    }

    #[test]
    fn lines_are_tagged_full_or_partial() {
        let mut pending = Vec::new();
        let time = "1970-01-01T00:00:00.000000000Z";
        let mut feed =
            |data: &[u8]| String::from_utf8(split(&mut pending, data, Stream::Stderr, Wall(0))).unwrap();
        assert_eq!(feed(b"one\ntw"), format!("{time} stderr F one\n"));
        assert_eq!(feed(b"o\n\n"), format!("{time} stderr F two\n{time} stderr F \n"));
        let long = "x".repeat(MAX_LINE + 3);
        let (head, tail) = long.split_at(MAX_LINE);
        assert_eq!(feed(long.as_bytes()), format!("{time} stderr P {head}\n"));
        assert_eq!(feed(b"\n"), format!("{time} stderr F {tail}\n"));
        assert_eq!(feed(&vec![b'y'; MAX_LINE]), "");
        assert_eq!(feed(b"\n").len(), format!("{time} stderr F \n").len() + MAX_LINE);
    }
}
