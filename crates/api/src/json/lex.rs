//! JSON tokens, with the syntax errors that Go's decoder reports.

use std::borrow::Cow;

use super::JsonError;
use crate::proto::wire::MAX_DEPTH;

pub(crate) struct Lexer<'a> {
    text: &'a str,
    pub at: usize,
}

/// A number as written.
#[derive(Clone, Copy)]
pub(crate) struct NumberText<'a>(pub &'a str);

impl NumberText<'_> {
    /// Whole numbers alone: `1.0` and `1e3` are not integers to Go.
    pub(crate) fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    pub(crate) fn as_u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    pub(crate) fn as_f64(self) -> Option<f64> {
        self.0.parse().ok().filter(|v: &f64| v.is_finite())
    }
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// The first byte of the next token.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, JsonError> {
        self.skip_space();
        self.bytes().get(self.at).copied().ok_or(JsonError::End)
    }

    pub(crate) fn slice_from(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The error for the character at hand, in Go's words.
    pub(crate) fn unexpected(&self, context: &str) -> JsonError {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => JsonError::End,
            Some(c) => {
                let shown = match c {
                    '\'' => "'\\''".to_owned(),
                    '"' => "'\"'".to_owned(),
                    c => format!("'{}'", c.escape_debug()),
                };
                JsonError::Syntax(format!("invalid character {shown} {context}"))
            }
        }
    }

    pub(crate) fn begin_value(&self) -> JsonError {
        self.unexpected("looking for beginning of value")
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        for (i, want) in word.bytes().enumerate() {
            if self.bytes().get(self.at) != Some(&want) {
                return Err(self.unexpected(&format!(
                    "in literal {word} (expecting '{}')",
                    char::from(word.as_bytes()[i])
                )));
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(crate) fn null(&mut self) -> Result<(), JsonError> {
        self.literal("null")
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, JsonError> {
        if self.bytes().get(self.at) == Some(&b't') {
            self.literal("true").map(|()| true)
        } else {
            self.literal("false").map(|()| false)
        }
    }

    pub(crate) fn number(&mut self) -> Result<NumberText<'a>, JsonError> {
        let start = self.at;
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes().get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            if !matches!(self.bytes().get(self.at), Some(b'0'..=b'9')) {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.bytes().get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().get(self.at) {
                self.at += 1;
            }
            if !matches!(self.bytes().get(self.at), Some(b'0'..=b'9')) {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(NumberText(self.slice_from(start)))
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// A string whose opening quote is at hand.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at + 1;
        let at = end_of_run(self.bytes(), start);
        self.at = at;
        match self.bytes().get(at) {
            Some(b'"') => {
                self.at = at + 1;
                Ok(Cow::Borrowed(&self.text[start..at]))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            Some(_) => Err(self.unexpected("in string literal")),
            None => Err(JsonError::End),
        }
    }

    /// The rest of a string from its first backslash on.
    #[cold]
    fn escaped(&mut self, start: usize) -> Result<String, JsonError> {
        let mut out = String::with_capacity(self.at - start + 16);
        out.push_str(&self.text[start..self.at]);
        loop {
            let from = self.at;
            while self.bytes().get(self.at).is_some_and(|b| *b >= 0x20 && *b != b'"' && *b != b'\\') {
                self.at += 1;
            }
            out.push_str(&self.text[from..self.at]);
            match self.bytes().get(self.at) {
                None => return Err(JsonError::End),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(_) => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        let plain = match self.bytes().get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex4()?;
                out.push(self.code_point(unit)?);
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// A lone surrogate becomes U+FFFD, as in Go.
    fn code_point(&mut self, unit: u32) -> Result<char, JsonError> {
        if (0xd800..0xdc00).contains(&unit) && self.bytes().get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.bytes().get(self.at).and_then(|b| char::from(*b).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// Opens an object or list; true when it is empty, and then it is closed too.
    #[inline]
    pub(crate) fn open(&mut self, close: u8) -> Result<bool, JsonError> {
        self.at += 1;
        if self.peek()? == close {
            self.at += 1;
            return Ok(true);
        }
        Ok(false)
    }

    /// An object key and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.peek()? != b'"' {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        let key = self.string()?;
        if self.peek()? != b':' {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(key)
    }

    /// What follows an element: true where another one comes.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                self.skip_space();
                if close == b'}' && self.bytes().get(self.at) != Some(&b'"') {
                    return Err(self.unexpected("looking for beginning of object key string"));
                }
                Ok(true)
            }
            b if b == close => {
                self.at += 1;
                Ok(false)
            }
            _ if close == b'}' => Err(self.unexpected("after object key:value pair")),
            _ => Err(self.unexpected("after array element")),
        }
    }

    /// Nothing but space may follow a document.
    pub(crate) fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.unexpected("after top-level value"));
        }
        Ok(())
    }

    /// Passes over one value, checking its syntax; returns its text.
    pub(crate) fn skip_value(&mut self, depth: u32) -> Result<&'a str, JsonError> {
        let first = self.peek()?;
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        match first {
            b'"' => drop(self.string()?),
            b'n' => self.null()?,
            b't' | b'f' => drop(self.boolean()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            b'{' => {
                if !self.open(b'}')? {
                    loop {
                        self.key()?;
                        self.skip_value(depth + 1)?;
                        if !self.more(b'}')? {
                            break;
                        }
                    }
                }
            }
            b'[' => {
                if !self.open(b']')? {
                    loop {
                        self.skip_value(depth + 1)?;
                        if !self.more(b']')? {
                            break;
                        }
                    }
                }
            }
            _ => return Err(self.begin_value()),
        }
        Ok(self.slice_from(start))
    }
}

/// The place of the first quote, backslash or control character from `at` on, or the end.
#[inline]
fn end_of_run(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let equal = |word: u64, byte: u8| {
        let x = word ^ (ONES * u64::from(byte));
        x.wrapping_sub(ONES) & !x
    };
    while let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes were taken"));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // A borrow can only mark bytes above one that is truly marked, so the lowest mark is right.
        let marks = (equal(word, b'"') | equal(word, b'\\') | control) & HIGH;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|b| *b >= 0x20 && *b != b'"' && *b != b'\\') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::end_of_run;

    #[test]
    fn runs_end_where_a_byte_by_byte_search_says() {
        bolero::check!().with_max_len(40).with_iterations(20_000).for_each(|bytes: &[u8]| {
            for at in 0..=bytes.len() {
                let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
                let want = at + bytes[at..].iter().take_while(|b| plain(b)).count();
                assert_eq!(end_of_run(bytes, at), want);
            }
        });
    }
}
