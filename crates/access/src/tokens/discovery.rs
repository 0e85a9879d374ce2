//! What others verify this cluster's tokens with: the OpenID configuration and the key set.

use std::collections::BTreeSet;

use serde_json::json;

use super::keys::PublicKey;

pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// The media type of the key set.
pub const KEYS_TYPE: &str = "application/jwk-set+json";

/// The OpenID provider configuration. An issuer that is no plain https URL cannot be discovered.
pub fn configuration(issuer: &str, keys_url: &str, keys: &[PublicKey]) -> Result<String, String> {
    if !issuer.starts_with("https://") {
        return Err(format!("issuer URL must use https scheme, got: {issuer}"));
    }
    if issuer.contains('#') {
        return Err(format!("issuer URL may not include a fragment, got: {issuer}"));
    }
    if issuer.contains('?') {
        return Err(format!("issuer URL may not include a query, got: {issuer}"));
    }
    if !keys_url.starts_with("https://") {
        return Err(format!("jwksURI requires https scheme, parsed as: {keys_url}"));
    }
    let algorithms: BTreeSet<&str> = keys.iter().map(PublicKey::algorithm).collect();
    // The members stand in upstream's order, since some compare the bytes.
    Ok(format!(
        r#"{{"issuer":{},"jwks_uri":{},"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":{}}}"#,
        json!(issuer),
        json!(keys_url),
        json!(algorithms)
    ))
}

/// The key set. Tokens signed by any of these keys are valid.
pub fn key_set(keys: &[PublicKey]) -> String {
    let keys: Vec<String> = keys.iter().map(PublicKey::jwk).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}
