//! ClusterTrustBundle: certificates that anybody in the cluster may want to trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificates::{GROUP, pem};
use crate::column::{self, NAME, documented};
use crate::kind::{Kind, Selectable};
use crate::node::Node;
use crate::signer;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        selectable: vec![Selectable::field("spec.signerName")],
        columns: vec![
            NAME,
            documented("SignerName", "io.k8s.api.certificates.v1.ClusterTrustBundleSpec", "signerName"),
        ],
        // What the name must be hangs on the signer, which only the strategy sees.
        name_rule: |_name, _prefix| Vec::new(),
        strategy: Arc::new(ClusterTrustBundle),
        ..Kind::cluster(GROUP, "v1", "ClusterTrustBundle", "clustertrustbundles")
    }
}

const MAX_BUNDLE_BYTES: usize = 1024 * 1024;
/// Stands for a bundle in messages: bundles are too long to read.
const OMITTED: &str = "<value omitted>";

struct ClusterTrustBundle;

impl Strategy for ClusterTrustBundle {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        names(obj, errs);
        let spec = obj.child("spec");
        bundle(&spec.child("trustBundle"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        names(new, errs);
        let (spec, before) = (new.child("spec"), old.at("spec"));
        // An unchanged bundle is not read again, so that a stricter reader locks nobody out.
        if spec.text("trustBundle") != before.text("trustBundle") {
            bundle(&spec.child("trustBundle"), errs);
        }
        let signer = spec.child("signerName");
        if signer.str() != before.text("signerName") {
            errs.push(signer.invalid_text(crate::node::IMMUTABLE));
        }
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let signer = match obj.at("spec").text("signerName") {
            "" => "<none>",
            signer => signer,
        };
        vec![column::name(obj), signer.into()]
    }
}

fn names(obj: &Node<'_>, errs: &mut ErrorList) {
    let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
    let signer = spec.child("signerName");
    for (key, prefix) in [("generateName", true), ("name", false)] {
        let name = metadata.child(key);
        if !name.str().is_empty() {
            name.complaints(signer::trust_bundle_name_for(signer.str(), name.str(), prefix), errs);
        }
    }
    if !signer.str().is_empty() {
        signer::name(&signer, errs);
    }
}

/// Every block must be the certificate of an authority, and none may be there twice.
fn bundle(text: &Node<'_>, errs: &mut ErrorList) {
    if text.str().len() > MAX_BUNDLE_BYTES {
        errs.push(text.too_long(MAX_BUNDLE_BYTES));
        return;
    }
    let mut anchors: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, block) in pem::blocks(text.str()).enumerate() {
        match fault(&block) {
            Some(fault) => faults.push(format!("entry {index} {fault}")),
            None => anchors.entry(block.bytes).or_default().push(index),
        }
    }
    if faults.is_empty() {
        if anchors.is_empty() {
            faults.push("at least one trust anchor must be provided".to_owned());
        }
        for places in anchors.values().filter(|places| places.len() > 1) {
            let places: Vec<String> = places.iter().map(usize::to_string).collect();
            faults.push(format!("duplicate trust anchor (indices [{}])", places.join(" ")));
        }
    }
    errs.extend(faults.into_iter().map(|fault| text.invalid_as(OMITTED, fault)));
}

fn fault(block: &pem::Block<'_>) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".to_owned());
    }
    let certificate = match X509Certificate::from_der(&block.bytes) {
        Ok(([], certificate)) => certificate,
        _ => return Some("does not parse as X.509".to_owned()),
    };
    (!certificate.is_ca()).then(|| "does not have the CA bit set".to_owned())
}
