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

/// The text of `%v` for a `float64`.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-Inf".into() } else { "+Inf".into() };
    }
    let (digits, exponent) = shortest(value);
    if (-4..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A tree as `encoding/json` marshals it: no spaces, sorted keys, and `<`, `>`, `&` escaped for HTML.
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

/// One string as `encoding/json` marshals it.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_json_string(&mut out, text, true);
    out
}

fn write_json(out: &mut String, value: &Value, html: bool) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&json_float(float)),
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

/// JSON switches to an exponent later than `%v` does, and writes it without a leading zero when negative.
pub(crate) fn json_float(value: f64) -> String {
    let (digits, exponent) = shortest(value);
    match exponent {
        -6..=20 => format!("{value}"),
        ..=-7 => format!("{digits}e{exponent}"),
        _ => format!("{digits}e+{exponent}"),
    }
}

/// The shortest digits that read back as `value`, as `d.ddd`, and the decimal exponent beside them.
fn shortest(value: f64) -> (String, i32) {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("`{:e}` always writes an exponent");
    (digits.to_string(), exponent.parse().expect("an exponent is a small number"))
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
        check(1e20, "100000000000000000000", "100000000000000000000");
        check(1e21, "1e+21", "1e+21");
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
