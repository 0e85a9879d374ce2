//! How the API server reaches a webhook.

use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base64;
use crate::certificates::pem;
use crate::check;
use crate::node::Node;

const FORM: &str = "; desired format: https://host[/path]";

/// An `https` URL without user, query or fragment.
pub(crate) fn url(node: &Node<'_>, errs: &mut ErrorList) {
    let text = node.str();
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        errs.push(node.required(format!(
            "url must be a valid URL: parse {text:?}: net/url: invalid control character in URL: {bad:?}{FORM}"
        )));
        return;
    }
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let (scheme, after) = match before.split_once(':') {
        Some((scheme, after)) if is_scheme(scheme) => (scheme.to_lowercase(), after),
        _ => (String::new(), before),
    };
    let authority = after.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = match authority.unwrap_or_default().rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority.unwrap_or_default()),
    };
    if scheme != "https" {
        errs.push(node.invalid_as(scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if host.is_empty() {
        errs.push(node.invalid_as("", format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errs.push(node.invalid_as(user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errs.push(node.invalid_as(fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errs.push(node.invalid_as(query, "query parameters are not permitted in the URL"));
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// A service in the cluster, with a port and maybe a path.
pub(crate) fn service(node: &Node<'_>, errs: &mut ErrorList) {
    check::require(node, &["name", "namespace"], errs);
    let port = node.child("port");
    let complaints = names::port_number(port.number());
    if !complaints.is_empty() {
        errs.push(port.invalid_number(format!("port is not valid: {}", complaints.join(", "))));
    }
    let path = node.child("path");
    match path.str() {
        "" | "/" => {}
        "//" => errs.push(path.invalid("segment[0] may not be empty")),
        text => {
            if !text.starts_with('/') {
                errs.push(path.invalid("must start with a '/'"));
            }
            // As upstream does, the first character is passed over whatever it is.
            let steps = text.chars().skip(1).collect::<String>();
            let steps = steps.strip_suffix('/').unwrap_or(&steps);
            for (index, step) in steps.split('/').enumerate() {
                if step.is_empty() {
                    errs.push(path.invalid(format!("segment[{index}] may not be empty")));
                    continue;
                }
                for complaint in names::dns1123_subdomain(step) {
                    errs.push(path.invalid(format!("segment[{index}]: {complaint}")));
                }
            }
        }
    }
}

/// The port of a service where none is given.
pub(crate) const DEFAULT_PORT: i64 = 443;

/// What is wrong with certificates to trust, which are PEM within base64.
pub(crate) fn bad_bundle(bundle: &Value) -> Option<&'static str> {
    let bytes = base64::decode(bundle.as_str().unwrap_or_default()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut count = 0;
    for block in pem::blocks(&text).filter(|block| block.label == "CERTIFICATE" && !block.has_headers) {
        if X509Certificate::from_der(&block.bytes).is_err() {
            return Some("unable to load root certificates: x509: malformed certificate");
        }
        count += 1;
    }
    let empty = "unable to load root certificates: unable to parse bytes as PEM block";
    (count == 0).then_some(empty)
}
