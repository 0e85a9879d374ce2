//! Outcomes recorded from upstream's own Go libraries at v1.37 (`tests/data`), and properties that hold for any input.

mod cron;
mod field;
mod int_or_string;
mod jsonpath;
mod names;
mod properties;
mod quantity;
mod selector;
mod time;

use serde_json::Value;

/// The recorded cases of one file.
fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    match serde_json::from_str(&text) {
        Ok(Value::Array(cases)) => cases,
        other => panic!("{path} is not a list of cases: {other:?}"),
    }
}

/// Differences between what was recorded and what is computed, gathered so that a failure shows them all.
struct Check {
    file: &'static str,
    cases: usize,
    differences: Vec<String>,
}

impl Check {
    fn new(file: &'static str) -> Check {
        Check { file, cases: 0, differences: Vec::new() }
    }

    /// Compares one aspect of a case. A recorded null stands for an aspect that was not recorded.
    fn same(&mut self, case: &Value, aspect: &str, got: impl Into<Value>) {
        self.equal(case, aspect, &case[aspect], got);
    }

    fn equal(&mut self, case: &Value, aspect: &str, want: &Value, got: impl Into<Value>) {
        let got = got.into();
        if *want != got {
            self.differences.push(format!("{case}\n    {aspect}: want {want}, got {got}"));
        }
    }

    fn finish(self) {
        println!("{}: {} cases recorded from upstream", self.file, self.cases);
        let (wrong, cases) = (self.differences.len(), self.cases);
        assert!(
            wrong == 0,
            "{}: {wrong} differences in {cases} cases\n{}",
            self.file,
            self.differences.join("\n")
        );
    }
}

/// Runs `check` on every recorded case of a file, of which there must be at least `least`.
fn check(file: &'static str, least: usize, mut check: impl FnMut(&mut Check, &Value)) {
    let mut all = Check::new(file);
    for case in cases(file) {
        all.cases += 1;
        check(&mut all, &case);
    }
    assert!(all.cases >= least, "{file} holds {} cases, fewer than {least}", all.cases);
    all.finish();
}

/// A text, or null where upstream answered with an error; and the error's text, or null.
fn outcome<T: ToString, E: ToString>(result: &Result<T, E>) -> (Value, Value) {
    match result {
        Ok(value) => (value.to_string().into(), Value::Null),
        Err(error) => (Value::Null, error.to_string().into()),
    }
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {case}"))
}
