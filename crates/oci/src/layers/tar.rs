//! A tar stream, entry by entry, in bounded memory: ustar, PAX, GNU long names, and GNU sparse files in all
//! four encodings. Lenient where Go's `archive/tar` is, so that what other runtimes unpack, this one does.

use std::io::{self, Read};

use crate::error::{Error, Result, corrupt, refused};

const BLOCK: usize = 512;
/// PAX headers and GNU long names larger than this are refused unread; Go's limit too.
const MAX_EXTENSION: u64 = 1 << 20;
/// Extension headers that may precede one entry.
const MAX_EXTENSIONS_PER_ENTRY: usize = 16;
/// Pieces that a sparse file may consist of.
const MAX_SPARSE_PIECES: usize = 1 << 18;

pub struct Reader<R> {
    inner: R,
    /// Bytes of the current entry's data, and of the padding after it, that were not read yet.
    data: u64,
    padding: u64,
    finished: bool,
}

/// One entry's header. Its data is read from [`Reader::data`] before the next is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nanos: u32,
    /// Bytes of data in the stream.
    pub size: u64,
    pub major: u32,
    pub minor: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<Sparse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EntryKind {
    #[default]
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
}

/// Where a sparse file's data belongs: offsets and lengths, ascending, back to back in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sparse {
    pub pieces: Vec<(u64, u64)>,
    pub real_size: u64,
}

impl<R: Read> Reader<R> {
    pub fn new(inner: R) -> Reader<R> {
        Reader { inner, data: 0, padding: 0, finished: false }
    }

    /// The next entry, or `None` at the archive's end.
    #[expect(
        clippy::should_implement_trait,
        reason = "each entry borrows the stream, as no iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        for _ in 0..=MAX_EXTENSIONS_PER_ENTRY {
            self.skip_rest()?;
            let Some(block) = self.header()? else { return Ok(None) };
            let size = numeric(&block[124..136]).and_then(to_u64).ok_or_else(|| bad("size"))?;
            match block[156] {
                b'x' => extended.pax(&self.extension(size)?)?,
                b'L' => extended.path = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => extended.link = Some(until_nul(&self.extension(size)?).to_vec()),
                b'g' => drop(self.extension(size)?),
                _ => return self.entry(&block, size, extended).map(Some),
            }
        }
        Err(refused("tar: too many extension headers before an entry"))
    }

    /// The current entry's data that was not read yet.
    pub fn data(&mut self) -> impl Read + '_ {
        Data(self)
    }

    /// The stream behind the archive, read on to its end, so that its digest covers the padding too.
    pub fn into_inner(mut self) -> Result<R> {
        io::copy(&mut self.inner, &mut io::sink()).map_err(read_error)?;
        Ok(self.inner)
    }

    fn skip_rest(&mut self) -> Result<()> {
        let rest = self.data + self.padding;
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink()).map_err(read_error)?;
        (self.data, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(truncated()) }
    }

    /// One header block; `None` at the end, which two zero blocks or the stream's end mark.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.finished {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.finished = true;
            return Ok(None);
        };
        if block.iter().all(|&b| b == 0) {
            self.finished = true;
            return match self.block()? {
                Some(second) if second.iter().any(|&b| b != 0) => {
                    Err(corrupt("tar: data after a zero block"))
                }
                _ => Ok(None),
            };
        }
        let stored = octal(&block[148..156]).ok_or_else(|| bad("checksum"))?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        if stored != unsigned && stored != signed {
            return Err(corrupt("tar: header checksum does not match"));
        }
        Ok(Some(block))
    }

    /// `None` at the stream's end; a block that ends early is an error.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(refused(format!("tar: extension header of {size} bytes, more than {MAX_EXTENSION}")));
        }
        self.begin_data(size);
        let mut bytes = Vec::new();
        let read = self.data().read_to_end(&mut bytes).map_err(read_error)?;
        if read as u64 == size { Ok(bytes) } else { Err(truncated()) }
    }

    fn begin_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn entry(&mut self, block: &[u8; BLOCK], size: u64, extended: Extended) -> Result<Entry> {
        let field = |from: usize, to: usize, what: &str| numeric(&block[from..to]).ok_or_else(|| bad(what));
        let mut entry = Entry {
            path: extended.path.unwrap_or_else(|| header_path(block)),
            link: extended.link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec()),
            mode: (field(100, 108, "mode")? & 0o7777) as u32,
            uid: to_id(extended.uid.map_or_else(|| field(108, 116, "uid"), Ok)?, "uid")?,
            gid: to_id(extended.gid.map_or_else(|| field(116, 124, "gid"), Ok)?, "gid")?,
            mtime: extended.mtime.map_or_else(|| field(136, 148, "mtime"), |(secs, _)| Ok(secs))?,
            mtime_nanos: extended.mtime.map_or(0, |(_, nanos)| nanos),
            xattrs: extended.xattrs,
            ..Entry::default()
        };
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(corrupt("tar: a name contains a zero byte"));
        }
        let old_directory = block[156] == 0 && entry.path.ends_with(b"/");
        entry.kind = match block[156] {
            _ if old_directory => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let name = String::from_utf8_lossy(&entry.path).into_owned();
                return Err(refused(format!("tar: entry {name:?} has unknown type {:?}", char::from(other))));
            }
        };
        if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            entry.major = to_id(field(329, 337, "device")?, "device")?;
            entry.minor = to_id(field(337, 345, "device")?, "device")?;
        }
        if entry.kind != EntryKind::File {
            self.begin_data(0);
            return Ok(entry);
        }
        entry.size = extended.size.unwrap_or(size);
        self.begin_data(entry.size);
        let sparse = match (block[156], extended.sparse) {
            (b'S', _) => {
                let real_size = field(483, 495, "sparse size")
                    .and_then(|n| to_u64(n).ok_or_else(|| bad("sparse size")))?;
                Some(Sparse { pieces: self.old_sparse_map(block)?, real_size })
            }
            (_, Some(of)) if of.in_data => Some(Sparse {
                pieces: self.sparse_map_in_data()?,
                real_size: of.real_size.ok_or_else(|| bad("sparse size"))?,
            }),
            (_, Some(of)) => {
                Some(Sparse { pieces: of.pieces, real_size: of.real_size.ok_or_else(|| bad("sparse size"))? })
            }
            (_, None) => None,
        };
        if let Some(sparse) = sparse {
            entry.size = self.data;
            sparse.check(entry.size)?;
            entry.sparse = Some(sparse);
        }
        Ok(entry)
    }

    /// GNU's own format: four pieces in the header, more in blocks that follow it.
    fn old_sparse_map(&mut self, header: &[u8; BLOCK]) -> Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        let take = |table: &[u8], pieces: &mut Vec<(u64, u64)>| -> Result<()> {
            for piece in table.chunks_exact(24) {
                if piece[0] == 0 {
                    return Ok(());
                }
                let number = |field: &[u8]| numeric(field).and_then(to_u64).ok_or_else(|| bad("sparse map"));
                pieces.push((number(&piece[..12])?, number(&piece[12..])?));
            }
            Ok(())
        };
        take(&header[386..482], &mut pieces)?;
        let mut more = header[482] != 0;
        while more {
            // These blocks stand between the header and the data, outside the entry's size.
            let block = self.block()?.ok_or_else(truncated)?;
            take(&block[..504], &mut pieces)?;
            check_piece_count(pieces.len())?;
            more = block[504] != 0;
        }
        Ok(pieces)
    }

    /// PAX sparse format 1.0: decimal lines at the data's beginning, padded to whole blocks.
    fn sparse_map_in_data(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut lines = Lines { reader: self, block: [0; BLOCK], at: BLOCK };
        let count = lines.number()? as usize;
        check_piece_count(count)?;
        (0..count).map(|_| Ok((lines.number()?, lines.number()?))).collect()
    }
}

struct Lines<'a, R> {
    reader: &'a mut Reader<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for digit in 0.. {
            if self.at == BLOCK {
                self.reader.data().read_exact(&mut self.block).map_err(read_error)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' if digit > 0 => break,
                b'0'..=b'9' => {
                    number = number
                        .checked_mul(10)
                        .and_then(|n| n.checked_add(u64::from(byte - b'0')))
                        .ok_or_else(|| bad("sparse map"))?;
                }
                _ => return Err(bad("sparse map")),
            }
        }
        Ok(number)
    }
}

impl Sparse {
    fn check(&self, data: u64) -> Result<()> {
        check_piece_count(self.pieces.len())?;
        let (mut end, mut total) = (0, 0u64);
        for &(offset, length) in &self.pieces {
            if offset < end {
                return Err(bad("sparse map"));
            }
            end = offset.checked_add(length).ok_or_else(|| bad("sparse map"))?;
            total = total.saturating_add(length);
        }
        if end > self.real_size || total != data || self.real_size > i64::MAX as u64 {
            return Err(bad("sparse map"));
        }
        Ok(())
    }
}

fn check_piece_count(count: usize) -> Result<()> {
    if count > MAX_SPARSE_PIECES {
        return Err(refused(format!("tar: a sparse file of more than {MAX_SPARSE_PIECES} pieces")));
    }
    Ok(())
}

struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(self.0.data).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = self.0.inner.read(&mut buffer[..room])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tar: archive ends within an entry"));
        }
        self.0.data -= n as u64;
        Ok(n)
    }
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<i64>,
    gid: Option<i64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Option<PaxSparse>,
}

#[derive(Default)]
struct PaxSparse {
    pieces: Vec<(u64, u64)>,
    pending_offset: Option<u64>,
    real_size: Option<u64>,
    in_data: bool,
}

impl Extended {
    fn pax(&mut self, mut bytes: &[u8]) -> Result<()> {
        let mut sparse_name = None;
        while !bytes.is_empty() && bytes != [0] {
            let (key, value, rest) = pax_record(bytes).ok_or_else(|| bad("PAX record"))?;
            bytes = rest;
            let number = || decimal(value).ok_or_else(|| bad("PAX number"));
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()? as i64),
                b"gid" => self.gid = Some(number()? as i64),
                b"mtime" => self.mtime = Some(pax_time(value).ok_or_else(|| bad("PAX mtime"))?),
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse().real_size = Some(number()?),
                b"GNU.sparse.major" => self.sparse().in_data = number()? >= 1,
                b"GNU.sparse.offset" => self.sparse().pending_offset = Some(number()?),
                b"GNU.sparse.numbytes" => {
                    let length = number()?;
                    let sparse = self.sparse();
                    let offset = sparse.pending_offset.take().ok_or_else(|| bad("sparse map"))?;
                    sparse.pieces.push((offset, length));
                }
                b"GNU.sparse.map" if !value.is_empty() => {
                    let numbers: Option<Vec<u64>> = value.split(|&b| b == b',').map(decimal).collect();
                    let numbers = numbers.filter(|of| of.len() % 2 == 0).ok_or_else(|| bad("sparse map"))?;
                    self.sparse().pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        // The file's own name gives way to this one, whichever order they come in.
        if sparse_name.is_some() {
            self.path = sparse_name;
        }
        Ok(())
    }

    fn sparse(&mut self) -> &mut PaxSparse {
        self.sparse.get_or_insert_default()
    }
}

/// Splits `LENGTH KEY=VALUE\n` off the front; the length counts itself.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length <= space + 1 || length > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

/// `SECONDS[.FRACTION]`, possibly negative.
fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs = i64::try_from(decimal(secs.as_bytes())?).ok()?;
    let mut nanos = 0u32;
    for at in 0..9 {
        let digit = fraction.as_bytes().get(at).copied().unwrap_or(b'0');
        nanos = nanos * 10 + char::from(digit).to_digit(10)?;
    }
    Some(match (negative, nanos) {
        (false, _) => (secs, nanos),
        (true, 0) => (-secs, 0),
        (true, _) => (-secs - 1, 1_000_000_000 - nanos),
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A header's number: octal text, or big-endian binary when the first bit says so.
fn numeric(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    let negative = field[0] & 0x40 != 0;
    let mut number = if negative { -1i64 } else { 0 };
    for (at, &byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        number = number.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(number)
}

fn octal(field: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(until_nul(field.trim_ascii_start())).ok()?.trim_matches([' ', '\0']);
    match text {
        "" => Some(0),
        text if text.bytes().all(|b| matches!(b, b'0'..=b'7')) => i64::from_str_radix(text, 8).ok(),
        _ => None,
    }
}

fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let posix = &block[257..263] == b"ustar\0";
    let star = posix && &block[508..512] == b"tar\0";
    let prefix = match (posix, star) {
        (_, true) => until_nul(&block[345..476]),
        (true, _) => until_nul(&block[345..500]),
        _ => &[],
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

fn to_u64(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

/// Ids and device numbers. The largest id means "leave as it is" to the kernel and so names nobody.
fn to_id(number: i64, what: &str) -> Result<u32> {
    u32::try_from(number).ok().filter(|&id| id != u32::MAX).ok_or_else(|| bad(what))
}

fn bad(what: &str) -> Error {
    corrupt(format!("tar: invalid {what}"))
}

fn truncated() -> Error {
    corrupt("tar: archive ends within an entry")
}

/// Failures of decoders and limits travel through `Read` as I/O errors; this gives them their kind back.
pub(crate) fn read_error(error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io("read layer", error);
    }
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(other) => corrupt(format!("layer cannot be read: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = reader.next()? {
            let mut data = Vec::new();
            reader.data().read_to_end(&mut data).map_err(read_error)?;
            found.push((entry, data));
        }
        reader.into_inner().map(|_| found)
    }

    #[test]
    fn numbers_in_both_notations() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00008\0\0\0", None),
            (b"12x4567\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(numeric(field), expected, "{field:?}");
        }
    }

    #[test]
    fn times_with_fractions_and_before_1970() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.x", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(pax_time(text.as_bytes()).filter(|_| !text.is_empty()), expected, "{text}");
        }
    }

    #[test]
    fn the_end_is_two_zero_blocks_or_the_streams() {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, "f", &b"abc"[..]).unwrap();
        let whole = builder.into_inner().unwrap();
        let entry = &whole[..1024];
        assert_eq!(entries(&whole).unwrap()[0].1, b"abc");
        assert_eq!(entries(entry).unwrap().len(), 1);
        assert_eq!(entries(&[entry, &[0; 512]].concat()).unwrap().len(), 1);
        assert!(entries(&[entry, &[0; 512], entry].concat()).is_err());
        assert!(entries(&entry[..700]).is_err() && entries(&entry[..100]).is_err());
    }

    /// Where both this reader and the `tar` crate accept an archive, they agree on what it contains.
    #[test]
    fn readings_agree_with_another_reader() {
        bolero::check!().with_type::<Vec<(u8, u16)>>().for_each(|files| {
            let mut builder = ::tar::Builder::new(Vec::new());
            for (n, &(kind, length)) in files.iter().enumerate() {
                let data = vec![kind; usize::from(length) % 1100];
                let mut header = ::tar::Header::new_gnu();
                header.set_size(data.len() as u64);
                header.set_mode(u32::from(kind));
                header.set_uid(u64::from(kind) << 16);
                header.set_gid(0);
                header.set_mtime(n as u64);
                let name = format!("{n}/f{}", "x".repeat(usize::from(kind)));
                builder.append_data(&mut header, name, &data[..]).unwrap();
            }
            let bytes = builder.into_inner().unwrap();
            let ours: Vec<_> =
                entries(&bytes).unwrap().into_iter().map(|(of, data)| (of.path, of.uid, data)).collect();
            let mut theirs = Vec::new();
            for entry in ::tar::Archive::new(&bytes[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut data = Vec::new();
                entry.read_to_end(&mut data).unwrap();
                theirs.push((entry.path_bytes().into_owned(), entry.header().uid().unwrap() as u32, data));
            }
            assert_eq!(ours, theirs);
        });
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        bolero::check!().for_each(|bytes| drop(entries(bytes)));
        bolero::check!().for_each(|bytes| drop(Extended::default().pax(bytes)));
    }
}
