//! Names of certificate signers and of the trust bundles that belong to them.

use grammar::field::{self, ErrorList};
use grammar::go;
use grammar::names::{self, Complaints};

use crate::meta;
use crate::node::Node;

const MAX_DOMAIN: usize = 253;
const MAX_PATH: usize = 253 + 63 + 1;

/// A signer reserved by Kubernetes.
pub fn is_kubernetes(signer: &str) -> bool {
    let host = signer.split('/').next().unwrap_or_default();
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

/// A signer's name: a domain of at least two labels, `/`, and a dotted path.
pub fn name(node: &Node<'_>, errs: &mut ErrorList) {
    let text = node.str();
    if text.is_empty() {
        errs.push(node.required(""));
        return;
    }
    let [domain, path] = text.split('/').collect::<Vec<_>>()[..] else {
        errs.push(
            node.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        );
        return;
    };
    if domain.len() > MAX_DOMAIN {
        errs.push(node.too_long(MAX_DOMAIN));
    }
    first_bad_label(node, domain, names::dns1123_label, errs);
    if !domain.contains('.') {
        errs.push(node.invalid_as(domain, "should be a domain with at least two segments separated by dots"));
    }
    first_bad_label(node, path, names::dns1123_subdomain, errs);
    if text.len() > MAX_DOMAIN + MAX_PATH + 1 {
        errs.push(node.too_long(MAX_DOMAIN + MAX_PATH + 1));
    }
}

/// Complaints about one label are enough: those about the others would read the same.
fn first_bad_label(node: &Node<'_>, segment: &str, rule: fn(&str) -> Complaints, errs: &mut ErrorList) {
    let bad =
        segment.split('.').map(|label| (label, rule(label))).find(|(_, complaints)| !complaints.is_empty());
    for complaint in bad.iter().flat_map(|(_, complaints)| complaints) {
        let label = bad.as_ref().map(|(label, _)| *label).unwrap_or_default();
        errs.push(node.invalid_as(segment, format!("validating label {}: {complaint}", go::quote(label))));
    }
}

/// What is wrong with the name of a trust bundle that is looked up by name: the part before the last colon
/// stands for its signer.
pub fn trust_bundle_name(bundle: &str) -> Complaints {
    match bundle.rsplit_once(':') {
        Some((signer, _)) => trust_bundle_name_for(&signer.replace(':', "/"), bundle, false),
        None => trust_bundle_name_for("", bundle, false),
    }
}

/// What is wrong with the name of a bundle of `signer` ("" for none).
pub fn trust_bundle_name_for(signer: &str, bundle: &str, prefix: bool) -> Complaints {
    if signer.is_empty() {
        return match bundle.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()],
            false => meta::SUBDOMAIN(bundle, prefix),
        };
    }
    let required = format!("{}:", signer.replace('/', ":"));
    match bundle.strip_prefix(&required) {
        Some(rest) => meta::SUBDOMAIN(rest, prefix),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {required}")]
        }
    }
}

/// Annotations that a certificate request carries to its signer.
pub fn user_annotations(annotations: &Node<'_>, errs: &mut ErrorList) {
    let mut bytes = 0;
    for (key, value) in annotations.pairs() {
        errs.extend(names::domain_prefixed_key(&annotations.path, &key.to_lowercase()));
        bytes += key.len() + value.str().len();
    }
    if bytes > meta::MAX_ANNOTATIONS_BYTES {
        errs.push(field::too_long(&annotations.path, Some(meta::MAX_ANNOTATIONS_BYTES)));
    }
}
