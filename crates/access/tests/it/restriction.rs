//! What a kubelet may write, in each direction.

use access::node::restriction::{Operation, Refusal, World, Write, admit};
use access::{Attributes, Decision};
use api::User;
use serde_json::{Value, json};

struct Cluster(Vec<Value>);

impl World for Cluster {
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let is = |object: &&Value| {
            let meta = &object["metadata"];
            object["kind"] == kind
                && meta["name"] == name
                && meta["namespace"].as_str().unwrap_or("") == namespace
        };
        self.0.iter().find(is).cloned()
    }

    fn authorize(&self, _: &User, request: &Attributes<'_>) -> Decision {
        if request.resource == "granted" {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }
}

fn cluster() -> Cluster {
    let token =
        |audience: &str| json!({"projected": {"sources": [{"serviceAccountToken": {"audience": audience}}]}});
    let claim = json!({"name": "c", "persistentVolumeClaim": {"claimName": "c"}});
    Cluster(vec![
        json!({"kind": "Node", "metadata": {"name": "n", "uid": "nu"}}),
        json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "mine", "uid": "mu"},
            "spec": {"nodeName": "n", "serviceAccountName": "sa", "volumes": [token("vault"), claim]}}),
        json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "theirs", "uid": "tu"}, "spec": {"nodeName": "m"}}),
        json!({"kind": "PersistentVolumeClaim", "metadata": {"namespace": "x", "name": "c"}, "spec": {"volumeName": "v"}}),
        json!({"kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {"csi": {"driver": "d"}}}),
        json!({"kind": "CSIDriver", "metadata": {"name": "d"}, "spec": {"tokenRequests": [{"audience": "csi"}]}}),
    ])
}

fn write<'a>(
    operation: Operation,
    resource: &'a str,
    name: &'a str,
    object: &'a Value,
    old: &'a Value,
) -> Write<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    Write {
        operation,
        group,
        version: "v1",
        resource,
        subresource,
        namespace: "x",
        name,
        object,
        old,
        common_name: None,
    }
}

/// An empty text is a write that passes.
fn check(write: Write<'_>, want: &str) {
    let node = User::new("system:node:n", &["system:nodes"]);
    let got = match admit(&node, &write, &cluster()) {
        Ok(()) => String::new(),
        Err(Refusal::Forbidden(text) | Refusal::Failed(text)) => text,
        Err(Refusal::NotFound { resource, name }) => format!("{resource} {name:?} not found"),
    };
    assert_eq!(got, want, "{write:?}");
    let jane = User::new("jane", &["system:nodes"]);
    assert_eq!(admit(&jane, &write, &cluster()), Ok(()), "whoever is no node passes");
}

const NONE: Value = Value::Null;

#[test]
fn pods_and_evictions() {
    use Operation::{Create, Delete, Update};
    let mirror = |change: &dyn Fn(&mut Value)| {
        let mut pod = json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "nu", "controller": true}]},
            "spec": {"nodeName": "n", "volumes": [{"name": "h", "hostPath": {"path": "/"}}]}});
        change(&mut pod);
        pod
    };
    let creates = |change: &dyn Fn(&mut Value), want: &str| {
        check(write(Create, "pods", "", &mirror(change), &NONE), want)
    };
    let owner = r#"node "n" can only create pods with an owner reference set to itself"#;
    creates(&|_| {}, "");
    creates(
        &|pod| pod["metadata"]["annotations"] = NONE,
        r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods"#,
    );
    creates(
        &|pod| pod["spec"]["nodeName"] = "m".into(),
        r#"node "n" can only create pods with spec.nodeName set to itself"#,
    );
    creates(&|pod| pod["metadata"]["ownerReferences"] = json!([]), owner);
    creates(&|pod| pod["metadata"]["ownerReferences"][0]["name"] = "m".into(), owner);
    creates(
        &|pod| pod["metadata"]["ownerReferences"][0]["uid"] = "old".into(),
        "node n UID mismatch: expected old got nu",
    );
    creates(
        &|pod| pod["spec"]["serviceAccountName"] = "sa".into(),
        r#"node "n" can not create pods that reference serviceaccounts"#,
    );
    creates(
        &|pod| pod["spec"]["volumes"] = json!([{"name": "e", "ephemeral": {}}]),
        r#"node "n" can not create pods that reference persistentvolumeclaims (via ephemeral volumes)"#,
    );
    creates(
        &|pod| pod["spec"]["volumes"] = json!([{"name": "e", "new": {}}]),
        r#"error checking mirror pod for API references: unknown volume type for volume  "e""#,
    );
    check(write(Delete, "pods", "mine", &NONE, &NONE), "");
    check(
        write(Delete, "pods", "theirs", &NONE, &NONE),
        r#"node "n" can only delete pods with spec.nodeName set to itself"#,
    );
    check(write(Delete, "pods", "gone", &NONE, &NONE), r#"pods "gone" not found"#);
    check(
        write(Update, "pods", "mine", &NONE, &NONE),
        r#"unexpected operation "UPDATE", node "n" can only create and delete mirror pods"#,
    );
    check(write(Create, "pods/eviction", "mine", &json!({}), &NONE), "");
    check(
        write(Create, "pods/eviction", "theirs", &json!({}), &NONE),
        "node n can only evict pods with spec.nodeName set to itself",
    );
    check(
        write(Create, "pods/binding", "mine", &NONE, &NONE),
        r#"unexpected pod subresource "binding", only 'status' and 'eviction' are allowed"#,
    );
    let status =
        |node: &str, label: &str| json!({"metadata": {"labels": {"a": label}}, "spec": {"nodeName": node}});
    check(write(Update, "pods/status", "p", &status("n", "1"), &status("n", "1")), "");
    check(
        write(Update, "pods/status", "p", &status("n", "2"), &status("n", "1")),
        r#"node "n" cannot update labels through pod status"#,
    );
    check(
        write(Update, "pods/status", "p", &status("m", "1"), &status("m", "1")),
        r#"node "n" can only update pod status for pods with spec.nodeName set to itself"#,
    );
}

#[test]
fn its_own_node_lease_and_slices() {
    use Operation::{Create, Delete, Update};
    let node = |labels: Value| json!({"metadata": {"name": "n", "labels": labels}, "spec": {}});
    let plain = node(json!({"kubernetes.io/hostname": "n", "mine": "1", "x.node.kubernetes.io/a": "1"}));
    let marked = node(json!({"node-restriction.kubernetes.io/a": "1", "k8s.io/b": "1", "mine": "2"}));
    check(write(Create, "nodes", "n", &plain, &NONE), "");
    check(
        write(Create, "nodes", "n", &marked, &NONE),
        r#"node "n" is not allowed to set the following labels: k8s.io/b, node-restriction.kubernetes.io/a"#,
    );
    check(write(Update, "nodes", "n", &marked, &marked), "");
    check(
        write(Update, "nodes", "n", &plain, &marked),
        "is not allowed to modify labels: k8s.io/b, node-restriction.kubernetes.io/a",
    );
    check(write(Update, "nodes", "m", &plain, &plain), r#"node "n" is not allowed to modify node "m""#);
    let mut tainted = plain.clone();
    tainted["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]);
    check(write(Update, "nodes", "n", &tainted, &plain), r#"node "n" is not allowed to modify taints"#);
    check(write(Create, "nodes", "n", &tainted, &NONE), "");

    let lease = write(Create, "leases.coordination.k8s.io", "", &plain, &NONE);
    check(lease, "can only access leases in the \"kube-node-lease\" system namespace");
    check(Write { namespace: "kube-node-lease", ..lease }, "");
    let same = "can only access node lease with the same name as the requesting node";
    check(Write { namespace: "kube-node-lease", operation: Delete, name: "m", ..lease }, same);
    let slice = |node: &str| json!({"spec": {"nodeName": node}});
    check(write(Create, "resourceslices.resource.k8s.io", "", &slice("n"), &NONE), "");
    check(
        write(Delete, "resourceslices.resource.k8s.io", "", &NONE, &slice("m")),
        "can only delete ResourceSlice with the same NodeName as the requesting node",
    );
}

#[test]
fn tokens_and_signing_requests() {
    let request = |pod: &str, uid: &str, audiences: &[&str]| {
        json!({"spec": {"audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}})
    };
    let token = |request: &Value, want: &str| {
        check(write(Operation::Create, "serviceaccounts/token", "sa", request, &NONE), want);
    };
    token(&request("mine", "mu", &["vault"]), "");
    token(&request("mine", "mu", &["csi"]), "");
    token(&request("mine", "mu", &["granted"]), "");
    token(
        &request("mine", "mu", &["other"]),
        r#"system:node:n is not authorized to request tokens for audience "other""#,
    );
    token(&request("mine", "mu", &["vault", "csi"]), "node may only request 0 or 1 audiences");
    token(&request("theirs", "tu", &[]), "node requested token bound to a pod scheduled on a different node");
    token(
        &request("mine", "old", &[]),
        "the UID in the bound object reference (old) does not match the UID in record. \
         The object might have been deleted and then recreated",
    );
    token(&request("mine", "", &[]), "node requested token with a pod binding without a uid");
    token(&request("gone", "u", &[]), r#"pods "gone" not found"#);
    token(&json!({"spec": {}}), "node requested token not bound to a pod");

    let object = json!({"spec": {"signerName": "kubernetes.io/kubelet-serving"}});
    let csr = write(Operation::Create, "certificatesigningrequests.certificates.k8s.io", "", &object, &NONE);
    check(Write { common_name: Some(Ok("system:node:n")), ..csr }, "");
    check(
        Write { common_name: Some(Ok("system:node:m")), ..csr },
        "can only create a node CSR with CN=system:node:n",
    );
    check(csr, "can only create a node CSR with CN=system:node:n");
    check(Write { common_name: Some(Err("bad")), ..csr }, "unable to parse csr: bad");
}
