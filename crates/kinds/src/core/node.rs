//! Node: a machine that runs pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Kind, Selectable, Subresource, Verb, names as texts};
use crate::meta;
use crate::node::Node;
use crate::pod::{defaults, placement, resources};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const INFO: &str = "io.k8s.api.core.v1.NodeSystemInfo";
    const STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
    const PROXY: [Verb; 5] = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    Kind {
        short_names: texts(&["no"]),
        key_prefix: "/registry/minions".into(),
        resets: vec![&["status"]],
        resets_on_create: false,
        subresources: vec![
            Subresource::status(&[&["spec"]], Status),
            Subresource::special("proxy", &PROXY, ("", "v1", "NodeProxyOptions")),
        ],
        selectable: vec![Selectable::field("spec.unschedulable").or("false")],
        columns: vec![
            NAME,
            described("Status", "The status of the node"),
            described("Roles", "The roles of the node"),
            AGE,
            documented("Version", INFO, "kubeletVersion"),
            documented("Internal-IP", STATUS, "addresses").wide(),
            documented("External-IP", STATUS, "addresses").wide(),
            documented("OS-Image", INFO, "osImage").wide(),
            documented("Kernel-Version", INFO, "kernelVersion").wide(),
            documented("Container-Runtime", INFO, "containerRuntimeVersion").wide(),
        ],
        strategy: Arc::new(NodeRules),
        ..Kind::cluster("", "v1", "Node", "nodes")
    }
}

struct NodeRules;

impl Strategy for NodeRules {
    fn default(&self, _version: &str, obj: &mut Value) {
        let status = obj.at_mut("status");
        if !status.has("allocatable") && status.has("capacity") {
            status.copy_within("capacity", "allocatable");
        }
        for key in ["capacity", "allocatable"] {
            if status.has(key) {
                defaults::resource_list(status.at_mut(key));
            }
        }
        let spec = obj.at_mut("spec");
        // The single range and the list of ranges were once one field; the single one wins.
        let first = spec.texts("podCIDRs").first().map(|range| (*range).to_owned());
        match (spec.text("podCIDR").to_owned(), first) {
            (single, first) if !single.is_empty() && first.as_ref() != Some(&single) => {
                spec.set("podCIDRs", vec![single]);
            }
            (single, Some(first)) if single.is_empty() => spec.set("podCIDR", first),
            _ => {}
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        drop_field(obj, "spec", "configSource");
        drop_field(obj, "status", "config");
        drop_field(obj, "spec", "podPreemptionPolicy");
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        for key in ["configSource", "podPreemptionPolicy"] {
            if !old.at("spec").has(key) {
                drop_field(new, "spec", key);
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (metadata, spec, status) = (obj.child("metadata"), obj.child("spec"), obj.child("status"));
        let misplaced = |key: &'static str, value| Node::new(value, metadata.path.child(key));
        taints(&misplaced("taints", spec.value().at("taints")), errs);
        quantities(&status, errs);
        let swap = misplaced("nodeSwapStatus", status.value().path(&["nodeInfo", "swap"]));
        if swap.has("capacity") {
            check::positive(&swap.child("capacity"), errs);
        }
        features(&status.child("declaredFeatures"), errs);
        pod_ranges(&spec.child("podCIDRs"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        change(new, old, errs);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let spec = root.child("spec");
        let mut warnings = Vec::new();
        if spec.has("configSource") {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.text("externalID").is_empty() {
            warnings
                .push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for range in spec.child("podCIDRs").items() {
            warnings.extend(names::cidr_warnings(&range.path, range.str()));
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let info = obj.path(&["status", "nodeInfo"]);
        let known = |key: &str| match info.text(key) {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        };
        let kernel = match info.text("architecture") {
            "" => known("kernelVersion"),
            architecture => format!("{} ({architecture})", known("kernelVersion")),
        };
        vec![
            column::name(obj),
            state(obj).into(),
            roles(obj).into(),
            column::age(obj, now),
            info.text("kubeletVersion").into(),
            address(obj, "InternalIP").into(),
            address(obj, "ExternalIP").into(),
            known("osImage").into(),
            kernel.into(),
            known("containerRuntimeVersion").into(),
        ]
    }
}

struct Status;

impl Strategy for Status {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if !old.at("status").has("config") {
            drop_field(new, "status", "config");
        }
        if !old.path(&["status", "nodeInfo"]).has("runningInUserNamespace")
            && let Some(info) = new.find_mut(&["status", "nodeInfo"])
        {
            info.drop_key("runningInUserNamespace");
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        change(new, old, errs);
    }
}

fn drop_field(obj: &mut Value, part: &str, key: &str) {
    if let Some(part) = obj.get_mut(part) {
        part.drop_key(key);
    }
}

fn change(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let (metadata, spec, status) = (new.child("metadata"), new.child("spec"), new.child("status"));
    let before = old.at("spec");
    quantities(&status, errs);
    features(&status.child("declaredFeatures"), errs);
    let mut seen = BTreeSet::new();
    for address in status.child("addresses").items() {
        if !seen.insert((address.text("type").to_owned(), address.text("address").to_owned())) {
            errs.push(address.duplicate());
        }
    }
    let ranges = spec.child("podCIDRs");
    let (now, was) = (spec.texts("podCIDRs"), before.texts("podCIDRs"));
    let changed = match now.len() == was.len() {
        true => now.iter().zip(&was).filter(|(now, was)| now != was).count(),
        false => usize::from(!was.is_empty()),
    };
    for _ in 0..changed {
        errs.push(ranges.forbidden("node updates may not change podCIDR except from \"\" to valid"));
    }
    let provider = spec.child("providerID");
    if !before.text("providerID").is_empty() && provider.str() != before.text("providerID") {
        let complaint = match provider.str() {
            "" => "field cannot be cleared once set",
            _ => "field cannot be modified once set",
        };
        errs.push(provider.invalid_as(&Value::Null, complaint));
    }
    taints(&Node::new(spec.value().at("taints"), metadata.path.child("taints")), errs);
    if spec.text("externalID") != before.text("externalID") {
        errs.push(spec.child("externalID").forbidden("may not be updated"));
    }
}

fn taints(taints: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for taint in taints.items() {
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        meta::label_key(&key.path, key.str(), errs);
        let complaints = names::label_value(value.str());
        if !complaints.is_empty() {
            errs.push(value.invalid_text(complaints.join(";")));
        }
        match effect.str() {
            "" => errs.push(effect.required("")),
            _ => placement::taint_effect(&effect, errs),
        }
        if !seen.insert((effect.str().to_owned(), key.str().to_owned())) {
            let mut duplicate = taint.duplicate();
            duplicate.detail = "taints must be unique by key and effect pair".to_owned();
            errs.push(duplicate);
        }
    }
}

fn quantities(status: &Node<'_>, errs: &mut ErrorList) {
    for key in ["capacity", "allocatable"] {
        let list = status.child(key);
        for (resource, value) in list.pairs() {
            // Upstream writes the resource as a field, not as a key.
            let entry = Node::new(value.value(), list.path.child(resource));
            resources::quantity(&entry, resource, errs);
        }
    }
}

fn features(features: &Node<'_>, errs: &mut ErrorList) {
    let mut before: Option<String> = None;
    for feature in features.items() {
        let text = feature.str();
        let shown = grammar::go::quote(text);
        if text.len() > 253 {
            errs.push(
                feature.invalid(format!("invalid feature name {shown}: must be no more than 253 characters")),
            );
        } else if !is_feature(text) {
            errs.push(feature.invalid_text(format!(
                "invalid feature name {shown}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric \
                 characters and slashes"
            )));
        }
        match &before {
            Some(before) if before == text => errs.push(feature.duplicate()),
            Some(before) if before.as_str() > text => {
                errs.push(feature.invalid_text("list must be sorted alphabetically"));
            }
            _ => {}
        }
        before = Some(text.to_owned());
    }
}

fn is_feature(text: &str) -> bool {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.split('/').all(word)
}

fn pod_ranges(ranges: &Node<'_>, errs: &mut ErrorList) {
    for range in ranges.items() {
        errs.extend(names::valid_cidr_for_legacy_field(&range.path, range.str(), true, &[]));
    }
    if ranges.len() < 2 {
        return;
    }
    let parsed: Option<Vec<_>> = ranges.items().map(|range| names::parse_cidr_sloppy(range.str())).collect();
    match parsed {
        None => {
            let mut bad = ranges.items().enumerate();
            let bad = bad.find(|(_, range)| names::parse_cidr_sloppy(range.str()).is_none());
            let (index, text) = bad.map(|(index, range)| (index, range.str().to_owned())).unwrap_or_default();
            errs.push(field::internal(
                &ranges.path,
                format!(
                    "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> \
                     (invalid CIDR address: {text})"
                ),
            ));
            errs.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
        }
        Some(parsed) => {
            let mut families: BTreeMap<bool, usize> = BTreeMap::new();
            for range in &parsed {
                *families.entry(range.address.is_ipv6()).or_default() += 1;
            }
            if families.len() != 2 || parsed.len() > 2 {
                errs.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
            }
        }
    }
}

fn state(node: &Value) -> String {
    let conditions = node.at("status").list("conditions");
    let ready = conditions.iter().rfind(|condition| condition.text("type") == "Ready");
    let state = match ready.map(|condition| condition.text("status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    };
    match node.at("spec").flag("unschedulable") {
        true => format!("{state},SchedulingDisabled"),
        false => state.to_owned(),
    }
}

fn roles(node: &Value) -> String {
    let labels = node.at("metadata").entries("labels");
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    match roles.is_empty() {
        true => "<none>".to_owned(),
        false => Vec::from_iter(roles).join(","),
    }
}

fn address<'a>(node: &'a Value, ty: &str) -> &'a str {
    let addresses = node.at("status").list("addresses");
    addresses
        .iter()
        .find(|address| address.text("type") == ty)
        .map_or("<none>", |found| found.text("address"))
}
