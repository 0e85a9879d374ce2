//! PodCertificateRequest: a kubelet wants a certificate for one of its pods.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList, Path};
use serde_json::Value;

use crate::base64;
use crate::certificates::GROUP;
use crate::certificates::keys::{self, Algorithm};
use crate::certificates::pod_certificate_status::Status;
use crate::column::{self, NAME, described, documented};
use crate::kind::{Kind, Selectable, Subresource};
use crate::meta;
use crate::node::Node;
use crate::signer;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.certificates.v1.PodCertificateRequestSpec";
    Kind {
        unconditional_update: false,
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        selectable: ["spec.signerName", "spec.podName", "spec.nodeName"].map(Selectable::field).to_vec(),
        columns: vec![
            NAME,
            documented("PodName", SPEC, "podName"),
            documented("ServiceAccountName", SPEC, "serviceAccountName"),
            documented("NodeName", SPEC, "nodeName"),
            documented("SignerName", SPEC, "signerName"),
            described("State", "Is the request Pending, Issued, Denied, or Failed?"),
            documented("UnverifiedUserAnnotations", SPEC, "unverifiedUserAnnotations"),
        ],
        strategy: Arc::new(PodCertificateRequest),
        ..Kind::namespaced(GROUP, "v1", "PodCertificateRequest", "podcertificaterequests")
    }
}

const MAX_UID_BYTES: usize = 128;
const DEFAULT_SECONDS: i64 = 86_400;
const SHORTEST_SECONDS: i64 = 3600;
/// Kubernetes' own signers issue for a day at most, others for 91.
const LONGEST_SECONDS_OF_KUBERNETES: i64 = 86_400;
const LONGEST_SECONDS: i64 = 91 * 86_400;
const MAX_REQUEST_BYTES: usize = 10 * 1024;
const RSA_BITS: [usize; 2] = [3072, 4096];

struct PodCertificateRequest;

impl Strategy for PodCertificateRequest {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        if !spec.has("maxExpirationSeconds") {
            spec.set("maxExpirationSeconds", DEFAULT_SECONDS);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        signer::name(&spec.child("signerName"), errs);
        signer::user_annotations(&spec.child("unverifiedUserAnnotations"), errs);
        for (name, uid) in
            [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")]
        {
            let (name, uid) = (spec.child(name), spec.child(uid));
            name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
            if uid.str().is_empty() {
                errs.push(uid.invalid_text("must not be empty"));
            }
            if uid.str().len() > MAX_UID_BYTES {
                errs.push(uid.too_long(MAX_UID_BYTES));
            }
        }
        let seconds = spec.child("maxExpirationSeconds");
        if !seconds.is_set() {
            errs.push(seconds.required("must be set"));
            return;
        }
        let longest = match signer::is_kubernetes(spec.text("signerName")) {
            true => LONGEST_SECONDS_OF_KUBERNETES,
            false => LONGEST_SECONDS,
        };
        if !(SHORTEST_SECONDS..=longest).contains(&seconds.number()) {
            errs.push(seconds.invalid(format!("must be in the range [{SHORTEST_SECONDS}, {longest}]")));
        }
        request(&spec, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        new.child("spec").immutable(old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let (spec, conditions) = (obj.at("spec"), obj.at("status").list("conditions"));
        let known = ["Issued", "Denied", "Failed"];
        let mut types = conditions.iter().map(|condition| condition.text("type"));
        let state = types.rfind(|ty| known.contains(ty)).unwrap_or("Pending");
        let annotations: Vec<String> = spec
            .entries("unverifiedUserAnnotations")
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        vec![
            column::name(obj),
            spec.text("podName").into(),
            spec.text("serviceAccountName").into(),
            spec.text("nodeName").into(),
            spec.text("signerName").into(),
            state.into(),
            if annotations.is_empty() { "<none>".into() } else { annotations.join(",").into() },
        ]
    }
}

/// The request proves that the pod's node holds the key; nothing else in it counts.
fn request(spec: &Node<'_>, errs: &mut ErrorList) {
    let stub = spec.child("stubPKCS10Request");
    if stub.str().is_empty() {
        errs.push(spec.invalid_as(
            BadValue::Omitted,
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        ));
        return;
    }
    let der = base64::decode(stub.str()).unwrap_or_default();
    if der.len() > MAX_REQUEST_BYTES {
        errs.push(stub.too_long(MAX_REQUEST_BYTES));
        return;
    }
    let Some(request) = keys::request(&der) else {
        errs.push(stub.invalid_as(BadValue::Omitted, "must be a valid PKCS#10 CSR"));
        return;
    };
    match keys::algorithm(&request.certification_request_info.subject_pki) {
        Algorithm::Ecdsa(curve) if !matches!(curve, "P-256" | "P-384" | "P-521") => {
            errs.push(stub.invalid_as(
                format!("curve {curve}"),
                "elliptic public keys must use curve P256, P384, or P521",
            ))
        }
        Algorithm::Rsa(bits) if !RSA_BITS.contains(&bits) => errs.push(
            stub.invalid_as(format!("{bits}-bit modulus"), "RSA keys must have modulus size 3072 or 4096"),
        ),
        Algorithm::Unknown => errs.push(omitted(
            &stub.path,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        )),
        _ if keys::bad_signature(&request).is_some() => {
            errs.push(omitted(&stub.path, "invalid signature"));
        }
        _ => {}
    }
}

fn omitted(path: &Path<'_>, detail: &str) -> field::Error {
    field::invalid(path, BadValue::Omitted, detail)
}
