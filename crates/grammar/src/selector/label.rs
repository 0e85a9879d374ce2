//! Label selectors, as text (`app=web,tier in (a,b),!legacy`) and as objects (`matchLabels`, `matchExpressions`).

mod text;

use super::{Lookup, SelectorError};
use crate::field::{self, BadValue, ErrorList, Path};
use crate::go;
use crate::names::{label_key, label_value};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// How a requirement relates a key to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Operator {
    /// The operator as texts and messages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Operator::In => "in",
            Operator::NotIn => "notin",
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::Exists => "exists",
            Operator::DoesNotExist => "!",
            Operator::GreaterThan => "gt",
            Operator::LessThan => "lt",
        }
    }
}

/// One condition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// Checks key and values; errors stand at `key` and `values` under `path`.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: Vec<String>,
        path: &Path<'_>,
    ) -> Result<Requirement, ErrorList> {
        let shown = json!(values);
        Requirement::checked(key.into(), operator, values, shown, path)
    }

    fn checked(
        key: String,
        operator: Operator,
        values: Vec<String>,
        shown: Value,
        path: &Path<'_>,
    ) -> Result<Requirement, ErrorList> {
        let mut errors = ErrorList::new();
        errors.extend(invalid_key(&key, &path.child("key")));
        let path = path.child("values");
        let complaint = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(complaint.map(|detail| field::invalid(&path, BadValue::Json(shown), detail)));
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, value) in values.iter().enumerate().filter(|(_, value)| integer(value).is_none()) {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(field::invalid(&path.index(i), value, detail));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let complaints = label_value(value);
            if !complaints.is_empty() {
                errors.push(field::invalid(&path.index(i).key(&key), value, complaints.join("; ")));
            }
        }
        errors.into_result().map(|()| Requirement { key, operator, values })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub const fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        let found = labels.lookup(&self.key);
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => found.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !found.is_some_and(listed),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|value| integer(value));
                match (found.and_then(integer), bound) {
                    (Some(value), Some(bound)) if self.operator == Operator::GreaterThan => value > bound,
                    (Some(value), Some(bound)) => value < bound,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        match self.operator {
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In | Operator::NotIn => write!(f, "{key} {} ({values})", self.operator.name()),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            equality => write!(f, "{key}{}{values}", equality.name()),
        }
    }
}

/// Which labels an object must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Selects no object, whatever its labels. An absent selector object means this.
    Nothing,
    /// Selects objects that meet every requirement: all objects, when there is none.
    All(Vec<Requirement>),
}

impl Selector {
    pub const fn everything() -> Selector {
        Selector::All(Vec::new())
    }

    /// All of `requirements`, in the order of their keys.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector::All(requirements)
    }

    /// The selector that wants exactly these labels. Nothing is checked: a wrong label matches no valid object.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Selector {
        let equals = |(key, value): (&str, &str)| Requirement {
            key: key.into(),
            operator: Operator::Equals,
            values: vec![value.into()],
        };
        Selector::new(labels.into_iter().map(equals).collect())
    }

    /// The selector of a `LabelSelector` object; null means an absent one.
    pub fn from_object(object: &Value) -> Result<Selector, SelectorError> {
        if object.is_null() {
            return Ok(Selector::Nothing);
        }
        let mut requirements = Vec::new();
        for (key, value) in object["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.into()], &Path::nil())?);
        }
        for expression in object["matchExpressions"].as_array().into_iter().flatten() {
            requirements.push(requirement_of(expression)?);
        }
        Ok(Selector::new(requirements))
    }

    /// Parses a text whose errors are to name a field.
    pub fn parse_at(text: &str, path: &Path<'_>) -> Result<Selector, SelectorError> {
        text::parse(text, path).map(Selector::new)
    }

    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|one| one.matches(labels)),
        }
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        matches!(self, Selector::All(requirements) if requirements.is_empty())
    }

    /// The requirements, unless nothing can be selected.
    pub fn requirements(&self) -> Option<&[Requirement]> {
        match self {
            Selector::Nothing => None,
            Selector::All(requirements) => Some(requirements),
        }
    }

    /// The one value that `key` must have, if there is exactly one.
    pub fn exact_match(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements()?.iter().find(|one| one.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [only]) => Some(only),
            _ => None,
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse_at(text, &Path::nil())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements().unwrap_or_default().iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// A `LabelSelector` object as kubectl's columns show it.
pub fn format_object(object: &Value) -> String {
    match Selector::from_object(object) {
        Err(_) => "<error>".into(),
        Ok(selector) => match selector.to_string() {
            text if text.is_empty() => "<none>".into(),
            text => text,
        },
    }
}

/// Labels as kubectl's columns show them.
pub fn format_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort_unstable();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

fn requirement_of(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |name: &str| expression[name].as_str().unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            let message = format!("{} is not a valid label selector operator", go::quote(other));
            return Err(SelectorError(message));
        }
    };
    let values: Vec<String> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|value| value.as_str().unwrap_or_default().to_string())
        .collect();
    // Upstream copies the values in a way that turns an empty list into none, which its message shows.
    let shown = if values.is_empty() { Value::Null } else { json!(values) };
    Ok(Requirement::checked(text("key").into(), operator, values, shown, &Path::nil())?)
}

fn invalid_key(key: &str, path: &Path<'_>) -> Option<field::Error> {
    let complaints = label_key(key);
    (!complaints.is_empty()).then(|| field::invalid(path, key, complaints.join("; ")))
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

impl From<ErrorList> for SelectorError {
    fn from(errors: ErrorList) -> SelectorError {
        SelectorError(errors.to_string())
    }
}
