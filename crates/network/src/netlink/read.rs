//! Taking messages apart. Nothing here trusts a length.

use super::write::HEADER;

/// The messages in a received buffer; ends at the first that does not fit.
pub struct Messages<'a>(pub &'a [u8]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header: &[u8; HEADER] = self.0.first_chunk()?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let len = word(0) as usize;
        let body = self.0.get(HEADER..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind: half(4), flags: half(6), sequence: word(8), body })
    }
}

impl<'a> Message<'a> {
    /// The attributes after the protocol's fixed header.
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(self.body.get(fixed..).unwrap_or_default())
    }
}

/// A list of attributes; ends at the first that does not fit.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    pub kind: u16,
    pub value: &'a [u8],
}

/// Without the flags for nested and byte-swapped values.
const KIND: u16 = 0x3fff;

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [a, b, c, d] = *self.0.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: u16::from_ne_bytes([c, d]) & KIND, value })
    }
}

impl<'a> Attributes<'a> {
    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        let mut list = *self;
        list.find(|attribute| attribute.kind == kind)
    }

    /// The attributes nested in one; none when it is absent.
    pub fn inside(&self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).map_or(&[], |attribute| attribute.value))
    }
}

impl<'a> Attribute<'a> {
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }

    pub fn be32(&self) -> Option<u32> {
        self.value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub fn ne32(&self) -> Option<u32> {
        self.value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    pub fn be16(&self) -> Option<u16> {
        self.value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Up to the first NUL.
    pub fn text(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok()
    }

    pub fn address(&self) -> Option<std::net::IpAddr> {
        if let Ok(v4) = <[u8; 4]>::try_from(self.value) {
            return Some(v4.into());
        }
        <[u8; 16]>::try_from(self.value).ok().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_break_the_parser() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            for message in Messages(bytes) {
                for attribute in message.attributes(4) {
                    let _ = (attribute.be32(), attribute.text(), attribute.address());
                    assert!(attribute.nested().count() <= attribute.value.len());
                }
            }
            assert!(Attributes(bytes).count() <= bytes.len());
        });
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = super::super::Writer::new();
        writer.message(7, 5, 9, &[1, 2, 3], |w| {
            w.text(1, "name");
            w.nest(2, |w| w.be32(3, 0x0102_0304));
        });
        let message = Messages(writer.bytes()).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (7, 5, 9));
        let attributes = message.attributes(4);
        assert_eq!(attributes.get(1).unwrap().text(), Some("name"));
        assert_eq!(attributes.inside(2).get(3).unwrap().be32(), Some(0x0102_0304));
    }
}
