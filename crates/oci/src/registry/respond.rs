//! Answers, and the error bodies that clients know.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::json;

use crate::error::{Error, Kind};

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// What went wrong, in the specification's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

impl Failure {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Failure {
        Failure { status, code, message }
    }

    pub(super) const NOT_SERVED: Failure =
        Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", "no such endpoint");
    pub(super) const METHOD: Failure =
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported");
    pub(super) const NAME_INVALID: Failure =
        Failure::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name");
    pub(super) const NAME_UNKNOWN: Failure =
        Failure::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry");
    pub(super) const TAG_INVALID: Failure =
        Failure::new(StatusCode::BAD_REQUEST, "TAG_INVALID", "manifest tag did not match URI");
    pub(super) const DIGEST_INVALID: Failure = Failure::new(
        StatusCode::BAD_REQUEST,
        "DIGEST_INVALID",
        "provided digest did not match uploaded content",
    );
    pub(super) const BLOB_UNKNOWN: Failure =
        Failure::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
    pub(super) const MANIFEST_UNKNOWN: Failure =
        Failure::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown to registry");
    pub(super) const MANIFEST_INVALID: Failure =
        Failure::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "manifest invalid");
    pub(super) const MANIFEST_TOO_LARGE: Failure =
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", "manifest too large");
    pub(super) const MANIFEST_BLOB_UNKNOWN: Failure = Failure::new(
        StatusCode::NOT_FOUND,
        "MANIFEST_BLOB_UNKNOWN",
        "manifest references a manifest or blob unknown to registry",
    );
    pub(super) const UPLOAD_UNKNOWN: Failure =
        Failure::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    pub(super) const UPLOAD_INVALID: Failure =
        Failure::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "blob upload invalid");
    pub(super) const UPLOAD_BUSY: Failure =
        Failure::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", "blob upload is being written to");
    pub(super) const RANGE: Failure =
        Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", "range out of order");
    pub(super) const SIZE_INVALID: Failure =
        Failure::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", "provided length did not match content length");
    pub(super) const PAGINATION: Failure = Failure::new(
        StatusCode::BAD_REQUEST,
        "PAGINATION_NUMBER_INVALID",
        "invalid number of results requested",
    );
    pub(super) const UNAUTHORIZED: Failure =
        Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    pub(super) const TOO_MANY: Failure =
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many uploads at a time");
    pub(super) const NO_SPACE: Failure =
        Failure::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", "the registry's disk is full");
    pub(super) const INTERNAL: Failure =
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed; see its log");

    pub(super) fn answer(self) -> Answer {
        let body = json!({"errors": [{"code": self.code, "message": self.message, "detail": null}]});
        json_answer(self.status, body.to_string())
    }
}

impl From<Error> for Failure {
    /// The client learns the class; paths and causes are for the log.
    fn from(error: Error) -> Failure {
        match error.kind() {
            Kind::NoSpace => Failure::NO_SPACE,
            Kind::NotFound => Failure::BLOB_UNKNOWN,
            Kind::Corrupt | Kind::Refused => Failure::UPLOAD_INVALID,
            _ => {
                tracing::error!(%error, "registry: request failed");
                Failure::INTERNAL
            }
        }
    }
}

pub(super) fn json_answer(status: StatusCode, body: String) -> Answer {
    answer(status, "application/json", body.into())
}

pub(super) fn answer(status: StatusCode, media_type: &str, body: Bytes) -> Answer {
    let length = body.len();
    let full = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut answer = plain(status, full);
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CONTENT_LENGTH, &length.to_string());
    answer
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = plain(status, Empty::new().map_err(|never| match never {}).boxed_unsync());
    set(&mut answer, CONTENT_LENGTH, "0");
    answer
}

pub(super) fn plain(status: StatusCode, body: UnsyncBoxBody<Bytes, std::io::Error>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// Sets a header. Values come from parsed names, digests, numbers and stored media types; what could not stand
/// in a header is left out.
pub(super) fn set(answer: &mut Answer, name: impl TryInto<HeaderName>, value: &str) {
    if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::try_from(value)) {
        answer.headers_mut().insert(name, value);
    }
}
