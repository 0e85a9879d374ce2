//! Endpoints: the addresses behind a service, as they were written before endpoint slices.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const SHOWN: usize = 3;

pub(crate) fn kind() -> Kind {
    Kind {
        list_kind: "EndpointsList".into(),
        short_names: texts(&["ep"]),
        key_prefix: "/registry/services/endpoints".into(),
        create_on_update: true,
        columns: vec![NAME, documented("Endpoints", "io.k8s.api.core.v1.Endpoints", "subsets"), AGE],
        strategy: Arc::new(Endpoints),
        ..Kind::namespaced("", "v1", "Endpoints", "endpoints")
    }
}

struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, _version: &str, obj: &mut Value) {
        for port in obj.items_mut("subsets").flat_map(|subset| subset.items_mut("ports")) {
            port.set_default("protocol", "TCP");
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        subsets(obj, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        if !same(new.at("subsets"), old.at("subsets")) {
            subsets(new, errs);
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        if new.path(&["metadata", "labels"]).text(MANAGED_BY) == "endpoint-controller" {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for subset in Node::root(new).child("subsets").items() {
            for key in ["addresses", "notReadyAddresses"] {
                for address in subset.child(key).items() {
                    let ip = address.child("ip");
                    warnings.extend(names::ip_warnings(&ip.path, ip.str()));
                }
            }
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), shown(obj.list("subsets")).into(), column::age(obj, now)]
    }
}

fn subsets(obj: &Node<'_>, errs: &mut ErrorList) {
    for subset in obj.child("subsets").items() {
        let (ready, unready) = (subset.child("addresses"), subset.child("notReadyAddresses"));
        if ready.is_empty() && unready.is_empty() {
            errs.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in ready.items().chain(unready.items()) {
            validate_address(&address, errs);
        }
        let ports = subset.child("ports");
        for port in ports.items() {
            validate_port(&port, ports.len() > 1, errs);
        }
    }
}

fn validate_address(address: &Node<'_>, errs: &mut ErrorList) {
    let (ip, hostname, node) = (address.child("ip"), address.child("hostname"), address.child("nodeName"));
    check::legacy_ip(&ip, &[], errs);
    if !hostname.str().is_empty() {
        check::dns_label(&hostname, errs);
    }
    if node.is_set() {
        node.complaints(meta::SUBDOMAIN(node.str(), false), errs);
    }
    check::endpoint_ip(&ip, errs);
}

fn validate_port(port: &Node<'_>, named: bool, errs: &mut ErrorList) {
    let (name, app) = (port.child("name"), port.child("appProtocol"));
    match name.str() {
        "" if named => errs.push(name.required("")),
        "" => {}
        _ => check::dns_label(&name, errs),
    }
    check::port_number(&port.child("port"), errs);
    check::required_choice(&port.child("protocol"), PROTOCOLS, errs);
    if app.is_set() {
        check::qualified_name(&app, errs);
    }
}

/// Up to three addresses with their ports, and how many there are beside them.
fn shown(subsets: &[Value]) -> String {
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let ips = || subset.list("addresses").iter().map(|address| address.text("ip"));
        match subset.list("ports") {
            [] => all.extend(ips().map(str::to_owned)),
            ports => {
                for port in ports {
                    let number = port.int("port").unwrap_or_default();
                    all.extend(ips().map(|ip| match ip.contains(':') {
                        true => format!("[{ip}]:{number}"),
                        false => format!("{ip}:{number}"),
                    }));
                }
            }
        }
    }
    let first = all[..all.len().min(SHOWN)].join(",");
    match all.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{first} + {more} more..."),
        _ => first,
    }
}
