//! What an update changed, for the message that refuses it.

use serde_json::Value;

use crate::tree::{Tree, same};

/// The fields of two specs that differ: `-` before, `+` after.
pub fn difference(old: &Value, new: &Value) -> String {
    fn walk(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
        match (old, new) {
            (old, new) if same(old, new) => {}
            (Value::Object(a), Value::Object(b)) => {
                let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
                keys.sort();
                keys.dedup();
                keys.iter().for_each(|key| walk(&format!("{path}.{key}"), old.at(key), new.at(key), lines));
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{path}[{index}]"), a, b, lines);
                }
            }
            (old, new) => lines.push(format!("- spec{path}: {old}\n+ spec{path}: {new}")),
        }
    }
    let mut lines = Vec::new();
    walk("", old, new, &mut lines);
    lines.join("\n")
}
