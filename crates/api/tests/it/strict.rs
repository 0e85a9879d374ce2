//! Decoding as upstream's own JSON library does it: strict errors, refusals and what is left, recorded from
//! `sigs.k8s.io/json` over the types of `k8s.io/api` v0.37.2.

use api::json;
use serde_json::Value;

const CASES: &str = include_str!("../data/strict.jsonl");

/// Cases in which the words may differ: Go names the Go type of a field (`v1.PodPhase`), or its own parser's state,
/// where the table knows the shape alone. They must still be refused, or accepted, alike.
const OTHER_WORDS: &[&str] = &[r#"{"type":5}"#];

#[test]
fn json_is_decoded_as_upstream_decodes_it() {
    let table = schema::builtin();
    let (mut count, mut failures) = (0, Vec::new());
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let id = table.named(text("message")).unwrap();
        let (mut strict, mut error, mut output) = (Vec::new(), String::new(), String::new());
        match json::decode(table, id, text("input").as_bytes()) {
            Ok(decoded) => {
                strict = decoded.strict.iter().map(ToString::to_string).collect();
                let mut out = Vec::new();
                json::encode(table, id, &decoded.value, &mut out);
                output = String::from_utf8(out).unwrap();
            }
            Err(refused) => error = refused.to_string(),
        }
        let want: Vec<String> =
            case["strict"].as_array().into_iter().flatten().map(|e| e.as_str().unwrap().to_owned()).collect();
        let same =
            (strict, error.clone(), output.clone()) == (want, text("error").into(), text("output").into());
        let alike = OTHER_WORDS.contains(&text("input")) && error.is_empty() == text("error").is_empty();
        count += 1;
        if !same && !alike {
            failures.push(format!("{}\n  got  {error:?} {output}\n  want {line}", text("input")));
        }
    }
    assert!(failures.is_empty(), "{} of {count} differ:\n{}", failures.len(), failures.join("\n"));
    println!("{count} recorded decodings agree");
}
