//! What a claim asks for.

use std::collections::{BTreeMap, BTreeSet};

use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::node::Node;
use crate::resource::parts;
use crate::tree::{Tree, TreeMut};

const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSTRAINTS: usize = 32;
const MAX_TOLERATIONS: usize = 16;
const MAX_IDENTIFIER_BYTES: usize = 32;
const MODES: [&str; 2] = ["All", "ExactCount"];
const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest \
    separated by '/'";

/// A request asks for one device of its class unless it says more.
pub(super) fn default(spec: &mut Value) {
    for request in spec.at_path(&["devices", "requests"]) {
        let alternatives = match request.get_mut("firstAvailable") {
            Some(Value::Array(items)) => items.iter_mut(),
            _ => [].iter_mut(),
        };
        alternatives.for_each(default_request);
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            default_request(exactly);
        }
    }
}

fn default_request(request: &mut Value) {
    request.set_default("allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" && request.int("count").unwrap_or_default() == 0 {
        request.set("count", 1);
    }
    for toleration in request.items_mut("tolerations") {
        toleration.set_default("operator", "Equal");
    }
}

/// Drops what belongs to a feature that is off by default, unless the old claim has it.
pub(super) fn drop_disabled(spec: &mut Value, before: &Value) {
    const DERIVED: &str = "derivedAttributes";
    let in_use = |request: &Value| {
        request.at("exactly").has(DERIVED)
            || request.list("firstAvailable").iter().any(|alternative| alternative.has(DERIVED))
    };
    if before.at("devices").list("requests").iter().any(in_use) {
        return;
    }
    for request in spec.at_path(&["devices", "requests"]) {
        request.items_mut("firstAvailable").for_each(|alternative| alternative.drop_key(DERIVED));
        if let Some(exactly) = request.get_mut("exactly") {
            exactly.drop_key(DERIVED);
        }
    }
}

/// Requests, what must hold of their devices together, and configuration for them.
pub(super) fn validate(spec: &Node<'_>, errs: &mut ErrorList) {
    let devices = spec.child("devices");
    let (requests, constraints) = (devices.child("requests"), devices.child("constraints"));
    let known = Requests::of(requests.value());
    if parts::fits(&requests, MAX_REQUESTS, errs) {
        requests.items().for_each(|request| self::request(&request, errs));
        parts::distinct(&requests, |request| request.text("name"), errs);
    }
    if parts::fits(&constraints, MAX_CONSTRAINTS, errs) {
        constraints.items().for_each(|constraint| self::constraint(&constraint, &known, errs));
    }
    let mut names = |configuration: &Node<'_>, errs: &mut ErrorList| {
        references(&configuration.child("requests"), &known, errs);
    };
    parts::configurations(&devices.child("config"), false, &mut names, errs);
}

/// The requests of a claim, and the alternatives of each.
pub(super) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    pub(super) fn of(requests: &'a Value) -> Requests<'a> {
        let alternatives = |request: &'a Value| {
            request.list("firstAvailable").iter().map(|alternative| alternative.text("name")).collect()
        };
        let requests = requests.as_array().into_iter().flatten();
        Requests(requests.map(|request| (request.text("name"), alternatives(request))).collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some((request, alternative)) => self.0.get(request).is_some_and(|all| all.contains(alternative)),
            None => self.0.contains_key(name),
        }
    }
}

fn request(request: &Node<'_>, errs: &mut ErrorList) {
    check::dns_label(&request.child("name"), errs);
    let (exactly, alternatives) = (request.child("exactly"), request.child("firstAvailable"));
    match (exactly.is_set(), alternatives.is_empty()) {
        (false, true) => {
            errs.push(request.required("exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, false) => errs.push(request.invalid_as(
            &Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (true, true) => wanted(&exactly, errs),
        (false, false) => {
            if parts::fits(&alternatives, MAX_ALTERNATIVES, errs) {
                for alternative in alternatives.items() {
                    check::dns_label(&alternative.child("name"), errs);
                    wanted(&alternative, errs);
                }
                parts::distinct(&alternatives, |alternative| alternative.text("name"), errs);
            }
        }
    }
}

/// How many devices of which class.
fn wanted(request: &Node<'_>, errs: &mut ErrorList) {
    let (class, count) = (request.child("deviceClassName"), request.child("count"));
    match class.str() {
        "" => errs.push(class.required("")),
        _ => check::dns_subdomain(&class, errs),
    }
    parts::selectors(&request.child("selectors"), false, errs);
    let mode = request.child("allocationMode");
    match mode.str() {
        "All" if count.number() != 0 => {
            errs.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "All" => {}
        "ExactCount" => check::positive(&count, errs),
        _ => mode.one_of(&MODES, errs),
    }
    let tolerations = request.child("tolerations");
    if parts::fits(&tolerations, MAX_TOLERATIONS, errs) {
        tolerations.items().for_each(|toleration| parts::toleration(&toleration, errs));
    }
}

fn constraint(constraint: &Node<'_>, known: &Requests<'_>, errs: &mut ErrorList) {
    references(&constraint.child("requests"), known, errs);
    let (same, different) = (constraint.child("matchAttribute"), constraint.child("distinctAttribute"));
    match (same.is_set(), different.is_set()) {
        (true, _) => attribute(&same, errs),
        (false, true) => attribute(&different, errs),
        (false, false) => errs.push(constraint.required(
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        )),
    }
}

/// References to requests of the claim, each but once.
pub(super) fn references(requests: &Node<'_>, known: &Requests<'_>, errs: &mut ErrorList) {
    if parts::fits(requests, MAX_REQUESTS, errs) {
        requests.items().for_each(|request| reference(&request, known, errs));
        parts::distinct(requests, |request| request.as_str().unwrap_or_default(), errs);
    }
}

/// The name of a request, or of one of its alternatives.
pub(super) fn reference(request: &Node<'_>, known: &Requests<'_>, errs: &mut ErrorList) {
    let segments: Vec<&str> = request.str().split('/').collect();
    if segments.len() <= 2 {
        for segment in &segments {
            let complaints = names::dns1123_label(segment).into_iter();
            errs.extend(complaints.map(|complaint| request.invalid_as(*segment, complaint)));
        }
    }
    if segments.len() > 2 || !known.has(request.str()) {
        errs.push(request.invalid_text(NO_REQUEST));
    }
}

/// An attribute's name in full: a domain and an identifier.
fn attribute(name: &Node<'_>, errs: &mut ErrorList) {
    let Some((domain, identifier)) = name.str().split_once('/') else {
        errs.push(name.invalid("a fully qualified name must be a domain and a name separated by a slash"));
        return;
    };
    for complaint in names::dns1123_subdomain(domain) {
        errs.push(name.invalid_as(domain, format!("prefix: {complaint}")));
    }
    if identifier.len() > MAX_IDENTIFIER_BYTES {
        errs.push(name.too_long(MAX_IDENTIFIER_BYTES));
    }
    for complaint in names::c_identifier(identifier) {
        errs.push(name.invalid_as(identifier, complaint));
    }
}
