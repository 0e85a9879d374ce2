//! How structured merge orders, equates and prints JSON values.
//!
//! The order decides where a path element stands in a serialised field set, so it is part of the wire format. It
//! differs from any derived order: numbers compare by value whatever their spelling, and numbers come before
//! strings, strings before booleans, then lists, maps and null.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// Total order over JSON values.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => compare_numbers(l, r),
        (Value::String(l), Value::String(r)) => l.cmp(r),
        (Value::Bool(l), Value::Bool(r)) => l.cmp(r),
        (Value::Array(l), Value::Array(r)) => compare_lists(l, r),
        (Value::Object(l), Value::Object(r)) => compare_maps(l, r),
        _ => rank(left).cmp(&rank(right)),
    }
}

/// Deep equality in which `1` and `1.0` are the same value.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => compare_numbers(l, r).is_eq(),
        (Value::Array(l), Value::Array(r)) => l.len() == r.len() && l.iter().zip(r).all(|(l, r)| equal(l, r)),
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len() && l.iter().all(|(key, l)| r.get(key).is_some_and(|r| equal(l, r)))
        }
        _ => left == right,
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(l), Some(r)) => l.cmp(&r),
        // JSON has no NaN, so the partial order is total here.
        _ => left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal),
    }
}

fn compare_lists(left: &[Value], right: &[Value]) -> Ordering {
    for (l, r) in left.iter().zip(right) {
        let order = compare(l, r);
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// Maps compare over the union of their keys: the first key that only one side has decides for the other side,
/// unless that other side is already used up.
fn compare_maps(left: &Map<String, Value>, right: &Map<String, Value>) -> Ordering {
    let mut keys: Vec<&String> =
        left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))).collect();
    keys.sort();
    for (seen, key) in keys.into_iter().enumerate() {
        if seen == left.len() {
            return Ordering::Less;
        }
        if seen == right.len() {
            return Ordering::Greater;
        }
        let order = match (left.get(key), right.get(key)) {
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
            (Some(l), Some(r)) => compare(l, r),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_every_kind_stand_in_wire_order() {
        let ascending = [
            json!(-1),
            json!(0.5),
            json!(2),
            json!(10),
            json!("10"),
            json!("2"),
            json!(false),
            json!(true),
            json!([1]),
            json!([1, 1]),
            json!([2]),
            json!({"a": 1}),
            json!({"a": 2}),
            json!(null),
        ];
        for (i, l) in ascending.iter().enumerate() {
            for (j, r) in ascending.iter().enumerate() {
                assert_eq!(compare(l, r), i.cmp(&j), "{l} and {r}");
                assert_eq!(equal(l, r), i == j, "{l} and {r}");
            }
        }
    }

    #[test]
    fn an_integer_equals_its_float() {
        assert!(equal(&json!({"a": [1]}), &json!({"a": [1.0]})));
        assert!(compare(&json!(1), &json!(1.0)).is_eq());
    }
}
