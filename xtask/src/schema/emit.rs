//! Writes the table's text.
//!
//! The format, one fact a line, is read by `schema::text`, whose documentation describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::resolve::{Element, Field, Message, Omit};
use super::served::Resource;

pub fn table(header: &str, messages: &BTreeMap<String, Message>, resources: &[Resource]) -> String {
    let short = short_names(messages);
    let mut out = format!("{header}\n");
    for (name, alias) in &short {
        let _ = writeln!(out, "package {alias} {name}");
    }
    let mut open = "";
    for message in messages.values() {
        if message.package != open {
            open = &message.package;
            let _ = writeln!(out, "\nin {}", short[open]);
        }
        let _ = write!(out, "message {}", message.name);
        if !message.form.is_empty() {
            let _ = write!(out, " {}", message.form);
        }
        if message.atomic {
            out.push_str(" atomic");
        }
        for (group, version, kind) in &message.kinds {
            let _ = write!(out, " kind={}{kind}", prefix(group, version));
        }
        out.push('\n');
        for f in &message.fields {
            let _ = writeln!(out, " {}", field(f, open, &short));
        }
    }
    out.push('\n');
    for resource in resources {
        let _ = write!(
            out,
            "resource {}{} {} {} {}",
            prefix(&resource.group, &resource.version),
            resource.kind,
            resource.plural,
            if resource.namespaced { "namespaced" } else { "cluster" },
            if resource.default_on { "on" } else { "off" },
        );
        for (name, group, version, kind) in &resource.subresources {
            let _ = write!(out, " {name}={}{kind}", prefix(group, version));
        }
        out.push('\n');
    }
    out
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("{version}/") } else { format!("{group}/{version}/") }
}

/// Each package by its shortest ending, of two segments or more where it has them, that no other package shares.
fn short_names(messages: &BTreeMap<String, Message>) -> BTreeMap<&str, String> {
    let packages: BTreeSet<&str> = messages.values().map(|m| m.package.as_str()).collect();
    let ending = |package: &str, segments: usize| {
        let all: Vec<&str> = package.strip_prefix("k8s.io.").unwrap_or(package).split('.').collect();
        all[all.len().saturating_sub(segments)..].join("/")
    };
    packages
        .iter()
        .map(|&package| {
            let alias = (2..10)
                .map(|segments| ending(package, segments))
                .find(|alias| {
                    packages.iter().all(|&p| p == package || !same_ending(&p.replace('.', "/"), alias))
                })
                .unwrap_or_else(|| package.to_string());
            (package, alias)
        })
        .collect()
}

fn same_ending(path: &str, alias: &str) -> bool {
    path.strip_suffix(alias).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

fn field(field: &Field, package: &str, short: &BTreeMap<&str, String>) -> String {
    let mut out = if field.inline { "...".to_string() } else { field.json.clone() };
    match field.number {
        0 => out.push_str(" -"),
        number => {
            let _ = write!(out, " {number}");
        }
    }
    out.push(' ');
    let shape = &field.shape;
    out.push_str(if shape.pointer { "*" } else { "" });
    out.push_str(if shape.list { "[]" } else { "" });
    out.push_str(if shape.map { "{}" } else { "" });
    match &shape.element {
        Element::Scalar(name) => out.push_str(name),
        Element::Message(full) => match full.rsplit_once('.') {
            Some((own, name)) if own == package => out.push_str(name),
            Some((other, name)) => {
                let _ = write!(out, "{}.{name}", short[other]);
            }
            None => out.push_str(full),
        },
    }
    match field.omit {
        Omit::Empty => {}
        Omit::Never if field.inline => {}
        Omit::Never => out.push_str(" always"),
        Omit::Zero => out.push_str(" omitzero"),
    }
    for (set, word) in [
        (field.required, "required"),
        (field.immutable, "immutable"),
        (field.atomic, "atomic"),
        (field.list == "set", "set"),
    ] {
        if set {
            let _ = write!(out, " {word}");
        }
    }
    for (key, value) in [
        ("keys", field.list_keys.join(",")),
        ("patch", field.patch.clone()),
        ("merge-key", field.merge_key.clone()),
        ("values", field.values.join("|").replace(' ', "_")),
        ("default", field.default.clone()),
    ] {
        if !value.is_empty() {
            let _ = write!(out, " {key}={value}");
        }
    }
    out
}
