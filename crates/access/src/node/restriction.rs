//! NodeRestriction: what a kubelet may write into the objects that it may write.
//!
//! The authorizer sees names; this sees objects. A check gets what it needs through [`World`], the caller's view of
//! the store. The words of a refusal follow `… is forbidden: ` in the answer.

use std::collections::BTreeSet;

use api::User;
use grammar::go::quote;
use serde_json::Value;

use super::{identity, references};
use crate::tree::{items, name, same, text};
use crate::{Attributes, Decision};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write on its way into the store. `object` and `old` are null where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub object: &'a Value,
    pub old: &'a Value,
    /// The common name in the body of a CertificateSigningRequest, as the caller's X.509 parser reads it.
    pub common_name: Option<Result<&'a str, &'a str>>,
}

/// The caller's view of the store, and of who may do what.
pub trait World {
    /// `kind` is `Pod`, `Node`, `ServiceAccount`, `PersistentVolumeClaim`, `PersistentVolume` or `CSIDriver`.
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value>;
    fn authorize(&self, user: &User, request: &Attributes<'_>) -> Decision;
}

/// Why a write is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Forbidden(String),
    /// 404 for this resource and name.
    NotFound {
        resource: &'static str,
        name: String,
    },
    /// An error without a status of its own, which upstream answers with 500.
    Failed(String),
}

type Verdict = Result<(), Refusal>;

/// Whether `user`, if it is a node, may make this write. Whoever is no node passes.
pub fn admit(user: &User, write: &Write<'_>, world: &dyn World) -> Verdict {
    if write.operation == Operation::Connect {
        return Ok(());
    }
    let Some(node) = identity(user) else { return Ok(()) };
    if node.is_empty() {
        return forbid(format!("could not determine node from user {}", quote(&user.name)));
    }
    match (write.group, write.resource) {
        ("", "pods") => match write.subresource {
            "" => pod(node, write, world),
            "status" => pod_status(node, write),
            "eviction" => eviction(node, write, world),
            other => {
                let other = quote(other);
                forbid(format!(
                    "unexpected pod subresource {other}, only 'status' and 'eviction' are allowed"
                ))
            }
        },
        ("", "nodes") => own_node(node, write),
        ("", "persistentvolumeclaims") => claim_status(node, write),
        ("", "serviceaccounts") => token(user, node, write, world),
        ("certificates.k8s.io", "podcertificaterequests") => certificate(user, node, write, world),
        ("coordination.k8s.io", "leases") => {
            if write.namespace != "kube-node-lease" {
                return forbid("can only access leases in the \"kube-node-lease\" system namespace");
            }
            own_name(node, write, "node lease")
        }
        ("storage.k8s.io", "csinodes") => {
            own_name(node, write, "CSINode")?;
            match write.subresource {
                "status" => forbid("CSIVolumeHealth feature gate is disabled"),
                _ => Ok(()),
            }
        }
        ("resource.k8s.io", "resourceslices") => {
            let (object, verb) = match write.operation {
                Operation::Create => (write.object, "create"),
                Operation::Delete => (write.old, "delete"),
                _ => return Ok(()),
            };
            if object["spec"]["nodeName"] == node {
                return Ok(());
            }
            forbid(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
        }
        ("certificates.k8s.io", "certificatesigningrequests") => signing_request(node, write),
        _ => Ok(()),
    }
}

fn pod(node: &str, write: &Write<'_>, world: &dyn World) -> Verdict {
    match write.operation {
        Operation::Create => mirror_pod(node, write.object, world),
        Operation::Delete => {
            let existing = find(world, "Pod", "pods", write.namespace, write.name)?;
            if text(&existing["spec"], "nodeName") == node {
                return Ok(());
            }
            forbid(format!("node {} can only delete pods with spec.nodeName set to itself", quote(node)))
        }
        other => forbid(format!(
            "unexpected operation {}, node {} can only create and delete mirror pods",
            quote(other.name()),
            quote(node)
        )),
    }
}

fn mirror_pod(node: &str, pod: &Value, world: &dyn World) -> Verdict {
    let quoted = quote(node);
    if !is_mirror(pod) {
        return forbid(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {quoted} can only create mirror pods"
        ));
    }
    if text(&pod["spec"], "nodeName") != node {
        return forbid(format!("node {quoted} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match items(&pod["metadata"], "ownerReferences") {
        [] => {
            return forbid(format!(
                "node {quoted} can only create pods with an owner reference set to itself"
            ));
        }
        [owner] => owner,
        _ => {
            return forbid(format!(
                "node {quoted} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return forbid(format!("node {quoted} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return forbid(format!(
            "node {quoted} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return forbid(format!("node {quoted} must not set blockOwnerDeletion on an owner reference"));
    }
    let existing = find(world, "Node", "nodes", "", node)?;
    let (want, got) = (text(owner, "uid"), text(&existing["metadata"], "uid"));
    if want != got {
        return forbid(format!("node {node} UID mismatch: expected {want} got {got}"));
    }
    match named_objects(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => forbid(format!("node {quoted} can not create pods that reference {what}")),
        Err(what) => forbid(format!("error checking mirror pod for API references: {what}")),
    }
}

/// The first kind of API object that a pod names; a mirror pod must name none, for it would give its node rights.
fn named_objects(pod: &Value) -> Result<Option<&'static str>, String> {
    let spec = &pod["spec"];
    if !text(spec, "serviceAccountName").is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    if !references::secrets(pod).is_empty() {
        return Ok(Some("secrets"));
    }
    if !references::config_maps(pod).is_empty() {
        return Ok(Some("configmaps"));
    }
    if !items(spec, "resourceClaims").is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in items(spec, "volumes") {
        let has = |kind: &str| !volume[kind].is_null();
        if HARMLESS_VOLUMES.iter().any(|kind| has(kind)) {
            continue;
        }
        if let Some((_, what)) = TELLING_VOLUMES.iter().find(|(kind, _)| has(kind)) {
            return Ok(Some(what));
        }
        if !has("projected") {
            return Err(format!("unknown volume type for volume  {}", quote(text(volume, "name"))));
        }
        for source in items(&volume["projected"], "sources") {
            let has = |kind: &str| !source[kind].is_null();
            if let Some((_, what)) = TELLING_SOURCES.iter().find(|(kind, _)| has(kind)) {
                return Ok(Some(what));
            }
            if !has("downwardAPI") {
                let name = quote(text(volume, "name"));
                return Err(format!("unknown source for projected volume {name}"));
            }
        }
    }
    Ok(None)
}

const HARMLESS_VOLUMES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

const TELLING_VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

const TELLING_SOURCES: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

fn pod_status(node: &str, write: &Write<'_>) -> Verdict {
    if write.operation != Operation::Update {
        return forbid(format!("unexpected operation {}", quote(write.operation.name())));
    }
    let (new, old, quoted) = (write.object, write.old, quote(node));
    if text(&old["spec"], "nodeName") != node {
        return forbid(format!(
            "node {quoted} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if !same(&old["metadata"]["labels"], &new["metadata"]["labels"]) {
        return forbid(format!("node {quoted} cannot update labels through pod status"));
    }
    let what = [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
        ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
    ];
    match what.iter().find(|(key, _)| !same(&old["status"][key], &new["status"][key])) {
        Some((_, what)) => forbid(format!("node {quoted} cannot update {what}")),
        None => Ok(()),
    }
}

fn eviction(node: &str, write: &Write<'_>, world: &dyn World) -> Verdict {
    if write.operation != Operation::Create {
        return forbid(format!("unexpected operation {}", write.operation.name()));
    }
    let pod = if write.name.is_empty() { name(write.object) } else { write.name };
    if pod.is_empty() {
        return forbid("could not determine pod from request data");
    }
    let existing = find(world, "Pod", "pods", write.namespace, pod)?;
    if text(&existing["spec"], "nodeName") == node {
        return Ok(());
    }
    forbid(format!("node {node} can only evict pods with spec.nodeName set to itself"))
}

fn claim_status(node: &str, write: &Write<'_>) -> Verdict {
    if write.subresource != "status" {
        return forbid("may only update PVC status");
    }
    if write.operation != Operation::Update {
        return forbid(format!("unexpected operation {}", quote(write.operation.name())));
    }
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, keys) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            ("status", &["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"][..]),
        ] {
            if let Some(part) = claim[part].as_object_mut() {
                keys.iter().for_each(|key| drop(part.remove(*key)));
            }
        }
        claim
    };
    if same(&rest(write.object), &rest(write.old)) {
        return Ok(());
    }
    forbid(format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions",
        quote(node)
    ))
}

fn own_node(node: &str, write: &Write<'_>) -> Verdict {
    let (new, old, quoted) = (write.object, write.old, quote(node));
    if write.name != node {
        return forbid(format!("node {quoted} is not allowed to modify node {}", quote(write.name)));
    }
    let config = &new["spec"]["configSource"];
    match write.operation {
        Operation::Create => {
            if !config.is_null() {
                return forbid(format!(
                    "node {quoted} is not allowed to create pods with a non-nil configSource"
                ));
            }
            match forbidden_labels(new, &Value::Null) {
                labels if labels.is_empty() => Ok(()),
                labels => {
                    forbid(format!("node {quoted} is not allowed to set the following labels: {labels}"))
                }
            }
        }
        Operation::Update => {
            if !config.is_null() && !same(config, &old["spec"]["configSource"]) {
                return forbid(format!(
                    "node {quoted} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if !same(&new["spec"]["taints"], &old["spec"]["taints"]) {
                return forbid(format!("node {quoted} is not allowed to modify taints"));
            }
            if !same(&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]) {
                return forbid(format!("node {quoted} is not allowed to modify ownerReferences"));
            }
            match forbidden_labels(new, old) {
                labels if labels.is_empty() => Ok(()),
                labels => forbid(format!("is not allowed to modify labels: {labels}")),
            }
        }
        _ => Ok(()),
    }
}

/// The changed labels that are not a kubelet's to change, in order, as a list in a sentence.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys = |labels: &Value| {
        labels.as_object().map(|l| l.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    let changed: BTreeSet<String> =
        keys(new).into_iter().chain(keys(old)).filter(|key| new.get(key) != old.get(key)).collect();
    let forbidden: Vec<_> = changed.into_iter().filter(|key| !is_kubelets_to_set(key)).collect();
    forbidden.join(", ")
}

fn is_kubelets_to_set(key: &str) -> bool {
    const LABELS: [&str; 11] = [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    ];
    let space = key.split_once('/').map_or("", |(space, _)| space);
    let within = |domain: &str| {
        space == domain || space.strip_suffix(domain).is_some_and(|prefix| prefix.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved || LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

fn token(user: &User, node: &str, write: &Write<'_>, world: &dyn World) -> Verdict {
    if write.operation != Operation::Create || write.subresource != "token" {
        return Ok(());
    }
    let spec = &write.object["spec"];
    let bound = &spec["boundObjectRef"];
    if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || text(bound, "name").is_empty() {
        return forbid("node requested token not bound to a pod");
    }
    let uid = text(bound, "uid");
    if uid.is_empty() {
        return forbid("node requested token with a pod binding without a uid");
    }
    let pod = find(world, "Pod", "pods", write.namespace, text(bound, "name"))?;
    if uid != text(&pod["metadata"], "uid") {
        return forbid(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    if text(&pod["spec"], "nodeName") != node {
        return forbid("node requested token bound to a pod scheduled on a different node");
    }
    let audience = match items(spec, "audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return forbid("node may only request 0 or 1 audiences"),
    };
    match names_audience(&pod, audience, write.namespace, world) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(errors) => return forbid(format!("error validating audience {}: {errors}", quote(audience))),
    }
    let request = write.attributes("request-serviceaccounts-token-audience", audience, write.name);
    if world.authorize(user, &request).is_allowed() {
        return Ok(());
    }
    forbid(format!("{} is not authorized to request tokens for audience {}", user.name, quote(audience)))
}

/// Whether a volume of the pod needs a token for this audience: a projected one, or one of a CSI driver that says so.
fn names_audience(pod: &Value, audience: &str, namespace: &str, world: &dyn World) -> Result<bool, String> {
    let mut errors: Vec<String> = Vec::new();
    for volume in items(&pod["spec"], "volumes") {
        let projected = items(&volume["projected"], "sources").iter();
        let mut tokens =
            projected.map(|source| &source["serviceAccountToken"]).filter(|token| !token.is_null());
        if tokens.any(|token| text(token, "audience") == audience) {
            return Ok(true);
        }
        let claim = |claim: &str| {
            let missing = |what: &str, name: &str| format!("{what} {} not found", quote(name));
            let found = world.get("PersistentVolumeClaim", namespace, claim);
            let found = found.ok_or_else(|| missing("persistentvolumeclaim", claim))?;
            let bound = text(&found["spec"], "volumeName");
            let bound =
                world.get("PersistentVolume", "", bound).ok_or_else(|| missing("persistentvolume", bound))?;
            Ok(text(&bound["spec"]["csi"], "driver").to_owned())
        };
        let driver = if !volume["ephemeral"]["volumeClaimTemplate"].is_null() {
            claim(&format!("{}-{}", name(pod), text(volume, "name")))
        } else if !volume["persistentVolumeClaim"].is_null() {
            claim(text(&volume["persistentVolumeClaim"], "claimName"))
        } else {
            Ok(text(&volume["csi"], "driver").to_owned())
        };
        let driver = match driver {
            Ok(driver) if driver.is_empty() => continue,
            Ok(driver) => driver,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match world.get("CSIDriver", "", &driver) {
            None => errors.push(format!("csidriver.storage.k8s.io {} not found", quote(&driver))),
            Some(found) => {
                let mut requests = items(&found["spec"], "tokenRequests").iter();
                if requests.any(|request| text(request, "audience") == audience) {
                    return Ok(true);
                }
            }
        }
    }
    errors.dedup();
    match &*errors {
        [] => Ok(false),
        [one] => Err(one.clone()),
        _ => Err(format!("[{}]", errors.join(", "))),
    }
}

fn certificate(user: &User, node: &str, write: &Write<'_>, world: &dyn World) -> Verdict {
    if write.operation != Operation::Create {
        return forbid(format!("unexpected operation {}", write.operation.name()));
    }
    if !write.subresource.is_empty() {
        return forbid(format!("unexpected subresource {}", write.subresource));
    }
    let spec = &write.object["spec"];
    let at = |name: &str| quote(&format!("{}/{name}", write.namespace));
    let lookup = |kind: &str, resource: &str, namespace: &str, name: &str, what: String| {
        let missing = || {
            let text = format!("{resource} {} not found", quote(name));
            Refusal::Failed(format!("while retrieving {what} named in the PodCertificateRequest: {text}"))
        };
        world.get(kind, namespace, name).ok_or_else(missing)
    };
    let uid = |object: &Value| text(&object["metadata"], "uid").to_owned();
    let (pod_name, account) = (text(spec, "podName"), text(spec, "serviceAccountName"));
    let pod_at = at(pod_name);

    let named = text(spec, "nodeName");
    if named != node {
        return forbid(format!(
            "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
            quote(named),
            quote(node)
        ));
    }
    let found = lookup("Node", "node", "", node, format!("node {}", quote(node)))?;
    if uid(&found) != text(spec, "nodeUID") {
        return Err(Refusal::Failed(format!(
            "PodCertificateRequest for pod {pod_at} names node UID {}, inconsistent with the running node ({})",
            quote(text(spec, "nodeUID")),
            quote(&uid(&found))
        )));
    }
    let pod = lookup("Pod", "pod", write.namespace, pod_name, format!("pod {pod_at}"))?;
    if uid(&pod) != text(spec, "podUID") {
        return Err(Refusal::Failed(format!(
            "PodCertificateRequest for pod {pod_at} contains pod UID ({}) which differs from running pod {}",
            quote(text(spec, "podUID")),
            quote(&uid(&pod))
        )));
    }
    if text(&pod["spec"], "nodeName") != node {
        return forbid(format!(
            "pod {pod_at} is not running on node {} named in the PodCertificateRequest",
            quote(node)
        ));
    }
    if is_mirror(&pod) {
        return forbid(format!("pod {pod_at} is a mirror pod"));
    }
    let runs_as = text(&pod["spec"], "serviceAccountName");
    if account != runs_as {
        return forbid(format!(
            "PodCertificateRequest for pod {pod_at} contains serviceAccountName ({}) that differs from running pod ({})",
            quote(account),
            quote(runs_as)
        ));
    }
    let what = format!("service account {}", at(account));
    let found = lookup("ServiceAccount", "serviceaccount", write.namespace, account, what)?;
    if uid(&found) != text(spec, "serviceAccountUID") {
        return Err(Refusal::Failed(format!(
            "PodCertificateRequest for pod {pod_at} names service account UID {}, \
             which differs from the running service account ({})",
            quote(text(spec, "serviceAccountUID")),
            quote(&uid(&found))
        )));
    }
    let signer = text(spec, "signerName");
    let volumes = items(&pod["spec"], "volumes").iter();
    let mut sources = volumes.flat_map(|volume| items(&volume["projected"], "sources"));
    if sources.any(|source| source["podCertificate"]["signerName"] == signer) {
        return Ok(());
    }
    let resource = signer.replace('/', ":");
    let request = write.attributes("request-serviceaccounts-podcertificate-signer", &resource, account);
    if world.authorize(user, &request).is_allowed() {
        return Ok(());
    }
    forbid(format!(
        "pod {pod_at} does not mount a podCertificate projected volume for signer {}",
        quote(signer)
    ))
}

fn signing_request(node: &str, write: &Write<'_>) -> Verdict {
    let kubelets = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let signer = text(&write.object["spec"], "signerName");
    if write.operation != Operation::Create || !kubelets.contains(&signer) {
        return Ok(());
    }
    match write.common_name {
        Some(Ok(name)) if name.strip_prefix("system:node:") == Some(node) => Ok(()),
        Some(Err(error)) => forbid(format!("unable to parse csr: {error}")),
        _ => forbid(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}

fn own_name(node: &str, write: &Write<'_>, what: &str) -> Verdict {
    let name = if write.operation == Operation::Create { name(write.object) } else { write.name };
    if name == node {
        return Ok(());
    }
    forbid(format!("can only access {what} with the same name as the requesting node"))
}

fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
}

fn find(
    world: &dyn World,
    kind: &str,
    resource: &'static str,
    namespace: &str,
    name: &str,
) -> Result<Value, Refusal> {
    world.get(kind, namespace, name).ok_or_else(|| Refusal::NotFound { resource, name: name.to_owned() })
}

fn forbid(text: impl Into<String>) -> Verdict {
    Err(Refusal::Forbidden(text.into()))
}

impl<'a> Write<'a> {
    /// A question to the authorizers about something other than the write itself.
    fn attributes(&self, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes {
            verb,
            group: self.group,
            version: self.version,
            resource,
            namespace: self.namespace,
            name,
            is_resource: true,
            ..Attributes::default()
        }
    }
}
