//! One repository's content, from whichever server has it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result, corrupt, not_found};
use crate::manifest::{Descriptor, MAX_DOCUMENT, media};
use crate::pull::auth::denied;
use crate::pull::credentials::Credential;
use crate::pull::hosts::Endpoint;
use crate::pull::transport::{Call, unavailable};
use crate::pull::{Client, blocking};
use crate::reference::Reference;
use crate::store::{Ingest, Store};

/// Attempts to continue a download that gave nothing new.
const MAX_FRUITLESS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Pieces of a download between the network and the disk; then the network waits.
const PIECES_IN_FLIGHT: usize = 32;
/// The longest error text of a registry that is passed on.
const MAX_ERROR: u64 = 64 << 10;
const MAX_ERROR_SHOWN: usize = 500;

pub(super) struct Source<'a> {
    client: &'a Client,
    name: &'a Reference,
    credential: Option<&'a Credential>,
    endpoints: Vec<Endpoint>,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        client: &'a Client,
        name: &'a Reference,
        credential: Option<&'a Credential>,
    ) -> Source<'a> {
        Source { client, name, credential, endpoints: client.0.hosts.endpoints(name.domain()) }
    }

    /// A manifest's bytes and the media type it was served as. Servers are asked in order; the last one's
    /// answer, the registry's own, is the one to report.
    pub(super) async fn manifest(
        &self,
        selector: &str,
        expected: Option<&Digest>,
    ) -> Result<(Bytes, Option<String>)> {
        for endpoint in &self.endpoints {
            match self.manifest_from(endpoint, selector, expected).await {
                Err(error) if endpoint.mirror => {
                    tracing::debug!(mirror = endpoint.url, %error, "mirror failed; asking the next");
                }
                outcome => return outcome,
            }
        }
        Err(unavailable("no server is configured for this registry"))
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        selector: &str,
        expected: Option<&Digest>,
    ) -> Result<(Bytes, Option<String>)> {
        let mut call = self.call(endpoint, "manifests", selector)?;
        let accepted =
            [media::DOCKER_MANIFEST, media::DOCKER_INDEX, media::OCI_MANIFEST, media::OCI_INDEX, "*/*"];
        call.headers
            .insert(ACCEPT, HeaderValue::try_from(accepted.join(", ")).expect("media types are plain text"));
        let response = self.authorized(endpoint, call).await?;
        let response = self.expect(response, &[StatusCode::OK]).await?;
        let text =
            |name: &str| response.headers().get(name).and_then(|of| of.to_str().ok()).map(str::to_owned);
        let (media_type, claimed) = (text(CONTENT_TYPE.as_str()), text("docker-content-digest"));
        let bytes = self.client.0.transport.read(response, MAX_DOCUMENT).await?;
        let claimed = claimed.and_then(|of| of.parse::<Digest>().ok());
        for digest in expected.into_iter().chain(&claimed) {
            digest.verify(&bytes).map_err(|error| error.context(format!("manifest of {}", self.name)))?;
        }
        Ok((bytes, media_type))
    }

    /// Brings a blob into the store, unless it is there.
    pub(super) async fn blob(&self, store: &Store, of: &Descriptor) -> Result<()> {
        if store.has_blob(&of.digest) {
            return check_size(store, of);
        }
        let mut outcome = Err(unavailable("no server is configured for this registry"));
        for endpoint in &self.endpoints {
            outcome = self.blob_through(endpoint, store, of).await;
            match &outcome {
                Err(error) if endpoint.mirror && error.kind() != Kind::NoSpace => {
                    tracing::debug!(mirror = endpoint.url, %error, "mirror failed; asking the next");
                }
                _ => break,
            }
        }
        outcome.map_err(|error| error.context(format!("failed to copy blob {}", of.digest)))
    }

    /// The same from one server. What is whole so far stays for the next server, or the next pull, to continue;
    /// what turns out wrong is removed.
    async fn blob_through(&self, endpoint: &Endpoint, store: &Store, of: &Descriptor) -> Result<()> {
        let ingest = {
            let (store, digest) = (store.clone(), of.digest.clone());
            blocking(move || store.ingest_blob(&digest)).await?
        };
        // Another pull was faster.
        let Some(ingest) = ingest else { return check_size(store, of) };
        let mut slot = Slot(Some(ingest));
        let outcome = self.blob_from(endpoint, of, &mut slot).await;
        match (outcome, slot.0) {
            (Ok(()), Some(done)) => {
                let digest = of.digest.clone();
                blocking(move || done.commit_as(&digest)).await
            }
            (Ok(()), None) => Err(corrupt("a download lost its file")),
            (Err(error), left) => {
                if let Some(mut partial) =
                    left.filter(|left| left.offset() > 0 && error.kind() == Kind::Unavailable)
                {
                    partial.keep(true);
                }
                Err(error)
            }
        }
    }

    /// Downloads from one server, continuing as often as that brings anything new.
    async fn blob_from(&self, endpoint: &Endpoint, of: &Descriptor, ingest: &mut Slot) -> Result<()> {
        let mut fruitless = 0;
        loop {
            let before = ingest.offset();
            if before > of.size {
                ingest.restart().await?;
            }
            if ingest.offset() == of.size {
                return Ok(());
            }
            let outcome = self.piece(endpoint, of, ingest).await;
            let complete = ingest.offset() == of.size;
            match outcome {
                Ok(()) if complete => return Ok(()),
                Err(error) if !matches!(error.kind(), Kind::Unavailable) => return Err(error),
                outcome => {
                    fruitless = if ingest.offset() > before { 0 } else { fruitless + 1 };
                    if fruitless >= MAX_FRUITLESS {
                        let short = format!("the registry sent {} bytes of {}", ingest.offset(), of.size);
                        return Err(outcome.err().unwrap_or_else(|| unavailable(short)));
                    }
                    tracing::debug!(blob = %of.digest, offset = ingest.offset(), "download broke off; continuing");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// One request's worth of a blob.
    async fn piece(&self, endpoint: &Endpoint, of: &Descriptor, ingest: &mut Slot) -> Result<()> {
        let mut call = self.call(endpoint, "blobs", of.digest.as_str())?;
        let offset = ingest.offset();
        if offset > 0 {
            call.headers.insert(
                RANGE,
                HeaderValue::try_from(format!("bytes={offset}-")).expect("digits are plain text"),
            );
        }
        let response = self.authorized(endpoint, call).await?;
        let expected = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.expect(response, &expected).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if offset > 0 && starts_at(&response, offset) => {}
            StatusCode::OK => ingest.restart().await?,
            _ => {
                // What was kept does not fit this server's content: from the beginning, then.
                ingest.restart().await?;
                return if offset > 0 {
                    Ok(())
                } else {
                    Err(unavailable("the registry answered with a range that nobody asked for"))
                };
            }
        }
        self.copy(response, of, ingest).await
    }

    /// Moves a body into the ingest: this task reads the network, another hashes and writes.
    async fn copy(&self, response: Response<Incoming>, of: &Descriptor, slot: &mut Slot) -> Result<()> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES_IN_FLIGHT);
        let mut ingest = slot.take()?;
        let mut room = of.size - ingest.offset();
        let writer = tokio::task::spawn_blocking(move || {
            let mut outcome = Ok(());
            while let Some(piece) = receiver.blocking_recv() {
                outcome = ingest.write(&piece);
                if outcome.is_err() {
                    break;
                }
            }
            (ingest, outcome)
        });
        let mut body = response.into_body();
        let received = loop {
            match self.client.0.transport.chunk(&mut body).await {
                Ok(None) => break Ok(()),
                Ok(Some(piece)) if piece.len() as u64 > room => {
                    break Err(corrupt(format!(
                        "the registry sends more than the {} bytes that the manifest says",
                        of.size
                    )));
                }
                Ok(Some(piece)) => {
                    room -= piece.len() as u64;
                    if sender.send(piece).await.is_err() {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        drop(sender);
        let (ingest, written) = writer.await.map_err(|error| corrupt(format!("a worker failed: {error}")))?;
        slot.0 = Some(ingest);
        written.and(received)
    }

    fn call(&self, endpoint: &Endpoint, what: &str, selector: &str) -> Result<Call> {
        let base = endpoint.url.trim_end_matches('/');
        // A mirror serves many registries, which it tells apart by this parameter.
        let namespace = if endpoint.mirror { format!("?ns={}", self.name.domain()) } else { String::new() };
        let (server, prefix) = split_path(base);
        let text = format!("{server}/v2{prefix}/{}/{what}/{selector}{namespace}", self.name.repository());
        let uri: Uri =
            text.parse().map_err(|error| Error::new(Kind::InvalidName, format!("{text}: {error}")))?;
        Ok(Call::get(uri))
    }

    /// Sends a request, with a token if one is known, and once more if the registry asks for one.
    async fn authorized(&self, endpoint: &Endpoint, mut call: Call) -> Result<Response<Incoming>> {
        let (transport, tokens) = (&self.client.0.transport, &self.client.0.tokens);
        let credential = self.credential.filter(|_| !endpoint.mirror);
        let scope = format!("repository:{}:pull", self.name.repository());
        if let Some(header) = tokens.cached(endpoint, &scope, credential) {
            call.headers.insert(AUTHORIZATION, header);
        }
        let response = transport.send(endpoint, call.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let header =
            tokens.answer(transport, endpoint, &call.uri, response.headers(), &scope, credential).await?;
        call.headers.insert(AUTHORIZATION, header);
        transport.send(endpoint, call).await
    }

    async fn expect(
        &self,
        response: Response<Incoming>,
        wanted: &[StatusCode],
    ) -> Result<Response<Incoming>> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        let said = match self.client.0.transport.read(response, MAX_ERROR).await {
            Ok(bytes) => said(&bytes),
            Err(_) => String::new(),
        };
        Err(match status {
            StatusCode::NOT_FOUND => not_found(format!("{}: not found", self.name)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = if said.is_empty() { "insufficient_scope: authorization failed" } else { &said };
                denied(format!(
                    "pull access denied, repository does not exist or may require authorization: server message: {reason}"
                ))
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                unavailable(format!("unexpected status from the registry: {status}{}", prefixed(&said)))
            }
            status => corrupt(format!("unexpected status from the registry: {status}{}", prefixed(&said))),
        })
    }
}

/// Holds an ingest that moves to a worker and back.
struct Slot(Option<Ingest>);

impl Slot {
    fn offset(&self) -> u64 {
        self.0.as_ref().map_or(0, Ingest::offset)
    }

    fn take(&mut self) -> Result<Ingest> {
        self.0.take().ok_or_else(|| corrupt("a download lost its file"))
    }

    async fn restart(&mut self) -> Result<()> {
        let mut ingest = self.take()?;
        self.0 = Some(blocking(move || ingest.restart().map(|()| ingest)).await?);
        Ok(())
    }
}

fn check_size(store: &Store, of: &Descriptor) -> Result<()> {
    let size = store.blob_size(&of.digest)?;
    if size != of.size {
        return Err(corrupt(format!("blob {} has {size} bytes, its manifest says {}", of.digest, of.size)));
    }
    Ok(())
}

fn starts_at(response: &Response<Incoming>, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|of| of.to_str().ok());
    range.is_some_and(|of| of.strip_prefix("bytes ").is_some_and(|of| of.starts_with(&format!("{offset}-"))))
}

/// Scheme and authority, and the path behind them.
fn split_path(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    url[authority..].find('/').map_or((url, ""), |slash| url.split_at(authority + slash))
}

/// The first error of a registry's JSON, cleaned for a status message.
fn said(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let error = &value["errors"][0];
    let text = match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) => format!("{}: {message}", code.to_lowercase()),
        (Some(code), None) => code.to_lowercase(),
        (None, Some(message)) => message.to_owned(),
        (None, None) => String::new(),
    };
    text.chars().filter(|of| !of.is_control()).take(MAX_ERROR_SHOWN).collect()
}

fn prefixed(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
