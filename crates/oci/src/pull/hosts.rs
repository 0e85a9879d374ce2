//! The hosts file: where a registry's images really come from, and how its servers are trusted.
//!
//! ```yaml
//! registries:
//!   docker.io:
//!     mirrors:
//!       - url: https://mirror.example:5000/hub
//!         ca: /etc/boga/mirror-ca.pem
//!     server:
//!       url: https://registry-1.docker.io
//!   registry.test:5000:
//!     server: {url: "http://10.0.0.7:5000"}
//!   "*":
//!     mirrors: [{url: "https://cache.example", clientCertificate: /c.pem, clientKey: /k.pem}]
//! ```
//!
//! Mirrors are asked in order, then the server. Plain HTTP and unverified certificates exist only where this
//! file says so; loopback addresses alone are plain without being named.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

const MAX_FILE: usize = 1 << 20;
const ANY: &str = "*";

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    #[serde(default)]
    mirrors: Vec<Endpoint>,
    server: Option<Endpoint>,
}

/// One server to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Scheme, host, port and, for a mirror within a larger registry, a path to put before repositories.
    pub url: String,
    /// Certificates (PEM) to trust in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub client_certificate: Option<PathBuf>,
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    /// Trust any certificate.
    #[serde(default)]
    pub skip_verify: bool,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Not the registry itself: it is told which registry is meant, and not shown its credentials.
    #[serde(skip)]
    pub mirror: bool,
}

impl Hosts {
    pub fn parse(yaml: &str) -> Result<Hosts> {
        let invalid = |message: String| Error::new(Kind::Config, format!("hosts file: {message}"));
        if yaml.len() > MAX_FILE {
            return Err(invalid(format!("larger than {MAX_FILE} bytes")));
        }
        let hosts: Hosts = serde_saphyr::from_str(yaml).map_err(|error| invalid(error.to_string()))?;
        for (name, registry) in &hosts.registries {
            if name == ANY && registry.server.is_some() {
                return Err(invalid("\"*\" stands for many registries and so has no server".to_owned()));
            }
            for endpoint in registry.mirrors.iter().chain(&registry.server) {
                endpoint.check().map_err(|message| invalid(format!("registry {name:?}: {message}")))?;
            }
        }
        Ok(hosts)
    }

    /// The servers to ask for a registry's images, in order.
    pub fn endpoints(&self, registry: &str) -> Vec<Endpoint> {
        let named = self.registries.get(registry).or_else(|| self.registries.get(ANY));
        let mirrors = named.map(|of| of.mirrors.clone()).unwrap_or_default();
        let server = named.and_then(|of| of.server.clone()).unwrap_or_else(|| {
            let scheme = if is_loopback(registry) { "http" } else { "https" };
            let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
            Endpoint { url: format!("{scheme}://{host}"), ..Endpoint::default() }
        });
        let mirrors = mirrors.into_iter().map(|endpoint| Endpoint { mirror: true, ..endpoint });
        mirrors.chain([server]).collect()
    }
}

impl Endpoint {
    fn check(&self) -> Result<(), String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("url {:?}: {error}", self.url))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(format!("url {:?}: want http:// or https:// and a host", self.url));
        }
        if uri.query().is_some() || uri.authority().is_some_and(|of| of.as_str().contains('@')) {
            return Err(format!("url {:?}: neither a query nor credentials belong here", self.url));
        }
        if self.client_certificate.is_some() != self.client_key.is_some() {
            return Err(format!("{}: clientCertificate and clientKey go together", self.url));
        }
        let has_tls = self.ca.is_some() || self.client_key.is_some() || self.skip_verify;
        if uri.scheme_str() == Some("http") && has_tls {
            return Err(format!("{}: certificates are set but the scheme is http", self.url));
        }
        if self.skip_verify && self.ca.is_some() {
            return Err(format!("{}: ca and skipVerify exclude each other", self.url));
        }
        for (name, value) in &self.headers {
            let fits = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok();
            if !fits || name.eq_ignore_ascii_case("authorization") {
                return Err(format!("{}: header {name:?} cannot be set", self.url));
            }
        }
        Ok(())
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_for_those_named() {
        let hosts = Hosts::parse(
            "registries:\n  docker.io: {mirrors: [{url: 'https://m.example/hub'}]}\n  r.test:5000: {server: {url: 'http://10.0.0.7:5000'}}\n  '*': {mirrors: [{url: 'https://cache.example'}]}\n",
        )
        .unwrap();
        for (registry, expected) in [
            ("docker.io", &["https://m.example/hub", "https://registry-1.docker.io"][..]),
            ("r.test:5000", &["http://10.0.0.7:5000"]),
            ("quay.io", &["https://cache.example", "https://quay.io"]),
        ] {
            let urls: Vec<_> = hosts.endpoints(registry).into_iter().map(|of| of.url).collect();
            assert_eq!(urls, expected);
        }
        for (registry, scheme) in [
            ("localhost:5000", "http"),
            ("127.0.0.9", "http"),
            ("[::1]:80", "http"),
            ("localhost.example", "https"),
            ("128.0.0.1", "https"),
        ] {
            assert!(
                Hosts::default().endpoints(registry)[0].url.starts_with(&format!("{scheme}://")),
                "{registry}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (yaml, expected) in [
            ("registries: {a: {mirror: []}}", "unknown field"),
            ("registries: {a: {server: {url: 'ftp://x'}}}", "want http:// or https://"),
            ("registries: {a: {server: {url: 'https://u:p@x'}}}", "neither a query nor credentials"),
            ("registries: {a: {server: {url: 'http://x', skipVerify: true}}}", "scheme is http"),
            ("registries: {a: {server: {url: 'https://x', clientKey: /k}}}", "go together"),
            ("registries: {a: {server: {url: 'https://x', headers: {Authorization: x}}}}", "cannot be set"),
            ("registries: {'*': {server: {url: 'https://x'}}}", "has no server"),
            ("[", "hosts file: "),
        ] {
            let error = Hosts::parse(yaml).unwrap_err();
            assert!(error.to_string().contains(expected), "{yaml}: {error}");
            assert_eq!(error.kind(), Kind::Config);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        bolero::check!().with_type::<String>().for_each(|text| drop(Hosts::parse(text)));
    }
}
