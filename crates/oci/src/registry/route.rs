//! What a request's path and query mean.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::reference::{is_repository, is_tag};
use crate::registry::respond::Failure;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Catalog,
    Tags(String),
    Manifest(String, Selector),
    Blob(String, Digest),
    Uploads(String),
    Upload(String, String),
    Referrers(String, Digest),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Tag(String),
    Digest(Digest),
}

impl Route {
    pub(super) fn parse(path: &str) -> Result<Route, Failure> {
        let path = decode(path);
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Route::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(Failure::NOT_SERVED)?,
            None => return Err(Failure::NOT_SERVED),
        };
        if rest == "_catalog" {
            return Ok(Route::Catalog);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Route::Tags(repository(name)?));
        }
        // A repository may itself be called `manifests`, so the last such component is the one that counts.
        if let Some((name, id)) = rest.rsplit_once("/blobs/uploads") {
            return match id.strip_prefix('/') {
                None | Some("") if id.len() <= 1 => Ok(Route::Uploads(repository(name)?)),
                Some(id) if is_upload(id) => Ok(Route::Upload(repository(name)?, id.to_owned())),
                _ => Err(Failure::UPLOAD_UNKNOWN),
            };
        }
        if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
            return Ok(Route::Blob(repository(name)?, digest_of(digest)?));
        }
        if let Some((name, digest)) = rest.rsplit_once("/referrers/") {
            return Ok(Route::Referrers(repository(name)?, digest_of(digest)?));
        }
        if let Some((name, selector)) = rest.rsplit_once("/manifests/") {
            let name = repository(name)?;
            return match selector {
                digest if digest.contains(':') => {
                    Ok(Route::Manifest(name, Selector::Digest(digest_of(digest)?)))
                }
                tag if is_tag(tag) => Ok(Route::Manifest(name, Selector::Tag(tag.to_owned()))),
                _ => Err(Failure::TAG_INVALID),
            };
        }
        Err(Failure::NOT_SERVED)
    }
}

/// A query's parameters; of several with one name, the last.
pub(super) fn parameters(query: Option<&str>) -> BTreeMap<String, String> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(&value.replace('+', "%20"))))
        .collect()
}

pub(super) fn digest_of(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|_| Failure::DIGEST_INVALID)
}

fn repository(name: &str) -> Result<String, Failure> {
    if is_repository(name) { Ok(name.to_owned()) } else { Err(Failure::NAME_INVALID) }
}

pub(super) fn is_upload(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let digest = Digest::of(b"");
        let id = "0123456789abcdef0123456789abcdef";
        let name = || "a/b".to_owned();
        for (path, expected) in [
            ("/v2/".to_owned(), Ok(Route::Base)),
            ("/v2/_catalog".into(), Ok(Route::Catalog)),
            ("/v2/a/b/tags/list".into(), Ok(Route::Tags(name()))),
            ("/v2/a/b/manifests/v1.0".into(), Ok(Route::Manifest(name(), Selector::Tag("v1.0".into())))),
            (
                format!("/v2/a/b/manifests/{digest}"),
                Ok(Route::Manifest(name(), Selector::Digest(digest.clone()))),
            ),
            (
                format!("/v2/a/b/blobs/{}", digest.as_str().replace(':', "%3A")),
                Ok(Route::Blob(name(), digest.clone())),
            ),
            ("/v2/a/b/blobs/uploads/".into(), Ok(Route::Uploads(name()))),
            ("/v2/a/b/blobs/uploads".into(), Ok(Route::Uploads(name()))),
            (format!("/v2/a/b/blobs/uploads/{id}"), Ok(Route::Upload(name(), id.into()))),
            (
                "/v2/a/manifests/manifests/x".into(),
                Ok(Route::Manifest("a/manifests".into(), Selector::Tag("x".into()))),
            ),
            (format!("/v2/a/b/referrers/{digest}"), Ok(Route::Referrers(name(), digest.clone()))),
            ("/v2/A/tags/list".into(), Err(Failure::NAME_INVALID)),
            ("/v2/../x/tags/list".into(), Err(Failure::NAME_INVALID)),
            ("/v2/a/%2e%2e/b/tags/list".into(), Err(Failure::NAME_INVALID)),
            ("/v2/a/blobs/sha256:..".into(), Err(Failure::DIGEST_INVALID)),
            ("/v2/a/blobs/uploads/../../x".into(), Err(Failure::UPLOAD_UNKNOWN)),
            ("/v2/a/manifests/.x".into(), Err(Failure::TAG_INVALID)),
            ("/v1/x".into(), Err(Failure::NOT_SERVED)),
        ] {
            assert_eq!(Route::parse(&path), expected, "{path}");
        }
        bolero::check!().with_type::<String>().for_each(|path| drop(Route::parse(path)));
    }
}
