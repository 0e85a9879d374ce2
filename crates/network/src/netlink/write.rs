//! Building messages.

use std::net::IpAddr;

/// A buffer of netlink messages under construction.
#[derive(Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

/// Length, type, flags, sequence number and port.
pub(super) const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Writes one message: its protocol's fixed header, then what `body` adds.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        fixed: &[u8],
        body: impl FnOnce(&mut Writer),
    ) {
        let start = self.buffer.len();
        self.buffer.extend([0; 4]);
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend(flags.to_ne_bytes());
        self.buffer.extend(sequence.to_ne_bytes());
        self.buffer.extend([0; 4]);
        self.buffer.extend(fixed);
        self.pad();
        body(self);
        let len = u32::try_from(self.buffer.len() - start).expect("messages are bounded far below 4 GiB");
        self.buffer[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.open(kind | NESTED);
        body(self);
        self.close(start);
    }

    /// A fixed header inside an attribute.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
        self.pad();
    }

    pub fn data(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.buffer.extend(value);
        self.close(start);
    }

    /// A string with its final NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.buffer.extend(value.as_bytes());
        self.buffer.push(0);
        self.close(start);
    }

    pub fn be32(&mut self, kind: u16, value: u32) {
        self.data(kind, &value.to_be_bytes());
    }

    pub fn ne32(&mut self, kind: u16, value: u32) {
        self.data(kind, &value.to_ne_bytes());
    }

    pub fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.data(kind, &v4.octets()),
            IpAddr::V6(v6) => self.data(kind, &v6.octets()),
        }
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.buffer.len();
        self.buffer.extend([0; 2]);
        self.buffer.extend(kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let len = u16::try_from(self.buffer.len() - start)
            .expect("callers split lists before an attribute overflows");
        self.buffer[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }
}
