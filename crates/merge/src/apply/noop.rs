//! Writes that change nothing but a time.

use serde_json::{Map, Value};

use crate::value::equal;

/// Puts the old times back where `new` differs from `old` in nothing but the times of its managed fields, so that
/// storing it is a no-op and the resource version stays. Whoever came to own a field, or no longer owns one, is
/// a difference.
pub fn restore_timestamps(old: &Value, new: &mut Value) {
    let (Some(before), Some(after)) = (entries(old), entries(new)) else { return };
    let same_but_times = !after.is_empty()
        && before.len() == after.len()
        && before.iter().zip(after).all(|(l, r)| equal_but(l, r, "time"))
        && equal_but(old, new, "metadata")
        && equal_but(&old["metadata"], &new["metadata"], "managedFields");
    if same_but_times {
        let before = Value::Array(before.clone());
        new["metadata"]["managedFields"] = before;
    }
}

fn entries(object: &Value) -> Option<&Vec<Value>> {
    object.get("metadata")?.get("managedFields")?.as_array()
}

fn equal_but(left: &Value, right: &Value, field: &str) -> bool {
    fn rest<'v>(map: &'v Map<String, Value>, field: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
        map.iter().filter(move |(key, _)| *key != field)
    }
    match (left, right) {
        (Value::Object(l), Value::Object(r)) => {
            rest(l, field).count() == rest(r, field).count()
                && rest(l, field).all(|(key, l)| r.get(key).is_some_and(|r| equal(l, r)))
        }
        _ => equal(left, right),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(data: u8, manager: &str, time: &str) -> Value {
        json!({"metadata": {"name": "a", "managedFields": [{"manager": manager, "time": time}]}, "data": data})
    }

    #[track_caller]
    fn check(old: Value, new: Value, restored: bool) {
        let mut out = new.clone();
        restore_timestamps(&old, &mut out);
        assert_eq!(out, if restored { old } else { new });
    }

    #[test]
    fn only_a_write_that_changed_nothing_gets_its_times_back() {
        check(object(1, "m", "t1"), object(1, "m", "t2"), true);
        check(object(1, "m", "t1"), object(2, "m", "t2"), false);
        check(object(1, "m", "t1"), object(1, "n", "t2"), false);
        check(json!({"metadata": {}}), object(1, "n", "t2"), false);
    }
}
