//! `metav1.Status`: how every refusal looks on the wire.

use std::fmt;

use grammar::field;
use grammar::go::quote;
use serde_json::{Map, Value, json};

/// Why a request failed, in one word that clients branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StorageReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::StorageReadError => "StorageReadError",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    fn code(self) -> u16 {
        match self {
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::Invalid => 422,
            Reason::Timeout => 504,
            Reason::TooManyRequests => 429,
            Reason::BadRequest => 400,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::ServiceUnavailable => 503,
            Reason::Unknown | Reason::ServerTimeout | Reason::StorageReadError | Reason::InternalError => 500,
        }
    }
}

/// A resource or kind with its group, printed as upstream does: `deployments.apps`, `pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qualified<'a> {
    pub group: &'a str,
    pub name: &'a str,
}

impl<'a> Qualified<'a> {
    pub const fn new(group: &'a str, name: &'a str) -> Qualified<'a> {
        Qualified { group, name }
    }
}

impl fmt::Display for Qualified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// One cause among a status's details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

impl Details {
    fn of(what: Qualified<'_>, name: &str) -> Box<Details> {
        Box::new(Details {
            name: name.into(),
            group: what.group.into(),
            kind: what.name.into(),
            ..Details::default()
        })
    }
}

/// A failure, or the success that a delete answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub reason: Reason,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// A list status may carry where to continue.
    pub continue_token: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    fn failure(reason: Reason, message: String, details: Option<Box<Details>>) -> Status {
        Status { code: reason.code(), reason, message, details, continue_token: String::new() }
    }

    pub fn not_found(what: Qualified<'_>, name: &str) -> Status {
        Status::failure(
            Reason::NotFound,
            format!("{what} {} not found", quote(name)),
            Some(Details::of(what, name)),
        )
    }

    /// No such path, as opposed to no such object.
    pub fn no_such_path() -> Status {
        let message = "the server could not find the requested resource".to_owned();
        Status::failure(Reason::NotFound, message, Some(Box::default()))
    }

    pub fn already_exists(what: Qualified<'_>, name: &str) -> Status {
        let message = format!("{what} {} already exists", quote(name));
        Status::failure(Reason::AlreadyExists, message, Some(Details::of(what, name)))
    }

    pub fn generate_name_conflict(what: Qualified<'_>, name: &str, retry_after_seconds: u32) -> Status {
        let message = format!(
            "{what} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Status::failure(Reason::AlreadyExists, message, Some(Details::of(what, name)))
            .retry_after(retry_after_seconds)
    }

    pub fn conflict(what: Qualified<'_>, name: &str, why: impl fmt::Display) -> Status {
        let message = format!("Operation cannot be fulfilled on {what} {}: {why}", quote(name));
        Status::failure(Reason::Conflict, message, Some(Details::of(what, name)))
    }

    /// The write carried a revision that is no longer the newest.
    pub fn stale(what: Qualified<'_>, name: &str) -> Status {
        Status::conflict(
            what,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Status {
        let details = Details { causes, ..Details::default() };
        Status::failure(Reason::Conflict, message, Some(Box::new(details)))
    }

    pub fn invalid(kind: Qualified<'_>, name: &str, errors: &field::ErrorList) -> Status {
        let mut details = Details::of(kind, name);
        details.causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().into(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        let message = if errors.is_empty() {
            format!("{kind} {} is invalid", quote(name))
        } else {
            format!("{kind} {} is invalid: {errors}", quote(name))
        };
        Status::failure(Reason::Invalid, message, Some(details))
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(Reason::BadRequest, message.into(), None)
    }

    pub fn unauthorized(message: &str) -> Status {
        let message = if message.is_empty() { "not authorized" } else { message };
        Status::failure(Reason::Unauthorized, message.into(), None)
    }

    pub fn forbidden(what: Qualified<'_>, name: &str, why: impl fmt::Display) -> Status {
        let message = match (what.name, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{what} is forbidden: {why}"),
            _ => format!("{what} {} is forbidden: {why}", quote(name)),
        };
        Status::failure(Reason::Forbidden, message, Some(Details::of(what, name)))
    }

    pub fn gone(message: impl Into<String>) -> Status {
        Status::failure(Reason::Gone, message.into(), None)
    }

    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(Reason::Expired, message.into(), None)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        Status::failure(Reason::TooManyRequests, message.into(), Some(Box::default()))
            .retry_after(retry_after_seconds)
    }

    pub fn service_unavailable(message: impl Into<String>) -> Status {
        Status::failure(Reason::ServiceUnavailable, message.into(), None)
    }

    pub fn method_not_supported(what: Qualified<'_>, action: &str) -> Status {
        let message = format!("{action} is not supported on resources of kind \"{what}\"");
        Status::failure(Reason::MethodNotAllowed, message, Some(Details::of(what, "")))
    }

    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Status::failure(Reason::MethodNotAllowed, message, Some(Box::default()))
    }

    pub fn server_timeout(what: Qualified<'_>, operation: &str, retry_after_seconds: u32) -> Status {
        let message = format!(
            "The {operation} operation against {what} could not be completed at this time, please try again."
        );
        Status::failure(Reason::ServerTimeout, message, Some(Details::of(what, operation)))
            .retry_after(retry_after_seconds)
    }

    pub fn internal(why: impl fmt::Display) -> Status {
        let why = why.to_string();
        let message = format!("Internal error occurred: {why}");
        let causes = vec![Cause { message: why, ..Cause::default() }];
        Status::failure(
            Reason::InternalError,
            message,
            Some(Box::new(Details { causes, ..Details::default() })),
        )
    }

    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Status {
        Status::failure(Reason::Timeout, format!("Timeout: {message}"), Some(Box::default()))
            .retry_after(retry_after_seconds)
    }

    pub fn too_large_revision(wanted: u64, current: u64) -> Status {
        let mut status =
            Status::timeout(format!("Too large resource version: {wanted}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            });
        }
        status
    }

    pub fn entity_too_large(message: impl fmt::Display) -> Status {
        Status::failure(Reason::RequestEntityTooLarge, format!("Request entity too large: {message}"), None)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Status {
        Status::failure(Reason::NotAcceptable, message.into(), None)
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Status {
        Status::failure(Reason::UnsupportedMediaType, message.into(), None)
    }

    pub fn retry_after(mut self, seconds: u32) -> Status {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Status {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    /// The tree of a failed `v1.Status`.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), json!(self.continue_token));
        }
        let mut tree = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if self.reason != Reason::Unknown {
            tree["reason"] = json!(self.reason.as_str());
        }
        if let Some(details) = &self.details {
            tree["details"] = details.to_value();
        }
        tree
    }

    /// The tree of the `Success` that a finished delete answers with.
    pub fn success(what: Qualified<'_>, name: &str, uid: &str) -> Value {
        let details = Details {
            name: name.into(),
            group: what.group.into(),
            kind: what.name.into(),
            uid: uid.into(),
            ..Details::default()
        };
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details.to_value(),
        })
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                map.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            map.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(map)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                map.insert(key.into(), json!(text));
            }
        }
        Value::Object(map)
    }
}
