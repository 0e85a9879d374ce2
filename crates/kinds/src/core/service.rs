//! Service: one stable address in front of many pods.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use grammar::names;
use grammar::selector::label::format_labels;
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, documented};
use crate::core::service_address as address;
use crate::kind::{Allocation, Kind, Selectable, Subresource, Verb, names as texts};
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_EXTERNAL_NAME: &str = "may not be set for ExternalName services";
const MAX_AFFINITY_SECONDS: i64 = 86_400;
const AFFINITY_SECONDS: i64 = 10_800;

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";
    const PROXY: [Verb; 5] = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    Kind {
        short_names: texts(&["svc"]),
        categories: texts(&["all"]),
        key_prefix: "/registry/services/specs".into(),
        create_on_update: true,
        resets: vec![&["status"]],
        subresources: vec![
            Subresource::status(&[&["spec"]], Status),
            Subresource::special("proxy", &PROXY, ("", "v1", "ServiceProxyOptions")),
        ],
        selectable: vec![Selectable::field("spec.clusterIP"), Selectable::field("spec.type")],
        columns: vec![
            NAME,
            documented("Type", SPEC, "type"),
            documented("Cluster-IP", SPEC, "clusterIP"),
            documented("External-IP", SPEC, "externalIPs"),
            documented("Port(s)", SPEC, "ports"),
            AGE,
            documented("Selector", SPEC, "selector").wide(),
        ],
        name_rule: meta::LABEL,
        allocates: vec![Allocation::ClusterIps, Allocation::NodePorts, Allocation::HealthCheckNodePort],
        strategy: Arc::new(Service),
        ..Kind::namespaced("", "v1", "Service", "services")
    }
}

struct Service;

impl Strategy for Service {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("sessionAffinity", "None");
        match spec.text("sessionAffinity") {
            "None" => spec.drop_key("sessionAffinityConfig"),
            "ClientIP" if !spec.path(&["sessionAffinityConfig", "clientIP"]).has("timeoutSeconds") => {
                spec.set("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
            }
            _ => {}
        }
        spec.set_default("type", "ClusterIP");
        for port in spec.items_mut("ports") {
            port.set_default("protocol", "TCP");
            if port.at("targetPort").is_zero() {
                let number = port.int("port").unwrap_or_default();
                port.set("targetPort", number);
            }
        }
        if is_externally_accessible(spec) {
            spec.set_default("externalTrafficPolicy", "Cluster");
        }
        let takes_policy = matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP");
        if takes_policy && !spec.has("internalTrafficPolicy") {
            spec.set("internalTrafficPolicy", "Cluster");
        }
        if spec.text("type") == "LoadBalancer" {
            spec.set_default("allocateLoadBalancerNodePorts", true);
            for ingress in obj.at_path(&["status", "loadBalancer", "ingress"]) {
                if !ingress.text("ip").is_empty() {
                    ingress.set_default("ipMode", "VIP");
                }
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        drop_fields_of_other_types(new.at_mut("spec"), old.at("spec"));
        if new.at("spec").text("type") != "LoadBalancer" {
            new.at_mut("status").set("loadBalancer", json!({}));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(obj, &Value::Null, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (spec, before) = (new.child("spec"), old.at("spec"));
        address::keeps_cluster_ips(&spec, before, errs);
        address::keeps_families(&spec, before, errs);
        let class = spec.child("loadBalancerClass");
        let balanced = |spec: &Value| spec.text("type") == "LoadBalancer";
        if balanced(before) && balanced(&spec) && class.value() != before.at("loadBalancerClass") {
            errs.push(class.invalid("may not change once set"));
        }
        let port = spec.child("healthCheckNodePort");
        if needs_health_check(before)
            && needs_health_check(&spec)
            && port.number() != before.int("healthCheckNodePort").unwrap_or_default()
        {
            errs.push(port.forbidden(crate::node::IMMUTABLE));
        }
        validate(new, old, errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        warnings(new)
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        let or_none = |text: String| -> Value { if text.is_empty() { "<none>".into() } else { text.into() } };
        let ports: Vec<String> = spec.list("ports").iter().map(port_text).collect();
        let selector = spec.entries("selector").map(|(key, value)| (key, value.as_str().unwrap_or_default()));
        vec![
            column::name(obj),
            spec.text("type").into(),
            or_none(spec.texts("clusterIPs").first().copied().unwrap_or_default().to_owned()),
            external_ip(obj).into(),
            or_none(ports.join(",")),
            column::age(obj, now),
            format_labels(selector).into(),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let known: Vec<&str> = old
            .path(&["status", "loadBalancer"])
            .list("ingress")
            .iter()
            .map(|ingress| ingress.text("ip"))
            .collect();
        let is_balanced = new.at("spec").text("type") == "LoadBalancer";
        load_balancer_status(&status.child("loadBalancer"), is_balanced, &known, errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let status = root.child("status");
        let balancer = status.child("loadBalancer");
        let ingress = balancer.child("ingress");
        let with_ip = ingress.items().filter(|ingress| !ingress.text("ip").is_empty());
        with_ip.flat_map(|ingress| names::ip_warnings(&ingress.path, ingress.text("ip"))).collect()
    }
}

/// Where a load balancer took the service in. Ingresses have the same status.
pub(crate) fn load_balancer_status(
    status: &Node<'_>,
    is_balanced: bool,
    known: &[&str],
    errs: &mut ErrorList,
) {
    let list = status.child("ingress");
    if !is_balanced && !list.is_empty() {
        errs.push(list.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for ingress in list.items() {
        let (ip, mode, host) = (ingress.child("ip"), ingress.child("ipMode"), ingress.child("hostname"));
        if !ip.str().is_empty() {
            check::legacy_ip(&ip, known, errs);
        }
        match (mode.is_set(), ip.str().is_empty()) {
            (false, false) => errs.push(mode.required("must be specified when `ip` is set")),
            (true, true) => errs.push(mode.forbidden("may not be specified when `ip` is not set")),
            (true, false) => mode.one_of(&["Proxy", "VIP"], errs),
            (false, true) => {}
        }
        if !host.str().is_empty() {
            check::dns_subdomain(&host, errs);
            if names::parse_ip_sloppy(host.str()).is_some() {
                errs.push(host.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
}

fn validate(obj: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
    topology_annotations(&metadata.child("annotations"), errs);
    let ports = spec.child("ports");
    let (ty, headless) = (spec.child("type"), is_headless(&spec));
    if ports.is_empty() && !headless && ty.str() != "ExternalName" {
        errs.push(ports.required(""));
    }
    match ty.str() {
        "LoadBalancer" | "NodePort" if headless => {
            let ips = spec.child("clusterIPs");
            let first = ips.item(0);
            errs.push(first.invalid(format!("may not be set to 'None' for {} services", ty.str())));
        }
        "ExternalName" => external_name(&spec, errs),
        _ => {}
    }
    let mut taken = BTreeSet::new();
    for port in ports.items() {
        service_port(&port, ports.len() > 1, &mut taken, errs);
    }
    meta::labels(&spec.child("selector"), errs);
    session_affinity(&spec, errs);
    address::cluster_ips(&spec, old.at("spec"), errs);
    external_ips(&spec, old, errs);
    check::required_choice(&ty, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], errs);
    unique_ports(&ports, ty.str(), errs);
    source_ranges(&metadata, &spec, old, errs);
    load_balancer_fields(&spec, ty.str(), errs);
    traffic(&spec, errs);
}

fn topology_annotations(annotations: &Node<'_>, errs: &mut ErrorList) {
    if annotations.has(HINTS)
        && annotations.has(TOPOLOGY_MODE)
        && annotations.text(HINTS) != annotations.text(TOPOLOGY_MODE)
    {
        let node = Node::new(annotations.value().at(TOPOLOGY_MODE), annotations.path.key(TOPOLOGY_MODE));
        errs.push(node.invalid(format!("must match annotations[{HINTS}] when both are specified")));
    }
}

fn external_name(spec: &Node<'_>, errs: &mut ErrorList) {
    for key in ["clusterIPs", "ipFamilies"] {
        if !spec.child(key).is_empty() {
            errs.push(spec.child(key).forbidden(NOT_EXTERNAL_NAME));
        }
    }
    if spec.has("ipFamilyPolicy") {
        errs.push(spec.child("ipFamilyPolicy").forbidden(NOT_EXTERNAL_NAME));
    }
    let name = spec.child("externalName");
    match name.str().strip_suffix('.').unwrap_or(name.str()) {
        "" => errs.push(name.required("")),
        text => errs.extend(
            names::dns1123_subdomain(text).into_iter().map(|complaint| name.invalid_as(text, complaint)),
        ),
    }
}

fn service_port(port: &Node<'_>, named: bool, taken: &mut BTreeSet<String>, errs: &mut ErrorList) {
    let name = port.child("name");
    if !name.str().is_empty() {
        check::dns_label(&name, errs);
        if !taken.insert(name.str().to_owned()) {
            errs.push(name.duplicate());
        }
    } else if named {
        errs.push(name.required(""));
    }
    check::port_number(&port.child("port"), errs);
    check::required_choice(&port.child("protocol"), &["SCTP", "TCP", "UDP"], errs);
    check::port_number_or_name(&port.child("targetPort"), errs);
    let app = port.child("appProtocol");
    if app.is_set() {
        check::qualified_name(&app, errs);
    }
}

fn session_affinity(spec: &Node<'_>, errs: &mut ErrorList) {
    const WHEN: &str = "when session affinity type is ClientIP";
    let (affinity, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    check::required_choice(&affinity, &["ClientIP", "None"], errs);
    match affinity.str() {
        "ClientIP" => {
            let client = config.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            if !config.is_set() {
                errs.push(config.required(WHEN));
            } else if !client.is_set() {
                errs.push(client.required(WHEN));
            } else if !timeout.is_set() {
                errs.push(timeout.required(WHEN));
            } else if !(1..=MAX_AFFINITY_SECONDS).contains(&timeout.number()) {
                errs.push(
                    timeout.invalid(format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}")),
                );
            }
        }
        "None" if config.is_set() => {
            errs.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn external_ips(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let known = old.at("spec").texts("externalIPs");
    for ip in spec.child("externalIPs").items() {
        let before = errs.len();
        check::legacy_ip(&ip, &known, errs);
        if errs.len() == before {
            check::endpoint_ip(&ip, errs);
        }
    }
}

fn unique_ports(ports: &Node<'_>, ty: &str, errs: &mut ErrorList) {
    if ty == "ClusterIP" {
        for port in ports.items() {
            let node_port = port.child("nodePort");
            if node_port.number() != 0 {
                errs.push(node_port.forbidden("may not be used when `type` is 'ClusterIP'"));
            }
        }
    }
    let mut taken = BTreeSet::new();
    for port in ports.items() {
        let node_port = port.child("nodePort");
        if node_port.number() != 0 && !taken.insert((port.text("protocol").to_owned(), node_port.number())) {
            errs.push(node_port.duplicate());
        }
    }
    let mut taken = BTreeSet::new();
    for port in ports.items() {
        let (protocol, number) = (port.text("protocol"), port.child("port").number());
        if !taken.insert((protocol.to_owned(), number)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{protocol}\",\"AppProtocol\":null,\"Port\":{number},\
                 \"TargetPort\":0,\"NodePort\":0}}"
            );
            errs.push(field::duplicate(&port.path, BadValue::Verbatim(shown)));
        }
    }
}

fn source_ranges(metadata: &Node<'_>, spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let is_balanced = spec.text("type") == "LoadBalancer";
    let ranges = spec.texts("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let list = spec.child("LoadBalancerSourceRanges");
        if !is_balanced {
            errs.push(list.forbidden(ONLY_LOAD_BALANCER));
        }
        let known = old.at("spec").texts("loadBalancerSourceRanges");
        let known: Vec<&str> = known.into_iter().map(str::trim).collect();
        for (index, range) in ranges.iter().enumerate() {
            let path = list.path.index(index);
            errs.extend(names::valid_cidr_for_legacy_field(&path, range.trim(), true, &known));
        }
        return;
    }
    let annotations = metadata.child("annotations");
    if !annotations.has(SOURCE_RANGES) {
        return;
    }
    let text = annotations.text(SOURCE_RANGES);
    let path = annotations.path.key(SOURCE_RANGES);
    if !is_balanced {
        errs.push(field::forbidden(&path, ONLY_LOAD_BALANCER));
    }
    if old.path(&["metadata", "annotations"]).text(SOURCE_RANGES) != text && !text.trim().is_empty() {
        for range in text.trim().split(',') {
            errs.extend(names::valid_cidr_for_legacy_field(&path, range.trim(), true, &[]));
        }
    }
}

fn load_balancer_fields(spec: &Node<'_>, ty: &str, errs: &mut ErrorList) {
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    let class = spec.child("loadBalancerClass");
    if ty == "LoadBalancer" {
        if !allocate.is_set() {
            // Upstream names the field without its parent.
            errs.push(field::required(&field::Path::new("allocateLoadBalancerNodePorts"), ""));
        }
        if class.is_set() {
            check::qualified_name(&class, errs);
        }
    } else {
        for node in [&allocate, &class] {
            if node.is_set() {
                errs.push(node.forbidden(ONLY_LOAD_BALANCER));
            }
        }
    }
}

fn traffic(spec: &Node<'_>, errs: &mut ErrorList) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    let external = spec.child("externalTrafficPolicy");
    if is_externally_accessible(spec) {
        check::required_choice(&external, POLICIES, errs);
    } else if !external.str().is_empty() {
        errs.push(external.invalid("may only be set for externally-accessible services"));
    }
    let health = spec.child("healthCheckNodePort");
    match (needs_health_check(spec), health.number()) {
        (true, 0) => errs.push(health.required("")),
        (true, _) => check::port_number(&health, errs),
        (false, 0) => {}
        (false, _) => {
            errs.push(health.invalid(
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ))
        }
    }
    let internal = spec.child("internalTrafficPolicy");
    if internal.is_set() {
        internal.one_of(POLICIES, errs);
    } else if matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errs.push(internal.required(""));
    }
    let distribution = spec.child("trafficDistribution");
    if distribution.is_set() {
        distribution.one_of(&["PreferClose", "PreferSameZone", "PreferSameNode"], errs);
    }
}

/// Traffic from outside reaches the service without passing a pod.
fn is_externally_accessible(spec: &Value) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.list("externalIPs").is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// A service without an address of its own.
pub(super) fn is_headless(spec: &Value) -> bool {
    spec.texts("clusterIPs") == ["None"]
}

/// A change of type takes away what the new type has no use for, unless the writer changed it too: then
/// validation speaks.
fn drop_fields_of_other_types(spec: &mut Value, old: &Value) {
    let unchanged = |spec: &Value, keys: &[&str]| keys.iter().all(|key| same(spec.at(key), old.at(key)));
    let leaves = |spec: &Value, needs: fn(&Value) -> bool| needs(old) && !needs(spec);
    if leaves(spec, |spec| spec.text("type") != "ExternalName") {
        for group in [&["clusterIP", "clusterIPs"][..], &["ipFamilies"], &["ipFamilyPolicy"]] {
            if unchanged(spec, group) {
                group.iter().for_each(|key| spec.drop_key(key));
            }
        }
    }
    if leaves(spec, |spec| matches!(spec.text("type"), "NodePort" | "LoadBalancer")) {
        let ports = |spec: &Value| -> BTreeSet<i64> {
            spec.list("ports")
                .iter()
                .filter_map(|port| port.int("nodePort"))
                .filter(|port| *port != 0)
                .collect()
        };
        if ports(old).is_superset(&ports(spec)) {
            spec.items_mut("ports").for_each(|port| port.drop_key("nodePort"));
        }
    }
    for (needs, key) in [
        (needs_health_check as fn(&Value) -> bool, "healthCheckNodePort"),
        (|spec| spec.text("type") == "LoadBalancer", "allocateLoadBalancerNodePorts"),
        (|spec| spec.text("type") == "LoadBalancer", "loadBalancerClass"),
        (is_externally_accessible, "externalTrafficPolicy"),
    ] {
        if leaves(spec, needs) && unchanged(spec, &[key]) {
            spec.drop_key(key);
        }
    }
}

fn warnings(obj: &Value) -> Vec<String> {
    let root = Node::root(obj);
    let spec = root.child("spec");
    let mut warnings = Vec::new();
    if obj.path(&["metadata", "annotations"]).has(HINTS) {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let (ty, headless) =
        (spec.text("type"), spec.text("type") == "ClusterIP" && spec.text("clusterIP") == "None");
    if !matches!(spec.text("clusterIP"), "" | "None") {
        for ip in spec.child("clusterIPs").items() {
            warnings.extend(names::ip_warnings(&ip.path, ip.str()));
        }
    }
    let external_ips = spec.child("externalIPs");
    if headless {
        if !spec.text("loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external_ips.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.text("sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    for ip in external_ips.items() {
        warnings.extend(names::ip_warnings(&ip.path, ip.str()));
    }
    if !external_ips.is_empty() && !headless && ty != "ExternalName" {
        warnings.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    let balancer = spec.child("loadBalancerIP");
    if !balancer.str().is_empty() {
        warnings.extend(names::ip_warnings(&balancer.path, balancer.str()));
    }
    for range in spec.child("loadBalancerSourceRanges").items() {
        warnings.extend(names::cidr_warnings(&range.path, range.str()));
    }
    if ty == "ExternalName" && !external_ips.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if ty != "ExternalName" && !spec.text("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        warnings.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    warnings
}

fn port_text(port: &Value) -> String {
    let (number, protocol) = (port.int("port").unwrap_or_default(), port.text("protocol"));
    match port.int("nodePort").unwrap_or_default() {
        0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

fn external_ip(obj: &Value) -> String {
    let spec = obj.at("spec");
    let mut addresses: Vec<&str> = Vec::new();
    match spec.text("type") {
        "ExternalName" => return spec.text("externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = obj.path(&["status", "loadBalancer"]).list("ingress");
            let balanced: BTreeSet<&str> = ingress
                .iter()
                .map(|ingress| {
                    if ingress.text("ip").is_empty() { ingress.text("hostname") } else { ingress.text("ip") }
                })
                .filter(|address| !address.is_empty())
                .collect();
            addresses.extend(balanced);
        }
        "ClusterIP" | "NodePort" => {}
        _ => return "<unknown>".to_owned(),
    }
    addresses.extend(spec.texts("externalIPs"));
    match (addresses.is_empty(), spec.text("type")) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
        (false, _) => addresses.join(","),
    }
}
