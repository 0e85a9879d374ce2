//! JSON text as Go's encoder writes it.

use serde_json::{Number, Value};

use super::utf8;

/// Bytes that must be escaped inside a string. `<`, `>` and `&` are, because upstream's encoder is made for HTML.
const ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = true;
        i += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    // The lead byte of U+2028 and U+2029.
    table[0xe2] = true;
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a string that is known to be UTF-8.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Writes bytes that ought to be UTF-8; what is not becomes U+FFFD, as upstream writes it.
#[inline]
pub(crate) fn lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    // Most strings are a few clean characters, and go out as they came in.
    let (words, rest) = bytes.as_chunks::<8>();
    if words.iter().all(|word| clean(u64::from_le_bytes(*word)))
        && rest.iter().all(|b| !ESCAPE[*b as usize] && b.is_ascii())
    {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        string(out, &utf8(bytes));
    }
}

#[inline]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut from = 0;
    let mut at = 0;
    while at < bytes.len() {
        // Eight clean bytes at a time is the common case.
        if let Some(word) = bytes.get(at..at + 8)
            && clean(u64::from_le_bytes(word.try_into().expect("eight bytes were taken")))
        {
            at += 8;
            continue;
        }
        let b = bytes[at];
        if !ESCAPE[b as usize] {
            at += 1;
            continue;
        }
        if b == 0xe2 {
            let separator = matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
            if !separator {
                at += 1;
                continue;
            }
            out.extend_from_slice(&bytes[from..at]);
            out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            at += 3;
            from = at;
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[(b >> 4) as usize],
                HEX[(b & 15) as usize],
            ]),
        }
        at += 1;
        from = at;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Whether none of eight bytes needs a second look: no control, quote, backslash, `<`, `>`, `&`, nor non-ASCII.
#[inline]
fn clean(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has = |byte: u8| {
        let x = word ^ (ONES * u64::from(byte));
        x.wrapping_sub(ONES) & !x
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    // `<` and `>` differ in one bit, so one test finds both.
    let angle = {
        let x = (word | (ONES * 0x02)) ^ (ONES * u64::from(b'>'));
        x.wrapping_sub(ONES) & !x
    };
    (control | has(b'"') | has(b'\\') | has(b'&') | angle | word) & HIGH == 0
}

pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(crate) fn unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A float as Go prints it: plain where the exponent is small, `e+21` style beyond.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').expect("`{:e}` always has an exponent");
        out.extend_from_slice(mantissa.as_bytes());
        out.push(b'e');
        match exponent.strip_prefix('-') {
            Some(digits) => {
                out.push(b'-');
                out.extend_from_slice(digits.as_bytes());
            }
            None => {
                out.push(b'+');
                out.extend_from_slice(exponent.as_bytes());
            }
        }
    } else {
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

pub(crate) fn number(out: &mut Vec<u8>, number: &Number) {
    if let Some(i) = number.as_i64() {
        integer(out, i);
    } else if let Some(u) = number.as_u64() {
        unsigned(out, u);
    } else {
        float(out, number.as_f64().unwrap_or(0.0));
    }
}

/// A tree as it stands, with sorted keys.
pub(crate) fn value(out: &mut Vec<u8>, tree: &Value) {
    match tree {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => number(out, n),
        Value::String(s) => string(out, s),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                value(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(out, key);
                out.push(b':');
                value(out, item);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, want: &str) {
        let mut out = Vec::new();
        string(&mut out, input);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        check("plain", r#""plain""#);
        check(
            "a longer string that has more than eight bytes",
            r#""a longer string that has more than eight bytes""#,
        );
        check("<b>&amp;</b> more text", r#""\u003cb\u003e\u0026amp;\u003c/b\u003e more text""#);
        check(
            "tab\tnl\nquote\"back\\bell\u{7}del\u{7f}",
            "\"tab\\tnl\\nquote\\\"back\\\\bell\\u0007del\u{7f}\"",
        );
        check("línea\u{2028}sep", "\"línea\\u2028sep\"");
        check("€uro and friends", "\"€uro and friends\"");
    }

    #[test]
    fn floats_are_printed_as_go_does() {
        for (value, want) in [
            (1.5, "1.5"),
            (100.0, "100"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (123456789.25, "123456789.25"),
            (0.0, "0"),
            (-2.5e-9, "-2.5e-9"),
        ] {
            let mut out = Vec::new();
            float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn clean_agrees_with_the_table() {
        for b in 0..=255u8 {
            let word = u64::from_le_bytes([b'a', b'a', b'a', b, b'a', b'a', b'a', b'a']);
            let escape = ESCAPE[b as usize] || b >= 0x80;
            assert!(!(clean(word) && escape), "{b:#x} slipped through");
            if b.is_ascii_alphanumeric() {
                assert!(clean(word), "{b:#x} is clean");
            }
        }
    }
}
