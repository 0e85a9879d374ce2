//! The Pod Security Standards against upstream's own evaluator and admission plugin.

use std::collections::{BTreeMap, BTreeSet};

use access::pod_security::admission::{Config, Exemptions};
use access::pod_security::{Level, Standard, Version, evaluate};
use serde_json::{Value, json};

fn recorded() -> Value {
    serde_json::from_str(include_str!("../data/pod_security.json")).expect("recorded data is JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

#[test]
fn pods_violate_what_upstream_says_they_violate() {
    let data = recorded();
    let (mut evaluated, mut violated) = (0, 0);
    for case in list(&data["evaluations"]) {
        for (level, name) in [(Level::Baseline, "baseline"), (Level::Restricted, "restricted")] {
            // Only the versions that changed the verdict were written down.
            let mut want = "";
            for minor in 0..=38 {
                let version = Version::Minor(minor);
                let standard = Standard { level, version };
                want = case["verdicts"][format!("{name}:v1.{minor}")].as_str().unwrap_or(want);
                let got = evaluate(standard, &case["pod"]);
                assert_eq!(got.to_string(), want, "{standard} {}", case["pod"]);
                evaluated += 1;
                violated += usize::from(!got.is_empty());
            }
        }
    }
    println!("{evaluated} evaluations, {violated} with violations");
    assert!(violated >= 1_000 && evaluated - violated >= 1_000);
}

fn config() -> Config {
    let one = |text: &str| BTreeSet::from([text.to_owned()]);
    let exemptions =
        Exemptions { users: one("free"), namespaces: one("open"), runtime_classes: one("sandbox") };
    Config { exemptions, ..Config::default() }
}

fn namespace(case: &Value, labels: &str) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": case["namespace"], "labels": case[labels]}})
}

#[test]
fn requests_are_refused_warned_of_and_noted_as_upstream_does() {
    let data = recorded();
    let cases = list(&data["admissions"]);
    let mut refused = 0;
    for case in cases {
        let namespace = namespace(case, "labels");
        let user = case["user"].as_str().unwrap();
        let got = if case["template"] == true {
            config().template(user, &namespace, &case["pod"])
        } else {
            config().pod(user, &namespace, &case["pod"], case.get("old"))
        };
        let refusal = got.refusal.map(|text| {
            let resource = if case["template"] == true { "podtemplates" } else { "pods" };
            format!("{resource} \"p\" is forbidden: {text}")
        });
        refused += usize::from(refusal.is_some());
        assert_eq!(refusal.unwrap_or_default(), case["refusal"].as_str().unwrap(), "{case}");
        assert_eq!(got.warnings, texts(&case["warnings"]), "{case}");
        let audit = case["audit"].as_object().into_iter().flatten();
        let audit: BTreeMap<&str, String> =
            audit.map(|(key, value)| (key.as_str(), value.as_str().unwrap().to_owned())).collect();
        assert_eq!(got.audit, audit, "{case}");
    }
    println!("{} admissions, {refused} refused", cases.len());
    assert!(refused >= 30);
}

#[test]
fn namespaces_are_checked_and_their_pods_looked_at() {
    let data = recorded();
    let cases = list(&data["namespaces"]);
    let mut invalid = 0;
    for case in cases {
        let old = case["old"].is_object().then(|| namespace(case, "old"));
        let pods = || list(&case["pods"]).to_vec();
        let want = case["invalid"].as_str().unwrap();
        match config().namespace(&namespace(case, "labels"), old.as_ref(), pods) {
            Ok(got) => {
                assert_eq!(want, "", "{case}");
                assert_eq!(got.warnings, texts(&case["warnings"]), "{case}");
            }
            Err(errors) => {
                invalid += 1;
                let name = case["namespace"].as_str().unwrap();
                assert_eq!(format!("Namespace \"{name}\" is invalid: {errors}"), want, "{case}");
            }
        }
    }
    println!("{} namespaces, {invalid} invalid", cases.len());
}
