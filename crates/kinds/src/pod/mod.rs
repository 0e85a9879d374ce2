//! The pod spec, which pods, pod templates and every workload share.
//!
//! [`validate_spec`] reads as the list of what must hold; each part has a file of its own. [`Rules`] says what an
//! older server has let into the stored object and an update may therefore keep.

use std::collections::BTreeSet;

use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::tree::Tree;

pub mod containers;
pub mod defaults;
pub mod env;
pub mod network;
pub mod placement;
pub mod prepare;
pub mod probes;
pub mod resources;
mod rules;
pub mod security;
pub mod volumes;
pub mod warnings;
mod windows;

pub use rules::Rules;

use volumes::Volumes;

/// What the parts of one pod spec need to know of each other.
pub struct Frame<'a> {
    pub rules: &'a Rules,
    pub volumes: &'a Volumes<'a>,
    /// The names of the pod's resource claims.
    pub claims: &'a BTreeSet<String>,
    pub grace_period: Option<i64>,
    pub os: Option<&'a str>,
    pub host_users: bool,
    pub restart_policy: &'a str,
}

/// Everything that must hold of a pod template: its labels, annotations and spec.
pub fn validate_template(template: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let (metadata, spec) = (template.child("metadata"), template.child("spec"));
    // Upstream leaves `metadata` out of these paths.
    let misplaced = |key: &'static str| Node::new(metadata.value().at(key), template.path.child(key));
    meta::labels(&misplaced("labels"), errs);
    let annotations = misplaced("annotations");
    meta::annotations(&annotations, errs);
    validate_annotations(&annotations, &spec, rules, errs);
    validate_spec(&spec, &Value::Null, rules, errs);
    security::annotations_match_fields(metadata.value(), &spec, errs);
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errs.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// Everything that must hold of a pod spec. `metadata` is null in a template.
pub fn validate_spec(spec: &Node<'_>, metadata: &Value, rules: &Rules, errs: &mut ErrorList) {
    let grace_period = spec.child("terminationGracePeriodSeconds");
    if !grace_period.is_set() {
        errs.push(grace_period.required(""));
    }
    let volume_list = spec.child("volumes");
    let volumes = volumes::validate(&volume_list, metadata.text("name"), rules, errs);
    let claims: BTreeSet<String> = spec
        .list("resourceClaims")
        .iter()
        .map(|claim| claim.text("name").to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    resource_claims(&spec.child("resourceClaims"), metadata, errs);
    let frame = Frame {
        rules,
        volumes: &volumes,
        claims: &claims,
        grace_period: grace_period.as_i64(),
        os: spec.has("os").then(|| spec.at("os").text("name")),
        host_users: spec.choice("hostUsers").unwrap_or(true),
        restart_policy: spec.text("restartPolicy"),
    };
    let regular = spec.child("containers");
    containers::regular(&regular, &frame, errs);
    containers::init(&spec.child("initContainers"), &regular, &frame, errs);
    containers::ephemeral(spec, &frame, errs);
    resources::pod(spec, &claims, rules, errs);
    network::host_ports(spec, rules, errs);
    check::required_choice(&spec.child("restartPolicy"), &["Always", "OnFailure", "Never"], errs);
    network::dns_policy(&spec.child("dnsPolicy"), errs);
    meta::labels(&spec.child("nodeSelector"), errs);
    security::pod(spec, rules, errs);
    shared_processes(spec, errs);
    placement::affinity(&spec.child("affinity"), rules, errs);
    network::dns_config(spec, errs);
    for gate in spec.child("readinessGates").items() {
        check::qualified_name(&gate.child("conditionType"), errs);
    }
    placement::gates(&spec.child("schedulingGates"), errs);
    placement::spread(&spec.child("topologySpreadConstraints"), rules, errs);
    windows::host_process(spec, errs);
    security::user_namespace(spec, rules, errs);
    network::host_names(spec, errs);
    names_of_others(spec, errs);
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() && !(1..=i64::from(i32::MAX)).contains(&deadline.number()) {
        errs.push(deadline.invalid(names::inclusive_range_error(1, i32::MAX.into())));
    }
    placement::tolerations(&spec.child("tolerations"), errs);
    network::host_aliases(&spec.child("hostAliases"), errs);
    let preemption = spec.child("preemptionPolicy");
    if preemption.is_set() {
        check::required_choice(&preemption, &["PreemptLowerPriority", "Never"], errs);
    }
    if spec.has("overhead") {
        overhead(spec, rules, errs);
    }
    security::operating_system(spec, errs);
    file_references(spec, errs);
}

/// Everything that must hold of annotations that mean something to a pod.
pub fn validate_annotations(annotations: &Node<'_>, spec: &Value, rules: &Rules, errs: &mut ErrorList) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    if annotations.has(MIRROR) && spec.text("nodeName").is_empty() {
        let mirror = Node::new(annotations.value().at(MIRROR), annotations.path.key(MIRROR));
        errs.push(mirror.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
    let cost = annotations.text(DELETION_COST);
    if annotations.has(DELETION_COST) && !rules.deletion_cost && !is_deletion_cost(cost) {
        let node = Node::new(annotations.value().at(DELETION_COST), annotations.path.key(DELETION_COST));
        errs.push(node.invalid("must be a 32bit integer"));
    }
    security::annotations(annotations, spec, errs);
}

/// A 32-bit number without a plus sign or leading zeros.
pub(crate) fn is_deletion_cost(text: &str) -> bool {
    let padded = text.len() > 1 && (text.starts_with('0') || text.starts_with("-0"));
    !text.starts_with('+') && !padded && text.parse::<i32>().is_ok()
}

fn resource_claims(claims: &Node<'_>, metadata: &Value, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for claim in claims.items() {
        if metadata.at("annotations").has("kubernetes.io/config.mirror") {
            errs.push(
                Node::root(claim.value()).child("").forbidden("static pods do not support resource claims"),
            );
            continue;
        }
        let name = claim.child("name");
        match name.str() {
            "" => errs.push(name.required("")),
            text if seen.contains(text) => errs.push(name.duplicate()),
            text => {
                check::dns_label(&name, errs);
                seen.insert(text.to_owned());
            }
        }
        let (direct, template) = (claim.child("resourceClaimName"), claim.child("resourceClaimTemplateName"));
        match (direct.is_set(), template.is_set()) {
            (true, true) => errs.push(claim.invalid(
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            )),
            (false, false) => errs
                .push(claim.invalid("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")),
            _ => {}
        }
        for node in [&direct, &template] {
            if node.is_set() {
                node.complaints(meta::SUBDOMAIN(node.str(), false), errs);
            }
        }
    }
}

fn shared_processes(spec: &Node<'_>, errs: &mut ErrorList) {
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        errs.push(
            spec.child("shareProcessNamespace")
                .invalid("ShareProcessNamespace and HostPID cannot both be enabled"),
        );
    }
}

/// Names of other objects that the spec refers to.
fn names_of_others(spec: &Node<'_>, errs: &mut ErrorList) {
    let account = spec.child("serviceAccountName");
    let alias = spec.at("serviceAccount").as_str().unwrap_or_default();
    if alias != account.str() {
        errs.push(spec.child("deprecatedServiceAccount").invalid_as(
            alias,
            format!("must be the same as serviceAccountName: {}", grammar::go::quote(account.str())),
        ));
    }
    for key in ["serviceAccountName", "nodeName", "priorityClassName"] {
        let name = spec.child(key);
        if !name.str().is_empty() {
            name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
        }
    }
    let runtime_class = spec.child("runtimeClassName");
    if runtime_class.is_set() {
        runtime_class.complaints(meta::SUBDOMAIN(runtime_class.str(), false), errs);
    }
}

/// The runtime's own needs are checked as a container's limits, and named as such.
fn overhead(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let limits = serde_json::json!({"limits": spec.value().at("overhead")});
    let overhead = Node::new(&limits, spec.path.child("overhead"));
    resources::container(&overhead, &BTreeSet::new(), rules, errs);
}

/// Environment variables read from files find them in an emptyDir.
fn file_references(spec: &Node<'_>, errs: &mut ErrorList) {
    security::each_container(spec, |container| {
        for variable in container.child("env").items() {
            let from = variable.child("valueFrom");
            let reference = from.child("fileKeyRef");
            if !reference.is_set() {
                continue;
            }
            let name = reference.child("volumeName");
            // Of two volumes with one name, the later one counts.
            match spec.list("volumes").iter().rfind(|volume| volume.text("name") == name.str()) {
                None => errs.push(grammar::field::not_found(&name.path, name.str())),
                Some(volume) if !volume.has("emptyDir") => {
                    errs.push(name.invalid("referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    });
}
