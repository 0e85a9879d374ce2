//! JSON patch (RFC 6902), in the reading of the library upstream uses.
//!
//! Its leniences are part of the contract: negative indices count from the end, `replace` creates a missing
//! field, `copy` of a missing field copies null, and whatever stands before the first `/` of a path is ignored.

use serde_json::{Map, Value};

use crate::limits::{MAX_JSON_PATCH_COPY_BYTES, MAX_JSON_PATCH_OPERATIONS, TooDeep, check_depth};

/// Why a JSON patch was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: the patch is not a list of objects.
    #[error("{0}")]
    Malformed(String),
    /// 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// 422: an operation failed; none took effect.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

/// Applies all operations of `patch`, or none.
pub fn apply(document: Value, patch: &Value) -> Result<Value, Error> {
    check_depth(&document, "document")?;
    check_depth(patch, "JSON patch")?;
    let operations = match patch {
        Value::Null => &[][..],
        Value::Array(operations) => operations,
        other => return Err(malformed(other, "jsonpatch.Patch")),
    };
    if let Some(other) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(malformed(other, "jsonpatch.Operation"));
    }
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(Error::TooManyOperations(operations.len()));
    }
    let mut state = State { document, copied: 0 };
    for operation in operations {
        state.run(&Operation(operation)).map_err(Error::Failed)?;
    }
    check_depth(&state.document, "patched document")?;
    Ok(state.document)
}

fn malformed(value: &Value, wanted: &str) -> Error {
    Error::Malformed(format!("json: cannot unmarshal {} into Go value of type {wanted}", json_kind(value)))
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

const MISSING: &str = "missing value";

struct Operation<'p>(&'p Value);

impl<'p> Operation<'p> {
    fn member(&self, name: &str) -> Option<&'p Value> {
        self.0.get(name)
    }

    fn kind(&self) -> &'p str {
        self.member("op").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn path(&self) -> Result<&'p str, String> {
        self.text("path", "operation missing path field")
    }

    fn from(&self) -> Result<&'p str, String> {
        self.text("from", "operation, missing from field")
    }

    fn text(&self, name: &str, absent: &str) -> Result<&'p str, String> {
        match self.member(name) {
            None | Some(Value::Null) => Err(format!("{absent}: {MISSING}")),
            Some(Value::String(text)) => Ok(text),
            Some(other) => {
                Err(format!("json: cannot unmarshal {} into Go value of type string", json_kind(other)))
            }
        }
    }

    /// An absent value is null.
    fn value(&self) -> Value {
        self.member("value").cloned().unwrap_or(Value::Null)
    }
}

struct State {
    document: Value,
    /// Bytes that copies have added so far.
    copied: usize,
}

impl State {
    fn run(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        match operation.kind() {
            "add" => self.add(operation),
            "remove" => self.remove(operation),
            "replace" => self.replace(operation),
            "move" => self.relocate(operation),
            "copy" => self.copy(operation),
            "test" => self.test(operation),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|_| format!("add operation failed to decode path: {MISSING}"))?;
        let (mut holder, key) = self.holder(path).ok_or_else(|| {
            format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        holder.add(&key, operation.value()).map_err(|e| format!("error in add for path: '{path}': {e}"))
    }

    fn remove(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path =
            operation.path().map_err(|_| format!("remove operation failed to decode path: {MISSING}"))?;
        let (mut holder, key) = self.holder(path).ok_or_else(|| {
            format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        holder.remove(&key).map(drop).map_err(|e| format!("error in remove for path: '{path}': {e}"))
    }

    fn replace(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|e| format!("replace operation failed to decode path: {e}"))?;
        if path.is_empty() {
            let value = operation.value();
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array: %!w(<nil>)".to_owned());
            }
            self.document = value;
            return Ok(());
        }
        let (mut holder, key) = self.holder(path).ok_or_else(|| {
            format!("replace operation does not apply: doc is missing path: {path}: {MISSING}")
        })?;
        if holder.get(&key).is_err() {
            return Err(format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"));
        }
        holder.set(&key, operation.value()).map_err(|e| format!("error in remove for path: '{path}': {e}"))
    }

    fn relocate(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let from = operation.from().map_err(|e| format!("move operation failed to decode from: {e}"))?;
        let (mut holder, key) = self.holder(from).ok_or_else(|| {
            format!("move operation does not apply: doc is missing from path: {from}: {MISSING}")
        })?;
        let value = holder
            .get(&key)
            .map(drop)
            .and_then(|()| holder.remove(&key))
            .map_err(|e| format!("error in move for path: '{key}': {e}"))?;
        let path = operation.path().map_err(|e| format!("move operation failed to decode path: {e}"))?;
        let (mut holder, key) = self.holder(path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        holder.add(&key, value).map_err(|e| format!("error in move for path: '{path}': {e}"))
    }

    fn copy(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let from = operation.from().map_err(|e| format!("copy operation failed to decode from: {e}"))?;
        let (holder, key) = self.holder(from).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}")
        })?;
        let value = holder.get(&key).map_err(|e| format!("error in copy for from: '{from}': {e}"))?.cloned();
        let path =
            operation.path().map_err(|_| format!("copy operation failed to decode path: {MISSING}"))?;
        if self.holder(path).is_none() {
            return Err(format!(
                "copy operation does not apply: doc is missing destination path: {path}: {MISSING}"
            ));
        }
        self.copied += value.as_ref().map_or(0, |value| value.to_string().len());
        if self.copied > MAX_JSON_PATCH_COPY_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_JSON_PATCH_COPY_BYTES}",
                self.copied
            ));
        }
        let Some((mut holder, key)) = self.holder(path) else { return Ok(()) };
        holder
            .add(&key, value.unwrap_or(Value::Null))
            .map_err(|e| format!("error while adding value during copy: {e}"))
    }

    fn test(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|e| format!("test operation failed to decode path: {e}"))?;
        let failed = || Err(format!("testing value {path} failed: test failed"));
        let wanted = operation.member("value").unwrap_or(&Value::Null);
        if path.is_empty() {
            return if self.document == *wanted { Ok(()) } else { failed() };
        }
        let (holder, key) = self
            .holder(path)
            .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
        let value = holder.get(&key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
        // A missing field tests equal to null.
        if value.unwrap_or(&Value::Null) == wanted { Ok(()) } else { failed() }
    }

    /// The container that a path ends in, and its last step.
    fn holder(&mut self, path: &str) -> Option<(Holder<'_>, String)> {
        let (_, steps) = path.split_once('/')?;
        let mut steps: Vec<String> = steps.split('/').map(unescape).collect();
        let key = steps.pop()?;
        let mut holder = Holder::of(&mut self.document)?;
        for step in steps {
            holder = Holder::of(holder.into_item(&step)?)?;
        }
        Some((holder, key))
    }
}

fn unescape(step: &str) -> String {
    let mut out = String::with_capacity(step.len());
    let mut rest = step;
    while let Some(at) = rest.find('~') {
        out.push_str(&rest[..at]);
        let (replacement, length) = match rest.as_bytes().get(at + 1) {
            Some(b'0') => ("~", 2),
            Some(b'1') => ("/", 2),
            _ => ("~", 1),
        };
        out.push_str(replacement);
        rest = &rest[at + length..];
    }
    out + rest
}

/// What a step can lead into.
enum Holder<'d> {
    Object(&'d mut Map<String, Value>),
    List(&'d mut Vec<Value>),
}

impl<'d> Holder<'d> {
    fn of(value: &'d mut Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Holder::Object(map)),
            Value::Array(items) => Some(Holder::List(items)),
            _ => None,
        }
    }

    fn into_item(self, key: &str) -> Option<&'d mut Value> {
        match self {
            Holder::Object(map) => map.get_mut(key),
            Holder::List(items) => {
                let index = index_in(key, items.len()).ok()?;
                items.get_mut(index)
            }
        }
    }

    /// A missing field is no error, a missing item is.
    fn get(&self, key: &str) -> Result<Option<&Value>, String> {
        match self {
            Holder::Object(map) => Ok(map.get(key)),
            Holder::List(items) => index_in(key, items.len()).map(|index| items.get(index)),
        }
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        match self {
            Holder::Object(map) => {
                map.insert(key.to_owned(), value);
            }
            Holder::List(items) => {
                let index = index_in(key, items.len())?;
                items[index] = value;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &str, value: Value) -> Result<(), String> {
        match self {
            Holder::Object(map) => {
                map.insert(key.to_owned(), value);
            }
            Holder::List(items) if key == "-" => items.push(value),
            Holder::List(items) => {
                let index = atoi(key)
                    .map_err(|e| format!("value was not a proper array index: '{key}': {e}"))
                    .and_then(|index| resolve(index, items.len() + 1))?;
                items.insert(index, value);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<Value, String> {
        match self {
            Holder::Object(map) => {
                map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
            }
            Holder::List(items) => {
                let index = index_in(key, items.len())?;
                Ok(items.remove(index))
            }
        }
    }
}

fn index_in(key: &str, length: usize) -> Result<usize, String> {
    resolve(atoi(key)?, length)
}

/// An index into `length` places; negative ones count from the end.
fn resolve(index: i64, length: usize) -> Result<usize, String> {
    let length = length as i64;
    if index >= length || index < -length {
        return Err(format!("Unable to access invalid index: {index}: invalid index referenced"));
    }
    Ok(if index < 0 { index + length } else { index } as usize)
}

fn atoi(key: &str) -> Result<i64, String> {
    grammar::go::atoi(key).map_err(|error| error.to_string())
}
