//! What test programs say about themselves.

/// Tests that passed, and the names of those that did not.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts what one program printed. Whatever went wrong without a test to blame is a failure of `whole`.
    pub fn count(&mut self, whole: &str, output: &str, fault: Option<String>) {
        let before = self.failures.len();
        let mut claimed = 0;
        for line in output.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                self.passed += number_before(result, " passed");
                claimed += number_before(result, " failed");
                let ignored = number_before(result, " ignored");
                if ignored > 0 {
                    self.failures.push(format!("{whole}: {ignored} tests are ignored"));
                }
            } else if let Some(name) =
                line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
            {
                self.failures.push(format!("{whole}: {name}"));
            }
        }
        self.failures.extend(fault.map(|fault| format!("{whole}: {fault}")));
        let told = self.failures.len() - before;
        if told < claimed {
            self.failures.extend((told..claimed).map(|_| format!("{whole}: a test whose name was not told")));
        }
    }
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
            "test result: FAILED. 0 passed; 1 failed; 0 ignored",
            None,
            0,
            &["a: a test whose name was not told"],
        );
        check("test result: ok. 0 passed; 0 failed; 2 ignored", None, 0, &["a: 2 tests are ignored"]);
        check("", Some("ended by signal 9"), 0, &["a: ended by signal 9"]);
    }
}
