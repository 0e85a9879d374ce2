//! The textual forms in which upstream's messages print values: Go's `%v`, `%#v`, `%q`, `%s` and `%T`.

use grammar::go::float;
pub(crate) use grammar::go::quote;
use serde_json::{Number, Value};

/// Upstream reads numbers as floats in some paths (apply) and keeps integers in others (strategic merge); a
/// message shows which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    Floats,
    Integers,
}

/// `%v`.
pub(crate) fn plain(value: &Value, numbers: Numbers) -> String {
    let mut out = String::new();
    write_plain(&mut out, value, numbers);
    out
}

fn write_plain(out: &mut String, value: &Value, numbers: Numbers) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&number(n, numbers)),
        Value::String(s) => out.push_str(s),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_plain(out, item, numbers);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_plain(out, item, numbers);
            }
            out.push(']');
        }
    }
}

/// `%#v`.
pub(crate) fn sharp(value: &Value, numbers: Numbers) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(s) => quote(s),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| sharp(item, numbers)).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<_> =
                map.iter().map(|(key, item)| format!("{}:{}", quote(key), sharp(item, numbers))).collect();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
        _ => plain(value, numbers),
    }
}

/// `%s`, with Go's complaint where the value is not a string.
pub(crate) fn string(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(string).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map.iter().map(|(key, item)| format!("{key}:{}", string(item))).collect();
            format!("map[{}]", items.join(" "))
        }
        scalar => format!("%!s({}={})", type_name(scalar), plain(scalar, Numbers::Integers)),
    }
}

/// `%T`, as the value reads after integers were kept.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.as_i64().is_some() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn number(n: &Number, numbers: Numbers) -> String {
    match n.as_i64() {
        Some(i) if numbers == Numbers::Integers => i.to_string(),
        _ => float(n.as_f64().unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        let value = json!({"a": [1, 1.5, "x", null], "b": {"c": true}});
        assert_eq!(plain(&value, Numbers::Floats), "map[a:[1 1.5 x <nil>] b:map[c:true]]");
        assert_eq!(
            sharp(&value, Numbers::Floats),
            r#"map[string]interface {}{"a":[]interface {}{1, 1.5, "x", interface {}(nil)}, "b":map[string]interface {}{"c":true}}"#
        );
        assert_eq!(string(&json!(5)), "%!s(int64=5)");
        assert_eq!(quote("a\"\n\u{1}é\u{200b}"), r#""a\"\n\x01é\u200b""#);
    }

    #[test]
    fn floats_take_an_exponent_from_a_million_on() {
        for (value, text) in [
            (json!(8080), "8080"),
            (json!(123456), "123456"),
            (json!(1000000), "1e+06"),
            (json!(1234567), "1.234567e+06"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
        ] {
            assert_eq!(plain(&value, Numbers::Floats), text);
        }
        assert_eq!(plain(&json!(1000000), Numbers::Integers), "1000000");
    }
}
