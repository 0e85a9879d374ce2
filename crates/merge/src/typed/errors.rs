//! What validation finds, in upstream's words.

use std::fmt;

/// One finding and where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    pub path: String,
    pub message: String,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// All findings of one walk. One prints alone, several print as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationErrors(pub Vec<ValidationError>);

impl ValidationErrors {
    pub(crate) fn one(message: impl Into<String>) -> Self {
        ValidationErrors(vec![ValidationError { path: String::new(), message: message.into() }])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, message: impl Into<String>) {
        self.0.push(ValidationError { path: String::new(), message: message.into() });
    }

    /// Adds what was found below `prefix`.
    pub(crate) fn absorb(&mut self, prefix: &impl fmt::Display, below: ValidationErrors) {
        if below.is_empty() {
            return;
        }
        let prefix = prefix.to_string();
        self.0.extend(
            below.0.into_iter().map(|error| ValidationError { path: prefix.clone() + &error.path, ..error }),
        );
    }

    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for ValidationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [one] => one.fmt(f),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}

impl std::error::Error for ValidationErrors {}
