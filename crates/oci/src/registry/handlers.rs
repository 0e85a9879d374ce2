//! One request: who asks, what for, and the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::json;

use crate::digest::{Digest, hex};
use crate::error::{Kind, Result};
use crate::manifest::{Document, MAX_DOCUMENT, media};
use crate::pull::blocking;
use crate::registry::repository::{Referrer, Repository, catalogue, page, page_size};
use crate::registry::respond::{Answer, Failure, answer, empty, json_answer, plain, set};
use crate::registry::route::{Route, Selector, digest_of, parameters};
use crate::registry::{Registry, body};
use crate::store::Ingest;

type Outcome = Result<Answer, Failure>;

pub(super) async fn handle(registry: &Registry, request: Request<Incoming>) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let mut answer = match authorize(registry, &request).await {
        Ok(()) => dispatch(registry, request).await.unwrap_or_else(Failure::answer),
        Err(failure) => {
            let mut answer = failure.answer();
            set(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"boga registry\", charset=\"UTF-8\"");
            answer
        }
    };
    set(&mut answer, "docker-distribution-api-version", "registry/2.0");
    if is_head {
        // The headers stay as a GET would send them.
        *answer.body_mut() = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    answer
}

async fn authorize(registry: &Registry, request: &Request<Incoming>) -> Result<(), Failure> {
    let Some(users) = &registry.users else { return Ok(()) };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let shown = request.headers().get(AUTHORIZATION);
    if reads && registry.anonymous_pull && shown.is_none() {
        return Ok(());
    }
    let shown = shown.and_then(|of| of.to_str().ok()).unwrap_or_default().to_owned();
    // Stretching a password takes a tenth of a second, so it must not hold up other requests.
    let users = Arc::clone(users);
    if blocking(move || Ok(users.admits(&shown))).await? { Ok(()) } else { Err(Failure::UNAUTHORIZED) }
}

async fn dispatch(registry: &Registry, request: Request<Incoming>) -> Outcome {
    let route = Route::parse(request.uri().path())?;
    let query = parameters(request.uri().query());
    let method = request.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    match (route, method) {
        (Route::Base, _) if reads => Ok(json_answer(StatusCode::OK, "{}".to_owned())),
        (Route::Catalog, _) if reads => list_catalogue(registry, &query).await,
        (Route::Tags(name), _) if reads => list_tags(registry, name, &query).await,
        (Route::Manifest(name, of), _) if reads => get_manifest(registry, name, of).await,
        (Route::Manifest(name, of), Method::PUT) => put_manifest(registry, name, of, request).await,
        (Route::Manifest(name, of), Method::DELETE) if registry.deletes => {
            delete_manifest(registry, name, of).await
        }
        (Route::Blob(name, digest), _) if reads => get_blob(registry, name, digest, request.headers()).await,
        (Route::Blob(name, digest), Method::DELETE) if registry.deletes => {
            delete_blob(registry, name, digest).await
        }
        (Route::Referrers(name, digest), _) if reads => list_referrers(registry, name, digest, &query).await,
        (Route::Uploads(name), Method::POST) => begin_upload(registry, name, &query, request).await,
        (Route::Upload(name, id), Method::PATCH) => continue_upload(registry, name, id, request).await,
        (Route::Upload(name, id), Method::PUT) => finish_upload(registry, name, id, &query, request).await,
        (Route::Upload(name, id), Method::GET) => {
            let offset = registry.uploads.offset(&name, &id)?;
            Ok(upload_answer(StatusCode::NO_CONTENT, &name, &id, offset))
        }
        (Route::Upload(name, id), Method::DELETE) => {
            // Taken and dropped, the upload's file is removed.
            drop(registry.uploads.take(&name, &id)?);
            registry.uploads.end(&id);
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Failure::METHOD),
    }
}

async fn list_catalogue(registry: &Registry, query: &BTreeMap<String, String>) -> Outcome {
    let limit = page_size(query.get("n"))?;
    let store = registry.store.clone();
    let (repositories, more) = page(blocking(move || catalogue(&store)).await?, query.get("last"), limit);
    let mut answer = json_answer(StatusCode::OK, json!({"repositories": repositories}).to_string());
    next_page(&mut answer, "/v2/_catalog", limit, more.then(|| repositories.last()).flatten());
    Ok(answer)
}

async fn list_tags(registry: &Registry, name: String, query: &BTreeMap<String, String>) -> Outcome {
    let limit = page_size(query.get("n"))?;
    let (store, of) = (registry.store.clone(), name.clone());
    let tags = blocking(move || {
        let repository = Repository::new(&store, &of);
        repository.exists().then(|| repository.tags()).transpose()
    })
    .await?
    .ok_or(Failure::NAME_UNKNOWN)?;
    let (tags, more) = page(tags, query.get("last"), limit);
    let mut answer = json_answer(StatusCode::OK, json!({"name": name, "tags": tags}).to_string());
    next_page(&mut answer, &format!("/v2/{name}/tags/list"), limit, more.then(|| tags.last()).flatten());
    Ok(answer)
}

fn next_page(answer: &mut Answer, path: &str, limit: usize, last: Option<&String>) {
    if let Some(last) = last {
        set(answer, LINK, &format!("<{path}?n={limit}&last={last}>; rel=\"next\""));
    }
}

async fn get_manifest(registry: &Registry, name: String, of: Selector) -> Outcome {
    let store = registry.store.clone();
    let found = blocking(move || {
        let repository = Repository::new(&store, &name);
        let digest = match of {
            Selector::Digest(digest) => digest,
            Selector::Tag(tag) => match repository.tag(&tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(media_type) = repository.manifest(&digest)? else { return Ok(None) };
        let bytes = store.read_blob(&digest, MAX_DOCUMENT)?;
        Ok(Some((digest, media_type, bytes)))
    })
    .await?;
    let (digest, media_type, bytes) = found.ok_or(Failure::MANIFEST_UNKNOWN)?;
    let mut answer = answer(StatusCode::OK, &media_type, bytes.into());
    set(&mut answer, "docker-content-digest", digest.as_str());
    Ok(answer)
}

async fn put_manifest(
    registry: &Registry,
    name: String,
    of: Selector,
    request: Request<Incoming>,
) -> Outcome {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|of| of.to_str().ok()).map(str::to_owned);
    let bytes = body::small(request.into_body(), MAX_DOCUMENT).await?;
    let document = Document::parse(&bytes, declared.as_deref()).map_err(|_| Failure::MANIFEST_INVALID)?;
    let media_type = declared
        .filter(|of| media::is_index(of) || media::is_manifest(of))
        .or_else(|| document.media_type().map(str::to_owned))
        .unwrap_or_else(|| match document {
            Document::Manifest(_) => media::OCI_MANIFEST.to_owned(),
            Document::Index(_) => media::OCI_INDEX.to_owned(),
        });
    let (digest, tag) = match of {
        Selector::Digest(digest) => (digest, None),
        Selector::Tag(tag) => (Digest::of(&bytes), Some(tag)),
    };
    digest.verify(&bytes).map_err(|_| Failure::DIGEST_INVALID)?;
    let referrer = Referrer::of(&document, &media_type, &digest, bytes.len() as u64);
    let subject = referrer.as_ref().map(|of| of.subject.clone());
    let (store, repository_name, stored) = (registry.store.clone(), name.clone(), digest.clone());
    let complete = blocking(move || {
        let repository = Repository::new(&store, &repository_name);
        for child in document.children() {
            let known = match &document {
                Document::Index(_) => repository.manifest(&child.digest)?.is_some(),
                // Layers that may not be redistributed are never uploaded.
                Document::Manifest(_) => {
                    child.media_type.contains("nondistributable")
                        || child.media_type.contains(".foreign.")
                        || repository.has_blob(&child.digest)
                }
            };
            if !known {
                return Ok(false);
            }
        }
        let lease = store.lease()?;
        lease.hold(&stored)?;
        store.put_blob_as(&stored, &bytes)?;
        repository.put_manifest(&stored, &media_type, tag.as_deref(), referrer.as_ref())?;
        Ok(true)
    })
    .await?;
    if !complete {
        return Err(Failure::MANIFEST_BLOB_UNKNOWN);
    }
    let mut answer = created(&format!("/v2/{name}/manifests/{digest}"), &digest);
    if let Some(subject) = subject {
        set(&mut answer, "oci-subject", subject.as_str());
    }
    Ok(answer)
}

async fn delete_manifest(registry: &Registry, name: String, of: Selector) -> Outcome {
    let store = registry.store.clone();
    let found = blocking(move || {
        let repository = Repository::new(&store, &name);
        match of {
            Selector::Tag(tag) => match repository.tag(&tag)? {
                Some(_) => repository.delete_tag(&tag).map(|()| true),
                None => Ok(false),
            },
            Selector::Digest(digest) => match repository.manifest(&digest)? {
                Some(_) => repository.delete_manifest(&digest).map(|()| true),
                None => Ok(false),
            },
        }
    })
    .await?;
    if found { Ok(empty(StatusCode::ACCEPTED)) } else { Err(Failure::MANIFEST_UNKNOWN) }
}

async fn list_referrers(
    registry: &Registry,
    name: String,
    digest: Digest,
    query: &BTreeMap<String, String>,
) -> Outcome {
    let store = registry.store.clone();
    let mut found = blocking(move || Repository::new(&store, &name).referrers(&digest)).await?;
    let filter = query.get("artifactType");
    if let Some(wanted) = filter {
        found.retain(|of| of.artifact_type.as_ref() == Some(wanted));
    }
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": found});
    let mut answer = answer(StatusCode::OK, media::OCI_INDEX, index.to_string().into());
    if filter.is_some() {
        set(&mut answer, "oci-filters-applied", "artifactType");
    }
    Ok(answer)
}

async fn get_blob(registry: &Registry, name: String, digest: Digest, headers: &HeaderMap) -> Outcome {
    let (store, of) = (registry.store.clone(), digest.clone());
    let found = blocking(move || {
        if !Repository::new(&store, &name).has_blob(&of) {
            return Ok(None);
        }
        Ok(Some((store.open_blob(&of)?, store.blob_size(&of)?)))
    })
    .await?;
    let (file, size) = found.ok_or(Failure::BLOB_UNKNOWN)?;
    let range = headers.get(RANGE).and_then(|of| of.to_str().ok()).and_then(|of| of.strip_prefix("bytes="));
    let (status, offset, length) = match range {
        None => (StatusCode::OK, 0, size),
        Some(text) => match slice(text, size) {
            Some((offset, length)) => (StatusCode::PARTIAL_CONTENT, offset, length),
            None => {
                let mut answer = Failure::RANGE.answer();
                set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(answer);
            }
        },
    };
    let mut answer = plain(status, body::of_file(file, offset, length));
    set(&mut answer, CONTENT_TYPE, "application/octet-stream");
    set(&mut answer, CONTENT_LENGTH, &length.to_string());
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, "docker-content-digest", digest.as_str());
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut answer, CONTENT_RANGE, &format!("bytes {offset}-{}/{size}", offset + length - 1));
    }
    Ok(answer)
}

/// Offset and length of one range (`A-B`, `A-`, `-N`); `None` where it lies outside.
fn slice(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => {
            let length = last.parse::<u64>().ok()?.min(size);
            (length > 0).then(|| (size - length, length))
        }
        (first, last) => {
            let first: u64 = first.parse().ok()?;
            let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? }.min(size.checked_sub(1)?);
            (first <= last).then(|| (first, last - first + 1))
        }
    }
}

async fn delete_blob(registry: &Registry, name: String, digest: Digest) -> Outcome {
    let store = registry.store.clone();
    let found = blocking(move || {
        let repository = Repository::new(&store, &name);
        let found = repository.has_blob(&digest);
        repository.delete_blob(&digest).map(|()| found)
    })
    .await?;
    if found { Ok(empty(StatusCode::ACCEPTED)) } else { Err(Failure::BLOB_UNKNOWN) }
}

/// A new upload; or the whole of one in a single request; or a blob that another repository has already.
async fn begin_upload(
    registry: &Registry,
    name: String,
    query: &BTreeMap<String, String>,
    request: Request<Incoming>,
) -> Outcome {
    if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from")) {
        let digest = digest_of(digest)?;
        if mount(registry, &name, &digest, from).await? {
            return Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest));
        }
    }
    let mut id = [0; 16];
    registry.random.lock().expect("no holder of this lock panics").fill(&mut id);
    let id = hex(&id);
    let whole = query.get("digest").map(|text| digest_of(text)).transpose()?;
    let ingest = registry.uploads.begin(&name, &id).inspect_err(|_| registry.uploads.end(&id))?;
    match whole {
        Some(digest) => finish(registry, name, id, ingest, digest, request).await,
        None => {
            registry.uploads.put_back(&id, ingest);
            Ok(upload_answer(StatusCode::ACCEPTED, &name, &id, 0))
        }
    }
}

async fn mount(registry: &Registry, name: &str, digest: &Digest, from: &str) -> Result<bool, Failure> {
    if !crate::reference::is_repository(from) {
        return Err(Failure::NAME_INVALID);
    }
    let (store, name, digest, from) =
        (registry.store.clone(), name.to_owned(), digest.clone(), from.to_owned());
    let mounted = blocking(move || {
        let lease = store.lease()?;
        lease.hold(&digest)?;
        let known = Repository::new(&store, &from).has_blob(&digest);
        if known {
            Repository::new(&store, &name).link_blob(&digest)?;
        }
        Ok(known)
    });
    Ok(mounted.await?)
}

async fn continue_upload(
    registry: &Registry,
    name: String,
    id: String,
    request: Request<Incoming>,
) -> Outcome {
    let ingest = registry.uploads.take(&name, &id)?;
    if let Some(refusal) = out_of_order(&name, &id, &ingest, request.headers()) {
        registry.uploads.put_back(&id, ingest);
        return Ok(refusal);
    }
    let (ingest, outcome) = body::into_ingest(request.into_body(), ingest).await;
    let Some(ingest) = ingest else {
        registry.uploads.end(&id);
        return Err(Failure::UPLOAD_INVALID);
    };
    let offset = ingest.offset();
    match outcome {
        Ok(()) => {
            registry.uploads.put_back(&id, ingest);
            Ok(upload_answer(StatusCode::ACCEPTED, &name, &id, offset))
        }
        // A full disk is not helped by what is kept of uploads.
        Err(error) if error.kind() == Kind::NoSpace => {
            registry.uploads.end(&id);
            Err(error.into())
        }
        // What arrived before the connection broke stays, and the client may ask how much that is.
        Err(_) => {
            registry.uploads.put_back(&id, ingest);
            Err(Failure::SIZE_INVALID)
        }
    }
}

async fn finish_upload(
    registry: &Registry,
    name: String,
    id: String,
    query: &BTreeMap<String, String>,
    request: Request<Incoming>,
) -> Outcome {
    let digest = digest_of(query.get("digest").map_or("", String::as_str))?;
    let ingest = registry.uploads.take(&name, &id)?;
    if let Some(refusal) = out_of_order(&name, &id, &ingest, request.headers()) {
        registry.uploads.put_back(&id, ingest);
        return Ok(refusal);
    }
    finish(registry, name, id, ingest, digest, request).await
}

async fn finish(
    registry: &Registry,
    name: String,
    id: String,
    ingest: Ingest,
    digest: Digest,
    request: Request<Incoming>,
) -> Outcome {
    let (ingest, outcome) = match request.body().is_end_stream() {
        true => (Some(ingest), Ok(())),
        false => body::into_ingest(request.into_body(), ingest).await,
    };
    registry.uploads.end(&id);
    let ingest = ingest.ok_or(Failure::UPLOAD_INVALID)?;
    outcome.map_err(|error| match error.kind() {
        Kind::NoSpace => Failure::NO_SPACE,
        _ => Failure::SIZE_INVALID,
    })?;
    let (store, repository, of) = (registry.store.clone(), name.clone(), digest.clone());
    let committed = blocking(move || {
        let lease = store.lease()?;
        lease.hold(&of)?;
        ingest.commit_as(&of)?;
        Repository::new(&store, &repository).link_blob(&of)
    })
    .await;
    match committed {
        Ok(()) => Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest)),
        Err(error) if error.kind() == Kind::Corrupt => Err(Failure::DIGEST_INVALID),
        Err(error) => Err(error.into()),
    }
}

/// A chunk that does not begin where the upload ends.
fn out_of_order(name: &str, id: &str, ingest: &Ingest, headers: &HeaderMap) -> Option<Answer> {
    let range = headers.get(CONTENT_RANGE)?.to_str().unwrap_or_default();
    let range = range.strip_prefix("bytes ").unwrap_or(range).split('/').next().unwrap_or_default();
    let bounds =
        range.split_once('-').and_then(|(a, b)| Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?)));
    if bounds.is_some_and(|(first, last)| first == ingest.offset() && last >= first) {
        return None;
    }
    let mut answer = Failure::RANGE.answer();
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut answer, RANGE, &format!("0-{}", ingest.offset().saturating_sub(1)));
    Some(answer)
}

fn upload_answer(status: StatusCode, name: &str, id: &str, offset: u64) -> Answer {
    let mut answer = empty(status);
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut answer, RANGE, &format!("0-{}", offset.saturating_sub(1)));
    set(&mut answer, "docker-upload-uuid", id);
    answer
}

fn created(location: &str, digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    set(&mut answer, LOCATION, location);
    set(&mut answer, "docker-content-digest", digest.as_str());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("0-4", Some((0, 5))),
            ("5-", Some((5, 5))),
            ("-3", Some((7, 3))),
            ("-30", Some((0, 10))),
            ("9-100", Some((9, 1))),
            ("10-", None),
            ("4-3", None),
            ("-0", None),
            ("x-y", None),
            ("0-1,3-4", None),
        ] {
            assert_eq!(slice(text, 10), expected, "{text}");
        }
        assert_eq!(slice("0-", 0), None);
    }
}
