//! Tokens for service accounts.

use base::clock::Wall;
use serde_json::{Value, json};

use super::jwt;
use super::keys::{KeyError, SigningKey};
use crate::tree::{name, namespace, text};

/// What kubelets ask for in a pod's own token. Clients from before tokens expired are given a year instead, and warned
/// in the audit log after what was asked for.
pub const EXTENDED_REQUEST: i64 = 60 * 60 + 7;
pub const EXTENDED: i64 = 365 * 24 * 60 * 60;

/// What a token lives and dies with.
#[derive(Clone, Copy, Debug)]
pub enum Bound<'a> {
    /// A pod, and the node that it runs on once that is known.
    Pod(&'a Value, Option<&'a Value>),
    Secret(&'a Value),
    Node(&'a Value),
}

/// A token to be issued. The audiences are never empty: without any, a token counts as a legacy one.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    pub issuer: &'a str,
    pub account: &'a Value,
    pub bound: Option<Bound<'a>>,
    pub audiences: &'a [String],
    pub now: Wall,
    /// Seconds.
    pub lifetime: i64,
    /// Seconds after which its use is noted as stale.
    pub warn_after: Option<i64>,
    /// A fresh random UUID, by which the audit log names the token.
    pub id: &'a str,
}

impl<'a> Grant<'a> {
    /// Extends the life of a pod's own token, if it is one: see [`EXTENDED_REQUEST`].
    pub fn extended(self, api_audiences: &[String]) -> Grant<'a> {
        let own = self.audiences.iter().all(|audience| api_audiences.contains(audience));
        let extend = matches!(self.bound, Some(Bound::Pod(..))) && own && self.lifetime == EXTENDED_REQUEST;
        if !extend {
            return self;
        }
        Grant { lifetime: EXTENDED, warn_after: Some(self.lifetime), ..self }
    }
}

pub fn issue(key: &SigningKey, grant: &Grant<'_>) -> Result<String, KeyError> {
    jwt::sign(key, &claims(grant))
}

fn claims(grant: &Grant<'_>) -> Value {
    let now = grant.now.secs();
    let mut kubernetes = json!({
        "namespace": namespace(grant.account),
        "serviceaccount": reference(grant.account),
    });
    match grant.bound {
        Some(Bound::Pod(pod, node)) => {
            kubernetes["pod"] = reference(pod);
            if let Some(node) = node {
                kubernetes["node"] = reference(node);
            }
        }
        Some(Bound::Secret(secret)) => kubernetes["secret"] = reference(secret),
        Some(Bound::Node(node)) => kubernetes["node"] = reference(node),
        None => {}
    }
    if let Some(seconds) = grant.warn_after {
        kubernetes["warnafter"] = now.saturating_add(seconds).into();
    }
    json!({
        "aud": grant.audiences,
        "exp": now.saturating_add(grant.lifetime),
        "iat": now,
        "iss": grant.issuer,
        "jti": grant.id,
        "kubernetes.io": kubernetes,
        "nbf": now,
        "sub": format!("system:serviceaccount:{}:{}", namespace(grant.account), name(grant.account)),
    })
}

fn reference(object: &Value) -> Value {
    json!({"name": name(object), "uid": text(&object["metadata"], "uid")})
}
