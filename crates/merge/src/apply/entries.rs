//! `metadata.managedFields`: its entries, read and written.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::fieldset::{FieldsError, Set};

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What tells one entry from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ManagerId {
    pub manager: String,
    pub operation: Operation,
    /// Empty for an applier, which has one entry whatever versions it applies in.
    pub api_version: String,
    pub subresource: String,
}

impl ManagerId {
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        ManagerId {
            manager: manager.to_owned(),
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.to_owned() },
            subresource: subresource.to_owned(),
        }
    }
}

/// Upstream sorts identifiers as JSON text. There a closing quote ends each part, and a part that is empty is left
/// out, so that what comes after it in the text decides: it sorts last.
impl Ord for ManagerId {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |l: &str, r: &str| {
            let quoted = l.bytes().chain([b'"']).cmp(r.bytes().chain([b'"']));
            l.is_empty().cmp(&r.is_empty()).then(quoted)
        };
        part(&self.manager, &other.manager)
            .then_with(|| self.operation.cmp(&other.operation))
            .then_with(|| part(&self.api_version, &other.api_version))
            .then_with(|| part(&self.subresource, &other.subresource))
    }
}

impl PartialOrd for ManagerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub set: Set,
    /// The version whose fields the set names.
    pub api_version: String,
    /// When the set last changed.
    pub time: Option<Timestamp>,
}

/// All entries of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed(pub BTreeMap<ManagerId, Owned>);

/// Why `managedFields` was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    FieldsType(String, usize),
    #[error("error decoding versioned set from entry {index} of {manager:?}: error decoding set: {source}")]
    Set { index: usize, manager: String, source: FieldsError },
    #[error("managedFields must be a list of entries")]
    Shape,
    #[error("invalid time {0:?} in managed fields entry {1}")]
    Time(String, usize),
}

/// Checks entries that a client or an admission webhook supplied.
pub fn validate_managed_fields(entries: &Value) -> Result<(), EntriesError> {
    Managed::decode(Some(entries)).map(drop)
}

impl Managed {
    /// Reads the value of `metadata.managedFields`.
    pub fn decode(entries: Option<&Value>) -> Result<Managed, EntriesError> {
        let mut out = BTreeMap::new();
        let entries = match entries {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(EntriesError::Shape),
        };
        for (index, entry) in entries.iter().enumerate() {
            let (id, owned) = decode_entry(entry, index)?;
            out.insert(id, owned);
        }
        Ok(Managed(out))
    }

    /// The value for `metadata.managedFields`; `None` where nobody owns anything.
    ///
    /// Appliers come before other writers, then the oldest first.
    pub fn encode(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<(&ManagerId, &Owned)> = self.0.iter().collect();
        let seconds = |owned: &Owned| owned.time.map_or(0, Timestamp::as_second);
        entries.sort_by(|(l_id, l), (r_id, r)| {
            (l_id.operation.cmp(&r_id.operation))
                .then_with(|| seconds(l).cmp(&seconds(r)))
                .then_with(|| l_id.manager.cmp(&r_id.manager))
                .then_with(|| l.api_version.cmp(&r.api_version))
                .then_with(|| l_id.subresource.cmp(&r_id.subresource))
        });
        Some(entries.into_iter().map(|(id, owned)| encode_entry(id, owned)).collect())
    }
}

fn decode_entry(entry: &Value, index: usize) -> Result<(ManagerId, Owned), EntriesError> {
    let entry = entry.as_object().ok_or(EntriesError::Shape)?;
    let text = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(s)) => Ok(&**s),
        Some(_) => Err(EntriesError::Shape),
    };
    let operation = match text("operation")? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(EntriesError::Operation),
    };
    let api_version = text("apiVersion")?;
    if api_version.is_empty() {
        return Err(EntriesError::ApiVersion);
    }
    match text("fieldsType")? {
        "FieldsV1" => {}
        "" => return Err(EntriesError::NoFieldsType(index)),
        other => return Err(EntriesError::FieldsType(other.to_owned(), index)),
    }
    let manager = text("manager")?;
    let set = match entry.get("fieldsV1") {
        None | Some(Value::Null) => Set::new(),
        Some(fields) => Set::from_value(fields).map_err(|source| EntriesError::Set {
            index,
            manager: manager.to_owned(),
            source,
        })?,
    };
    let time = match text("time")? {
        "" => None,
        time => Some(time.parse().map_err(|_| EntriesError::Time(time.to_owned(), index))?),
    };
    let id = ManagerId::new(manager, operation, api_version, text("subresource")?);
    Ok((id, Owned { set, api_version: api_version.to_owned(), time }))
}

fn encode_entry(id: &ManagerId, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            entry.insert(name.to_owned(), Value::from(value));
        }
    };
    put("manager", &id.manager);
    put("operation", id.operation.as_str());
    put("apiVersion", &owned.api_version);
    put("subresource", &id.subresource);
    put("fieldsType", "FieldsV1");
    if let Some(time) = owned.time {
        put("time", &time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    entry.insert("fieldsV1".to_owned(), owned.set.to_value());
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_sort_as_their_json_text_does() {
        let id = |manager, operation, subresource| ManagerId::new(manager, operation, "v1", subresource);
        let ascending = [
            id("a b", Operation::Apply, ""),
            id("a", Operation::Apply, "status"),
            id("a", Operation::Apply, ""),
            id("a", Operation::Update, "status"),
            id("a", Operation::Update, ""),
            id("ab", Operation::Apply, ""),
            id("", Operation::Apply, ""),
        ];
        for (i, l) in ascending.iter().enumerate() {
            for (j, r) in ascending.iter().enumerate() {
                assert_eq!(l.cmp(r), i.cmp(&j), "{l:?} and {r:?}");
            }
        }
    }
}
