//! Input made to break things: whatever it is, the answer is a value or an error.

use std::collections::HashMap;

use bolero::check;
use jiff::Timestamp;
use merge::apply::{FieldManager, Managed, OneVersion};
use merge::fieldset::Set;
use merge::limits::{MAX_DEPTH, MAX_JSON_PATCH_OPERATIONS};
use merge::typed::{Duplicates, Typing, compare, field_set, remove, validate};
use merge::{json_patch, merge_patch, strategic};
use schema::MessageId;
use serde_json::{Map, Value, json};

use crate::iterations;

/// Words that mean something somewhere, so that blind choice finds the branches.
const WORDS: [&str; 32] = [
    "spec",
    "containers",
    "name",
    "a",
    "b",
    "ports",
    "containerPort",
    "protocol",
    "$patch",
    "delete",
    "replace",
    "merge",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "finalizers",
    "metadata",
    "labels",
    "env",
    "value",
    "op",
    "path",
    "from",
    "add",
    "test",
    "copy",
    "/spec/containers/0",
    "/metadata/-1",
    "f:spec",
    "k:{\"name\":\"a\"}",
    ".",
    "volumes",
];

/// Grows a value out of bytes.
struct Seed<'b>(std::slice::Iter<'b, u8>);

impl Seed<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.next() as usize % WORDS.len()]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next() % if depth == 0 { 6 } else { 12 } {
            0 => Value::Null,
            1 => Value::from(self.next() % 3),
            2 => Value::from(f64::from(self.next()) / 2.0),
            3 => Value::from(self.next() > 127),
            4 | 5 => Value::from(self.word()),
            6..=8 => (0..self.next() % 4).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.map(depth)),
        }
    }

    fn map(&mut self, depth: usize) -> Map<String, Value> {
        (0..self.next() % 5).map(|_| (self.word().to_owned(), self.value(depth - 1))).collect()
    }
}

fn pod() -> MessageId {
    schema::builtin().kind("", "v1", "Pod").expect("pods are in the table")
}

#[test]
fn patches_of_every_kind_survive_any_input() {
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        let seed = &mut Seed(bytes.iter());
        let (document, patch) = (Value::Object(seed.map(6)), Value::Object(seed.map(6)));
        let table = schema::builtin();
        let _ = strategic::apply(document.clone(), patch.clone(), table, pod());
        if let Ok(patch) = strategic::two_way(document.clone(), patch.clone(), table, pod(), &[]) {
            let _ = strategic::apply(document.clone(), patch, table, pod());
        }
        let third = Value::Object(seed.map(5));
        let _ =
            strategic::three_way(document.clone(), patch.clone(), third.clone(), table, pod(), false, &[]);
        let _ = merge_patch::apply(document.clone(), patch.clone());
        let _ = merge_patch::three_way(&document, &patch, &third, &[]);
        let operations = Value::Array((0..4).map(|_| Value::Object(seed.map(3))).collect());
        let _ = json_patch::apply(document, &operations);
    });
}

#[test]
fn a_merge_patch_made_from_two_documents_leads_from_one_to_the_other() {
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, item| !item.is_null());
                map.values_mut().for_each(without_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        let seed = &mut Seed(bytes.iter());
        let (mut from, mut to) = (Value::Object(seed.map(5)), Value::Object(seed.map(5)));
        without_nulls(&mut from);
        without_nulls(&mut to);
        let patch = merge_patch::create(&from, &to).unwrap();
        assert!(merge::value::equal(&merge_patch::apply(from, patch).unwrap(), &to));
    });
}

#[test]
fn apply_survives_any_objects_and_any_entries() {
    let table = schema::builtin();
    let filters = HashMap::new();
    let now = Timestamp::UNIX_EPOCH;
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        let seed = &mut Seed(bytes.iter());
        let typing = if seed.next() % 3 == 0 { Typing::Deduced } else { Typing::Message(table, pod()) };
        let convert = OneVersion { version: "v1", typing };
        let fields = FieldManager {
            convert: &convert,
            group_version: "v1",
            kind: "Pod",
            subresource: "",
            filters: &filters,
        };
        let mut object = |with_entries: bool| {
            let mut object = json!({"apiVersion": "v1", "kind": "Pod"});
            for field in ["metadata", "spec"] {
                object[field] = if seed.next() % 8 == 0 { seed.value(4) } else { Value::Object(seed.map(5)) };
            }
            if with_entries && object["metadata"].is_object() {
                let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1",
                    "fieldsType": "FieldsV1", "fieldsV1": Value::Object(seed.map(4))});
                object["metadata"]["managedFields"] =
                    if seed.next() % 4 == 0 { seed.value(3) } else { json!([entry]) };
            }
            object
        };
        let (live, patch, new) = (object(true), object(false), object(true));
        let _ = fields.apply(&live, &patch, "kubectl", false, now);
        if let Ok(applied) = fields.apply(&live, &patch, "a", true, now) {
            let again = fields.apply(&applied, &patch, "a", false, now).unwrap();
            assert!(Managed::decode(again["metadata"].get("managedFields")).is_ok());
        }
        let _ = fields.update(&live, new.clone(), "u", now);
        if validate(&live, typing, Duplicates::Allowed).is_ok() {
            let set = field_set(&live, typing);
            let _ = remove(&live, &set, typing);
            assert!(compare(Some(&live), Some(&live), typing).unwrap().is_same());
        }
    });
}

#[test]
fn field_sets_survive_any_text() {
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(set) = Set::from_json(text)
        {
            assert_eq!(Set::from_json(&set.to_json()).unwrap(), set);
        }
        let seed = &mut Seed(bytes.iter());
        let value = Value::Object(seed.map(6));
        if let Ok(set) = Set::from_value(&value) {
            assert_eq!(Set::from_json(&set.to_json()).unwrap(), set);
        }
    });
}

#[test]
fn nesting_is_limited_with_a_clear_error() {
    let deep = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}));
    let too_deep = "nested more than 256 levels deep";
    assert!(merge_patch::apply(json!({}), deep(MAX_DEPTH)).is_ok());
    let refused = [
        merge_patch::apply(json!({}), deep(MAX_DEPTH + 1)).unwrap_err().to_string(),
        json_patch::apply(deep(MAX_DEPTH + 1), &json!([])).unwrap_err().to_string(),
        strategic::apply(json!({}), deep(MAX_DEPTH + 1), schema::builtin(), pod()).unwrap_err().to_string(),
        Set::from_value(&(0..MAX_DEPTH + 2).fold(json!({}), |inner, _| json!({"f:a": inner})))
            .unwrap_err()
            .to_string(),
    ];
    for error in refused {
        assert!(error.contains(too_deep), "{error}");
    }
}

#[test]
fn json_patches_are_limited_in_operations_and_growth() {
    let test = json!({"op": "test", "path": "/a", "value": 1});
    let many = |count: usize| Value::Array(vec![test.clone(); count]);
    assert!(json_patch::apply(json!({"a": 1}), &many(MAX_JSON_PATCH_OPERATIONS)).is_ok());
    let error = json_patch::apply(json!({"a": 1}), &many(MAX_JSON_PATCH_OPERATIONS + 1)).unwrap_err();
    assert_eq!(error.to_string(), "The allowed maximum operations in a JSON patch is 10000, got 10001");

    let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let error =
        json_patch::apply(json!({"a": ["x".repeat(1000)]}), &Value::Array(vec![double; 40])).unwrap_err();
    let wanted = "Unable to complete the copy, the accumulated size increase of copy is ";
    assert!(error.to_string().starts_with(wanted), "{error}");
    assert!(error.to_string().ends_with("exceeding the limit 3145728"), "{error}");
}

#[test]
fn long_lists_are_merged_in_reasonable_time() {
    let list = |count: usize, extra: &str| -> Value {
        (0..count).map(|i| json!({"name": format!("c{i}"), "image": extra})).collect()
    };
    let (document, patch) = (
        json!({"spec": {"containers": list(20_000, "a")}}),
        json!({"spec": {"containers": list(20_000, "b")}}),
    );
    let merged = strategic::apply(document, patch.clone(), schema::builtin(), pod()).unwrap();
    assert_eq!(merged, patch);
}
