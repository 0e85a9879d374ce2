//! Rules that many kinds share, each a function over a [`Node`].

use grammar::field::ErrorList;
use grammar::names;
use grammar::quantity::Quantity;
use serde_json::Value;

use crate::meta;
use crate::node::{IMMUTABLE, NOT_NEGATIVE, Node};
use crate::tree::{Tree, same};

/// Each of `keys` must hold a text.
pub fn require(node: &Node<'_>, keys: &[&str], errs: &mut ErrorList) {
    for key in keys {
        if node.text(key).is_empty() {
            errs.push(node.child(key).required(""));
        }
    }
}

/// A text of one RFC 1123 label.
pub fn dns_label(node: &Node<'_>, errs: &mut ErrorList) {
    node.complaints(names::dns1123_label(node.str()), errs);
}

/// A text of one RFC 1123 subdomain.
pub fn dns_subdomain(node: &Node<'_>, errs: &mut ErrorList) {
    node.complaints(names::dns1123_subdomain(node.str()), errs);
}

/// A qualified name such as `example.com/thing`.
pub fn qualified_name(node: &Node<'_>, errs: &mut ErrorList) {
    node.complaints(names::qualified_name(node.str()), errs);
}

/// One of `supported`; what is empty is reported as missing.
pub fn required_choice(node: &Node<'_>, supported: &[&str], errs: &mut ErrorList) {
    match node.str() {
        "" => errs.push(node.required("")),
        _ => node.one_of(supported, errs),
    }
}

/// A number of 1 or more.
pub fn positive(node: &Node<'_>, errs: &mut ErrorList) {
    if node.number() <= 0 {
        errs.push(node.invalid_number("must be greater than zero"));
    }
}

/// A port's number, or the name of a container's port.
pub fn port_number_or_name(node: &Node<'_>, errs: &mut ErrorList) {
    match node.value() {
        Value::String(name) => node.complaints(names::port_name(name), errs),
        _ => port_number(node, errs),
    }
}

/// A number from 1 to 65535.
pub fn port_number(node: &Node<'_>, errs: &mut ErrorList) {
    errs.extend(
        names::port_number(node.number()).into_iter().map(|complaint| node.invalid_number(complaint)),
    );
}

/// A label selector object. `lenient` keeps label values that an older server let in.
pub fn label_selector(selector: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    meta::labels(&selector.child("matchLabels"), errs);
    for requirement in selector.child("matchExpressions").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                errs.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errs.push(
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                );
            }
            "Exists" | "DoesNotExist" => {}
            _ => errs.push(operator.invalid_text("not a valid selector operator")),
        }
        let key = requirement.child("key");
        meta::label_key(&key.path, key.str(), errs);
        if !lenient {
            for value in values.items() {
                value.complaints(names::label_value(value.str()), errs);
            }
        }
    }
}

/// Whether some `matchExpressions` value of a selector is no label value.
pub fn has_invalid_label_value(selector: &Value) -> bool {
    let values = selector.list("matchExpressions").iter().flat_map(|requirement| requirement.texts("values"));
    values.into_iter().any(|value| !names::label_value(value).is_empty())
}

/// A selector that names nothing: absent, or without labels and expressions.
pub fn selects_everything(selector: &Value) -> bool {
    selector.at("matchLabels").is_nothing() && selector.at("matchExpressions").is_nothing()
}

/// The quantity here; zero where there is none.
pub fn quantity(value: &Value) -> Quantity {
    value.as_str().unwrap_or("0").parse().unwrap_or(Quantity::scaled(0, 0))
}

/// A quantity of 0 or more.
pub fn not_negative_quantity(node: &Node<'_>, errs: &mut ErrorList) {
    if quantity(node.value()).sign() < 0 {
        errs.push(node.invalid(NOT_NEGATIVE));
    }
}

/// No step of a path leads upwards.
pub fn no_backsteps(node: &Node<'_>, errs: &mut ErrorList) {
    if node.str().split('/').any(|step| step == "..") {
        errs.push(node.invalid("must not contain '..'"));
    }
}

/// A path that stays below where it starts.
pub fn descending_path(node: &Node<'_>, errs: &mut ErrorList) {
    if node.str().starts_with('/') {
        errs.push(node.invalid("must be a relative path"));
    }
    no_backsteps(node, errs);
}

/// A file's path in a volume; names that begin with `..` belong to the kubelet.
pub fn local_path(node: &Node<'_>, errs: &mut ErrorList) {
    descending_path(node, errs);
    if node.str().starts_with("..") && !node.str().starts_with("../") {
        errs.push(node.invalid("must not start with '..'"));
    }
}

/// A numeric user of a file or a process; absent is fine.
pub fn user(node: &Node<'_>, errs: &mut ErrorList) {
    if node.is_set() {
        errs.extend(names::user_id(node.number()).into_iter().map(|complaint| node.invalid(complaint)));
    }
}

/// A numeric group; absent is fine.
pub fn group(node: &Node<'_>, errs: &mut ErrorList) {
    if node.is_set() {
        errs.extend(names::group_id(node.number()).into_iter().map(|complaint| node.invalid(complaint)));
    }
}

/// A secret in a namespace.
pub fn secret_reference(node: &Node<'_>, errs: &mut ErrorList) {
    let (name, namespace) = (node.child("name"), node.child("namespace"));
    match name.str() {
        "" => errs.push(name.required("")),
        _ => dns_subdomain(&name, errs),
    }
    match namespace.str() {
        "" => errs.push(namespace.required("")),
        _ => dns_label(&namespace, errs),
    }
}

/// The name of a CSI driver.
pub fn csi_driver_name(node: &Node<'_>, errs: &mut ErrorList) {
    const MAX_BYTES: usize = 63;
    if node.str().is_empty() {
        errs.push(node.required(""));
        return;
    }
    if node.str().len() > MAX_BYTES {
        errs.push(node.too_long(MAX_BYTES));
    }
    node.complaints(names::dns1123_subdomain(&node.str().to_lowercase()), errs);
}

/// An IP address in a field that once took looser forms; what is in `old` may stay.
pub fn legacy_ip(node: &Node<'_>, old: &[&str], errs: &mut ErrorList) {
    errs.extend(names::valid_ip_for_legacy_field(&node.path, node.str(), true, old));
}

/// An address that traffic can be sent to from another machine.
pub fn endpoint_ip(node: &Node<'_>, errs: &mut ErrorList) {
    let Some(ip) = names::parse_ip_sloppy(node.str()) else {
        errs.push(node.invalid_text("must be a valid IP address"));
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errs.push(node.invalid(format!("may not be unspecified ({})", node.str())));
    }
    if ip.is_loopback() {
        errs.push(node.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if link_local {
        errs.push(node.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if link_local_multicast {
        errs.push(node.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
}

/// What is here must be what is in `old`, in the words of upstream's generated checks, which show no value.
pub fn frozen(node: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if !same(node.value(), old) {
        errs.push(node.invalid_as(&Value::Null, IMMUTABLE));
    }
}
