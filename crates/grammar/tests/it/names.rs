use crate::{check, text};
use grammar::field::{ErrorList, Path};
use grammar::names;
use serde_json::{Value, json};

type Validator = fn(&str) -> Vec<String>;

const VALIDATORS: &[(&str, Validator)] = &[
    ("dns1123_label", names::dns1123_label),
    ("dns1123_subdomain", names::dns1123_subdomain),
    ("dns1123_subdomain_with_underscore", names::dns1123_subdomain_with_underscore),
    ("dns1035_label", names::dns1035_label),
    ("wildcard_dns1123_subdomain", names::wildcard_dns1123_subdomain),
    ("short_name", names::short_name),
    ("long_name", names::long_name),
    ("long_name_caseless", names::long_name_caseless),
    ("label_key", names::label_key),
    ("qualified_name", names::qualified_name),
    ("prefixed_label_key", names::prefixed_label_key),
    ("label_value", names::label_value),
    ("c_identifier", names::c_identifier),
    ("port_name", names::port_name),
    ("percent", names::percent),
    ("http_header_name", names::http_header_name),
    ("env_var_name", names::env_var_name),
    ("relaxed_env_var_name", names::relaxed_env_var_name),
    ("config_map_key", names::config_map_key),
    ("path_segment_name", names::path_segment_name),
    ("path_segment_prefix", names::path_segment_prefix),
    ("decimal_integer", names::decimal_integer),
    ("fully_qualified_name", |value| texts(names::fully_qualified_name(&Path::new("f"), value))),
    ("fully_qualified_domain_name", |value| {
        texts(names::fully_qualified_domain_name(&Path::new("f"), value))
    }),
    ("domain_prefixed_path", |value| texts(names::domain_prefixed_path(&Path::new("f"), value))),
    ("domain_prefixed_key", |value| texts(names::domain_prefixed_key(&Path::new("f"), value))),
    ("name_is_dns_subdomain", |value| names::name_is_dns_subdomain(value, true)),
    ("name_is_dns_label", |value| names::name_is_dns_label(value, true)),
    ("name_is_dns1035_label", |value| names::name_is_dns1035_label(value, true)),
];

fn texts(errors: ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn names_are_judged_as_upstream_judges_them() {
    let mut table = Value::Null;
    let mut judgements = 0;
    check("names", 70, |check, case| {
        if case["texts"].is_array() {
            // The first row holds the texts that the others point to.
            table = case["texts"].clone();
            return;
        }
        for (name, validator) in VALIDATORS {
            let recorded = case["complaints"][name].as_array().into_iter().flatten();
            let want =
                recorded.map(|index| table[index.as_u64().unwrap_or(u64::MAX) as usize].clone()).collect();
            check.equal(case, name, &Value::Array(want), validator(text(case, "value")));
            judgements += 1;
        }
    });
    println!("names: {judgements} judgements");
    assert!(judgements >= 2000);
}

#[test]
fn addresses_are_judged_as_upstream_judges_them() {
    check("addresses", 70, |check, case| {
        let (value, path) = (text(case, "value"), Path::new("f"));
        if text(case, "kind") == "ip" {
            check.same(case, "strict", texts(names::valid_ip(&path, value)));
            check.same(case, "legacy", texts(names::valid_ip_for_legacy_field(&path, value, true, &[])));
            check.same(case, "sloppy", texts(names::valid_ip_for_legacy_field(&path, value, false, &[])));
            check.same(case, "warnings", names::ip_warnings(&path, value));
        } else {
            check.same(case, "strict", texts(names::valid_cidr(&path, value)));
            check.same(case, "legacy", texts(names::valid_cidr_for_legacy_field(&path, value, true, &[])));
            check.same(case, "sloppy", texts(names::valid_cidr_for_legacy_field(&path, value, false, &[])));
            check.same(case, "warnings", names::cidr_warnings(&path, value));
            check.same(case, "interface", texts(names::interface_address(&path, value)));
        }
    });
}

#[test]
fn numbers_and_hashes_are_upstreams() {
    check("numbers_and_hashes", 14, |check, case| {
        if let Some(number) = case["number"].as_i64() {
            check.same(case, "port", names::port_number(number));
            check.same(case, "user", names::user_id(number));
            check.same(case, "group", names::group_id(number));
            check.same(case, "range", names::in_range(number, 1, 100));
        } else {
            let text = text(case, "text");
            check.same(case, "fnv32", names::fnv32(text.as_bytes()));
            check.same(case, "fnv32a", names::fnv32a(text.as_bytes()));
            if !case["encoded"].is_null() {
                check.same(case, "encoded", names::safe_encode(text));
            }
        }
    });
}

#[test]
fn values_that_were_valid_before_stay_valid() {
    let path = Path::new("f");
    assert!(names::valid_ip_for_legacy_field(&path, "nonsense", true, &["nonsense"]).is_empty());
    assert!(names::valid_cidr_for_legacy_field(&path, "nonsense", true, &["nonsense"]).is_empty());
}

#[test]
fn networks_contain_their_addresses() {
    let check = |cidr: &str, address: &str, want: bool| {
        let cidr = names::parse_cidr_sloppy(cidr).expect("a CIDR");
        assert_eq!(
            cidr.contains(names::parse_ip_sloppy(address).expect("an address")),
            want,
            "{cidr} {address}"
        );
    };
    check("10.96.0.0/12", "10.100.3.4", true);
    check("10.96.0.0/12", "10.112.0.0", false);
    check("0.0.0.0/0", "255.255.255.255", true);
    check("0.0.0.0/0", "::1", false);
    check("::/0", "ffff::", true);
    check("fd00::/108", "fd00::f:ffff", true);
    check("fd00::/108", "fd00::10:0", false);
    assert_eq!(json!(names::parse_cidr_sloppy("10.1.2.3/8").map(|c| c.network().to_string())), "10.0.0.0/8");
}
