//! The recorded sample of a kind.

use std::path::PathBuf;

use base::clock::Wall;
use kinds::tree::{Tree, TreeMut};
use kinds::{Context, Kind, User};
use serde_json::Value;

/// The moment at which every recording was made: 2026-11-20T10:00:00Z.
pub const NOW: Wall = Wall::from_secs(1_795_168_800);
const CREATED: &str = "2026-11-20T09:55:00Z";
const UID: &str = "11111111-2222-3333-4444-555555555555";

pub struct Sample {
    /// As a client writes it.
    pub written: Value,
    /// As upstream stores it.
    pub prepared: Value,
    /// The prepared object with a recorded status: what the row and the fields are made of.
    pub shown: Value,
    pub cells: Vec<Value>,
    pub fields: Value,
    pub warnings: Value,
    pub facts: Value,
}

/// The folder of a group is its first label; the core group's is `core`.
pub fn path(kind: &Kind, extension: &str) -> PathBuf {
    let group = match kind.group.split('.').next() {
        None | Some("") => "core",
        Some(group) => group,
    };
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(group).join(format!("{}.{extension}", kind.plural))
}

pub fn read(kind: &Kind) -> Option<Sample> {
    let text = std::fs::read_to_string(path(kind, "json")).ok()?;
    let mut record: Value = serde_json::from_str(&text).expect("a sample is JSON");
    let mut shown = record.at("prepared").clone();
    if record.has("status") {
        shown.copy_from(&record, &["status"]);
    }
    Some(Sample {
        shown,
        written: record.at_mut("written").take(),
        prepared: record.at_mut("prepared").take(),
        cells: record.list("cells").to_vec(),
        fields: record.at_mut("fields").take(),
        warnings: record.at_mut("warnings").take(),
        facts: record.at_mut("facts").take(),
    })
}

/// Runs `f` with the context in which everything was recorded.
pub fn with_context<T>(kind: &Kind, f: impl FnOnce(&Context<'_>) -> T) -> T {
    let user = User {
        name: "tester".into(),
        uid: "tester-uid".into(),
        groups: vec!["system:authenticated".into()],
        extra: vec![],
    };
    let api_version = match &*kind.group {
        "" => kind.versions[0].name.to_string(),
        group => format!("{group}/{}", kind.versions[0].name),
    };
    f(&Context { now: NOW, api_version: &api_version, user: &user })
}

/// What the registry does before it validates a create: default in the written version, convert, give the object
/// its system metadata, prepare.
pub fn prepare(kind: &Kind, mut obj: Value, cx: &Context<'_>) -> Value {
    let version = kind.versions[0].name.clone();
    kind.strategy.default(&version, &mut obj);
    kind.to_stored(&version, &mut obj);
    if kind.stored {
        let meta = obj.at_mut("metadata");
        meta.set("uid", UID);
        meta.set("creationTimestamp", CREATED);
    }
    kind.prepare_create(&mut obj, cx);
    obj
}

/// A stored object as the registry reads it back.
pub fn stored(mut obj: Value) -> Value {
    obj.at_mut("metadata").set("resourceVersion", "1");
    obj
}

/// Without the empty structs that Go writes for absent ones, so that trees from both sides compare.
pub fn pruned(mut tree: Value) -> Value {
    prune(&mut tree);
    tree
}

fn prune(tree: &mut Value) {
    /// Struct fields that are not pointers in Go: empty and absent are one.
    const STRUCTS: &[&str] = &[
        "status",
        "resources",
        "strategy",
        "metadata",
        "loadBalancer",
        "updateStrategy",
        "template",
        "spec",
        "allocatable",
        "daemonEndpoints",
        "nodeInfo",
        "kubeletEndpoint",
        "source",
        "involvedObject",
        "conditions",
        "userInfo",
        "user",
    ];
    match tree {
        Value::Object(entries) => {
            entries.values_mut().for_each(prune);
            // Counts and answers that are always written are zero where we leave them out.
            if let Some(Value::Object(status)) = entries.get_mut("status") {
                status.retain(|_, value| value != 0 && value != false);
            }
            for key in ["nodeInfo", "kubeletEndpoint"] {
                if let Some(Value::Object(info)) = entries.get_mut(key) {
                    info.retain(|_, value| value != 0 && value != "");
                }
            }
            entries.retain(|key, value| {
                // Written though they are empty.
                if matches!(key.as_str(), "reportingComponent" | "reportingInstance") && value == "" {
                    return false;
                }
                if key == "divisor" && value == "0" {
                    return false;
                }
                let empty = value.as_object().is_some_and(|value| value.is_empty());
                !(value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || (empty && STRUCTS.contains(&key.as_str())))
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
