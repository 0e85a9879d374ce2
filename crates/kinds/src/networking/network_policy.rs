//! NetworkPolicy: which pods may talk to which.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names::{self, Cidr};
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::networking::GROUP;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["netpol"]),
        generation: vec![&["spec"]],
        columns: vec![
            NAME,
            documented("Pod-Selector", "io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"),
            AGE,
        ],
        strategy: Arc::new(NetworkPolicy),
        ..Kind::namespaced(GROUP, "v1", "NetworkPolicy", "networkpolicies")
    }
}

const POLICY_TYPES: [&str; 2] = ["Ingress", "Egress"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
/// Both directions, and where a rule of each names its peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// What an older server let in, and an update may therefore keep.
#[derive(Default)]
struct Leniency<'a> {
    label_values: bool,
    ranges: Vec<&'a str>,
}

struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        if spec.list("policyTypes").is_empty() {
            let has_egress = !spec.list("egress").is_empty();
            spec.set(
                "policyTypes",
                if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
            );
        }
        for (direction, _) in DIRECTIONS {
            for port in spec.items_mut(direction).flat_map(|rule| rule.items_mut("ports")) {
                if !port.has("protocol") {
                    port.set("protocol", "TCP");
                }
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), &Leniency::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&new.child("spec"), &Leniency::of(old), errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let spec = root.child("spec");
        let mut warnings = Vec::new();
        for (direction, peers) in DIRECTIONS {
            for rule in spec.child(direction).items() {
                for peer in rule.child(peers).items() {
                    let block = peer.child("ipBlock");
                    let range = block.child("cidr");
                    warnings.extend(names::cidr_warnings(&range.path, range.str()));
                    for except in block.child("except").items() {
                        warnings.extend(names::cidr_warnings(&except.path, except.str()));
                    }
                }
            }
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let selector = workload::selector_cell(obj.path(&["spec", "podSelector"]));
        vec![column::name(obj), selector, column::age(obj, now)]
    }
}

impl<'a> Leniency<'a> {
    fn of(old: &'a Value) -> Leniency<'a> {
        let spec = old.at("spec");
        let root = Node::root(spec);
        let mut found = ErrorList::new();
        check::label_selector(&root.child("podSelector"), false, &mut found);
        let rules = DIRECTIONS
            .iter()
            .flat_map(|(direction, peers)| spec.list(direction).iter().flat_map(|rule| rule.list(peers)));
        let blocks = rules.map(|peer| peer.at("ipBlock"));
        let ranges = blocks.flat_map(|block| {
            let mut ranges = block.texts("except");
            ranges.push(block.text("cidr"));
            ranges
        });
        Leniency { label_values: !found.is_empty(), ranges: ranges.collect() }
    }
}

fn validate_spec(spec: &Node<'_>, leniency: &Leniency<'_>, errs: &mut ErrorList) {
    check::label_selector(&spec.child("podSelector"), leniency.label_values, errs);
    for (direction, peers) in DIRECTIONS {
        for rule in spec.child(direction).items() {
            rule.child("ports").items().for_each(|port| self::port(&port, errs));
            rule.child(peers).items().for_each(|peer| self::peer(&peer, leniency, errs));
        }
    }
    let types = spec.child("policyTypes");
    if types.len() > POLICY_TYPES.len() {
        errs.push(types.invalid("may not specify more than two policyTypes"));
        return;
    }
    types.items().for_each(|ty| ty.one_of(&POLICY_TYPES, errs));
}

fn port(entry: &Node<'_>, errs: &mut ErrorList) {
    let (protocol, port, end) = (entry.child("protocol"), entry.child("port"), entry.child("endPort"));
    if protocol.is_set() {
        protocol.one_of(&PROTOCOLS, errs);
    }
    match port.value() {
        Value::Null if end.is_set() => {
            errs.push(end.invalid("may not be specified when `port` is not specified"));
        }
        Value::Null => {}
        Value::String(name) => {
            if end.is_set() {
                errs.push(end.invalid("may not be specified when `port` is non-numeric"));
            }
            port.complaints(names::port_name(name), errs);
        }
        _ => {
            check::port_number(&port, errs);
            if end.is_set() {
                if end.number() < port.number() {
                    errs.push(end.invalid("must be greater than or equal to `port`"));
                }
                check::port_number(&end, errs);
            }
        }
    }
}

fn peer(peer: &Node<'_>, leniency: &Leniency<'_>, errs: &mut ErrorList) {
    let block = peer.child("ipBlock");
    let mut peers = 0;
    for key in ["podSelector", "namespaceSelector"] {
        let selector = peer.child(key);
        if selector.is_set() {
            peers += 1;
            check::label_selector(&selector, leniency.label_values, errs);
        }
    }
    if block.is_set() {
        peers += 1;
        ip_block(&block, leniency, errs);
    }
    match peers {
        0 => errs.push(peer.required("must specify a peer")),
        1 => {}
        _ if block.is_set() => errs.push(peer.forbidden("may not specify both ipBlock and another peer")),
        _ => {}
    }
}

fn ip_block(block: &Node<'_>, leniency: &Leniency<'_>, errs: &mut ErrorList) {
    let range = block.child("cidr");
    if range.str().is_empty() {
        errs.push(range.required(""));
        return;
    }
    errs.extend(names::valid_cidr_for_legacy_field(&range.path, range.str(), true, &leniency.ranges));
    let Some(outer) = names::parse_cidr_sloppy(range.str()) else { return };
    for except in block.child("except").items() {
        errs.extend(names::valid_cidr_for_legacy_field(&except.path, except.str(), true, &leniency.ranges));
        if let Some(inner) = names::parse_cidr_sloppy(except.str())
            && !lies_strictly_within(&inner, &outer)
        {
            errs.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
}

fn lies_strictly_within(inner: &Cidr, outer: &Cidr) -> bool {
    let widened = Cidr { address: inner.address, prefix: outer.prefix };
    inner.prefix > outer.prefix
        && inner.address.is_ipv4() == outer.address.is_ipv4()
        && widened.network() == outer.network()
}
