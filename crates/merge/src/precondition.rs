//! What a patch that is made may not change.

use serde_json::{Map, Value};

use crate::go::{self, Numbers};

/// Something that must stay as it is, such as the name when a configuration is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition<'k> {
    /// A top-level field.
    Key(&'k str),
    /// A field of the metadata.
    MetadataKey(&'k str),
}

/// Whether `patch` leaves all of `unchanged` alone; the error is upstream's message.
pub(crate) fn check(patch: &Map<String, Value>, unchanged: &[Precondition<'_>]) -> Result<(), String> {
    let touched = |precondition: &Precondition<'_>| match precondition {
        Precondition::Key(key) => patch.contains_key(*key),
        Precondition::MetadataKey(key) => {
            patch.get("metadata").is_some_and(|metadata| metadata.get(key).is_some())
        }
    };
    if unchanged.iter().any(touched) {
        let patch = go::plain(&Value::Object(patch.clone()), Numbers::Integers);
        return Err(format!("precondition failed for: {patch}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_that_touches_what_must_stay_is_refused() {
        let unchanged = [Precondition::Key("kind"), Precondition::MetadataKey("name")];
        let refusal = |patch: Value| check(patch.as_object().unwrap(), &unchanged).err();
        assert_eq!(refusal(json!({"metadata": {"labels": null}, "name": "x"})), None);
        assert_eq!(refusal(json!({"kind": null})).unwrap(), "precondition failed for: map[kind:<nil>]");
        assert!(refusal(json!({"metadata": {"name": "b"}})).is_some());
    }
}
