//! YAML, which is only ever another way to write JSON.

use std::fmt;

use serde_json::Value;

/// Why a document is not YAML, or is more than a document may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError(pub String);

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error converting YAML to JSON: {}", self.0)
    }
}

impl std::error::Error for YamlError {}

/// Splits a stream at its `---` lines; empty documents and ones of comments alone are dropped.
pub fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    documents.push(&text[start..]);
    documents
        .retain(|d| d.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    documents
}

/// One document as a tree. Aliases are followed within the parser's budget, so an alias bomb is refused; the last
/// of equal keys is refused too, as upstream's strict converter does.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    serde_saphyr::from_str::<Value>(text).map_err(|error| YamlError(error.to_string()))
}

/// A tree as YAML.
pub fn print(tree: &Value) -> Result<String, YamlError> {
    serde_saphyr::to_string(tree).map_err(|error| YamlError(error.to_string()))
}
