//! Whose a token is, and why it is refused.
//!
//! Checking a signature is dear and its outcome never changes, so verified claims are kept by the hash of their token.
//! Everything that may change, the time and the objects that a token is bound to, is looked at each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::User;
use base::clock::Wall;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grammar::go::quote;
use grammar::time::Time;
use ring::digest;
use serde_json::Value;

use super::Lookup;
use super::jwt;
use super::keys::PublicKey;
use crate::rbac::quoted_list;
use crate::tree::{items, name, text};

/// Tokens of secrets, as upstream's controller made them, name this issuer and no audience.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Clocks may differ by this much, and a deleted object's tokens live on for it.
const LEEWAY: i64 = 60;
/// Verified tokens that are kept. When there are more, those not used for longest go, half of them at a time.
pub const MAX_VERIFIED: usize = 20_000;

/// Why a token names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a token of this server; another authenticator may know it.
    NotOurs,
    Invalid(String),
}

/// Whose a valid token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub user: User,
    /// What the token may be used for here: the audiences both of the token and of the question.
    pub audiences: Vec<String>,
    /// Notes for the audit log, by annotation.
    pub audit: Vec<(&'static str, String)>,
    pub warning: Option<&'static str>,
}

/// The issuers and keys that are trusted. Make a new one when they change, and with it an empty cache.
pub struct Verifier {
    issuers: Vec<String>,
    keys: Vec<PublicKey>,
    api_audiences: Vec<String>,
    verified: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    young: HashMap<[u8; 32], Arc<Value>>,
    old: HashMap<[u8; 32], Arc<Value>>,
}

impl Verifier {
    pub fn new(issuers: Vec<String>, keys: Vec<PublicKey>, api_audiences: Vec<String>) -> Verifier {
        Verifier { issuers, keys, api_audiences, verified: Mutex::default() }
    }

    /// `audiences` are those that the asker stands for; without any, the API server's own.
    pub fn verify(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Wall,
        objects: &dyn Lookup,
    ) -> Result<Verified, Refusal> {
        let claims = self.claims(token)?;
        let asked = audiences.unwrap_or(&self.api_audiences);
        let named = texts_or_text(&claims["aud"]);
        let mut verified = Verified::default();
        let meant = if named.is_empty() {
            verified.audit.push(("authentication.k8s.io/legacy-token", text(&claims, "sub").to_owned()));
            &self.api_audiences
        } else {
            &named
        };
        verified.audiences = asked.iter().filter(|audience| meant.contains(audience)).cloned().collect();
        if verified.audiences.is_empty() && !self.api_audiences.is_empty() {
            return invalid(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted_list(meant),
                quoted_list(asked)
            ));
        }
        if claims["iss"] == LEGACY_ISSUER {
            legacy(token, &claims, objects, &mut verified)?;
        } else {
            bound(&claims, now, objects, &mut verified)?;
        }
        Ok(verified)
    }

    /// The claims of a token with a good signature and a known issuer.
    fn claims(&self, token: &str) -> Result<Arc<Value>, Refusal> {
        if token.len() > jwt::MAX_TOKEN {
            return Err(Refusal::NotOurs);
        }
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(claims) = self.cache().get(&hash) {
            return Ok(claims);
        }
        let parts = jwt::parse(token).ok_or(Refusal::NotOurs)?;
        let issuer = text(&parts.claims, "iss");
        if issuer != LEGACY_ISSUER && !self.issuers.iter().any(|known| known == issuer) {
            return Err(Refusal::NotOurs);
        }
        let mut candidates =
            self.keys.iter().filter(|key| parts.key.is_empty() || key.id == parts.key).peekable();
        if candidates.peek().is_none() {
            return invalid("invalid signature, no keys found");
        }
        if !candidates.any(|key| key.verifies(&parts.algorithm, parts.message.as_bytes(), &parts.signature)) {
            return invalid("go-jose/go-jose: error in cryptographic primitive");
        }
        let claims = Arc::new(parts.claims);
        self.cache().put(hash, claims.clone());
        Ok(claims)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A cache is sound after any panic: each entry is put in whole.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn get(&mut self, hash: &[u8; 32]) -> Option<Arc<Value>> {
        if let Some(claims) = self.young.get(hash) {
            return Some(claims.clone());
        }
        let claims = self.old.remove(hash)?;
        self.put(*hash, claims.clone());
        Some(claims)
    }

    fn put(&mut self, hash: [u8; 32], claims: Arc<Value>) {
        if self.young.len() >= MAX_VERIFIED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, claims);
    }
}

/// Checks a token against the time and against what it is bound to.
fn bound(claims: &Value, now: Wall, objects: &dyn Lookup, verified: &mut Verified) -> Result<(), Refusal> {
    check_time(claims, now)?;
    let ours = &claims["kubernetes.io"];
    let namespace = text(ours, "namespace");
    let of_account = text(&ours["serviceaccount"], "name");
    let account_uid = text(&ours["serviceaccount"], "uid");
    let account = objects.get("ServiceAccount", namespace, of_account);
    let account = account.ok_or_else(|| missing_account(of_account))?;
    let live_uid = text(&account["metadata"], "uid");
    if live_uid != account_uid {
        return invalid(format!("service account UID ({live_uid}) does not match claim ({account_uid})"));
    }
    if is_deleted(&account, now) {
        return invalid(format!("service account {namespace}/{of_account} has been deleted"));
    }
    let check = |kind: &str, what: &str, namespace: &str, reference: &Value| {
        let gone = || Refusal::Invalid("service account token has been invalidated".into());
        let object = objects.get(kind, namespace, text(reference, "name")).ok_or_else(gone)?;
        let (live, claimed) = (text(&object["metadata"], "uid"), text(reference, "uid"));
        if live != claimed {
            let lower = kind.to_lowercase();
            return invalid(format!(
                "{what} UID ({live}) does not match service account {lower} ref claim ({claimed})"
            ));
        }
        if is_deleted(&object, now) { Err(gone()) } else { Ok(()) }
    };
    let (pod, node, secret) = (&ours["pod"], &ours["node"], &ours["secret"]);
    if !secret.is_null() {
        check("Secret", "secret", namespace, secret)?;
    }
    if !pod.is_null() {
        check("Pod", "pod", namespace, pod)?;
    }
    // Beside a pod the node is information: the pod's life is what counts.
    if !node.is_null() && pod.is_null() {
        check("Node", "node", "", node)?;
    }
    if !ours["validatingwebhookconfiguration"].is_null() || !ours["mutatingwebhookconfiguration"].is_null() {
        let gate =
            "feature gate \"APIServerWebhookAuthenticationToken\" is disabled, but token is webhook bound";
        return invalid(gate);
    }
    if let Some(threshold) = date(&ours["warnafter"]).filter(|date| *date != 0) {
        let late = now.secs() - threshold;
        if late > 0 {
            let subject = text(claims, "sub");
            let note = format!("subject: {subject}, seconds after warning threshold: {late}");
            verified.audit.push(("authentication.k8s.io/stale-token", note));
        }
    }
    verified.user = user(namespace, of_account, account_uid);
    let mut extra = |key: &str, value: &str| {
        verified.user.extra.push((format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]));
    };
    if let id @ [_, ..] = text(claims, "jti").as_bytes() {
        extra("credential-id", &format!("JTI={}", String::from_utf8_lossy(id)));
    }
    let (node_name, node_uid) = (text(node, "name"), text(node, "uid"));
    if !node_name.is_empty() {
        extra("node-name", node_name);
        if !node_uid.is_empty() {
            extra("node-uid", node_uid);
        }
    }
    let (pod_name, pod_uid) = (text(pod, "name"), text(pod, "uid"));
    if !pod_name.is_empty() && !pod_uid.is_empty() {
        extra("pod-name", pod_name);
        extra("pod-uid", pod_uid);
    }
    Ok(())
}

/// Checks the token of a secret, which has no time and must be the very one in the secret.
fn legacy(token: &str, claims: &Value, objects: &dyn Lookup, verified: &mut Verified) -> Result<(), Refusal> {
    let claim =
        |key: &str| claims[format!("kubernetes.io/serviceaccount/{key}")].as_str().unwrap_or_default();
    let (namespace, secret_name) = (claim("namespace"), claim("secret.name"));
    let (account_name, uid) = (claim("service-account.name"), claim("service-account.uid"));
    let subject = text(claims, "sub");
    for (value, what) in [
        (subject, "sub"),
        (namespace, "namespace"),
        (secret_name, "secretName"),
        (account_name, "serviceAccountName"),
        (uid, "serviceAccountUID"),
    ] {
        if value.is_empty() {
            return invalid(format!("{what} claim is missing"));
        }
    }
    if subject != format!("system:serviceaccount:{namespace}:{account_name}") {
        return invalid("sub claim is invalid");
    }
    let secret = objects.get("Secret", namespace, secret_name);
    let secret = secret.filter(|secret| secret["metadata"]["deletionTimestamp"].is_null());
    let secret = secret.ok_or_else(|| Refusal::Invalid("Token has been invalidated".into()))?;
    let stored = STANDARD.decode(text(&secret["data"], "token")).unwrap_or_default();
    if !same_secret(&stored, token.as_bytes()) {
        return invalid("Token does not match server's copy");
    }
    let account = objects.get("ServiceAccount", namespace, account_name);
    let account = account.ok_or_else(|| missing_account(account_name))?;
    if !account["metadata"]["deletionTimestamp"].is_null() {
        return invalid(format!("ServiceAccount {namespace}/{account_name} has been deleted"));
    }
    let live_uid = text(&account["metadata"], "uid");
    if live_uid != uid {
        return invalid(format!("ServiceAccount UID ({live_uid}) does not match claim ({uid})"));
    }
    const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
    if !text(&secret["metadata"]["labels"], INVALID_SINCE).is_empty() {
        return invalid(format!(
            "the token in secret {namespace}/{secret_name} for service account {namespace}/{account_name} has been \
             marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove \
             the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    let listed = items(&account, "secrets").iter().any(|reference| text(reference, "name") == name(&secret));
    let annotation = if listed {
        verified.warning = Some(
            "Use tokens from the TokenRequest API or manually created secret-based tokens instead of \
             auto-generated secret-based tokens.",
        );
        "authentication.k8s.io/legacy-token-autogenerated-secret"
    } else {
        "authentication.k8s.io/legacy-token-manual-secret"
    };
    verified.audit.push((annotation, secret_name.to_owned()));
    verified.user = user(namespace, account_name, uid);
    Ok(())
}

fn check_time(claims: &Value, now: Wall) -> Result<(), Refusal> {
    let leeway = Duration::from_secs(LEEWAY as u64);
    let ahead = |date: i64| now.plus(leeway) < Wall::from_secs(date);
    let past = |date: i64| Wall::from_secs(date).plus(leeway) < now;
    let rules: [(&str, &dyn Fn(i64) -> bool, &str); 3] = [
        ("nbf", &ahead, "service account token is not valid yet"),
        ("exp", &past, "service account token has expired"),
        ("iat", &ahead, "service account token is issued in the future"),
    ];
    for (key, is_broken, text) in rules {
        let claim = &claims[key];
        // A time that cannot be read must not read as no limit.
        if !claim.is_null() && date(claim).is_none() {
            return invalid("go-jose/go-jose/jwt: expected number value to unmarshal NumericDate");
        }
        if date(claim).is_some_and(is_broken) {
            return invalid(text);
        }
    }
    Ok(())
}

/// Whole seconds, whatever form the number has. Times beyond what nanoseconds can count stay far away.
fn date(value: &Value) -> Option<i64> {
    const FAR: i64 = i64::MAX / 1_000_000_000;
    value.as_f64().map(|seconds| (seconds as i64).clamp(-FAR, FAR))
}

fn is_deleted(object: &Value, now: Wall) -> bool {
    let Some(deleted) = object["metadata"]["deletionTimestamp"].as_str() else { return false };
    // What claims to be deleted at no time that can be read is deleted.
    let deleted = Time::parse(deleted).ok().and_then(Time::to_nanos).unwrap_or(i64::MIN);
    deleted < now.0.saturating_sub(LEEWAY * 1_000_000_000)
}

fn user(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        extra: Vec::new(),
    }
}

fn texts_or_text(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Compares without telling by its duration how much was right.
pub(super) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn missing_account(name: &str) -> Refusal {
    Refusal::Invalid(format!("serviceaccounts {} not found", quote(name)))
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(text.into()))
}
