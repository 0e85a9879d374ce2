//! What may be called what: names, labels, keys, ports, addresses.
//!
//! Each function answers with the complaints that upstream would list, none meaning that the value is fine. Functions
//! that can complain about more than one field take a path and answer with an [`ErrorList`](crate::field::ErrorList).

mod address;
mod dns;
mod generated;
mod key;
mod label;
mod number;

pub use address::{
    Cidr, cidr_warnings, interface_address, ip_warnings, parse_cidr_sloppy, parse_ip_sloppy, valid_cidr,
    valid_cidr_for_legacy_field, valid_ip, valid_ip_for_legacy_field,
};
pub use dns::{
    DNS1035_LABEL_MAX_LENGTH, DNS1123_LABEL_MAX_LENGTH, DNS1123_SUBDOMAIN_MAX_LENGTH, dns1035_label,
    dns1123_label, dns1123_subdomain, dns1123_subdomain_with_underscore, fully_qualified_domain_name,
    fully_qualified_name, long_name, long_name_caseless, name_is_dns_label, name_is_dns_subdomain,
    name_is_dns1035_label, short_name, wildcard_dns1123_subdomain,
};
pub use generated::{MAX_GENERATED_NAME_LENGTH, fnv32, fnv32a, generate_name, random_suffix, safe_encode};
pub use key::{
    c_identifier, config_map_key, domain_prefixed_key, domain_prefixed_path, env_var_name, http_header_name,
    path_segment_name, path_segment_prefix, port_name, relaxed_env_var_name, uuid,
};
pub use label::{LABEL_VALUE_MAX_LENGTH, label_key, label_value, prefixed_label_key, qualified_name};
pub use number::{decimal_integer, group_id, in_range, percent, port_number, user_id};

/// Complaints about a value, in upstream's words and order.
pub type Complaints = Vec<String>;

/// "Too long", counted in bytes but worded as most validators word it.
pub fn max_len_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// "Too long", as the newer validators word it.
pub fn max_bytes_error(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

pub fn empty_error() -> &'static str {
    "must be non-empty"
}

pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A complaint that shows examples and the regular expression, which is the public definition of the format.
pub fn regex_error(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

/// Whether every byte is in `inner` and the first and last are in `edge`: the shape of nearly all names.
fn is_bounded(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|byte| inner(*byte)),
    }
}

fn is_made_of(text: &str, class: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(class)
}
