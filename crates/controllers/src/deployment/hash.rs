//! The hash of a pod template that names a replica set, equal to upstream's.
//!
//! Upstream hashes what a Go debugging printer makes of the template in memory: every field in the order of its
//! declaration, with the names of Go's types, absent values included. `shapes.txt` lists those declarations. Equal
//! hashes matter where a cluster moves from upstream: with other ones, every deployment would roll.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use api::k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};
use api::typed::Typed;
use grammar::names::{fnv32a, safe_encode};
use serde_json::{Map, Value};

/// The hash of `template`; a count of collisions with other templates of the same hash makes it another.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut printed = print(template).into_bytes();
    if let Some(collisions) = collisions {
        printed.extend(collisions.to_le_bytes());
        printed.extend([0; 4]);
    }
    safe_encode(&fnv32a(&printed).to_string())
}

fn print(template: &PodTemplateSpec) -> String {
    let tree = PodTemplate { template: Some(template.clone()), ..PodTemplate::default() }.to_tree();
    let mut out = String::new();
    value(&mut out, "v1.PodTemplateSpec", Some(&tree["template"]), true);
    out
}

/// One field of a Go struct. Without a JSON name the field is embedded: its fields lie beside the others in JSON.
struct Field {
    name: &'static str,
    json: Option<&'static str>,
    type_: &'static str,
}

static SHAPES: LazyLock<HashMap<&str, Vec<Field>>> = LazyLock::new(|| {
    let mut shapes = HashMap::<&str, Vec<Field>>::new();
    let mut shape = "";
    for line in include_str!("shapes.txt").lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["", name, json, type_] => {
                let json = Some(json).filter(|json| *json != "-");
                shapes.entry(shape).or_default().push(Field { name, json, type_ });
            }
            _ => shape = line,
        }
    }
    shapes
});

/// Prints one value. A type is shown where a field begins, but not again for the items of a list or a map.
fn value(out: &mut String, type_: &str, tree: Option<&Value>, show_type: bool) {
    if show_type {
        let _ = write!(out, "({type_})");
    }
    let tree = tree.filter(|tree| !tree.is_null());
    if let Some(pointee) = type_.strip_prefix('*') {
        return match tree {
            None => out.push_str("<nil>"),
            tree => value(out, pointee, tree, false),
        };
    }
    if let Some(item) = type_.strip_prefix("[]") {
        let items = tree.and_then(Value::as_array).filter(|items| !items.is_empty());
        return list(out, items, |out, entry| value(out, item, Some(entry), false));
    }
    let entry_type = match type_ {
        "v1.ResourceList" => Some("resource.Quantity"),
        _ => type_.strip_prefix("map[string]"),
    };
    if let Some(entry_type) = entry_type {
        let entries = tree.and_then(Value::as_object).filter(|entries| !entries.is_empty());
        if entries.is_some() {
            out.push_str("map");
        }
        return list(out, entries, |out, (key, entry)| {
            let _ = write!(out, "{key}:");
            value(out, entry_type, Some(entry), false);
        });
    }
    match type_ {
        // A template that carries a time keeps it out of its hash; the server never sets one there.
        "v1.Time" => {
            out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}")
        }
        "resource.Quantity" => quantity(out, tree.and_then(Value::as_str).unwrap_or("0")),
        "intstr.IntOrString" => {
            let number = tree.and_then(Value::as_i64).unwrap_or(0);
            let text = tree.and_then(Value::as_str);
            let (kind, text) = (u8::from(text.is_some()), text.unwrap_or_default());
            let _ = write!(out, "{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}");
        }
        "bool" => {
            let _ = write!(out, "{}", tree.and_then(Value::as_bool).unwrap_or(false));
        }
        "int32" | "int64" => {
            let _ = write!(out, "{}", tree.and_then(Value::as_i64).unwrap_or(0));
        }
        type_ => match SHAPES.get(type_) {
            Some(fields) => structure(out, fields, tree),
            None => out.push_str(tree.and_then(Value::as_str).unwrap_or_default()),
        },
    }
}

fn list<T>(
    out: &mut String,
    items: Option<impl IntoIterator<Item = T>>,
    mut item: impl FnMut(&mut String, T),
) {
    let Some(items) = items else { return out.push_str("<nil>") };
    out.push('[');
    for (i, one) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        item(out, one);
    }
    out.push(']');
}

fn structure(out: &mut String, fields: &[Field], tree: Option<&Value>) {
    let no_fields = Map::new();
    let object = tree.and_then(Value::as_object).unwrap_or(&no_fields);
    out.push('{');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let _ = write!(out, "{}:", field.name);
        let inner = match field.json {
            Some(json) => object.get(json),
            None => tree,
        };
        value(out, field.type_, inner, true);
    }
    out.push('}');
}

/// A quantity as Go's parser leaves it in memory: a number, a power of ten, and the text itself where it is canonical.
/// Quantities beyond 18 digits, which Go keeps in another form, are hashed by their text.
fn quantity(out: &mut String, text: &str) {
    let (number, scale, format, kept) = parsed(text).unwrap_or((0, 0, "DecimalSI", text));
    let _ = write!(
        out,
        "{{i:(resource.int64Amount){{value:(int64){number} scale:(resource.Scale){scale}}} \
         d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string){kept} Format:(resource.Format){format}}}"
    );
}

fn parsed(text: &str) -> Option<(i64, i32, &'static str, &str)> {
    const DECIMAL: &str = "DecimalSI";
    if text == "0" {
        return Some((0, 0, DECIMAL, text));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let digits = format!("{whole}{fraction}");
    let (exponent, format) = suffix_value(suffix)?;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    if format == "BinarySI" {
        let room = 15 - whole.len() as i32 - (exponent as f32 * 3.0 / 10.0) as i32 - 1;
        if room < 0 || !fraction.is_empty() {
            return None;
        }
        let value: i64 = digits.parse().ok()?;
        let kept = if exponent % 10 == 0 && value & 7 != 0 { text } else { "" };
        return Some((sign * value.checked_mul(1_i64.checked_shl(exponent as u32)?)?, 0, format, kept));
    }
    let scale = exponent - fraction.len() as i32;
    if digits.len() > 18 || scale < -9 {
        return None;
    }
    let canonical = scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0');
    Some((sign * digits.parse::<i64>().ok()?, scale, format, if canonical { text } else { "" }))
}

/// The exponent of a suffix, to the base two or ten.
fn suffix_value(suffix: &str) -> Option<(i32, &'static str)> {
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    let find =
        |table: &[(&str, i32)]| table.iter().find(|(name, _)| *name == suffix).map(|(_, value)| *value);
    if let Some(exponent) = find(&DECIMAL) {
        return Some((exponent, "DecimalSI"));
    }
    if let Some(exponent) = find(&BINARY) {
        return Some((exponent, "BinarySI"));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((exponent, "DecimalExponent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line: the hash that upstream's controller computes, the count of collisions, the template.
    #[test]
    fn hashes_are_upstreams() {
        for line in include_str!("../../tests/data/template_hashes.txt").lines() {
            let [hash, collisions, template] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("malformed line {line}")
            };
            let tree = serde_json::json!({"template": serde_json::from_str::<Value>(template).unwrap()});
            let template = PodTemplate::from_tree(&tree).unwrap().template.unwrap();
            assert_eq!(template_hash(&template, collisions.parse().ok()), hash, "{}", print(&template));
        }
    }
}
