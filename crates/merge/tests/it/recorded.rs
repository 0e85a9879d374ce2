//! Cases recorded from upstream's own libraries: Kubernetes v1.37 (apimachinery 0.37.2), structured-merge-diff
//! 6.4.2 and evanphx/json-patch 4.13.0.
//!
//! Each file is a list of cases, one a line. A case has its inputs and either a `result`, an `error`, or `panic`
//! where upstream crashes; there this implementation must refuse.

use serde_json::Value;

/// Runs `run` on every case of a file and reports all differences at once.
#[track_caller]
pub fn check(file: &str, text: &str, at_least: usize, run: impl Fn(&Value) -> Option<String>) {
    let cases: Vec<Value> = serde_json::from_str(text).expect("recorded data is JSON");
    assert!(cases.len() >= at_least, "{file} has only {} cases", cases.len());
    let failed: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case["name"], run(case)?))).collect();
    println!("{file}: {} cases, {} differ", cases.len(), failed.len());
    assert!(failed.is_empty(), "{} of {} differ:\n\n{}", failed.len(), cases.len(), failed.join("\n\n"));
}

/// How an outcome differs from the recorded one.
pub fn difference(case: &Value, outcome: Result<Value, String>) -> Option<String> {
    match (outcome, case.get("result"), case.get("error").and_then(Value::as_str)) {
        (Ok(ours), Some(theirs), _) => (!merge::value::equal(&ours, theirs))
            .then(|| format!("got\n  {ours}\nwanted\n  {theirs}\nfor\n  {}", inputs(case))),
        (Err(ours), _, Some(theirs)) => {
            (ours != theirs).then(|| format!("refused with\n  {ours}\nwanted\n  {theirs}"))
        }
        (Err(_), None, None) if case.get("panic").is_some() => None,
        (Ok(ours), _, theirs) => Some(format!("got {ours}\nwanted the error\n  {theirs:?}")),
        (Err(ours), theirs, _) => {
            Some(format!("refused with\n  {ours}\nwanted\n  {theirs:?}\nfor\n  {}", inputs(case)))
        }
    }
}

fn inputs(case: &Value) -> String {
    let mut case = case.clone();
    if let Some(case) = case.as_object_mut() {
        case.remove("result");
    }
    case.to_string()
}
