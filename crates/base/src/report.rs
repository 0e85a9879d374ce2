//! Errors with all their causes on one line.

use std::error::Error;
use std::fmt;

/// Shows an error followed by its sources, each after a colon. A source whose text the error before it already
/// ends with is not said twice.
pub struct Report<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            let text = source.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Step(&'static str, Option<Box<Step>>);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Step {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|step| step as _)
        }
    }

    #[track_caller]
    fn check(steps: &[&'static str], expected: &str) {
        let chain = steps.iter().rev().fold(None, |below, text| Some(Box::new(Step(text, below))));
        assert_eq!(Report(&*chain.expect("one step at least")).to_string(), expected);
    }

    #[test]
    fn says_every_cause_once() {
        check(&["open store"], "open store");
        check(&["open store", "read file", "no such file"], "open store: read file: no such file");
        check(&["open store: no such file", "no such file"], "open store: no such file");
        check(&["transport error", "transport error", "refused"], "transport error: refused");
    }
}
