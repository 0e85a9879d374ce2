//! CertificateSigningRequest: somebody wants a certificate.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base64;
use crate::certificates::{GROUP, keys, pem};
use crate::column::{self, AGE, NAME, documented, human_duration};
use crate::kind::{Kind, Path, Selectable, Subresource, names as texts};
use crate::moment;
use crate::node::Node;
use crate::signer;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.certificates.v1.CertificateSigningRequestSpec";
    const STATUS: &str = "io.k8s.api.certificates.v1.CertificateSigningRequestStatus";
    Kind {
        short_names: texts(&["csr"]),
        resets: vec![&["spec"], &["status"]],
        resets_on_create: false,
        subresources: vec![
            Subresource::status(&[&["spec"], CONDITIONS], Status),
            Subresource::part("approval", &[&["spec"], &["status", "certificate"]], Approval),
        ],
        selectable: vec![Selectable::field("spec.signerName")],
        columns: vec![
            NAME,
            AGE,
            documented("SignerName", SPEC, "signerName"),
            documented("Requestor", SPEC, "request"),
            documented("RequestedDuration", SPEC, "expirationSeconds"),
            documented("Condition", STATUS, "conditions"),
        ],
        name_rule: |_name, _prefix| Vec::new(),
        strategy: Arc::new(CertificateSigningRequest),
        ..Kind::cluster(GROUP, "v1", "CertificateSigningRequest", "certificatesigningrequests")
    }
}

const CONDITIONS: Path = &["status", "conditions"];
/// A signer that an older version of the group knew.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const SHORTEST_SECONDS: i64 = 600;
/// Conditions that hold once they are there.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
/// The verdicts of approvers.
const VERDICTS: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        // Signers rely on knowing who asks.
        let spec = obj.at_mut("spec");
        let user = cx.user;
        for (key, value) in [
            ("username", json!(user.name)),
            ("uid", json!(user.uid)),
            ("groups", json!(user.groups)),
            (
                "extra",
                Value::Object(user.extra.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<Map<_, _>>()),
            ),
        ] {
            match value.is_zero() {
                true => spec.drop_key(key),
                false => spec.set(key, value),
            }
        }
        obj.drop_key("status");
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        spec(&obj.child("spec"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        Rights::default().validate(new, old, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let has = |ty: &str| status.list("conditions").iter().any(|condition| condition.text("type") == ty);
        let mut state = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied",
            (false, true) => "Approved",
            (false, false) => "Pending",
        }
        .to_owned();
        if has("Failed") {
            state.push_str(",Failed");
        }
        if !status.text("certificate").is_empty() {
            state.push_str(",Issued");
        }
        let signer = if spec.text("signerName").is_empty() { "<none>" } else { spec.text("signerName") };
        let duration = spec.int("expirationSeconds").map_or("<none>".to_owned(), human_duration);
        vec![
            column::name(obj),
            column::age(obj, now),
            signer.into(),
            spec.text("username").into(),
            duration.into(),
            state.into(),
        ]
    }
}

/// Signers write certificates and say that they failed.
struct Status;

impl Strategy for Status {
    fn restores(&self, path: Path) -> bool {
        path != CONDITIONS
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Context<'_>) {
        // A signer that knows an older form of a verdict does not lose what is newer in it.
        for verdict in VERDICTS {
            let before = of_type(old, verdict);
            if before.len() == of_type(new, verdict).len() {
                let places = new.at_path(CONDITIONS).filter(|condition| condition.text("type") == verdict);
                for (place, condition) in places.zip(before) {
                    *place = condition.clone();
                }
            }
        }
        stamp_conditions(new, old, cx);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        Rights { certificate: true, verdict: false }.validate(new, old, errs);
    }
}

/// Approvers approve and deny.
struct Approval;

impl Strategy for Approval {
    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Context<'_>) {
        stamp_conditions(new, old, cx);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        Rights { certificate: false, verdict: true }.validate(new, old, errs);
    }
}

fn of_type<'a>(request: &'a Value, ty: &str) -> Vec<&'a Value> {
    request.at("status").list("conditions").iter().filter(|condition| condition.text("type") == ty).collect()
}

fn stamp_conditions(new: &mut Value, old: &Value, cx: &Context<'_>) {
    for condition in new.at_path(CONDITIONS) {
        condition.set_default("lastUpdateTime", moment::text(cx.now));
        if condition.text("lastTransitionTime").is_empty() {
            let before = of_type(old, condition.text("type"));
            let mut before = before.iter().filter(|was| was.text("status") == condition.text("status"));
            let since = before.find(|was| !was.text("lastTransitionTime").is_empty());
            let since = match since {
                Some(was) => was.text("lastTransitionTime").to_owned(),
                None => moment::text(cx.now),
            };
            condition.set("lastTransitionTime", since);
        }
    }
}

/// The spec, which never changes and is therefore checked but once.
fn spec(spec: &Node<'_>, errs: &mut ErrorList) {
    let (request, usages) = (spec.child("request"), spec.child("usages"));
    if let Some(complaint) = bad_request(request.str()) {
        errs.push(request.invalid(complaint));
    }
    if usages.is_empty() {
        errs.push(usages.required(""));
    }
    let mut seen = BTreeSet::new();
    for usage in usages.items() {
        usage.one_of(&USAGES, errs);
        if !seen.insert(usage.str().to_owned()) {
            errs.push(usage.duplicate());
        }
    }
    let signer = spec.child("signerName");
    match signer.str() {
        LEGACY_SIGNER => {
            errs.push(signer.invalid("the legacy signerName is not allowed via this API version"));
        }
        _ => signer::name(&signer, errs),
    }
    let seconds = spec.child("expirationSeconds");
    if seconds.is_set() && seconds.number() < SHORTEST_SECONDS {
        errs.push(seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
}

fn bad_request(encoded: &str) -> Option<&'static str> {
    let bytes = base64::decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let Some(block) = pem::blocks(&text).next().filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST");
    };
    match keys::request(&block.bytes) {
        Some(request) => keys::bad_signature(&request),
        None => Some("asn1: structure error: malformed certificate request"),
    }
}

/// What a writer may change beside what nobody may not.
#[derive(Clone, Copy, Default)]
struct Rights {
    certificate: bool,
    verdict: bool,
}

impl Rights {
    fn validate(self, new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
        let status = new.child("status");
        let (conditions, certificate) = (status.child("conditions"), status.child("certificate"));
        self::conditions(&conditions, old, errs);
        let was = old.at("status").text("certificate");
        let changed = certificate.str() != was;
        if changed
            && bad_certificates(was).is_none()
            && let Some(complaint) = bad_certificates(certificate.str())
        {
            errs.push(certificate.invalid_as("<certificate data>", complaint));
        }
        for ty in FINAL {
            let (before, now) = (of_type(old, ty), of_type(new, ty));
            let fixed = VERDICTS.contains(&ty) && !self.verdict;
            let verb = match now.len().cmp(&before.len()) {
                std::cmp::Ordering::Less => "remove",
                std::cmp::Ordering::Greater if fixed => "add",
                std::cmp::Ordering::Equal if fixed && !before.iter().zip(&now).all(|(a, b)| same(a, b)) => {
                    "modify"
                }
                _ => continue,
            };
            errs.push(conditions.forbidden(format!("updates may not {verb} a condition of type \"{ty}\"")));
        }
        if changed && !self.certificate {
            errs.push(certificate.forbidden("updates may not set certificate content"));
        } else if changed && !was.is_empty() {
            errs.push(certificate.forbidden("updates may not modify existing certificate content"));
        }
    }
}

/// Conditions in themselves; what the old ones broke, the new ones may.
fn conditions(conditions: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let before: Vec<&str> =
        old.at("status").list("conditions").iter().map(|condition| condition.text("type")).collect();
    let had_duplicates = before.iter().collect::<BTreeSet<_>>().len() < before.len();
    let had_both = VERDICTS.iter().all(|verdict| before.contains(verdict));
    let had_nameless = before.contains(&"");
    let mut seen = BTreeSet::new();
    for condition in conditions.items() {
        let (ty, status) = (condition.child("type"), condition.child("status"));
        if ty.str().is_empty() && !had_nameless {
            errs.push(ty.required(""));
        }
        let allowed: &[&str] =
            if FINAL.contains(&ty.str()) { &["True"] } else { &["False", "True", "Unknown"] };
        match status.str() {
            "" => errs.push(status.required("")),
            _ => status.one_of(allowed, errs),
        }
        if !seen.insert(condition.value().text("type")) && !had_duplicates {
            errs.push(ty.duplicate());
        }
    }
    if !had_both && VERDICTS.iter().all(|verdict| seen.contains(verdict)) {
        let verdicts = VERDICTS.map(|verdict| format!("conditions[{{\"type\": \"{verdict}\"}}]"));
        errs.push(field::invalid(
            &conditions.path,
            BadValue::String(format!("{{{}}}", verdicts.join(", "))),
            format!("must specify at most one of: `{}`", verdicts.join("`, `")),
        ));
    }
}

/// What is wrong with the certificates of a status, which are PEM within base64; nothing if there are none.
fn bad_certificates(encoded: &str) -> Option<String> {
    if encoded.is_empty() {
        return None;
    }
    let bytes = base64::decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut count = 0;
    for block in pem::blocks(&text) {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found \"{}\"", block.label));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        let mut rest = block.bytes.as_slice();
        if rest.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        while !rest.is_empty() {
            match X509Certificate::from_der(rest) {
                Ok((after, _)) => rest = after,
                Err(_) => return Some("x509: malformed certificate".to_owned()),
            }
        }
        count += 1;
    }
    (count == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}
