//! Label keys (also called qualified names) and label values.

use super::{Complaints, empty_error, is_bounded, long_name, max_bytes_error, regex_error};

pub const LABEL_VALUE_MAX_LENGTH: usize = 63;
const KEY_NAME_MAX_LENGTH: usize = 63;

const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const KEY_EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A label key: an optional DNS subdomain and `/`, then a name.
pub fn label_key(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                complaints.push(format!("prefix part {}", empty_error()));
            } else {
                complaints.extend(long_name(prefix).iter().map(|message| format!("prefix part {message}")));
            }
            name
        }
        _ => {
            let message = regex_error(KEY_MESSAGE, KEY, KEY_EXAMPLES);
            return vec![format!(
                "a valid label key {message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        complaints.push(format!("name part {}", empty_error()));
    } else if name.len() > KEY_NAME_MAX_LENGTH {
        complaints.push(format!("name part {}", max_bytes_error(KEY_NAME_MAX_LENGTH)));
    }
    if !is_key_name(name) {
        complaints.push(format!("name part {}", regex_error(KEY_MESSAGE, KEY, KEY_EXAMPLES)));
    }
    complaints
}

/// The older word for a label key; annotations, taints, finalizers and resource names have this form too.
pub fn qualified_name(value: &str) -> Complaints {
    label_key(value)
}

/// A label key whose prefix must be given.
pub fn prefixed_label_key(value: &str) -> Complaints {
    let complaints = label_key(value);
    if complaints.is_empty() && !value.contains('/') {
        return vec!["must include a prefix (e.g. 'example.com/key')".into()];
    }
    complaints
}

pub fn label_value(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        complaints.push(max_bytes_error(LABEL_VALUE_MAX_LENGTH));
    }
    if !(value.is_empty() || is_key_name(value)) {
        complaints.push(regex_error(VALUE_MESSAGE, VALUE, &["MyValue", "my_value", "12345"]));
    }
    complaints
}

fn is_key_name(name: &str) -> bool {
    is_bounded(
        name,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}
