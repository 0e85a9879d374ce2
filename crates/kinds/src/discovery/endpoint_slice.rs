//! EndpointSlice: some of the addresses behind a service.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::Kind;
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    const SLICE: &str = "io.k8s.api.discovery.v1.EndpointSlice";
    Kind {
        generation: vec![&["endpoints"], &["ports"], &["addressType"], &["metadata", "labels"]],
        columns: vec![
            NAME,
            documented("AddressType", SLICE, "addressType"),
            documented("Ports", SLICE, "ports"),
            documented("Endpoints", SLICE, "endpoints"),
            AGE,
        ],
        strategy: Arc::new(EndpointSlice),
        ..Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    }
}

const MAX_TOPOLOGY_LABELS: usize = 16;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_ENDPOINTS: usize = 1000;
const MAX_HINTS: usize = 8;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Their slices are made from addresses that somebody else was warned about already.
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Under this label an earlier version kept the node's name.
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, _version: &str, obj: &mut Value) {
        for port in obj.items_mut("ports") {
            if !port.has("name") {
                port.set("name", "");
            }
            if !port.has("protocol") {
                port.set("protocol", "TCP");
            }
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        drop_topology(obj, &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if !same(new.at("endpoints"), old.at("endpoints")) {
            drop_topology(new, old);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        address_type_and_ports(obj, errs);
        endpoints(obj, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        address_type_and_ports(new, errs);
        // Older servers let more in, and what they let in may stay.
        if !same(new.at("endpoints"), old.at("endpoints")) {
            endpoints(new, errs);
        }
        check::frozen(&new.child("addressType"), old.at("addressType"), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && new.text("addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        if CONTROLLERS.contains(&new.path(&["metadata", "labels"]).text(MANAGED_BY)) {
            return warnings;
        }
        let root = Node::root(new);
        for endpoint in root.child("endpoints").items() {
            for address in endpoint.child("addresses").items() {
                warnings.extend(names::ip_warnings(&address.path, address.str()));
            }
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let ports = obj.list("ports").iter().map(|port| match port.int("port") {
            Some(number) => number.to_string(),
            None if port.has("name") => port.text("name").to_owned(),
            None => "*".to_owned(),
        });
        let endpoints = obj.list("endpoints").iter().flat_map(|endpoint| endpoint.texts("addresses"));
        vec![
            column::name(obj),
            obj.text("addressType").into(),
            first_three(ports).into(),
            first_three(endpoints.map(str::to_owned)).into(),
            column::age(obj, now),
        ]
    }
}

/// The first three of `items` and how many more there are.
fn first_three(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let items: Vec<String> = items.collect();
    let shown = items[..items.len().min(SHOWN)].join(",");
    match items.len() {
        0 => "<unset>".to_owned(),
        1..=SHOWN => shown,
        count => format!("{shown} + {} more...", count - SHOWN),
    }
}

/// Topology labels were replaced by fields of their own; a node's name that was stored among them moves over.
fn drop_topology(new: &mut Value, old: &Value) {
    let known: BTreeSet<&str> = old
        .list("endpoints")
        .iter()
        .map(|endpoint| endpoint.at("deprecatedTopology").text(HOSTNAME))
        .filter(|name| !name.is_empty())
        .collect();
    for endpoint in new.items_mut("endpoints") {
        let node = endpoint.at("deprecatedTopology").text(HOSTNAME).to_owned();
        if !endpoint.has("nodeName")
            && known.contains(node.as_str())
            && meta::SUBDOMAIN(&node, false).is_empty()
        {
            endpoint.set("nodeName", node);
        }
        endpoint.drop_key("deprecatedTopology");
    }
}

fn address_type_and_ports(slice: &Node<'_>, errs: &mut ErrorList) {
    let ty = slice.child("addressType");
    check::required_choice(&ty, &ADDRESS_TYPES, errs);
    let ports = slice.child("ports");
    if ports.len() > MAX_PORTS {
        errs.push(ports.too_many(MAX_PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let (name, protocol) = (port.child("name"), port.child("protocol"));
        if !name.str().is_empty() {
            check::dns_label(&name, errs);
        }
        if !seen.insert(port.value().text("name")) {
            errs.push(name.duplicate());
        }
        if protocol.is_set() {
            protocol.one_of(&PROTOCOLS, errs);
        } else {
            errs.push(protocol.required(""));
        }
        let app = port.child("appProtocol");
        if app.is_set() {
            check::qualified_name(&app, errs);
        }
    }
}

fn endpoints(slice: &Node<'_>, errs: &mut ErrorList) {
    let endpoints = slice.child("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errs.push(endpoints.too_many(MAX_ENDPOINTS));
        return;
    }
    for endpoint in endpoints.items() {
        addresses(&endpoint.child("addresses"), slice.text("addressType"), errs);
        let node = endpoint.child("nodeName");
        if node.is_set() {
            check::dns_subdomain(&node, errs);
        }
        topology(&endpoint.child("deprecatedTopology"), errs);
        let host = endpoint.child("hostname");
        if host.is_set() {
            check::dns_label(&host, errs);
        }
        hints(&endpoint.child("hints"), errs);
    }
}

fn addresses(addresses: &Node<'_>, ty: &str, errs: &mut ErrorList) {
    match addresses.len() {
        0 => errs.push(addresses.required("")),
        1..=MAX_ADDRESSES => {}
        _ => errs.push(addresses.too_many(MAX_ADDRESSES)),
    }
    for address in addresses.items() {
        let found = match ty {
            "IPv4" => names::valid_ip_for_legacy_field(&address.path, address.str(), true, &[]),
            "IPv6" => names::valid_ip(&address.path, address.str()),
            "FQDN" => {
                errs.extend(names::fully_qualified_domain_name(&address.path, address.str()));
                continue;
            }
            _ => continue,
        };
        if !found.is_empty() {
            errs.extend(found);
            continue;
        }
        let is_v4 = names::parse_ip_sloppy(address.str()).is_some_and(|ip| ip.is_ipv4());
        if is_v4 != (ty == "IPv4") {
            errs.push(addresses.invalid_as(address.str(), format!("must be an {ty} address")));
        }
        check::endpoint_ip(&address, errs);
    }
}

fn topology(labels: &Node<'_>, errs: &mut ErrorList) {
    if labels.len() > MAX_TOPOLOGY_LABELS {
        errs.push(labels.too_many(MAX_TOPOLOGY_LABELS));
    }
    meta::labels(labels, errs);
    if labels.has(ZONE) {
        errs.push(field::internal(&labels.path.key(ZONE), "reserved key was not removed in conversion"));
    }
}

fn hints(hints: &Node<'_>, errs: &mut ErrorList) {
    let rules = [("forZones", names::label_value as fn(&str) -> names::Complaints), ("forNodes", node_name)];
    for (key, rule) in rules {
        let list = hints.child(key);
        if list.len() > MAX_HINTS {
            errs.push(list.too_many(MAX_HINTS));
            return;
        }
        let mut seen = BTreeSet::new();
        for hint in list.items() {
            let name = hint.child("name");
            if !seen.insert(hint.value().text("name")) {
                errs.push(name.duplicate());
            }
            name.complaints(rule(name.str()), errs);
        }
    }
}

fn node_name(name: &str) -> names::Complaints {
    meta::SUBDOMAIN(name, false)
}
