//! From client-side to server-side apply, on the client's request.

use serde_json::Value;

use super::entries::{EntriesError, Operation};
use crate::fieldset::{FieldsError, Set};

/// Why the entries could not be upgraded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    #[error("failed to convert fields to set: {0}")]
    Fields(#[from] FieldsError),
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

/// Gives what the client-side managers own to the server-side manager `to`, and drops them. Where `to` has no
/// entry yet, the first of theirs becomes its entry. Only fields recorded in the same version can be united.
pub fn upgrade_managed_fields(
    entries: &[Value],
    from: &[&str],
    to: &str,
    subresource: &str,
) -> Result<Vec<Value>, MigrateError> {
    let mut entries = entries.to_vec();
    for manager in from {
        entries = upgrade_one(entries, manager, to, subresource)?;
    }
    Ok(entries)
}

fn upgrade_one(
    mut entries: Vec<Value>,
    from: &str,
    to: &str,
    subresource: &str,
) -> Result<Vec<Value>, MigrateError> {
    let is = |entry: &Value, manager: &str, operation: Operation| {
        text(entry, "manager") == manager
            && text(entry, "operation") == operation.as_str()
            && text(entry, "subresource") == subresource
    };
    let applier = entries.iter().position(|entry| is(entry, to, Operation::Apply));
    let writer = entries.iter().position(|entry| is(entry, from, Operation::Update));
    let Some(target) = applier.or(writer) else { return Ok(entries) };
    if applier.is_none()
        && let Some(entry) = entries[target].as_object_mut()
    {
        entry.insert("operation".to_owned(), Value::from(Operation::Apply.as_str()));
        entry.insert("manager".to_owned(), Value::from(to));
    }
    let version = text(&entries[target], "apiVersion").to_owned();
    let mut set = fields(&entries[target])?;
    let same_version =
        entries.iter().find(|e| is(e, from, Operation::Update) && text(e, "apiVersion") == version);
    if let Some(writer) = same_version {
        set.extend(&fields(writer)?);
    }
    if let Some(entry) = entries[target].as_object_mut() {
        entry.insert("fieldsV1".to_owned(), set.to_value());
    }
    entries.retain(|entry| !is(entry, from, Operation::Update));
    Ok(entries)
}

fn text<'v>(entry: &'v Value, field: &str) -> &'v str {
    entry.get(field).and_then(Value::as_str).unwrap_or("")
}

fn fields(entry: &Value) -> Result<Set, FieldsError> {
    entry.get("fieldsV1").map_or(Ok(Set::new()), Set::from_value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsV1": {field: {}}})
    }

    #[test]
    fn the_server_side_manager_takes_over_what_the_client_side_ones_own() {
        let upgraded = upgrade_managed_fields(
            &[
                entry("kubectl", "Apply", "v1", "f:a"),
                entry("kubectl-client-side-apply", "Update", "v1", "f:b"),
                entry("kubectl-client-side-apply", "Update", "v2", "f:c"),
                entry("other", "Update", "v1", "f:d"),
            ],
            &["kubectl-client-side-apply"],
            "kubectl",
            "",
        );
        let mut united = entry("kubectl", "Apply", "v1", "f:a");
        united["fieldsV1"]["f:b"] = json!({});
        assert_eq!(upgraded.unwrap(), [united, entry("other", "Update", "v1", "f:d")]);
    }

    #[test]
    fn without_a_server_side_manager_the_first_client_side_one_becomes_it() {
        let upgraded = upgrade_managed_fields(&[entry("old", "Update", "v1", "f:b")], &["old"], "new", "");
        assert_eq!(upgraded.unwrap(), [entry("new", "Apply", "v1", "f:b")]);
    }
}
