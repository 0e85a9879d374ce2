//! Names that must also work in DNS.

use super::{Complaints, is_bounded, max_bytes_error, max_len_error, regex_error};
use crate::field::{self, ErrorList, Path};
use std::borrow::Cow;

pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;
pub const DNS1035_LABEL_MAX_LENGTH: usize = 63;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
pub(super) const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_CASELESS_MESSAGE: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_UNDERSCORE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const WILDCARD: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";

/// An RFC 1123 label, such as a namespace's name.
pub fn dns1123_label(value: &str) -> Complaints {
    label_complaints(value, max_len_error)
}

/// As [`dns1123_label`], in the words of declarative validation (`k8s-short-name`).
pub fn short_name(value: &str) -> Complaints {
    label_complaints(value, max_bytes_error)
}

/// An RFC 1123 subdomain, such as most objects' names.
pub fn dns1123_subdomain(value: &str) -> Complaints {
    subdomain_complaints(value, max_len_error)
}

/// As [`dns1123_subdomain`], in the words of declarative validation (`k8s-long-name`).
pub fn long_name(value: &str) -> Complaints {
    subdomain_complaints(value, max_bytes_error)
}

/// As [`long_name`], with capitals allowed. Only old driver names may be written so.
pub fn long_name_caseless(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        complaints.push(max_bytes_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.split('.').all(is_label_caseless) {
        complaints.push(regex_error(SUBDOMAIN_CASELESS_MESSAGE, SUBDOMAIN, &["Example.com"]));
    }
    complaints
}

/// A subdomain whose labels may contain underscores, as search domains of a pod's DNS configuration may.
pub fn dns1123_subdomain_with_underscore(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        complaints.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.split('.').all(is_label_with_underscore) {
        complaints.push(regex_error(SUBDOMAIN_UNDERSCORE_MESSAGE, SUBDOMAIN_UNDERSCORE, &["example.com"]));
    }
    complaints
}

/// An RFC 1035 label, such as a service's name once was: it starts with a letter.
pub fn dns1035_label(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1035_LABEL_MAX_LENGTH {
        complaints.push(max_len_error(DNS1035_LABEL_MAX_LENGTH));
    }
    if !(is_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        complaints.push(regex_error(LABEL_1035_MESSAGE, LABEL_1035, &["my-name", "abc-123"]));
    }
    complaints
}

/// `*.` and a subdomain, as in the hosts of an ingress.
pub fn wildcard_dns1123_subdomain(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        complaints.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        complaints.push(regex_error(WILDCARD_MESSAGE, WILDCARD, &["*.example.com"]));
    }
    complaints
}

/// A subdomain of at least three labels, without a final dot.
pub fn fully_qualified_name(path: &Path<'_>, name: &str) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let complaints = dns1123_subdomain(name);
    if !complaints.is_empty() {
        return field::invalid(path, name, complaints.join(",")).into();
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return field::invalid(path, name, detail).into();
    }
    ErrorList::new()
}

/// A subdomain of at least two labels of proper length; a final dot is allowed.
pub fn fully_qualified_domain_name(path: &Path<'_>, name: &str) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let complaints = dns1123_subdomain(name);
    if !complaints.is_empty() {
        return field::invalid(path, name, complaints.join(",")).into();
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        return field::invalid(path, name, detail).into();
    }
    for label in name.split('.') {
        let complaints = dns1123_label(label);
        if !complaints.is_empty() {
            return field::invalid(path, label, complaints.join(",")).into();
        }
    }
    ErrorList::new()
}

/// An object's name that is a subdomain; `prefix` when it is a `generateName`.
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Complaints {
    dns1123_subdomain(&mask_trailing_dash(name, prefix))
}

/// An object's name that is an RFC 1123 label; `prefix` when it is a `generateName`.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Complaints {
    dns1123_label(&mask_trailing_dash(name, prefix))
}

/// An object's name that is an RFC 1035 label; `prefix` when it is a `generateName`.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Complaints {
    dns1035_label(&mask_trailing_dash(name, prefix))
}

/// A prefix may end in a dash, since a suffix follows. Upstream drops the byte before the dash too, so `a--` passes
/// as `a` would; this is visible in which names are accepted, so it is kept.
fn mask_trailing_dash(name: &str, prefix: bool) -> Cow<'_, str> {
    if prefix && name.len() > 1 && name.ends_with('-') {
        let kept = String::from_utf8_lossy(&name.as_bytes()[..name.len() - 2]);
        return Cow::Owned(kept.into_owned() + "a");
    }
    Cow::Borrowed(name)
}

fn label_complaints(value: &str, too_long: fn(usize) -> String) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_LABEL_MAX_LENGTH {
        complaints.push(too_long(DNS1123_LABEL_MAX_LENGTH));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            complaints.push("must not contain dots".into());
        } else {
            complaints.push(regex_error(LABEL_MESSAGE, LABEL, &["my-name", "123-abc"]));
        }
    }
    complaints
}

fn subdomain_complaints(value: &str, too_long: fn(usize) -> String) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        complaints.push(too_long(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !is_subdomain(value) {
        complaints.push(regex_error(SUBDOMAIN_MESSAGE, SUBDOMAIN, &["example.com"]));
    }
    complaints
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_label(value: &str) -> bool {
    is_bounded(value, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn is_label_caseless(value: &str) -> bool {
    is_bounded(
        value,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || byte == b'-',
    )
}

fn is_label_with_underscore(value: &str) -> bool {
    let value = value.strip_prefix('_').unwrap_or(value);
    is_bounded(value, is_lower_alphanumeric, |byte| {
        is_lower_alphanumeric(byte) || matches!(byte, b'-' | b'_')
    })
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}
