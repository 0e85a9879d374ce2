//! Challenges and tokens: what a registry demands, and how to satisfy it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use base::clock::SharedClock;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde::Deserialize;

use crate::error::{Error, Kind, Result, refused};
use crate::pull::credentials::Credential;
use crate::pull::hosts::Endpoint;
use crate::pull::transport::{Call, Transport, unavailable};

const MAX_ANSWER: u64 = 1 << 20;
/// Tokens live this long when their server does not say; the specification's number.
const DEFAULT_LIFETIME: u64 = 60;
/// A token this close to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens remembered; beyond that the memory starts over.
const MAX_TOKENS: usize = 1024;

/// What one scheme of a `WWW-Authenticate` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// Access tokens, each for one server, scope and user.
pub(crate) struct Tokens {
    clock: SharedClock,
    /// Never held across an await.
    known: Mutex<BTreeMap<Key, Token>>,
}

type Key = (String, String, String);

struct Token {
    header: HeaderValue,
    expires: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn new(clock: SharedClock) -> Tokens {
        Tokens { clock, known: Mutex::default() }
    }

    /// A header that was accepted for this scope before and still is.
    pub(crate) fn cached(
        &self,
        endpoint: &Endpoint,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Option<HeaderValue> {
        let known = self.known.lock().expect("no holder of this lock panics");
        let token = known.get(&key(endpoint, scope, credential))?;
        (token.expires > self.clock.monotonic()).then(|| token.header.clone())
    }

    /// The header that answers a registry's refusal.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        registry: &Uri,
        refusal: &HeaderMap,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<HeaderValue> {
        let challenges = challenges(refusal);
        let find = |scheme: &str| challenges.iter().find(|of| of.scheme.eq_ignore_ascii_case(scheme));
        let (header, lifetime) = if let Some(challenge) = find("bearer") {
            let (token, lifetime) = match credential.filter(|of| !of.registry_token.is_empty()) {
                Some(credential) => (credential.registry_token.clone(), DEFAULT_LIFETIME),
                None => fetch(transport, endpoint, registry, challenge, scope, credential).await?,
            };
            (format!("Bearer {token}"), lifetime)
        } else if find("basic").is_some() {
            let header = credential.and_then(Credential::basic_header);
            (header.ok_or_else(|| denied("no basic auth credentials"))?, u64::from(u32::MAX))
        } else {
            return Err(denied("the registry asks for a kind of authentication that is not supported"));
        };
        let mut header =
            HeaderValue::try_from(header).map_err(|_| denied("credentials contain control characters"))?;
        header.set_sensitive(true);
        let expires = self.clock.monotonic() + Duration::from_secs(lifetime).saturating_sub(MARGIN);
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() >= MAX_TOKENS {
            known.clear();
        }
        known.insert(key(endpoint, scope, credential), Token { header: header.clone(), expires });
        Ok(header)
    }
}

fn key(endpoint: &Endpoint, scope: &str, credential: Option<&Credential>) -> Key {
    let identity = credential.map_or(String::new(), |of| {
        let secret =
            format!("{}\0{}\0{}\0{}", of.username, of.password, of.identity_token, of.registry_token);
        crate::Digest::of(secret.as_bytes()).to_string()
    });
    (endpoint.url.clone(), scope.to_owned(), identity)
}

/// Exchanges credentials, or nothing, for a token.
async fn fetch(
    transport: &Transport,
    endpoint: &Endpoint,
    registry: &Uri,
    challenge: &Challenge,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<(String, u64)> {
    let realm =
        challenge.parameters.get("realm").ok_or_else(|| denied("the registry's challenge has no realm"))?;
    let uri: Uri =
        realm.parse().map_err(|_| denied(format!("the registry's realm {realm:?} is no address")))?;
    if uri.scheme_str() != Some("https") && registry.scheme_str() != Some("http") {
        return Err(refused(format!("the registry wants credentials sent to {realm}, which is not https")));
    }
    let service = challenge.parameters.get("service").map_or("", String::as_str);
    let scope = challenge.parameters.get("scope").map_or(scope, String::as_str);
    // The token server is another machine than a mirror's, so it is trusted by the system's certificates unless
    // it is the registry itself.
    let foreign = Endpoint { url: realm.clone(), ..Endpoint::default() };
    let endpoint = if uri.authority() == registry.authority() { endpoint } else { &foreign };
    let call = match credential.filter(|of| !of.identity_token.is_empty()) {
        Some(credential) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("scope", scope),
                ("client_id", "boga"),
                ("refresh_token", &credential.identity_token),
            ];
            let mut call = Call { method: Method::POST, body: query(&form).into(), ..Call::get(uri) };
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            call
        }
        None => {
            let parameters = query(&[("service", service), ("scope", scope)]);
            let separator = if uri.query().is_some() { '&' } else { '?' };
            let uri = format!("{uri}{separator}{parameters}");
            let mut call = Call::get(
                uri.parse().map_err(|_| denied(format!("the registry's realm {realm:?} is no address")))?,
            );
            if let Some(header) = credential.and_then(Credential::basic_header) {
                let header = HeaderValue::try_from(header)
                    .map_err(|_| denied("credentials contain control characters"))?;
                call.headers.insert(AUTHORIZATION, header);
            }
            call
        }
    };
    let kind = if credential.is_some() { "oauth" } else { "anonymous" };
    let (method, address) = (call.method.clone(), call.uri.clone());
    let response = transport.send(endpoint, call).await?;
    let status = response.status();
    if !status.is_success() {
        let message = format!(
            "failed to authorize: failed to fetch {kind} token: unexpected status from {method} request to {address}: {status}"
        );
        return Err(if status.is_server_error() || status == 429 {
            unavailable(message)
        } else {
            denied(message)
        });
    }
    let bytes = transport.read(response, MAX_ANSWER).await?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| denied("failed to authorize: the token server's answer cannot be read"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(denied(
            "failed to authorize: authorization server did not include a token in the response",
        ));
    }
    Ok((token, answer.expires_in.unwrap_or(DEFAULT_LIFETIME)))
}

pub(crate) fn denied(message: impl Into<String>) -> Error {
    Error::new(Kind::Denied, message)
}

/// All challenges of an answer. What cannot be understood is left out.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|of| of.to_str().ok());
    values.flat_map(parse_challenges).collect()
}

fn parse_challenges(mut rest: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() {
            return found;
        }
        rest = &rest[end..];
        match (rest.strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = value_of(value);
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => found.push(Challenge { scheme: word.to_owned(), parameters: BTreeMap::new() }),
        }
    }
}

/// A token or quoted string, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn query(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(key, value)| format!("{key}={}", percent(value))).collect::<Vec<_>>().join("&")
}

fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes any text");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let parse = |text: &str| {
            parse_challenges(text)
                .into_iter()
                .map(|of| {
                    let parameters: Vec<_> = of.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    format!("{}[{}]", of.scheme, parameters.join(";"))
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (text, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "Bearer[realm=https://auth.docker.io/token;scope=repository:a/b:pull,push;service=registry.docker.io]",
            ),
            (
                r#"Basic realm="a \"quoted\" one", Bearer realm=x"#,
                r#"Basic[realm=a "quoted" one] Bearer[realm=x]"#,
            ),
            ("Basic", "Basic[]"),
            ("realm=x", ""),
            ("", ""),
            (r#"Bearer realm="open"#, "Bearer[realm=open]"),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        bolero::check!().with_type::<String>().for_each(|text| drop(parse_challenges(text)));
    }
}
