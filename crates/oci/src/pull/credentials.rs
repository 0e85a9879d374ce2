//! Credentials: Docker configuration files and pull secrets, matched to images as the kubelet does.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// A configuration larger than this is refused; the API server allows secrets of a third of it.
const MAX_CONFIG: usize = 4 << 20;

const DEFAULT_REGISTRY: &str = "index.docker.io";

/// What to show a registry. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: String,
    /// To be exchanged for access tokens (OAuth 2).
    pub identity_token: String,
    /// To be sent as it is.
    pub registry_token: String,
}

impl Credential {
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credential {
        Credential { username: username.into(), password: password.into(), ..Credential::default() }
    }

    pub(crate) fn basic_header(&self) -> Option<String> {
        (!self.username.is_empty())
            .then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?})", self.username)
    }
}

/// Credentials of several sources, found by image name.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Ordered so that the more specific of two prefixes comes later.
    entries: BTreeMap<String, Vec<Credential>>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers", default)]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore", default)]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl Keyring {
    /// Adds a `config.json`, or a secret of type `kubernetes.io/dockerconfigjson`. Programs that such a file
    /// names as keepers of its credentials are never run: a file that relies on one is refused.
    pub fn add_docker_config(&mut self, json: &[u8]) -> Result<()> {
        let config: DockerConfig = parse(json)?;
        let helper = config.helpers.first_key_value().map(|(host, name)| format!("{name:?} for {host:?}"));
        if let Some(helper) = helper.or((!config.store.is_empty()).then(|| format!("{:?}", config.store))) {
            let message =
                format!("credential helper {helper} is not supported: put the credentials into auths");
            return Err(Error::new(Kind::Config, message));
        }
        self.add(config.auths)
    }

    /// Adds a `.dockercfg`, or a secret of type `kubernetes.io/dockercfg`.
    pub fn add_dockercfg(&mut self, json: &[u8]) -> Result<()> {
        self.add(parse(json)?)
    }

    /// The credentials for an image (its name without tag and digest), the most specific first. The kubelet
    /// tries each until one works.
    pub fn lookup(&self, image: &str) -> Vec<Credential> {
        let matching = self.entries.iter().rev().filter(|(pattern, _)| matches(pattern, image));
        let found: Vec<Credential> = matching.flat_map(|(_, credentials)| credentials.clone()).collect();
        if found.is_empty() && is_default_registry(image) {
            return self.entries.get(DEFAULT_REGISTRY).cloned().unwrap_or_default();
        }
        found
    }

    fn add(&mut self, entries: BTreeMap<String, Entry>) -> Result<()> {
        for (registry, entry) in entries {
            let credential =
                entry.credential().map_err(|error| error.context(format!("registry {registry:?}")))?;
            self.entries.entry(key(&registry)).or_default().push(credential);
        }
        Ok(())
    }
}

impl Entry {
    fn credential(self) -> Result<Credential> {
        let (mut username, mut password) = (self.username, self.password);
        if !self.auth.is_empty() {
            let decoded = match self.auth.trim().ends_with('=') {
                true => STANDARD.decode(self.auth.trim()),
                false => STANDARD_NO_PAD.decode(self.auth.trim()),
            };
            let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            let (user, secret) = pair.ok_or_else(|| {
                Error::new(
                    Kind::Config,
                    "unable to parse auth field, must be formatted as base64(username:password)",
                )
            })?;
            (username, password) = (user.to_owned(), secret.to_owned());
        }
        Ok(Credential {
            username,
            password,
            identity_token: self.identitytoken,
            registry_token: self.registrytoken,
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T> {
    if json.len() > MAX_CONFIG {
        return Err(Error::new(
            Kind::Config,
            format!("registry credentials of more than {MAX_CONFIG} bytes"),
        ));
    }
    // The parser's own message could repeat a piece of a password.
    serde_json::from_slice(json).map_err(|error| {
        let message = format!(
            "registry credentials cannot be read: error in line {}, column {}",
            error.line(),
            error.column()
        );
        Error::new(Kind::Config, message)
    })
}

/// Registry and path, without scheme and without the API version that some tools write.
fn key(registry: &str) -> String {
    let bare =
        registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry);
    let (host, path) = bare.find('/').map_or((bare, ""), |slash| bare.split_at(slash));
    let path = path
        .strip_prefix("/v1/")
        .or_else(|| path.strip_prefix("/v2/"))
        .map_or(path.to_owned(), |rest| format!("/{rest}"));
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

/// Does `pattern`, whose host may have wildcards label by label, cover `image`?
fn matches(pattern: &str, image: &str) -> bool {
    let split = |text: &str| -> (String, String) {
        let slash = text.find('/').unwrap_or(text.len());
        (text[..slash].to_owned(), text[slash..].to_owned())
    };
    let ((glob_host, glob_path), (host, path)) = (split(pattern), split(image));
    let port = |host: &str| -> (String, String) {
        match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name.to_owned(), port.to_owned())
            }
            _ => (host.to_owned(), String::new()),
        }
    };
    let ((glob_name, glob_port), (name, port)) = (port(&glob_host), port(&host));
    let (globs, labels): (Vec<_>, Vec<_>) = (glob_name.split('.').collect(), name.split('.').collect());
    glob_port == port
        && globs.len() == labels.len()
        && path.starts_with(&glob_path)
        && globs.iter().zip(labels).all(|(glob, label)| glob_matches(glob.as_bytes(), label.as_bytes()))
}

/// `*`, `?` and literal characters; Go's `filepath.Match` without its character classes, which no host has.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut star, mut mark) = (0, None, 0);
    let mut position = 0;
    while position < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some(at);
                mark = position;
                at += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match star {
                Some(from) => {
                    at = from + 1;
                    mark += 1;
                    position = mark;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|&b| b == b'*')
}

fn is_default_registry(image: &str) -> bool {
    match image.split_once('/') {
        None => !image.is_empty(),
        Some(("docker.io" | "index.docker.io", _)) => true,
        Some((first, _)) => !first.is_empty() && !first.contains(['.', ':']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(hosts: &[&str]) -> Keyring {
        let auths: serde_json::Map<_, _> = hosts
            .iter()
            .map(|host| ((*host).to_owned(), serde_json::json!({"username": host, "password": "p"})))
            .collect();
        let mut keyring = Keyring::default();
        keyring.add_docker_config(serde_json::json!({"auths": auths}).to_string().as_bytes()).unwrap();
        keyring
    }

    #[test]
    fn the_most_specific_credentials_come_first() {
        for (hosts, image, expected) in [
            (&["quay.io", "quay.io/coreos"][..], "quay.io/coreos/etcd", &["quay.io/coreos", "quay.io"][..]),
            (&["quay.io/coreos"], "quay.io/other/x", &[]),
            (&["*.example.com"], "a.example.com/x", &["*.example.com"]),
            (&["*.example.com"], "a.b.example.com/x", &[]),
            (&["pre*.example.com"], "prefix.example.com/x", &["pre*.example.com"]),
            (&["https://index.docker.io/v1/"], "docker.io/library/busybox", &["https://index.docker.io/v1/"]),
            (&["https://index.docker.io/v1/"], "quay.io/x", &[]),
            (&["reg:5000"], "reg:5000/x", &["reg:5000"]),
            (&["reg:5000"], "reg:5001/x", &[]),
            (&["http://reg.example/v2/team/"], "reg.example/team/x", &["http://reg.example/v2/team/"]),
        ] {
            let found: Vec<String> = ring(hosts).lookup(image).into_iter().map(|of| of.username).collect();
            assert_eq!(found, expected, "{image} among {hosts:?}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (config, expected) in [
            (
                r#"{"credHelpers":{"gcr.io":"gcloud"}}"#,
                "credential helper \"gcloud\" for \"gcr.io\" is not supported",
            ),
            (r#"{"credsStore":"desktop","auths":{}}"#, "credential helper \"desktop\" is not supported"),
            (r#"{"auths":{"x":{"auth":"bm9jb2xvbg=="}}}"#, "registry \"x\": unable to parse auth field"),
            (
                r#"{"auths":{"x":{"password":secret}}}"#,
                "registry credentials cannot be read: error in line 1",
            ),
        ] {
            let error = Keyring::default().add_docker_config(config.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
        }
        let mut keyring = Keyring::default();
        keyring.add_dockercfg(br#"{"r.io":{"auth":"dXNlcjpwYTpzcw"}}"#).unwrap();
        assert_eq!(keyring.lookup("r.io/x"), [Credential::basic("user", "pa:ss")]);
    }
}
