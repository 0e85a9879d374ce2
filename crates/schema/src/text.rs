//! The table's text form.
//!
//! One fact a line; words are separated by single spaces. A header line is followed by:
//!
//! - `package ALIAS NAME`: a protobuf package and the name it goes by in this file.
//! - `in ALIAS`: the messages that follow belong to this package.
//! - `message NAME [FORM] [atomic] [kind=[GROUP/]VERSION/KIND]…`, then its fields, each indented by one space:
//!   `JSON-NAME NUMBER TYPE [WORD]… [KEY=VALUE]…`. The name `...` is an inlined struct, the number `-` none. A type is
//!   `*` for a pointer, `[]` for a list or `{}` for a map, then a scalar or a message, which is of the open package
//!   unless written `ALIAS.NAME`. Words: `always` (no omitempty), `omitzero`, `required`, `immutable`, `atomic`,
//!   `set`. Keys: `keys` of a list map, `patch` strategy, `merge-key`, enumerated `values`
//!   (parted by `|`, a space written `_`), and last of all `default`,
//!   whose value is JSON that runs to the end of the line.
//! - `resource [GROUP/]VERSION/KIND PLURAL namespaced|cluster on|off [SUBRESOURCE=[GROUP/]VERSION/KIND]…`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::table::{
    Cardinality, Field, Form, ListType, MapType, Message, MessageId, Omit, Resource, Scalar, Scope,
    Subresource, Table, Type,
};

static BUILTIN: LazyLock<Table> = LazyLock::new(|| {
    parse(include_str!("../table/v1.37.txt"))
        .expect("the committed table is well-formed: the crate's tests read it")
});

/// The table of Kubernetes v1.37.
pub fn builtin() -> &'static Table {
    &BUILTIN
}

/// Reads a table, or says which line is wrong and how.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    let mut reader = Reader::default();
    reader.collect_names(text)?;
    for (number, line) in text.lines().enumerate().skip(1) {
        reader.line(line).map_err(|what| format!("line {}: {what}", number + 1))?;
    }
    Table::new(reader.messages, reader.resources)
}

#[derive(Default)]
struct Reader<'a> {
    /// Alias to full package name.
    packages: HashMap<&'a str, &'a str>,
    /// (alias, message) to its place.
    ids: HashMap<(&'a str, &'a str), MessageId>,
    open: &'a str,
    messages: Vec<Message>,
    resources: Vec<Resource>,
}

impl<'a> Reader<'a> {
    /// Messages may name each other before they are declared, so places are given out first.
    fn collect_names(&mut self, text: &'a str) -> Result<(), String> {
        let mut open = "";
        let mut next = 0;
        for (number, line) in text.lines().enumerate() {
            if let Some(alias) = line.strip_prefix("in ") {
                open = alias;
            } else if let Some(rest) = line.strip_prefix("package ") {
                let (alias, name) = rest
                    .split_once(' ')
                    .ok_or_else(|| format!("line {}: a package has an alias and a name", number + 1))?;
                self.packages.insert(alias, name);
            } else if let Some(rest) = line.strip_prefix("message ") {
                let name = rest.split(' ').next().unwrap_or_default();
                self.ids.insert((open, name), MessageId(next));
                next += 1;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &'a str) -> Result<(), String> {
        if let Some(field) = line.strip_prefix(' ') {
            let field = self.field(field)?;
            self.messages.last_mut().ok_or("a field outside a message")?.fields.push(field);
        } else if let Some(message) = line.strip_prefix("message ") {
            let message = self.message(message)?;
            self.messages.push(message);
        } else if let Some(alias) = line.strip_prefix("in ") {
            self.open = alias;
        } else if let Some(resource) = line.strip_prefix("resource ") {
            self.resources.push(self::resource(resource)?);
        } else if !line.is_empty() && !line.starts_with("package ") {
            return Err(format!("cannot read `{line}`"));
        }
        Ok(())
    }

    fn message(&self, line: &str) -> Result<Message, String> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let package = self.packages.get(self.open).ok_or("no package is open")?;
        let mut message = Message { name: format!("{package}.{name}").into(), ..Message::default() };
        for word in words {
            if let Some(kind) = word.strip_prefix("kind=") {
                message.kinds.push(self::kind(kind)?);
            } else if word == "atomic" {
                message.atomic = true;
            } else {
                message.form = form(word).ok_or_else(|| format!("unknown form `{word}`"))?;
            }
        }
        Ok(message)
    }

    fn field(&self, line: &str) -> Result<Field, String> {
        let mut words = Words(line);
        let (Some(json), Some(number), Some(ty)) = (words.next(), words.next(), words.next()) else {
            return Err("a field has a name, a number and a type".to_string());
        };
        let mut field = Field::default();
        match json {
            "..." => field.inline = true,
            name => field.json = name.into(),
        }
        if number != "-" {
            field.number = number.parse().map_err(|_| format!("`{number}` is no field number"))?;
        }
        let ty = match ty.strip_prefix('*') {
            Some(ty) => {
                field.pointer = true;
                ty
            }
            None => ty,
        };
        let ty = if let Some(ty) = ty.strip_prefix("[]") {
            field.cardinality = Cardinality::List;
            ty
        } else if let Some(ty) = ty.strip_prefix("{}") {
            field.cardinality = Cardinality::Map;
            ty
        } else {
            ty
        };
        field.ty = match scalar(ty) {
            Some(scalar) => Type::Scalar(scalar),
            None => {
                let key = ty.rsplit_once('.').unwrap_or((self.open, ty));
                Type::Message(*self.ids.get(&key).ok_or_else(|| format!("unknown type `{ty}`"))?)
            }
        };
        loop {
            if let Some(default) = words.0.strip_prefix("default=") {
                field.default = Some(default.into());
                return Ok(field);
            }
            match words.next() {
                Some(word) => self::word(&mut field, word)?,
                None => return Ok(field),
            }
        }
    }
}

/// A line's words. What is left of the line stays at hand, for a default is all that is left.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.bytes().position(|b| b == b' ').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(' ').unwrap_or(rest);
        Some(word)
    }
}

fn word(field: &mut Field, word: &str) -> Result<(), String> {
    match word.split_once('=') {
        None => match word {
            "always" => field.omit = Omit::Never,
            "omitzero" => field.omit = Omit::Zero,
            "required" => field.required = true,
            "immutable" => field.immutable = true,
            "atomic" => field.map = MapType::Atomic,
            "set" => field.list = ListType::Set,
            _ => return Err(format!("unknown word `{word}`")),
        },
        Some(("keys", keys)) => {
            field.list = ListType::Map;
            field.list_keys = keys.split(',').map(Into::into).collect();
        }
        Some(("patch", strategies)) => {
            for strategy in strategies.split(',') {
                match strategy {
                    "merge" => field.patch.merge = true,
                    "replace" => field.patch.replace = true,
                    "retainKeys" => field.patch.retain_keys = true,
                    other => return Err(format!("unknown patch strategy `{other}`")),
                }
            }
        }
        Some(("merge-key", key)) => field.merge_key = Some(key.into()),
        Some(("values", values)) => {
            field.values = values.split('|').map(|value| value.replace('_', " ").into()).collect()
        }
        Some((key, _)) => return Err(format!("unknown key `{key}`")),
    }
    Ok(())
}

fn resource(line: &str) -> Result<Resource, String> {
    let mut words = line.split(' ');
    let (Some(own), Some(plural), Some(scope), Some(on)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a resource has a kind, a plural, a scope and a switch".to_string());
    };
    let (group, version, kind) = self::kind(own)?;
    let mut subresources = Vec::new();
    for word in words {
        let (name, body) = word.split_once('=').ok_or("a subresource has a kind")?;
        let (group, version, kind) = self::kind(body)?;
        subresources.push(Subresource { name: name.into(), group, version, kind });
    }
    Ok(Resource {
        group,
        version,
        kind,
        plural: plural.into(),
        scope: match scope {
            "namespaced" => Scope::Namespaced,
            "cluster" => Scope::Cluster,
            other => return Err(format!("unknown scope `{other}`")),
        },
        message: MessageId::default(),
        default_on: match on {
            "on" => true,
            "off" => false,
            other => return Err(format!("`{other}` is neither on nor off")),
        },
        subresources,
    })
}

/// `[GROUP/]VERSION/KIND`.
fn kind(text: &str) -> Result<(Box<str>, Box<str>, Box<str>), String> {
    let (group_version, kind) = text.rsplit_once('/').ok_or_else(|| format!("`{text}` is no kind"))?;
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    Ok((group.into(), version.into(), kind.into()))
}

fn scalar(word: &str) -> Option<Scalar> {
    Some(match word {
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "uint32" => Scalar::UInt32,
        "uint64" => Scalar::UInt64,
        "double" => Scalar::Double,
        "string" => Scalar::String,
        "bytes" => Scalar::Bytes,
        _ => return None,
    })
}

fn form(word: &str) -> Option<Form> {
    Some(match word {
        "wrapper" => Form::Wrapper,
        "time" => Form::Time,
        "microtime" => Form::MicroTime,
        "duration" => Form::Duration,
        "quantity" => Form::Quantity,
        "intorstring" => Form::IntOrString,
        "raw" => Form::Raw,
        "schema-or-array" => Form::SchemaOrArray,
        "schema-or-bool" => Form::SchemaOrBool,
        "schema-or-strings" => Form::SchemaOrStrings,
        "any" => Form::Any,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "boga schema table, format 1\n\
        package core/v1 k8s.io.api.core.v1\n\
        package meta/v1 k8s.io.meta.v1\n\
        in core/v1\n\
        message Pod kind=v1/Pod kind=batch/v1/Pod\n \
        ... - Type\n \
        spec 2 *[]meta/v1.Time always required set atomic immutable\n \
        mode 4 string values=a_b|c default=\"a b\"\n \
        ports 3 {}Type omitzero keys=a,b patch=merge,retainKeys merge-key=a\n\
        message Type atomic\n \
        kind 1 string\n\
        in meta/v1\n\
        message Time time\n\
        resource v1/Pod pods namespaced on status=v1/Pod\n";

    #[test]
    fn every_word_is_read() {
        let table = parse(SMALL).expect("the text is well-formed");
        let pod = table.message(table.kind("batch", "v1", "Pod").expect("it has two kinds"));
        assert_eq!(pod.path("kind"), Some(&[0, 0][..]));
        let order: Vec<&str> = pod.in_wire_order().map(|f| &*f.json).collect();
        assert_eq!(order, ["spec", "ports", "mode"]);

        let spec = pod.field("spec").expect("declared");
        assert_eq!((spec.pointer, spec.cardinality, spec.omit), (true, Cardinality::List, Omit::Never));
        assert_eq!((spec.list, spec.map), (ListType::Set, MapType::Atomic));
        assert!(spec.required && spec.immutable);
        assert_eq!(spec.ty, Type::Message(table.named("k8s.io.meta.v1.Time").expect("declared")));

        let mode = pod.field("mode").expect("declared");
        assert_eq!(mode.values, ["a b".into(), Box::from("c")]);
        assert_eq!(mode.default.as_deref(), Some("\"a b\""));

        let ports = pod.field("ports").expect("declared");
        assert_eq!(
            (ports.cardinality, ports.omit, ports.list),
            (Cardinality::Map, Omit::Zero, ListType::Map)
        );
        assert_eq!(ports.list_keys, ["a".into(), Box::from("b")]);
        assert!(ports.patch.merge && ports.patch.retain_keys && !ports.patch.replace);
        assert_eq!(ports.merge_key.as_deref(), Some("a"));

        let named = |name: &str| table.message(table.named(name).expect("declared"));
        assert!(named("k8s.io.api.core.v1.Type").atomic);
        assert_eq!(named("k8s.io.meta.v1.Time").form, Form::Time);
        assert!(
            table.resource("", "v1", "pods").is_some_and(|r| r.default_on && r.scope == Scope::Namespaced)
        );
    }

    #[test]
    fn broken_lines_are_named() {
        let check = |broken: &str, want: &str| {
            let found = parse(broken).err().unwrap_or_else(|| panic!("{broken} is refused"));
            assert!(found.contains(want), "{found}");
        };
        let after = |line: &str| format!("{SMALL}{line}\n");
        check(&after("in meta/v1\nmessage A\n a 1"), "line 17: a field has a name, a number and a type");
        check(&after("in meta/v1\nmessage A\n a x string"), "`x` is no field number");
        check(&after("in meta/v1\nmessage A\n a 1 Pod"), "unknown type `Pod`");
        check(&after("in meta/v1\nmessage A\n a 1 string loud"), "unknown word `loud`");
        check(&after("in meta/v1\nmessage A\n a 1 string loud=1"), "unknown key `loud`");
        check(&after("in meta/v1\nmessage A\n a 1 string patch=loud"), "unknown patch strategy `loud`");
        check(&after("in meta/v1\nmessage A loud"), "unknown form `loud`");
        check(&after("in meta/v1\nmessage A kind=Pod"), "`Pod` is no kind");
        check(&after("package x"), "a package has an alias and a name");
        check(&after("resource v1/Pod pods"), "a resource has a kind");
        check(&after("resource v1/Pod pods everywhere on"), "unknown scope `everywhere`");
        check(&after("resource v1/Pod pods cluster maybe"), "`maybe` is neither on nor off");
        check(&after("resource v1/Job jobs cluster on"), "no message is registered as the kind of jobs");
        check(&after("loud"), "cannot read `loud`");
        check("header\n a 1 string", "a field outside a message");
        check("header\nmessage A", "no package is open");
    }
}
