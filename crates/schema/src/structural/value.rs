//! Checks a value against a schema, in the words of upstream's OpenAPI validator.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use grammar::field::{self, BadValue, ErrorList, Path};
use regex::Regex;
use serde_json::{Map, Value};

use super::schema::{Additional, Items, Schema};
use super::{format, number, pattern};

/// A schema made ready for checking values: patterns compiled, formats recognised.
#[derive(Debug)]
pub struct Validator {
    root: Node,
}

impl Validator {
    pub fn new(schema: &Schema) -> Validator {
        Validator { root: Node::new(schema, true) }
    }

    /// For defaults upstream leaves `x-kubernetes-int-or-string` without a type of its own.
    pub(super) fn for_default(schema: &Schema) -> Validator {
        Validator { root: Node::new(schema, false) }
    }

    /// Everything that is wrong with a new value. Upstream calls this with a nil path for whole objects.
    pub fn validate(&self, path: &Path<'_>, value: &Value) -> ErrorList {
        self.root.check(value, None, &At::ROOT).into_errors(path)
    }

    /// Everything that is wrong with a changed value; what was wrong before and did not change is let be.
    pub fn validate_update(&self, path: &Path<'_>, new: &Value, old: &Value) -> ErrorList {
        self.root.check_ratcheting(new, old, &At::ROOT).into_errors(path)
    }
}

#[derive(Debug, Default)]
struct Node {
    types: Vec<String>,
    nullable: bool,
    format: String,
    known_format: Option<format::Check>,
    numbers: number::Limits,
    max_length: Option<i64>,
    min_length: Option<i64>,
    pattern: Option<(String, Result<Regex, String>)>,
    max_items: Option<i64>,
    min_items: Option<i64>,
    unique_items: bool,
    items: Option<Box<Node>>,
    /// Keys of a `map` list, by which old and new items correspond.
    list_map_keys: Option<Vec<String>>,
    max_properties: Option<i64>,
    min_properties: Option<i64>,
    required: Vec<String>,
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    closed: bool,
    values: Vec<Value>,
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Box<Node>>,
}

impl Node {
    fn new(s: &Schema, int_or_string_has_types: bool) -> Node {
        let node = |schema: &Schema| Node::new(schema, int_or_string_has_types);
        let nodes = |schemas: &[Schema]| schemas.iter().map(node).collect();
        let types: Vec<String> = match s.kind.as_str() {
            _ if s.int_or_string && int_or_string_has_types => vec!["integer".into(), "string".into()],
            "" => Vec::new(),
            kind => vec![kind.into()],
        };
        let format = format::supported(&types, &s.format);
        Node {
            nullable: s.nullable,
            known_format: format::check(format),
            format: format.to_string(),
            numbers: number::Limits {
                kind: match types.as_slice() {
                    [only] if only == "integer" || only == "number" => only.clone(),
                    _ => String::new(),
                },
                format: if types.len() == 1 { format.to_string() } else { String::new() },
                maximum: s.maximum,
                exclusive_maximum: s.exclusive_maximum,
                minimum: s.minimum,
                exclusive_minimum: s.exclusive_minimum,
                multiple_of: s.multiple_of,
            },
            types,
            max_length: s.max_length,
            min_length: s.min_length,
            pattern: (!s.pattern.is_empty()).then(|| (s.pattern.clone(), pattern::compile(&s.pattern))),
            max_items: s.max_items,
            min_items: s.min_items,
            unique_items: s.unique_items,
            items: match &s.items {
                Some(Items::One(schema)) => Some(Box::new(node(schema))),
                _ => None,
            },
            list_map_keys: (s.list_type.as_deref() == Some("map")).then(|| s.list_map_keys.clone()),
            max_properties: s.max_properties,
            min_properties: s.min_properties,
            required: s.required.clone(),
            properties: s.properties.iter().map(|(name, schema)| (name.clone(), node(schema))).collect(),
            additional: s.additional().map(|schema| Box::new(node(schema))),
            closed: s.additional_properties == Some(Additional::Allowed(false)),
            values: s.values.clone(),
            all_of: nodes(&s.all_of),
            any_of: nodes(&s.any_of),
            one_of: nodes(&s.one_of),
            not: s.not.as_deref().map(|schema| Box::new(node(schema))),
        }
    }

    /// As `check`, but what is wrong with an unchanged value is forgiven.
    fn check_ratcheting(&self, value: &Value, old: &Value, at: &At<'_>) -> Outcome {
        let mut outcome = self.check(value, Some(old), at);
        if !outcome.is_valid() && self.is_unchanged(value, old) {
            outcome.faults.clear();
        }
        outcome
    }

    fn check(&self, value: &Value, old: Option<&Value>, at: &At<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if value.is_null() {
            outcome.merge(self.check_type(value, at));
            outcome.merge(self.check_values(value, at));
            return outcome;
        }
        if !self.types.is_empty() || !self.format.is_empty() {
            outcome.merge(self.check_type(value, at));
            outcome.matches += 1;
        }
        outcome.merge(self.check_junctors(value, at));
        outcome.matches += 1;
        match value {
            Value::String(text) => {
                outcome.merge(self.check_text(text, at));
                outcome.matches += 1;
                if let Some(check) = self.known_format {
                    if !check(text) {
                        outcome.add(Fault::wrong_type(at, &self.format, text));
                    }
                    outcome.matches += 1;
                }
            }
            Value::Number(number) => {
                outcome.merge(self.numbers.check(number::Number::from(number), at));
                outcome.matches += 1;
            }
            Value::Array(items) => {
                outcome.merge(self.check_list(items, old, at));
                outcome.matches += 1;
            }
            _ => {}
        }
        outcome.merge(self.check_values(value, at));
        outcome.matches += 1;
        if let Value::Object(map) = value {
            outcome.merge(self.check_object(map, old, at));
            outcome.matches += 1;
        }
        outcome.matches += 1;
        outcome
    }

    fn check_type(&self, value: &Value, at: &At<'_>) -> Outcome {
        let has = |kind: &str| self.types.iter().any(|t| t == kind);
        let (kind, format) = match value {
            Value::Null => {
                if !self.types.is_empty() && !has("null") && !self.nullable {
                    return Fault::wrong_type(at, &self.types.join(","), "null").into();
                }
                return Outcome::matched();
            }
            Value::Bool(_) => ("boolean", ""),
            Value::String(_) => ("string", ""),
            Value::Array(_) => ("array", ""),
            Value::Object(_) => ("object", ""),
            Value::Number(number) => match number::Number::from(number) {
                number::Number::Int(_) => ("integer", "int64"),
                number::Number::Float(_) => ("number", "float64"),
            },
        };
        let whole = matches!(value, Value::Number(n) if n.as_f64().is_some_and(number::is_whole));
        let fits = has(kind)
            || (kind == "number" && whole && has("integer"))
            || (kind == "integer" && has("number"));
        let sequence = matches!(value, Value::String(_) | Value::Array(_));
        if !sequence && !self.format.is_empty() && !fits && format != self.format {
            return Fault::wrong_type(at, &self.format, format).into();
        }
        // Upstream leaves strings and lists to the format alone where there is one.
        if sequence && !self.format.is_empty() && !has("number") && !has("integer") {
            return Outcome::matched();
        }
        if fits { Outcome::matched() } else { Fault::wrong_type(at, &self.types.join(","), kind).into() }
    }

    fn check_values(&self, value: &Value, at: &At<'_>) -> Outcome {
        if self.values.is_empty() || self.values.iter().any(|known| number::equals(value, known)) {
            return Outcome::default();
        }
        let shown = |v: &Value| v.as_str().map_or_else(|| grammar::go::json(v), str::to_string);
        let kind = FaultKind::Value(value.clone(), self.values.iter().map(shown).collect());
        let listed: Vec<String> = self.values.iter().map(shown).collect();
        Fault::new(at, kind, format!("{at} in body should be one of [{}]", listed.join(" "))).into()
    }

    fn check_text(&self, text: &str, at: &At<'_>) -> Outcome {
        let length = text.chars().count() as i64;
        if let Some(max) = self.max_length.filter(|&max| length > max) {
            let message = format!("{at} in body should be at most {max} chars long");
            return Fault::new(at, FaultKind::TooLong(max), message).into();
        }
        if let Some(min) = self.min_length.filter(|&min| length < min) {
            return Fault::invalid(at, text, format!("{at} in body should be at least {min} chars long"))
                .into();
        }
        let Some((source, pattern)) = &self.pattern else { return Outcome::default() };
        let message = match pattern {
            Ok(pattern) if pattern.is_match(text) => return Outcome::default(),
            Ok(_) => format!("{at} in body should match '{source}'"),
            Err(reason) => format!("{at} in body should match '{source}, but pattern is invalid: {reason}'"),
        };
        Fault::invalid(at, text, message).into()
    }

    fn check_list(&self, items: &[Value], old: Option<&Value>, at: &At<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(schema) = &self.items {
            let olds = OldItems::new(self, old);
            for (index, item) in items.iter().enumerate() {
                let at = at.index(index);
                outcome.merge(match olds.get(item) {
                    Some(old) => schema.check_ratcheting(item, old, &at),
                    None => schema.check(item, None, &at),
                });
            }
        }
        let size = items.len() as i64;
        if let Some(min) = self.min_items.filter(|&min| size < min) {
            outcome.add(Fault::invalid(at, size, format!("{at} in body should have at least {min} items")));
        }
        if let Some(max) = self.max_items.filter(|&max| size > max) {
            let message = format!("{at} in body should have at most {max} items");
            outcome.add(Fault::new(at, FaultKind::TooMany(size, max), message));
        }
        if self.unique_items && (1..items.len()).any(|at| items[..at].contains(&items[at])) {
            outcome.add(Fault::invalid(at, "", format!("{at} in body shouldn't contain duplicates")));
        }
        outcome.matches += 1;
        outcome
    }

    fn check_object(&self, map: &Map<String, Value>, old: Option<&Value>, at: &At<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let size = map.len() as i64;
        if let Some(min) = self.min_properties.filter(|&min| size < min) {
            outcome.add(Fault::invalid(
                at,
                size,
                format!("{at} in body should have at least {min} properties"),
            ));
        }
        if let Some(max) = self.max_properties.filter(|&max| size > max) {
            let message = format!("{at} in body should have at most {max} properties");
            outcome.add(Fault::new(at, FaultKind::TooMany(size, max), message));
        }
        let check = |schema: &Node, name: &str, value: &Value, inner: &At<'_>| {
            // An object's own type is not part of what users change.
            let is_type = at.is_root() && (name == "kind" || name == "apiVersion");
            match old.and_then(|old| old.get(name)).filter(|_| !is_type) {
                Some(old) => schema.check_ratcheting(value, old, inner),
                None => schema.check(value, None, inner),
            }
        };
        for (name, value) in map.iter().filter(|(name, _)| !self.properties.contains_key(*name)) {
            if self.closed {
                outcome.add(Fault::invalid(
                    at,
                    name.as_str(),
                    format!("{at}.{name} in body is a forbidden property"),
                ));
            } else if let Some(additional) = &self.additional {
                outcome.merge(check(additional, name, value, &at.dotted(name)));
            }
        }
        for (name, schema) in &self.properties {
            if let Some(value) = map.get(name) {
                outcome.merge(check(schema, name, value, &at.field(name)));
            }
        }
        for name in self.required.iter().filter(|name| !map.contains_key(*name)) {
            let at = at.dotted(name);
            outcome.add(Fault::new(&at, FaultKind::Required, format!("{at} in body is required")));
        }
        outcome
    }

    /// Upstream does not follow the old value into junctors.
    fn check_junctors(&self, value: &Value, at: &At<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if !self.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            for schema in &self.any_of {
                let found = schema.check(value, None, at);
                let done = found.is_valid();
                if done || best.as_ref().is_none_or(|best| found.matches > best.matches) {
                    best = Some(found);
                }
                if done {
                    break;
                }
            }
            let best = best.unwrap_or_default();
            if !best.is_valid() {
                outcome
                    .add(Fault::bare(format!("{} must validate at least one schema (anyOf)", at.quoted())));
            }
            outcome.merge(best);
        }
        if !self.one_of.is_empty() {
            let (mut best, mut first): (Option<Outcome>, Option<Outcome>) = (None, None);
            let mut valid = 0;
            for schema in &self.one_of {
                let found = schema.check(value, None, at);
                if found.is_valid() {
                    valid += 1;
                    best = None;
                    first = first.or(Some(found));
                } else if valid == 0 && best.as_ref().is_none_or(|best| found.matches > best.matches) {
                    best = Some(found);
                }
            }
            if valid == 1 {
                outcome.merge(first.unwrap_or_default());
            } else {
                let more = match valid {
                    0 => "Found none valid".to_string(),
                    n => format!("Found {n} valid alternatives"),
                };
                let message =
                    format!("{} must validate one and only one schema (oneOf). {more}", at.quoted());
                outcome.add(Fault::bare(message));
                outcome.merge(best.unwrap_or_default());
            }
        }
        if !self.all_of.is_empty() {
            let mut valid = 0;
            for schema in &self.all_of {
                let found = schema.check(value, None, at);
                valid += usize::from(found.is_valid());
                outcome.merge(found);
            }
            if valid != self.all_of.len() {
                let more = if valid == 0 { ". None validated" } else { "" };
                outcome
                    .add(Fault::bare(format!("{} must validate all the schemas (allOf){more}", at.quoted())));
            }
        }
        if let Some(not) = &self.not
            && not.check(value, None, at).is_valid()
        {
            outcome.add(Fault::bare(format!("{} must not validate the schema (not)", at.quoted())));
        }
        outcome.matches += 1;
        outcome
    }
}

/// The items of an old map list by their keys. Lists of other types have no items that correspond.
struct OldItems<'a> {
    keys: &'a [String],
    items: HashMap<String, &'a Value>,
}

impl<'a> OldItems<'a> {
    fn new(list: &'a Node, old: Option<&'a Value>) -> OldItems<'a> {
        let mut olds =
            OldItems { keys: list.list_map_keys.as_deref().unwrap_or_default(), items: HashMap::new() };
        for item in old.and_then(Value::as_array).into_iter().flatten() {
            if let Some(key) = olds.key(item) {
                olds.items.entry(key).or_insert(item);
            }
        }
        olds
    }

    fn get(&self, item: &Value) -> Option<&'a Value> {
        self.items.get(&self.key(item)?).copied()
    }

    /// The item's keys as one text. Keys that are missing or no scalars name no item.
    fn key(&self, item: &Value) -> Option<String> {
        let item = item.as_object().filter(|_| !self.keys.is_empty())?;
        let mut text = String::new();
        for key in self.keys {
            let value = item.get(key).filter(|v| v.is_string() || v.is_number() || v.is_boolean())?;
            text.push_str(&value.to_string());
            text.push('\0');
        }
        Some(text)
    }
}

impl Node {
    /// Whether nothing that the schema knows has changed: a map list may be reordered, but a field without a schema
    /// cannot be compared and counts as changed.
    fn is_unchanged(&self, new: &Value, old: &Value) -> bool {
        match (new, old) {
            (Value::Array(new), Value::Array(items)) if self.list_map_keys.is_some() => {
                let olds = OldItems::new(self, Some(old));
                let same = |item: &Value| match (&self.items, olds.get(item)) {
                    (Some(schema), Some(old)) => schema.is_unchanged(item, old),
                    _ => false,
                };
                new.len() == items.len() && new.iter().all(same)
            }
            (Value::Object(new), Value::Object(fields)) => {
                let same = |(name, value): (&String, &Value)| {
                    let schema = self.properties.get(name).or(self.additional.as_deref());
                    matches!((schema, fields.get(name)), (Some(schema), Some(old)) if schema.is_unchanged(value, old))
                };
                new.len() == fields.len() && new.iter().all(same)
            }
            (new, old) => new == old,
        }
    }
}

/// Where a value stands, as text only when an error needs it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    /// Upstream joins the names of additional and of missing properties with a dot even at the root.
    Dotted(&'a str),
    Index(usize),
}

impl At<'_> {
    const ROOT: At<'static> = At { parent: None, step: Step::Root };

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        At { parent: Some(self), step: Step::Field(name) }
    }

    fn dotted<'b>(&'b self, name: &'b str) -> At<'b> {
        At { parent: Some(self), step: Step::Dotted(name) }
    }

    fn index(&self, index: usize) -> At<'_> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    fn quoted(&self) -> String {
        grammar::go::quote(&self.to_string())
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if self.parent.is_none_or(|p| p.is_root()) => f.write_str(name),
            Step::Field(name) | Step::Dotted(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// What one schema found. The count of checks passed decides which alternative's faults are worth telling.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    faults: Vec<Fault>,
    messages: BTreeSet<String>,
    pub(super) matches: usize,
}

impl Outcome {
    fn matched() -> Outcome {
        Outcome { matches: 1, ..Outcome::default() }
    }

    fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// The same message is told once.
    pub(super) fn add(&mut self, fault: Fault) {
        if self.messages.insert(fault.message.clone()) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Outcome) {
        for fault in other.faults {
            self.add(fault);
        }
        self.matches += other.matches;
    }

    fn into_errors(self, path: &Path<'_>) -> ErrorList {
        self.faults.into_iter().map(|fault| fault.into_error(path)).collect()
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.add(fault);
        outcome
    }
}

/// One finding, in the validator's own words, which only some of the field errors made of it repeat.
#[derive(Debug)]
pub(super) struct Fault {
    name: String,
    message: String,
    kind: FaultKind,
}

#[derive(Debug)]
enum FaultKind {
    Type(String),
    Required,
    Value(Value, Vec<String>),
    TooLong(i64),
    TooMany(i64, i64),
    Invalid(BadValue),
    /// Of no field in particular.
    Bare,
}

impl Fault {
    fn new(at: &At<'_>, kind: FaultKind, message: String) -> Fault {
        Fault { name: at.to_string(), message, kind }
    }

    pub(super) fn invalid(at: &At<'_>, value: impl Into<BadValue>, message: String) -> Fault {
        Fault::new(at, FaultKind::Invalid(value.into()), message)
    }

    pub(super) fn bare(message: String) -> Fault {
        Fault { name: String::new(), message, kind: FaultKind::Bare }
    }

    fn wrong_type(at: &At<'_>, want: &str, found: &str) -> Fault {
        let message = format!("{at} in body must be of type {want}: {}", grammar::go::quote(found));
        Fault::new(at, FaultKind::Type(found.to_string()), message)
    }

    fn into_error(self, path: &Path<'_>) -> field::Error {
        let name = self.name.strip_prefix('.').unwrap_or(&self.name);
        let inner = path.child(name);
        let at = if name.is_empty() { path } else { &inner };
        match self.kind {
            FaultKind::Type(found) => field::type_invalid(at, found, self.message),
            FaultKind::Required => field::required(at, ""),
            FaultKind::Value(value, values) => field::not_supported(at, value, &values),
            FaultKind::TooLong(max) => field::too_long(at, usize::try_from(max).ok()),
            FaultKind::TooMany(actual, max) => {
                field::too_many(at, usize::try_from(actual).ok(), usize::try_from(max).ok())
            }
            FaultKind::Invalid(value) => field::invalid(at, value, self.message),
            FaultKind::Bare => field::invalid(path, "", self.message),
        }
    }
}
