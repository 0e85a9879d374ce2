//! The errors of one object, and their joint text.

use super::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Everything a validation found, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorList(Vec<Error>);

impl ErrorList {
    pub const fn new() -> ErrorList {
        ErrorList(Vec::new())
    }

    /// `Ok` when nothing was found.
    pub fn into_result(self) -> Result<(), ErrorList> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The distinct messages, in order of first appearance.
    pub fn messages(&self) -> Vec<String> {
        let mut messages: Vec<String> = Vec::with_capacity(self.0.len());
        let mut seen = std::collections::HashSet::new();
        for error in &self.0 {
            let message = error.to_string();
            if seen.insert(message.clone()) {
                messages.push(message);
            }
        }
        messages
    }

    /// Puts `prefix` before the detail of every error.
    pub fn prefix_detail(mut self, prefix: &str) -> ErrorList {
        for error in &mut self.0 {
            error.detail.insert_str(0, prefix);
        }
        self
    }
}

/// One message stands alone; several stand in brackets, each once.
impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.messages().as_slice() {
            [] => Ok(()),
            [only] => f.write_str(only),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}

impl std::error::Error for ErrorList {}

impl Deref for ErrorList {
    type Target = Vec<Error>;

    fn deref(&self) -> &Vec<Error> {
        &self.0
    }
}

impl DerefMut for ErrorList {
    fn deref_mut(&mut self) -> &mut Vec<Error> {
        &mut self.0
    }
}

impl From<Error> for ErrorList {
    fn from(error: Error) -> ErrorList {
        ErrorList(vec![error])
    }
}

impl From<Vec<Error>> for ErrorList {
    fn from(errors: Vec<Error>) -> ErrorList {
        ErrorList(errors)
    }
}

impl FromIterator<Error> for ErrorList {
    fn from_iter<I: IntoIterator<Item = Error>>(errors: I) -> ErrorList {
        ErrorList(errors.into_iter().collect())
    }
}

impl IntoIterator for ErrorList {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ErrorList {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
