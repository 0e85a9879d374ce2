//! Ingress: hosts and paths that lead to services.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Subresource, names as texts};
use crate::meta;
use crate::networking::{GROUP, reference};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ing"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        columns: vec![
            NAME,
            described(
                "Class",
                "The name of the IngressClass resource that should be used for additional configuration",
            ),
            described("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
            described("Address", "Address is a list containing ingress points for the load-balancer"),
            described("Ports", "Ports of TLS configurations that open"),
            AGE,
        ],
        strategy: Arc::new(Ingress),
        ..Kind::namespaced(GROUP, "v1", "Ingress", "ingresses")
    }
}

/// Named the class before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What a path of a known meaning cannot hold, for proxies disagree on it.
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];

/// What an older server let in, and an update may therefore keep.
#[derive(Clone, Copy, Default)]
struct Leniency {
    secret_names: bool,
    wildcard_rules: bool,
}

struct Ingress;

impl Strategy for Ingress {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        validate_spec(&spec, Leniency::default(), errs);
        let annotations = obj.path(&["metadata", "annotations"]);
        if annotations.has(CLASS_ANNOTATION)
            && spec.has("ingressClassName")
            && annotations.text(CLASS_ANNOTATION) != spec.text("ingressClassName")
        {
            errs.push(field::invalid(
                &field::Path::new("annotations").child(CLASS_ANNOTATION),
                annotations.text(CLASS_ANNOTATION),
                "must match `ingressClassName` when both are specified",
            ));
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&new.child("spec"), Leniency::of(old), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let annotated = new.path(&["metadata", "annotations"]).has(CLASS_ANNOTATION);
        if old.is_some() || !annotated || new.at("spec").has("ingressClassName") {
            return Vec::new();
        }
        vec![format!(
            "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        let class = match spec.has("ingressClassName") {
            true => spec.text("ingressClassName"),
            false => "<none>",
        };
        let ports = if spec.list("tls").is_empty() { "80" } else { "80, 443" };
        vec![
            column::name(obj),
            class.into(),
            hosts(spec.list("rules")).into(),
            addresses(obj).into(),
            ports.into(),
            column::age(obj, now),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let known: Vec<&str> = ingress_points(old).iter().map(|point| point.text("ip")).collect();
        let status = new.child("status");
        let balancer = status.child("loadBalancer");
        for point in balancer.child("ingress").items() {
            let (ip, host) = (point.child("ip"), point.child("hostname"));
            if !ip.str().is_empty() {
                check::legacy_ip(&ip, &known, errs);
            }
            if !host.str().is_empty() {
                check::dns_subdomain(&host, errs);
                no_address(&host, errs);
            }
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let status = root.child("status");
        let balancer = status.child("loadBalancer");
        let points = balancer.child("ingress");
        let with_ip = points.items().filter(|point| !point.text("ip").is_empty());
        with_ip.flat_map(|point| names::ip_warnings(&point.path, point.text("ip"))).collect()
    }
}

impl Leniency {
    fn of(old: &Value) -> Leniency {
        let spec = old.at("spec");
        let root = Node::root(spec);
        let faulty = |rule: Node<'_>| {
            let mut found = ErrorList::new();
            rule_value(&rule, &mut found);
            rule.text("host").contains('*') && !found.is_empty()
        };
        Leniency {
            secret_names: spec.list("tls").iter().any(|tls| !secret_name(tls.text("secretName")).is_empty()),
            wildcard_rules: root.child("rules").items().any(faulty),
        }
    }
}

fn validate_spec(spec: &Node<'_>, leniency: Leniency, errs: &mut ErrorList) {
    let (rules, backend) = (spec.child("rules"), spec.child("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        errs.push(
            spec.invalid_as(json!(rules.value()), "either `defaultBackend` or `rules` must be specified"),
        );
    }
    if backend.is_set() {
        self::backend(&backend, errs);
    }
    for rule in rules.items() {
        let host = rule.child("host");
        let is_wildcard = host.str().contains('*');
        if !host.str().is_empty() {
            no_address(&host, errs);
            host_name(&host, errs);
        }
        if !is_wildcard || !leniency.wildcard_rules {
            rule_value(&rule, errs);
        }
    }
    for tls in spec.child("tls").items() {
        tls.child("hosts").items().for_each(|host| host_name(&host, errs));
        if !leniency.secret_names {
            let secret = tls.child("secretName");
            secret.complaints(secret_name(secret.str()), errs);
        }
    }
    let class = spec.child("ingressClassName");
    if class.is_set() {
        check::dns_subdomain(&class, errs);
    }
}

fn host_name(host: &Node<'_>, errs: &mut ErrorList) {
    match host.str().contains('*') {
        true => host.complaints(names::wildcard_dns1123_subdomain(host.str()), errs),
        false => check::dns_subdomain(host, errs),
    }
}

fn no_address(host: &Node<'_>, errs: &mut ErrorList) {
    if names::parse_ip_sloppy(host.str()).is_some() {
        errs.push(host.invalid("must be a DNS name, not an IP address"));
    }
}

fn secret_name(name: &str) -> names::Complaints {
    if name.is_empty() { Vec::new() } else { meta::SUBDOMAIN(name, false) }
}

fn rule_value(rule: &Node<'_>, errs: &mut ErrorList) {
    let http = rule.child("http");
    if !http.is_set() {
        return;
    }
    let paths = http.child("paths");
    if paths.is_empty() {
        errs.push(paths.required(""));
    }
    for path in paths.items() {
        self::path(&path, errs);
    }
}

fn path(entry: &Node<'_>, errs: &mut ErrorList) {
    let (path, ty) = (entry.child("path"), entry.child("pathType"));
    if !ty.is_set() {
        errs.push(ty.required("pathType must be specified"));
        return;
    }
    let is_absolute = path.str().starts_with('/');
    match ty.str() {
        "Exact" | "Prefix" => {
            if !is_absolute {
                errs.push(path.invalid_text("must be an absolute path"));
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| path.str().contains(**bad)) {
                errs.push(path.invalid(format!("must not contain '{bad}'")));
            }
            for bad in BAD_ENDS.iter().filter(|bad| path.str().ends_with(**bad)) {
                errs.push(path.invalid(format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" => {
            if !path.str().is_empty() && !is_absolute {
                errs.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errs.push(ty.not_supported(&PATH_TYPES)),
    }
    backend(&entry.child("backend"), errs);
}

fn backend(backend: &Node<'_>, errs: &mut ErrorList) {
    let (resource, service) = (backend.child("resource"), backend.child("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => {
            errs.push(backend.invalid_as("", "cannot set both resource and service backends"));
        }
        (true, false) => reference::validate(&resource, errs),
        (false, false) => errs.push(backend.invalid_as("", "resource or service backend is required")),
        (false, true) => {
            let (name, port) = (service.child("name"), service.child("port"));
            match name.str() {
                "" => errs.push(name.required("")),
                text => name.complaints(meta::LABEL(text, false), errs),
            }
            let (port_name, number) = (port.child("name"), port.child("number"));
            match (port_name.str(), number.number()) {
                ("", 0) => errs.push(backend.required("port name or number is required")),
                ("", _) => check::port_number(&number, errs),
                (text, 0) => port_name.complaints(names::port_name(text), errs),
                _ => errs.push(backend.invalid_as("", "cannot set both port name & port number")),
            }
        }
    }
}

fn ingress_points(obj: &Value) -> &[Value] {
    obj.path(&["status", "loadBalancer"]).list("ingress")
}

fn addresses(obj: &Value) -> String {
    let mut addresses: Vec<&str> = ingress_points(obj)
        .iter()
        .map(|point| if point.text("ip").is_empty() { point.text("hostname") } else { point.text("ip") })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

/// The first three hosts, and how many rules follow them.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        if !more && !rule.text("host").is_empty() {
            hosts.push(rule.text("host"));
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => hosts.join(","),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - SHOWN),
    }
}
