//! Reads `generated.proto`, upstream's own statement of the wire format, to check the table against.

use std::collections::BTreeMap;

/// A message's fields by number.
pub type Message = BTreeMap<u32, Field>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// A scalar's proto name or a message's full name.
    pub ty: String,
    pub repeated: bool,
    pub map: bool,
}

const SCALARS: [&str; 8] = ["bool", "int32", "int64", "uint32", "uint64", "double", "string", "bytes"];

/// The envelope around every object on the wire. It has no JSON form, and codecs know it by heart.
const ENVELOPE: &str = "Unknown";

/// The file's package and its messages by short name.
pub fn read(source: &str) -> Result<(String, BTreeMap<String, Message>), String> {
    let mut package = String::new();
    let mut messages = BTreeMap::new();
    let mut open: Option<(String, Message)> = None;
    for line in source.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("package ") {
            package = name.trim_end_matches(';').to_string();
        } else if let Some(name) = line.strip_prefix("message ") {
            open = Some((name.trim_end_matches(" {").to_string(), Message::new()));
        } else if line == "}" {
            messages
                .extend(open.take().filter(|(name, _)| name != ENVELOPE || !package.ends_with(".runtime")));
        } else if let Some((name, message)) = &mut open
            && !line.is_empty()
            && !line.starts_with("//")
        {
            let (number, field) =
                field(line, &package).ok_or_else(|| format!("message {name}: cannot read `{line}`"))?;
            message.insert(number, field);
        }
    }
    Ok((package, messages))
}

fn field(line: &str, package: &str) -> Option<(u32, Field)> {
    let (declared, number) = line.strip_suffix(';')?.rsplit_once(" = ")?;
    let (ty, name) = declared.rsplit_once(' ')?;
    let (ty, repeated, map) = if let Some(value) = ty.strip_prefix("map<string, ") {
        (value.strip_suffix('>')?, false, true)
    } else if let Some(ty) = ty.strip_prefix("repeated ") {
        (ty, true, false)
    } else {
        (ty.strip_prefix("optional ").or_else(|| ty.strip_prefix("required "))?, false, false)
    };
    let ty = match ty.strip_prefix('.') {
        Some(full) => full.to_string(),
        None if SCALARS.contains(&ty) => ty.to_string(),
        None => format!("{package}.{ty}"),
    };
    Some((number.parse().ok()?, Field { name: name.to_string(), ty, repeated, map }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_shape_are_read() {
        let source = "package k8s.io.api.core.v1;\n\n// A note.\nmessage Pod {\n  // A field.\n  optional string name = 1;\n\n  \
            repeated Container containers = 2;\n  map<string, .k8s.io.a.Quantity> limits = 3;\n}\n";
        let (package, messages) = read(source).expect("the source is well-formed");
        assert_eq!(package, "k8s.io.api.core.v1");
        let of = |number: u32| {
            let field = &messages["Pod"][&number];
            (field.ty.as_str(), field.repeated, field.map)
        };
        assert_eq!(of(1), ("string", false, false));
        assert_eq!(of(2), ("k8s.io.api.core.v1.Container", true, false));
        assert_eq!(of(3), ("k8s.io.a.Quantity", false, true));
        assert!(read("message A {\n  nonsense\n}").is_err());
    }
}
