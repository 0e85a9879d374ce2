//! Why a process could not be started, in the words that end up in a pod's status.

use std::fmt;

use rustix::io::Errno;

/// One sentence, without a trailing period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// An errno in upstream's wording, which is lower case and without a number.
pub fn reason(errno: Errno) -> String {
    nix::errno::Errno::from_raw(errno.raw_os_error()).desc().to_lowercase()
}

/// Says what was attempted when an operation fails.
pub trait Attempt<T> {
    fn attempt<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Attempt<T> for rustix::io::Result<T> {
    fn attempt<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Failure(format!("{}: {}", what(), reason(errno))))
    }
}

impl<T> Attempt<T> for std::io::Result<T> {
    fn attempt<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(raw) => Failure(format!("{}: {}", what(), reason(Errno::from_raw_os_error(raw)))),
            None => Failure(format!("{}: {error}", what())),
        })
    }
}

impl<T> Attempt<T> for Result<T> {
    fn attempt<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|Failure(inner)| Failure(format!("{}: {inner}", what())))
    }
}
