//! JSONPath in kubectl's dialect: templates such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
//!
//! The dialect is older than the standard and differs from it; its oddities (derived slice ends, filters that compare
//! only equal types, a `range` that walks its body once when there is nothing to walk over) are what scripts rely on.

mod eval;
mod parse;

use eval::Item;
use serde_json::Value;
use std::fmt;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct JsonPath {
    nodes: Vec<Node>,
    allow_missing_keys: bool,
}

/// Why a template cannot be parsed or evaluated, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPathError(String);

impl fmt::Display for JsonPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonPathError {}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// The content of one pair of braces: each node is applied to the results of the one before.
    List(Vec<Node>),
    Text(String),
    Field(String),
    Array(Slice),
    Filter {
        left: Vec<Node>,
        operator: String,
        right: Vec<Node>,
    },
    Int(i64),
    Float(f64),
    Bool(bool),
    Wildcard,
    Recursive,
    Union(Vec<Vec<Node>>),
    /// `range` and `end`; anything else is found wanting when it is evaluated.
    Identifier(String),
}

/// `[start:end:step]`. A lone index has the end derived from it, which decides how an end of 0 is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    is_end_derived: bool,
    step: Option<i64>,
}

impl JsonPath {
    pub fn parse(template: &str) -> Result<JsonPath, JsonPathError> {
        Ok(JsonPath { nodes: parse::template(template, 0)?, allow_missing_keys: false })
    }

    /// Whether a field that is not there gives nothing rather than an error.
    pub fn allow_missing_keys(mut self, allow: bool) -> JsonPath {
        self.allow_missing_keys = allow;
        self
    }

    /// Fills in the template.
    pub fn print(&self, data: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        for results in eval::find(self, data)? {
            for (i, item) in results.iter().enumerate() {
                let space = if i > 0 { " " } else { "" };
                out.push_str(space);
                out.push_str(&item.to_text());
            }
        }
        Ok(out)
    }

    /// The results as indented JSON arrays, one for each node of the template (`-o jsonpath-as-json`).
    pub fn print_as_json(&self, data: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        for results in eval::find(self, data)? {
            let array = Value::Array(results.iter().map(Item::to_value).collect());
            out.push_str(&crate::go::json_indented(&array, "    "));
            out.push('\n');
        }
        Ok(out)
    }

    /// The values found by each node of the template.
    pub fn find(&self, data: &Value) -> Result<Vec<Vec<Value>>, JsonPathError> {
        let found = eval::find(self, data)?;
        Ok(found.iter().map(|results| results.iter().map(Item::to_value).collect()).collect())
    }
}

/// Completes an expression that leaves out braces or the leading dot, as columns and sort keys may.
pub fn relaxed(expression: &str) -> Result<String, JsonPathError> {
    if expression.is_empty() {
        return Ok(String::new());
    }
    let braced = expression.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = braced.unwrap_or(expression);
    let path = inner.strip_prefix('.').filter(|rest| !rest.is_empty()).unwrap_or(inner);
    if path.is_empty() || path.contains(['{', '}']) {
        let message = "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        return Err(JsonPathError(message.into()));
    }
    Ok(format!("{{.{path}}}"))
}
