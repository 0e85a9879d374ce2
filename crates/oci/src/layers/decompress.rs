//! Layers' compression, told by the first bytes rather than by what a manifest claims, within limits.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

use crate::error::{Error, Kind, Result, refused};
use crate::layers::Limits;

const BUFFER: usize = 128 << 10;
/// The largest window a zstd stream may demand: 128 MiB, the format's recommended maximum for decoders.
const ZSTD_WINDOW_LOG: u32 = 27;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z'];

/// The plain bytes of a layer. Reading fails once they exceed what `limits` allow.
pub(crate) fn open<'a>(mut source: impl Read + 'a, limits: &Limits) -> Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 6];
    let mut filled = 0;
    while filled < magic.len() {
        match source.read(&mut magic[filled..]).map_err(super::tar::read_error)? {
            0 => break,
            n => filled += n,
        }
    }
    let magic = &magic[..filled];
    let consumed = Rc::new(Cell::new(0));
    let whole = Cursor::new(magic.to_vec()).chain(source);
    let input = BufReader::with_capacity(BUFFER, Counted { inner: whole, count: Rc::clone(&consumed) });
    let plain: Box<dyn Read + 'a> = if magic.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(input))
    } else if magic.starts_with(ZSTD) || is_skippable_frame(magic) {
        let mut decoder =
            zstd::stream::read::Decoder::with_buffer(input).map_err(|error| Error::io("start zstd", error))?;
        decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|error| Error::io("start zstd", error))?;
        Box::new(decoder)
    } else if magic.starts_with(XZ) || magic.starts_with(BZIP2) {
        let name = if magic.starts_with(XZ) { "xz" } else { "bzip2" };
        return Err(Error::new(Kind::Unsupported, format!("layer is compressed with {name}; gzip and zstd are supported")));
    } else {
        return Ok(Box::new(Limited { inner: input, consumed, produced: 0, limits: limits.clone(), packed: false }));
    };
    Ok(Box::new(Limited { inner: plain, consumed, produced: 0, limits: limits.clone(), packed: true }))
}

/// zstd allows frames of metadata before the data.
fn is_skippable_frame(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Stops a stream that grows beyond all measure.
struct Limited<R> {
    inner: R,
    consumed: Rc<Cell<u64>>,
    produced: u64,
    limits: Limits,
    packed: bool,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.produced += n as u64;
        let limits = &self.limits;
        if self.produced > limits.max_layer_bytes {
            let message = format!("layer unpacks to more than {} bytes", limits.max_layer_bytes);
            return Err(io::Error::other(refused(message)));
        }
        let fair = self.consumed.get().saturating_mul(limits.max_ratio);
        if self.packed && self.produced > limits.ratio_free_bytes && self.produced > fair {
            let message = format!(
                "layer unpacks to more than {} times its size: refused as a decompression bomb",
                limits.max_ratio
            );
            return Err(io::Error::other(refused(message)));
        }
        Ok(n)
    }
}
