//! Calls to an etcd cluster: several endpoints, one at a time in use, the next one when it fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::report::Report;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, IntoStreamingRequest, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Etcd;
use super::wire::{
    CompactionRequest, CompactionResponse, LeaseGrantRequest, LeaseGrantResponse, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
};
use crate::error::OpenError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A call that takes longer has an unknown outcome.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent peer is asked this often whether it lives, and has this long to say so.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer; a page of a list is the largest that there is.
const ANSWER_BYTES: usize = 512 << 20;

pub(super) struct Client {
    channels: Vec<Channel>,
    current: AtomicUsize,
}

/// Why a call failed, as far as it matters for what to do next.
#[derive(Debug)]
pub(super) enum CallError {
    /// etcd did nothing, and another attempt may succeed.
    NotDone(String),
    /// etcd may have done it.
    Unknown(String),
    /// etcd refuses, and will refuse again.
    Refused(String),
    /// The revision asked for is compacted.
    Compacted,
}

impl Client {
    pub(super) fn new(config: &Etcd) -> Result<Client, OpenError> {
        let bad = |url: &str, error: &dyn std::error::Error| {
            OpenError::Etcd(format!("endpoint {url}: {}", Report(&error)))
        };
        let mut channels = Vec::new();
        for url in &config.endpoints {
            let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| bad(url, &error))?;
            let mut endpoint = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            if url.starts_with("https://") {
                let Some(tls) = &config.tls else {
                    return Err(OpenError::Etcd(format!(
                        "endpoint {url}: TLS needs the authority that signed the server"
                    )));
                };
                let mut client = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority));
                if let Some((certificate, key)) = &tls.identity {
                    client = client.identity(Identity::from_pem(certificate, key));
                }
                endpoint = endpoint.tls_config(client).map_err(|error| bad(url, &error))?;
            }
            channels.push(endpoint.connect_lazy());
        }
        if channels.is_empty() {
            return Err(OpenError::Etcd("no endpoint was given".into()));
        }
        Ok(Client { channels, current: AtomicUsize::new(0) })
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, CallError> {
        self.read("/etcdserverpb.KV/Range", request).await
    }

    /// Once at most: when the outcome is unknown the caller must find out.
    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, CallError> {
        self.once("/etcdserverpb.KV/Txn", request).await
    }

    pub(super) async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, CallError> {
        self.once("/etcdserverpb.KV/Compact", request).await
    }

    pub(super) async fn grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, CallError> {
        // A lease granted twice just expires unused.
        self.read("/etcdserverpb.Lease/LeaseGrant", request).await
    }

    pub(super) async fn watch(
        &self,
        requests: impl Stream<Item = WatchRequest> + Send + 'static,
    ) -> Result<Streaming<WatchResponse>, CallError> {
        let at = self.current.load(Ordering::Relaxed);
        let mut grpc = Grpc::new(self.channels[at].clone()).max_decoding_message_size(ANSWER_BYTES);
        let open = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let mut request = requests.into_streaming_request();
            // A member that lost its quorum then ends the stream, rather than staying silent.
            request
                .metadata_mut()
                .insert("hasleader", "true".parse().expect("a plain word is a valid value"));
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(request, path, ProstCodec::<WatchRequest, WatchResponse>::default()).await
        };
        match tokio::time::timeout(CALL_TIMEOUT, open).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(at, &status)),
            Err(_) => Err(self.failed(at, &Status::deadline_exceeded("no answer in time"))),
        }
    }

    /// Gives up on the endpoint in use, for the sake of a stream that failed on it.
    pub(super) fn next_endpoint(&self) {
        let at = self.current.load(Ordering::Relaxed);
        self.move_on_from(at);
    }

    /// Asks each endpoint once until one answers. Only for calls that may be made twice.
    async fn read<Q, A>(&self, path: &'static str, request: Q) -> Result<A, CallError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut attempts = self.channels.len();
        loop {
            attempts -= 1;
            match self.attempt(path, request.clone()).await {
                Err(CallError::NotDone(_) | CallError::Unknown(_)) if attempts > 0 => {}
                done => return done,
            }
        }
    }

    /// Tries another endpoint only where the one before certainly did nothing.
    async fn once<Q, A>(&self, path: &'static str, request: Q) -> Result<A, CallError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut attempts = self.channels.len();
        loop {
            attempts -= 1;
            match self.attempt(path, request.clone()).await {
                Err(CallError::NotDone(_)) if attempts > 0 => {}
                done => return done,
            }
        }
    }

    async fn attempt<Q, A>(&self, path: &'static str, request: Q) -> Result<A, CallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let at = self.current.load(Ordering::Relaxed);
        let mut grpc = Grpc::new(self.channels[at].clone()).max_decoding_message_size(ANSWER_BYTES);
        let call = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static(path);
            grpc.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await
        };
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(at, &status)),
            Err(_) => Err(self.failed(at, &Status::deadline_exceeded("no answer in time"))),
        }
    }

    fn failed(&self, at: usize, status: &Status) -> CallError {
        let error = classify(status);
        if matches!(error, CallError::NotDone(_) | CallError::Unknown(_)) {
            self.move_on_from(at);
        }
        error
    }

    fn move_on_from(&self, at: usize) {
        let next = (at + 1) % self.channels.len();
        // Where another call has moved on already, its choice stands.
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn classify(status: &Status) -> CallError {
    let text = match std::error::Error::source(status) {
        Some(source) => format!("{} ({})", status.message(), Report(source)),
        None => status.message().to_owned(),
    };
    match status.code() {
        Code::OutOfRange if status.message().contains("compacted") => CallError::Compacted,
        Code::Unavailable if never_sent(status) => CallError::NotDone(text),
        // Refused before it was proposed: the server is overloaded, or out of space.
        Code::ResourceExhausted => CallError::NotDone(text),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::Unimplemented => CallError::Refused(text),
        _ => CallError::Unknown(text),
    }
}

/// No connection was made, so nothing was asked.
fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::NotDone(text) | CallError::Unknown(text) | CallError::Refused(text) => {
                f.write_str(text)
            }
            CallError::Compacted => f.write_str("the revision is compacted"),
        }
    }
}
