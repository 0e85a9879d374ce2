//! Image names as Docker, containerd and the kubelet read them: `busybox`, `quay.io/a/b:c`, `x@sha256:…`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image name: registry and repository are always spelled out, tag and digest only if given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host and port as written; empty for the odd names that only look like they have one.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path within the registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag and digest.
    pub fn name(&self) -> String {
        match self.domain.as_str() {
            "" => self.repository.clone(),
            domain => format!("{domain}/{}", self.repository),
        }
    }

    /// What a runtime resolves: the digest alone when there is one (a tag beside it carries no weight), else
    /// the tag, `latest` by default.
    pub fn resolvable(&self) -> Reference {
        let mut of = self.clone();
        match of.digest {
            Some(_) => of.tag = None,
            None => of.tag = Some(of.tag.unwrap_or_else(|| DEFAULT_TAG.to_owned())),
        }
        of
    }

    /// The tag or digest to ask a registry for.
    pub fn selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// The same repository under a digest.
    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The short spelling that people use: without Docker's default registry and namespace.
    pub fn familiar(&self) -> String {
        let name = if self.domain == DEFAULT_DOMAIN {
            match self.repository.strip_prefix(OFFICIAL_PREFIX) {
                Some(official) if !official.contains('/') => official.to_owned(),
                _ => self.repository.clone(),
            }
        } else {
            self.name()
        };
        self.with_suffixes(name)
    }

    fn with_suffixes(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.name()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split_once(':').map_or(remainder.as_str(), |(remote, _)| remote);
        if remote.to_lowercase() != remote {
            return Err(invalid(format!(
                "invalid reference format: repository name ({remote}) must be lowercase"
            )));
        }
        let full = format!("{domain}/{remainder}");
        let Some(parts) = split(&full) else {
            return Err(invalid(match split(&full.to_lowercase()) {
                Some(_) => "repository name must be lowercase",
                None => "invalid reference format",
            }));
        };
        if parts.repository.len() > MAX_REPOSITORY {
            return Err(invalid(format!(
                "repository name must not be more than {MAX_REPOSITORY} characters"
            )));
        }
        Ok(Reference {
            domain: parts.domain.to_owned(),
            repository: parts.repository.to_owned(),
            tag: parts.tag.map(str::to_owned),
            digest: parts.digest.map(str::parse).transpose()?,
        })
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Reference> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// An image name as a pod gives it, with the default tag added if it has neither tag nor digest. Short names
/// stay short: what they stand for is the runtime's to say.
pub fn with_default_tag(image: &str) -> Result<String> {
    let reference: Reference = image.parse()?;
    match (reference.tag(), reference.digest()) {
        (None, None) => Ok(format!("{image}:{DEFAULT_TAG}")),
        _ => Ok(image.to_owned()),
    }
}

/// Is this a tag that a registry may store?
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Is this a repository path that a registry may store?
pub fn is_repository(path: &str) -> bool {
    path.len() <= MAX_REPOSITORY && path.split('/').all(is_path_component)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidName, message)
}

/// Separates the registry from the rest, by the historic rule: the first component is a registry if it looks
/// like a host (has a dot, a colon or an upper-case letter, or is `localhost`).
fn split_domain(text: &str) -> (&str, String) {
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, format!("{OFFICIAL_PREFIX}{text}"));
    };
    let (domain, remainder) = if first == LEGACY_DEFAULT_DOMAIN {
        (DEFAULT_DOMAIN, rest)
    } else if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first {
        (first, rest)
    } else {
        (DEFAULT_DOMAIN, text)
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{remainder}"))
    } else {
        (domain, remainder.to_owned())
    }
}

struct Parts<'a> {
    domain: &'a str,
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// The grammar `[domain/]path[:tag][@digest]`. `None` where the text is not of that form.
fn split(text: &str) -> Option<Parts<'_>> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    if !tag.is_none_or(is_tag) || !digest.is_none_or(looks_like_digest) {
        return None;
    }
    let is_path = |path: &str| path.split('/').all(is_path_component);
    let (domain, repository) = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) && is_path(path) => (domain, path),
        _ if is_path(name) => ("", name),
        _ => return None,
    };
    Some(Parts { domain, repository, tag, digest })
}

/// Lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = component.as_bytes();
    loop {
        let run = bytes.iter().take_while(|&&b| alphanumeric(b)).count();
        if run == 0 {
            return false;
        }
        bytes = &bytes[run..];
        let separator = bytes.iter().take_while(|&&b| !alphanumeric(b)).count();
        match &bytes[..separator] {
            [] => return true,
            [b'.' | b'_'] | [b'_', b'_'] => {}
            dashes if dashes.iter().all(|&b| b == b'-') => {}
            _ => return false,
        }
        bytes = &bytes[separator..];
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let Some((address, port)) = v6.split_once(']') else { return false };
            let fits = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !fits {
                return false;
            }
            (None, port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (Some(&text[..end]), &text[end..])
        }
    };
    let host_fits = host.is_none_or(|host| {
        host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
    });
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    host_fits && port_fits
}

/// The reference grammar's digest, which is wider than the digests that exist; `Digest` then refuses the rest.
fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
        && algorithm.split(['-', '_', '+', '.']).all(|part| {
            part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line of the data is what `github.com/distribution/reference` made of an input: input, name, tag,
    /// digest, familiar spelling, error.
    #[test]
    fn names_are_read_as_upstream_reads_them() {
        for line in include_str!("../tests/data/references.jsonl").lines() {
            let row: [String; 6] = serde_json::from_str(line).unwrap();
            let [input, expected @ ..] = row;
            let actual = match input.parse::<Reference>() {
                Ok(of) => [
                    of.name(),
                    of.tag().unwrap_or_default().to_owned(),
                    of.digest().map(Digest::to_string).unwrap_or_default(),
                    of.familiar(),
                    String::new(),
                ],
                Err(error) => {
                    assert_eq!(error.kind(), Kind::InvalidName);
                    [const { String::new() }; 4]
                        .into_iter()
                        .chain([error.to_string()])
                        .collect::<Vec<_>>()
                        .try_into()
                        .unwrap()
                }
            };
            assert_eq!(actual, expected, "{input:?}");
        }
    }

    #[test]
    fn the_default_tag_is_added_where_there_is_none() {
        let digested = format!("a@{}", Digest::of(b""));
        for (image, expected) in [
            ("busybox", Some("busybox:latest")),
            ("busybox:1", Some("busybox:1")),
            (&digested, Some(digested.as_str())),
            ("localhost:5000/a", Some("localhost:5000/a:latest")),
            ("UPPER", None),
        ] {
            assert_eq!(with_default_tag(image).ok().as_deref(), expected);
        }
    }

    #[test]
    fn a_digest_outweighs_a_tag() {
        let digest = Digest::of(b"x");
        for (text, resolvable) in [
            ("a".to_owned(), "docker.io/library/a:latest".to_owned()),
            ("a:b".to_owned(), "docker.io/library/a:b".to_owned()),
            (format!("a:b@{digest}"), format!("docker.io/library/a@{digest}")),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().resolvable().to_string(), resolvable);
        }
    }

    #[test]
    fn what_parses_prints_back_to_itself() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(reference) = text.parse::<Reference>() {
                assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        });
    }
}
