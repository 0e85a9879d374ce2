//! How Go writes values: quoted strings, floats and JSON text.
//!
//! Upstream's messages are built with `%q`, `%v` and `encoding/json`; clients compare those texts, so the same
//! characters have to come out here.

use serde_json::Value;
use std::fmt::Write;

/// The text of `%q` and `strconv.Quote`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            c if c < ' ' || c == '\u{7f}' => push(&mut out, format_args!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => push(&mut out, format_args!("\\u{:04x}", c as u32)),
            c => push(&mut out, format_args!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// What stands between two quotes, with escapes resolved as `strconv.UnquoteChar` does. `None` where it is malformed.
/// Bytes that are no UTF-8 become the replacement character.
pub fn unquote_inner(text: &str, quote: char) -> Option<String> {
    if !text.contains(['\\', quote]) {
        return Some(text.into());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == quote {
            return None;
        }
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let number = |rest: &mut &str, length: usize, radix: u32| {
            let digits = rest.get(..length).filter(|digits| digits.chars().all(|c| c.is_digit(radix)))?;
            *rest = &rest[length..];
            u32::from_str_radix(digits, radix).ok()
        };
        match escape {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' => out.push(b'\\'),
            'x' => out.push(u8::try_from(number(&mut rest, 2, 16)?).ok()?),
            '0'..='7' => {
                let tail = number(&mut rest, 2, 8)?;
                out.push(u8::try_from(escape.to_digit(8)? * 64 + tail).ok()?);
            }
            'u' | 'U' => {
                let length = if escape == 'u' { 4 } else { 8 };
                let c = char::from_u32(number(&mut rest, length, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other if other == quote => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The text of `%#U`: the code point, and the character itself where it can be shown.
pub fn code_point(c: char) -> String {
    let number = c as u32;
    if is_print(c) { format!("U+{number:04X} '{c}'") } else { format!("U+{number:04X}") }
}

/// Whether Go regards a character as printable: letters, marks, numbers, punctuation, symbols, and the ASCII space.
///
/// The standard library keeps the same table but shows it only through `escape_debug`, which leaves printable
/// characters alone. A leading letter keeps it from escaping combining marks.
pub fn is_print(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() => false,
        c => {
            let pair: String = ['a', c].iter().collect();
            pair.escape_debug().nth(1) == Some(c)
        }
    }
}

/// The text of `%v` for a `float64`: an exponent from a million on.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-Inf".into() } else { "+Inf".into() };
    }
    let digits = Digits::of(value);
    if (-4..=5).contains(&digits.exponent) {
        return digits.positional();
    }
    let sign = if digits.exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", digits.mantissa(), digits.exponent.abs())
}

/// Why a text is not an `int`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtoiError {
    text: String,
    reason: &'static str,
    /// What Go returns beside the error: the bound that was passed, or 0.
    pub nearest: i64,
}

impl std::fmt::Display for AtoiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "strconv.Atoi: parsing {}: {}", quote(&self.text), self.reason)
    }
}

impl std::error::Error for AtoiError {}

/// `strconv.Atoi`.
pub fn atoi(text: &str) -> Result<i64, AtoiError> {
    use std::num::IntErrorKind;
    text.parse().map_err(|error: std::num::ParseIntError| {
        let (reason, nearest) = match error.kind() {
            IntErrorKind::PosOverflow => ("value out of range", i64::MAX),
            IntErrorKind::NegOverflow => ("value out of range", i64::MIN),
            _ => ("invalid syntax", 0),
        };
        AtoiError { text: text.into(), reason, nearest }
    })
}

/// A tree as `%v` prints it: `map[a:1 b:[x y]]`.
pub fn display(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => scalar_number(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(display).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let pairs: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}:{}", display(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Numbers of decoded JSON are `int64` where they are written as integers and fit, else `float64`.
fn scalar_number(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => integer.to_string(),
        (None, Some(value)) => float(value),
        (None, None) => number.to_string(),
    }
}

/// A decoded tree as `encoding/json` marshals it again: no spaces, sorted keys, and `<`, `>`, `&` escaped for HTML.
pub fn json(value: &Value) -> String {
    let mut out = String::new();
    write_json(&mut out, value, true);
    out
}

/// As [`json`], without the HTML escapes, as an encoder with `SetEscapeHTML(false)` writes it.
pub fn json_plain(value: &Value) -> String {
    let mut out = String::new();
    write_json(&mut out, value, false);
    out
}

/// As [`json`], over several lines. Empty containers stay on one.
pub fn json_indented(value: &Value, indent: &str) -> String {
    let mut out = String::new();
    write_json_indented(&mut out, value, indent, 0);
    out
}

/// One string as `encoding/json` marshals it.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_json_string(&mut out, text, true);
    out
}

fn write_json_indented(out: &mut String, value: &Value, indent: &str, depth: usize) {
    let lines = |out: &mut String,
                 open: char,
                 close: char,
                 count: usize,
                 line: &mut dyn FnMut(&mut String, usize)| {
        out.push(open);
        for i in 0..count {
            out.push_str(if i > 0 { ",\n" } else { "\n" });
            out.push_str(&indent.repeat(depth + 1));
            line(out, i);
        }
        out.push('\n');
        out.push_str(&indent.repeat(depth));
        out.push(close);
    };
    match value {
        Value::Array(items) if !items.is_empty() => lines(out, '[', ']', items.len(), &mut |out, i| {
            write_json_indented(out, &items[i], indent, depth + 1);
        }),
        Value::Object(fields) if !fields.is_empty() => {
            let mut fields = fields.iter();
            lines(out, '{', '}', fields.len(), &mut |out, _| {
                if let Some((key, value)) = fields.next() {
                    write_json_string(out, key, true);
                    out.push_str(": ");
                    write_json_indented(out, value, indent, depth + 1);
                }
            });
        }
        value => write_json(out, value, true),
    }
}

fn write_json(out: &mut String, value: &Value, html: bool) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (None, Some(value)) => out.push_str(&json_float(value)),
            _ => push(out, format_args!("{number}")),
        },
        Value::String(text) => write_json_string(out, text, html),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(out, item, html);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (i, (key, value)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json_string(out, key, html);
                out.push(':');
                write_json(out, value, html);
            }
            out.push('}');
        }
    }
}

fn write_json_string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if html => push(out, format_args!("\\u{:04x}", c as u32)),
            '\u{2028}' | '\u{2029}' => push(out, format_args!("\\u{:04x}", c as u32)),
            c if c < ' ' => push(out, format_args!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// JSON switches to an exponent much later than `%v` does, and writes it without a leading zero when negative.
pub(crate) fn json_float(value: f64) -> String {
    let digits = Digits::of(value);
    match digits.exponent {
        -6..=20 => digits.positional(),
        exponent @ ..=-7 => format!("{}e{exponent}", digits.mantissa()),
        exponent => format!("{}e+{exponent}", digits.mantissa()),
    }
}

/// The shortest digits that read back as the same float, with ties going to the even one as in Go; the standard
/// library breaks ties upwards.
struct Digits {
    negative: bool,
    digits: String,
    /// The power of ten of the first digit.
    exponent: i32,
}

impl Digits {
    fn of(value: f64) -> Digits {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let leading_zeros = (all.len() - significant.len()) as i32;
        let exponent: i32 = exponent.parse().expect("an exponent is a small number");
        let digits = significant.trim_end_matches('0');
        let exponent = if digits.is_empty() { 0 } else { exponent + whole.len() as i32 - 1 - leading_zeros };
        let digits = if digits.is_empty() { "0" } else { digits };
        Digits { negative: value.is_sign_negative(), digits: digits.into(), exponent }
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    fn mantissa(&self) -> String {
        let (first, rest) = self.digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{}{first}{point}{rest}", self.sign())
    }

    fn positional(&self) -> String {
        let (sign, digits) = (self.sign(), &self.digits);
        match usize::try_from(self.exponent) {
            Err(_) => format!("{sign}0.{}{digits}", "0".repeat((-self.exponent - 1) as usize)),
            Ok(places) if digits.len() <= places + 1 => {
                format!("{sign}{digits}{}", "0".repeat(places + 1 - digits.len()))
            }
            Ok(places) => format!("{sign}{}.{}", &digits[..=places], &digits[places + 1..]),
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let check = |text: &str, want: &str| assert_eq!(quote(text), want);
        check("plain", r#""plain""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\u{7}\u{8}\u{c}\n\r\t\u{b}\0\u{7f}", r#""\a\b\f\n\r\t\v\x00\x7f""#);
        check("héllo ☃ e\u{301}", "\"héllo ☃ e\u{301}\"");
        check("\u{301}", "\"\u{301}\"");
        check("\u{200b}\u{ad}\u{a0}\u{e000}\u{e0001}", r#""\u200b\u00ad\u00a0\ue000\U000e0001""#);
    }

    #[test]
    fn floats_switch_to_exponents_where_go_does() {
        let check = |value: f64, plain: &str, in_json: &str| {
            assert_eq!((float(value).as_str(), json_float(value).as_str()), (plain, in_json));
        };
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(1.5, "1.5", "1.5");
        check(123456.75, "123456.75", "123456.75");
        check(1e20, "1e+20", "100000000000000000000");
        check(1e21, "1e+21", "1e+21");
        check(2_226_605_825_982_464.2, "2.2266058259824642e+15", "2226605825982464.2");
        check(0.001_25, "0.00125", "0.00125");
        check(100.0, "100", "100");
        check(1.25e-5, "1.25e-05", "0.0000125");
        check(-1.25e-7, "-1.25e-07", "-1.25e-7");
    }

    #[test]
    fn json_text_is_gos() {
        let value = json!({"b": [1, 2.5, null, true], "a": "<&>\u{2028}\u{1}"});
        assert_eq!(json(&value), r#"{"a":"\u003c\u0026\u003e\u2028\u0001","b":[1,2.5,null,true]}"#);
        assert_eq!(json_plain(&json!("<&>")), r#""<&>""#);
    }
}
