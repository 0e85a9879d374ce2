//! One error for the whole crate: what was attempted on what, the cause, and the class by which callers decide.

use std::fmt;
use std::io;
use std::path::Path;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation that failed. Its text names the operation and the subject and ends with the cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<io::Error>,
}

/// What a caller may decide by. Texts are for people; only the kind is for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The image name cannot be parsed.
    InvalidName,
    /// No such image, tag, blob or holder.
    NotFound,
    /// The registry wants other credentials, or refuses these.
    Denied,
    /// The registry does not answer, stalls, or answers with a server error.
    Unavailable,
    /// A signature was demanded and does not hold.
    Signature,
    /// Bytes that contradict their digest, size, diff id or format.
    Corrupt,
    /// Well-formed content that is malicious or beyond a limit.
    Refused,
    /// The file system has no room.
    NoSpace,
    /// A configuration (hosts file, credentials, options) that cannot be honoured.
    Config,
    /// The kernel or file system lacks what is needed.
    Unsupported,
    /// The thing exists already or is in use.
    Conflict,
    /// Any other failure of the operating system.
    Io,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None }
    }

    /// An operating-system failure: `operation` says what was attempted, on what.
    pub fn io(operation: impl Into<String>, source: io::Error) -> Error {
        let kind = match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Kind::NoSpace,
            _ => Kind::Io,
        };
        Error { kind, message: operation.into(), source: Some(source) }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn io_source(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }

    /// Says in the course of which larger operation this happened.
    pub fn context(mut self, operation: impl fmt::Display) -> Error {
        self.message = format!("{operation}: {}", self.message);
        self
    }

    /// The text to return from the CRI's PullImage. The kubelet recognises two classes by a prefix of the
    /// message, since gRPC carries no error identity.
    pub fn cri_message(&self) -> String {
        match self.kind {
            Kind::Unavailable => format!("RegistryUnavailable: {self}"),
            Kind::Signature => format!("SignatureValidationFailed: {self}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

// The text already ends with the source, so the standard chain is left empty: printers that walk it would say
// everything twice. `io_source` gives access to it.
impl std::error::Error for Error {}

/// Attaches operation and subject to an operating-system error.
pub(crate) trait IoContext<T> {
    fn at(self, operation: &str, path: &Path) -> Result<T>;
    fn during(self, operation: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, operation: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::io(format!("{operation} {}", path.display()), error.into()))
    }

    fn during(self, operation: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::io(operation.to_string(), error.into()))
    }
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, message)
}

pub(crate) fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Refused, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> Error {
    Error::new(Kind::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures() {
        let full = Error::io("write blob", io::Error::from_raw_os_error(28));
        assert_eq!(full.kind(), Kind::NoSpace);
        assert_eq!(Error::io("write blob", io::Error::from_raw_os_error(5)).kind(), Kind::Io);
        assert!(full.to_string().starts_with("write blob: No space left on device"), "{full}");
    }

    #[test]
    fn the_kubelet_recognises_two_classes_by_prefix() {
        let of = |kind| Error::new(kind, "x").cri_message();
        assert_eq!(of(Kind::Unavailable), "RegistryUnavailable: x");
        assert_eq!(of(Kind::Signature), "SignatureValidationFailed: x");
        assert_eq!(of(Kind::NotFound), "x");
    }
}
