//! Names of things inside objects: environment variables, data keys, headers, ports, path segments.

use super::{
    Complaints, DNS1123_SUBDOMAIN_MAX_LENGTH, dns1123_subdomain, empty_error, is_made_of, label_key,
    max_len_error, regex_error,
};
use crate::field::{self, ErrorList, Path};

const PORT_NAME_MAX_LENGTH: usize = 15;

/// An environment variable's name under the strict rule.
pub fn env_var_name(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if !is_made_of(value, is_data_key) || value.starts_with(|c: char| c.is_ascii_digit()) {
        complaints.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    complaints.extend(dot_dot(value));
    complaints
}

/// An environment variable's name under the relaxed rule: printable ASCII without `=`.
pub fn relaxed_env_var_name(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.is_empty() {
        complaints.push(format!("environment variable name {}", empty_error()));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        complaints.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    complaints
}

/// A key of a ConfigMap's or a Secret's data; it becomes a file name.
pub fn config_map_key(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        complaints.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !is_made_of(value, is_data_key) {
        complaints.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    complaints.extend(dot_dot(value));
    complaints
}

pub fn http_header_name(value: &str) -> Complaints {
    if is_made_of(value, |byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Complaints::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

pub fn c_identifier(value: &str) -> Complaints {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if is_made_of(value, is_word) && !value.starts_with(|c: char| c.is_ascii_digit()) {
        return Complaints::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// The name of a container's or a service's port (an IANA service name).
pub fn port_name(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > PORT_NAME_MAX_LENGTH {
        complaints.push(max_len_error(PORT_NAME_MAX_LENGTH));
    }
    if !is_made_of(value, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        complaints.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        complaints.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        complaints.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        complaints.push("must not begin or end with a hyphen".into());
    }
    complaints
}

/// A name that can stand alone between two slashes of a URL.
pub fn path_segment_name(name: &str) -> Complaints {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    path_segment_prefix(name)
}

/// The beginning of a [`path_segment_name`]; what follows may still make `.` harmless.
pub fn path_segment_prefix(name: &str) -> Complaints {
    let forbidden = ["/", "%"];
    let found = forbidden.iter().filter(|text| name.contains(**text));
    found.map(|text| format!("may not contain '{text}'")).collect()
}

/// A lowercase UUID in its usual five groups.
pub fn uuid(value: &str) -> Complaints {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let fits = value.len() == 36
        && value.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_hex(byte),
        });
    if fits { Complaints::new() } else { vec!["must be a lowercase UUID in 8-4-4-4-12 format".into()] }
}

/// A domain, `/`, and an HTTP path, such as a signer's or a gateway controller's name.
pub fn domain_prefixed_path(path: &Path<'_>, value: &str) -> ErrorList {
    if value.is_empty() {
        return field::required(path, "").into();
    }
    let (host, rest) = match value.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return field::invalid(path, value, detail).into();
        }
    };
    let mut errors: ErrorList =
        dns1123_subdomain(host).into_iter().map(|message| field::invalid(path, host, message)).collect();
    if !rest.bytes().all(is_http_path) {
        let detail = regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(field::invalid(path, rest, detail));
    }
    errors
}

/// A label key whose prefix must be given, as a condition reason of a pod failure policy and the like.
pub fn domain_prefixed_key(path: &Path<'_>, key: &str) -> ErrorList {
    if key.is_empty() {
        return field::required(path, "").into();
    }
    let mut errors: ErrorList =
        label_key(key).into_iter().map(|message| field::invalid(path, key, message)).collect();
    if errors.is_empty() && !key.contains('/') {
        errors.push(field::invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")"));
    }
    errors
}

/// File names that would climb out of the directory they are meant for.
fn dot_dot(value: &str) -> Option<String> {
    match value {
        "." | ".." => Some(format!("must not be '{value}'")),
        value if value.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

fn is_data_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_http_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)
}
