//! Numbers with a permitted range or spelling.

use super::{Complaints, empty_error, inclusive_range_error, regex_error};

const MAX_ID: i64 = i32::MAX as i64;

pub fn port_number(port: i64) -> Complaints {
    in_range(port, 1, 65535)
}

pub fn in_range(value: i64, low: i64, high: i64) -> Complaints {
    if (low..=high).contains(&value) { Complaints::new() } else { vec![inclusive_range_error(low, high)] }
}

pub fn user_id(uid: i64) -> Complaints {
    in_range(uid, 0, MAX_ID)
}

pub fn group_id(gid: i64) -> Complaints {
    in_range(gid, 0, MAX_ID)
}

/// Digits and a percent sign.
pub fn percent(value: &str) -> Complaints {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Complaints::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// An integer of any size, written the one way a human would: no plus sign, no leading zero, no `-0`.
pub fn decimal_integer(value: &str) -> Complaints {
    if value.is_empty() {
        return vec![empty_error().into()];
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_canonical = match digits.as_bytes() {
        [b'0'] => digits.len() == value.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_canonical {
        return Complaints::new();
    }
    vec!["must be a valid decimal integer in canonical form".into()]
}
