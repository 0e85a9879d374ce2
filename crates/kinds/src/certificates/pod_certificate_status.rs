//! What a signer answers to a [`PodCertificateRequest`](super::pod_certificate_request).
//!
//! Who may sign for a signer is the API server's to check: the rules here know no authorizer.

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base64;
use crate::certificates::{keys, pem};
use crate::condition;
use crate::moment;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};

/// Each is the end of a request.
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];
const MAX_CHAIN_BYTES: usize = 10 * 1024;
const SECOND: i64 = 1_000_000_000;
const SKEW: u64 = 5 * 60 * SECOND as u64;
const SHORTEST_LIFE: i64 = 3600 * SECOND;
/// A certificate is neither renewed right away nor at the last moment.
const MARGIN: i64 = 10 * 60 * SECOND;

pub(super) struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        let before = old.at("status");
        conditions(&status.child("conditions"), errs);
        if !errs.is_empty() {
            return;
        }
        let omitted = |detail: &str| field::invalid(&status.path, BadValue::Omitted, detail);
        let ended = |status: &Value, ends: &[&str]| ends.iter().any(|end| holds(status, end));
        if ended(before, &ENDS) {
            if !same(status.value(), before) {
                errs.push(omitted("immutable after PodCertificateRequest is issued, denied, or failed"));
            }
        } else if ended(&status, &["Denied", "Failed"]) {
            if !same(status.value(), &json!({"conditions": status.at("conditions")})) {
                errs.push(omitted(
                    "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
                ));
            }
        } else if ended(&status, &["Issued"]) {
            issued(&status, new, cx.now, errs);
        } else if !same(status.value(), before) {
            errs.push(omitted(
                "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
            ));
        }
    }
}

fn holds(status: &Value, ty: &str) -> bool {
    let conditions = status.list("conditions");
    conditions.iter().any(|condition| condition.text("type") == ty && condition.text("status") == "True")
}

fn conditions(conditions: &Node<'_>, errs: &mut ErrorList) {
    let mut ends = 0;
    for (index, condition) in conditions.items().enumerate() {
        let (ty, status) = (condition.text("type"), condition.text("status"));
        // Upstream spells these paths with a dot before the index.
        let item = format!("[{index}]");
        let item = conditions.path.child(&item);
        if !ENDS.contains(&ty) {
            errs.push(field::not_supported(&item.child("type"), ty, &ENDS));
            continue;
        }
        ends += 1;
        if ends > 1 {
            errs.push(field::invalid(
                &item.child("type"),
                ty,
                "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
            ));
        }
        if status != "True" {
            errs.push(field::not_supported(&item.child("status"), status, &["True"]));
        }
    }
    condition::validate(conditions, errs);
}

/// A chain of certificates whose first belongs to the request; the first fault ends the search.
fn issued(status: &Node<'_>, request: &Value, now: Wall, errs: &mut ErrorList) {
    let chain = status.child("certificateChain");
    if chain.str().len() > MAX_CHAIN_BYTES {
        errs.push(chain.too_long(MAX_CHAIN_BYTES));
        return;
    }
    let mut blocks = pem::blocks(chain.str());
    let Some(first) = blocks.next() else {
        errs.push(chain.invalid_text("issued certificate chain must contain at least one certificate"));
        return;
    };
    if first.label != "CERTIFICATE" {
        errs.push(chain.invalid("issued certificate chain must consist entirely of CERTIFICATE PEM blocks"));
        return;
    }
    let Some(leaf) = certificate(&first.bytes) else {
        errs.push(chain.invalid("leaf certificate does not parse as valid X.509"));
        return;
    };
    names(&leaf, &chain, errs);
    if !is_for(&leaf, request) {
        errs.push(chain.invalid("leaf certificate was not issued to the requested public key"));
        return;
    }
    if !times(status, &leaf, request.at("spec").int("maxExpirationSeconds"), now, errs) {
        return;
    }
    for block in blocks {
        if block.label != "CERTIFICATE" {
            // The word is upstream's.
            errs.push(
                chain.invalid("issued certificate chain must consist entirely of CERTFICATE PEM blocks"),
            );
            return;
        }
        if certificate(&block.bytes).is_none() {
            errs.push(chain.invalid("intermediate certificate does not parse as valid X.509"));
            return;
        }
    }
}

fn certificate(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// Names that some verifiers would read as others do not.
fn names(leaf: &X509Certificate<'_>, chain: &Node<'_>, errs: &mut ErrorList) {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => {
                if name.is_empty() {
                    errs.push(chain.invalid_as(*name, "leaf certificate should not contain empty DNSName"));
                }
                if name.contains("..") {
                    errs.push(chain.invalid_as(*name, "leaf certificate's DNSName should not contain '..'"));
                }
                if name.starts_with('.') || name.ends_with('.') {
                    errs.push(
                        chain
                            .invalid_as(*name, "leaf certificate's DNSName should not start or end with '.'"),
                    );
                }
            }
            GeneralName::RFC822Name(address) if !is_mailbox(address) => errs
                .push(chain.invalid_as(*address, "leaf certificate should not contain invalid EmailAddress")),
            _ => {}
        }
    }
}

/// Something at something, without blanks.
fn is_mailbox(address: &str) -> bool {
    let is_atom = |part: &str| {
        !part.is_empty()
            && part.split('.').all(|atom| {
                !atom.is_empty()
                    && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
            })
    };
    address.rsplit_once('@').is_some_and(|(local, domain)| is_atom(local) && is_atom(domain))
}

fn is_for(leaf: &X509Certificate<'_>, request: &Value) -> bool {
    let der = base64::decode(request.at("spec").text("stubPKCS10Request")).unwrap_or_default();
    keys::request(&der).is_some_and(|stub| {
        let (wanted, given) = (&stub.certification_request_info.subject_pki, leaf.public_key());
        wanted.algorithm == given.algorithm && wanted.subject_public_key == given.subject_public_key
    })
}

/// Whether the times of the status are those of the certificate, and sensible.
fn times(
    status: &Node<'_>,
    leaf: &X509Certificate<'_>,
    longest: Option<i64>,
    now: Wall,
    errs: &mut ErrorList,
) -> bool {
    let (start, end, refresh) =
        (status.child("notBefore"), status.child("notAfter"), status.child("beginRefreshAt"));
    let chain = status.child("certificateChain");
    let nanos = |node: &Node<'_>| moment::parse(node.str()).map(|at| at.0);
    let (starts, ends) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let (Some(from), Some(until), Some(renewed)) = (nanos(&start), nanos(&end), nanos(&refresh)) else {
        for (node, detail) in [
            (&start, "must be present and consistent with the issued certificate"),
            (&end, "must be present and consistent with the issued certificate"),
            (&refresh, "must be present and in the range [notbefore+10min, notafter-10min]"),
        ] {
            if nanos(node).is_none() {
                errs.push(node.required(detail));
            }
        }
        return false;
    };
    let life = ends.saturating_sub(starts).saturating_mul(SECOND);
    let longest = longest.unwrap_or_default();
    let fault = if !errs.is_empty() {
        // Faulty names end the search here.
        return false;
    } else if from != starts.saturating_mul(SECOND) {
        start.invalid("must be set to the NotBefore time encoded in the leaf certificate")
    } else if from.abs_diff(now.0) >= SKEW {
        start.invalid("must be set to within 5 minutes of kube-apiserver's current time")
    } else if until != ends.saturating_mul(SECOND) {
        end.invalid("must be set to the NotAfter time encoded in the leaf certificate")
    } else if life < SHORTEST_LIFE {
        chain.invalid_as(life, "leaf certificate lifetime must be >= 1 hour")
    } else if life > longest.saturating_mul(SECOND) {
        chain.invalid_as(
            life,
            format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})"),
        )
    } else if renewed < from.saturating_add(MARGIN) {
        refresh.invalid("must be at least 10 minutes after status.notBefore")
    } else if renewed > until.saturating_sub(MARGIN) {
        refresh.invalid("must be at least 10 minutes before status.notAfter")
    } else {
        return true;
    };
    errs.push(fault);
    false
}
