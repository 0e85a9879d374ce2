//! Generated objects of every message through every codec.

use api::{Outside, Value, json, proto};
use base::random::SeededRandom;
use schema::Form;

use crate::generate::Generator;

pub(crate) fn seeds() -> u64 {
    std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn every_message_survives_json_protobuf_and_tree() {
    let table = schema::builtin();
    let (mut messages, mut objects) = (0, 0);
    for (id, message) in table.messages() {
        // Messages without protobuf numbers (configuration files, metrics) have only JSON.
        if message.form == Form::Any {
            continue;
        }
        let wired =
            !matches!(message.form, Form::Object | Form::Wrapper) || message.wire_indices().next().is_some();
        messages += 1;
        for seed in 0..4 * seeds() {
            let random = SeededRandom::new(seed * 7919 + u64::from(id.0));
            let mut generator = Generator { table, random, sparse: seed % 4, made: 0 };
            let mut text = Vec::new();
            json::encode_any(&generator.message(id, 0), &mut text);
            let context = || format!("{} with seed {seed}: {}", message.name, String::from_utf8_lossy(&text));

            let decoded = json::decode(table, id, &text).unwrap_or_else(|e| panic!("{e}: {}", context()));
            assert!(decoded.strict.is_empty(), "{:?}: {}", decoded.strict, context());
            let tree = decoded.value;
            let again = json::normalize(table, id, &tree).unwrap_or_else(|e| panic!("{e}: {}", context()));
            assert_eq!(again.value, tree, "normal form is stable: {}", context());

            let mut printed = Vec::new();
            json::encode(table, id, &tree, &mut printed);
            objects += 1;
            if !wired {
                continue;
            }
            let bytes = proto::encode(table, id, &tree).unwrap_or_else(|e| panic!("{e}: {}", context()));
            let direct = json::to_proto(table, id, &text).unwrap_or_else(|e| panic!("{e}: {}", context()));
            let back = proto::to_tree(table, id, &bytes, Outside::default())
                .unwrap_or_else(|e| panic!("{e}: {}", context()));
            assert_eq!(back, tree, "protobuf to tree: {}", context());
            let direct_back = proto::to_tree(table, id, &direct.value, Outside::default()).unwrap();
            assert_eq!(direct_back, tree, "JSON to protobuf to tree: {}", context());
            let mut streamed = Vec::new();
            proto::to_json(table, id, &bytes, Outside::default(), &mut streamed).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&streamed),
                String::from_utf8_lossy(&printed),
                "protobuf to JSON: {}",
                context()
            );
        }
    }
    println!("{objects} objects of {messages} messages round-tripped");
    assert!(messages > 1000, "the table holds every message of v1.37");
}

/// Paths at which two trees differ.
pub(crate) fn differences(path: &str, got: &Value, want: &Value, out: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let (x, y) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(&format!("{path}.{key}"), x, y, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if got != want => out.push(format!("{path}: got {got}, want {want}")),
        _ => {}
    }
}

#[test]
fn a_revision_reaches_every_form() {
    let table = schema::builtin();
    let id = table.named("k8s.io.api.core.v1.ConfigMap").unwrap();
    let tree = json::decode(table, id, br#"{"metadata":{"name":"a","namespace":"b"},"data":{"k":"v"}}"#)
        .unwrap()
        .value;
    let bytes = proto::encode(table, id, &tree).unwrap();
    let outside = Outside { api_version: "v1", kind: "ConfigMap", revision: Some(42) };
    let mut text = Vec::new();
    proto::to_json(table, id, &bytes, outside, &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"b","resourceVersion":"42"},"data":{"k":"v"}}"#
    );
    let object: api::k8s_openapi::api::core::v1::ConfigMap = api::Typed::from_proto(&bytes, outside).unwrap();
    assert_eq!(object.metadata.resource_version.as_deref(), Some("42"));
    let mut spliced = Vec::new();
    api::splice::Splice::find(&bytes).unwrap().write(42, &mut spliced);
    let back = proto::to_tree(table, id, &spliced, Outside::default()).unwrap();
    assert_eq!(back["metadata"]["resourceVersion"], "42");
}
