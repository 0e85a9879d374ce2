//! Layers' compression, told by the first bytes rather than by what a manifest claims, within limits.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

use crate::error::{Error, IoContext, Kind, Result, refused};
use crate::layers::Limits;
use crate::manifest::media;

const BUFFER: usize = 128 << 10;
/// The largest window a zstd stream may demand: 128 MiB, the format's recommended maximum for decoders.
const ZSTD_WINDOW_LOG: u32 = 27;

const MAGIC: u64 = 6;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn layer_media_type(self) -> &'static str {
        match self {
            Compression::None => media::OCI_LAYER,
            Compression::Gzip => media::OCI_LAYER_GZIP,
            Compression::Zstd => media::OCI_LAYER_ZSTD,
        }
    }
}

/// How the bytes at the beginning of `source` are compressed.
pub(crate) fn compression(source: &mut impl Read) -> Result<Compression> {
    sniff(source).map(|(compression, _)| compression)
}

/// The plain bytes of a layer or archive. Reading fails once they exceed what `limits` allow.
pub(crate) fn plain_reader<'a>(mut source: impl Read + 'a, limits: &Limits) -> Result<Box<dyn Read + 'a>> {
    let (compression, magic) = sniff(&mut source)?;
    let consumed = Rc::new(Cell::new(0));
    let counted = Counted { inner: Cursor::new(magic).chain(source), count: Rc::clone(&consumed) };
    let input = BufReader::with_capacity(BUFFER, counted);
    let inner: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).during("start zstd")?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).during("start zstd")?;
            Box::new(decoder)
        }
    };
    let packed = compression != Compression::None;
    Ok(Box::new(Limited { inner, consumed, produced: 0, limits: limits.clone(), packed }))
}

fn sniff(source: &mut impl Read) -> Result<(Compression, Vec<u8>)> {
    let mut magic = Vec::new();
    source.take(MAGIC).read_to_end(&mut magic).map_err(super::tar::read_error)?;
    let compression = if magic.starts_with(GZIP) {
        Compression::Gzip
    } else if magic.starts_with(ZSTD) || is_skippable_frame(&magic) {
        Compression::Zstd
    } else if magic.starts_with(XZ) || magic.starts_with(BZIP2) {
        let name = if magic.starts_with(XZ) { "xz" } else { "bzip2" };
        let message = format!("layer is compressed with {name}; gzip and zstd are supported");
        return Err(Error::new(Kind::Unsupported, message));
    } else {
        Compression::None
    };
    Ok((compression, magic))
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
