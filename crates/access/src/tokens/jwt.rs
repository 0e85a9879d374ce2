//! The compact form of a signed token: three parts of base64url with dots between.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::keys::{KeyError, SigningKey};

/// A longer token is not looked at. A token bound to a pod, a node and an account has about 1,200 bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A token taken apart, its signature not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts<'a> {
    pub algorithm: String,
    /// The name of the key, or empty.
    pub key: String,
    pub claims: Value,
    pub message: &'a str,
    pub signature: Vec<u8>,
}

/// Takes a token apart; `None` where it is no signed token of this form.
pub fn parse(token: &str) -> Option<Parts<'_>> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let object = |part: &str| -> Option<Value> {
        serde_json::from_slice(&decode(part)?).ok().filter(Value::is_object)
    };
    let (header, claims) = (object(header)?, object(payload)?);
    // An extension that must be understood is not: the token says so itself.
    if !header["crit"].is_null() {
        return None;
    }
    Some(Parts {
        algorithm: header["alg"].as_str()?.to_owned(),
        key: header["kid"].as_str().unwrap_or_default().to_owned(),
        claims,
        message,
        signature: decode(signature)?,
    })
}

/// Signs claims.
pub fn sign(key: &SigningKey, claims: &Value) -> Result<String, KeyError> {
    let header = json!({"alg": key.public().algorithm(), "kid": key.public().id});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(claims));
    let signature = key.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
