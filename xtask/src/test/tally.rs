//! What test programs say about themselves.

/// Tests that passed, and the names of those that did not.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts what one program printed. Tests that run themselves again, inside namespaces, report there too; only
    /// the outermost report counts, and a failure is told once. Whatever went wrong without a test to blame is a failure of `whole`.
    pub fn count(&mut self, whole: &str, output: &str, fault: Option<String>) {
        let before = self.failures.len();
        let mut claimed = 0;
        for line in output.lines() {
            if let Some(result) = whole_result(line) {
                self.passed += number_before(result, " passed");
                claimed += number_before(result, " failed");
                let ignored = number_before(result, " ignored");
                if ignored > 0 {
                    self.failures.push(format!("{whole}: {ignored} tests are ignored"));
                }
            } else if let Some(name) =
                line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
            {
                let failure = format!("{whole}: {name}");
                if !self.failures.contains(&failure) {
                    self.failures.push(failure);
                }
            }
        }
        self.failures.extend(fault.map(|fault| format!("{whole}: {fault}")));
        let told = self.failures.len() - before;
        if told < claimed {
            self.failures.extend((told..claimed).map(|_| format!("{whole}: a test whose name was not told")));
        }
    }
}

/// The result of a run of all tests, which is the only one that leaves none out.
pub fn whole_result(line: &str) -> Option<&str> {
    line.strip_prefix("test result: ").filter(|result| result.contains("; 0 filtered out"))
}

/// The number in `…; 12 failed; …`.
fn number_before(line: &str, word: &str) -> usize {
    let before = line.find(word).map_or("", |at| &line[..at]);
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, fault: Option<&str>, passed: usize, failures: &[&str]) {
        let mut tally = Tally::default();
        tally.count("a", output, fault.map(str::to_owned));
        assert_eq!(
            (tally.passed, tally.failures),
            (passed, failures.iter().map(|it| it.to_string()).collect())
        );
    }

    #[test]
    fn results_are_counted() {
        let good =
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        check(good, None, 12, &[]);
        check(&format!("{good}\n{good}"), None, 24, &[]);
        let bad = "test b ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        check(bad, None, 1, &["a: b"]);
        check(bad, Some("ended with status 101"), 1, &["a: b", "a: ended with status 101"]);
        check(
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            None,
            0,
            &["a: a test whose name was not told"],
        );
        check(
            "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
            None,
            0,
            &["a: 2 tests are ignored"],
        );
        let inner = "test b ... FAILED\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out";
        check(&format!("{inner}\n{bad}"), None, 1, &["a: b"]);
        check("", Some("ended by signal 9"), 0, &["a: ended by signal 9"]);
    }
}
