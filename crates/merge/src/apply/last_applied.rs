//! The annotation in which client-side `kubectl apply` keeps its last configuration.

use serde_json::{Map, Value};

use crate::limits::{MAX_ANNOTATION_BYTES, check_depth};

pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The recorded configuration, where there is one of this version.
pub(super) fn read(object: &Value, api_version: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(recorded(object)?).ok()?;
    check_depth(&record, "last applied configuration").ok()?;
    let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or("");
    (text("apiVersion") == api_version && !text("kind").is_empty()).then_some(record)
}

/// Brings the record of an object that has one up to `config`, so that a client may go back to client-side apply.
/// A record that would make the annotations too large is dropped.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if recorded(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
    let record = grammar::go::json(&config) + "\n";
    let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") else { return };
    annotations.insert(LAST_APPLIED_ANNOTATION.to_owned(), Value::from(record));
    if bytes_of(annotations) > MAX_ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}

fn recorded(object: &Value) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(LAST_APPLIED_ANNOTATION)?.as_str().filter(|record| !record.is_empty())
}

fn bytes_of(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(config: Value, record: Option<&str>) {
        let mut object = json!({"metadata": {"annotations": {LAST_APPLIED_ANNOTATION: "old"}}});
        refresh(&mut object, &config);
        assert_eq!(recorded(&object), record);
    }

    #[test]
    fn a_record_never_holds_itself_nor_more_than_annotations_may() {
        check(
            json!({"metadata": {"annotations": {LAST_APPLIED_ANNOTATION: "x", "a": "<"}}}),
            Some("{\"metadata\":{\"annotations\":{\"a\":\"\\u003c\"}}}\n"),
        );
        check(json!({"data": {"x": "y".repeat(MAX_ANNOTATION_BYTES)}}), None);
    }

    #[test]
    fn an_object_without_a_record_gets_none() {
        let mut object = json!({"metadata": {"annotations": {}}});
        refresh(&mut object, &json!({}));
        assert_eq!(object, json!({"metadata": {"annotations": {}}}));
    }
}
