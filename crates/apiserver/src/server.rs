//! Listening, TLS, and one task a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::User;
use base::shutdown::Shutdown;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::body::RequestBody;
use crate::stack::{Peer, Stack};

/// Connections beyond these wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32_768;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has not sent a request's head by then is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);

/// HTTP/2 requests at once on one connection.
const MAX_STREAMS: u32 = 250;

/// A request's head may have this many bytes.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// How long open requests get when the server shuts down.
const DRAIN: Duration = Duration::from_secs(10);

/// The server's certificate, and who signs its clients'.
pub struct Tls {
    pub certificate: String,
    pub key: String,
    pub client_authority: String,
}

impl Tls {
    fn acceptor(&self) -> Result<TlsAcceptor, io::Error> {
        let bad =
            |what: &str, why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {why}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.client_authority.as_bytes()) {
            let certificate = certificate.map_err(|e| bad("client authority", e.to_string()))?;
            roots.add(certificate).map_err(|e| bad("client authority", e.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| bad("client authority", e.to_string()))?;
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad("server certificate", e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|e| bad("server key", e.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("TLS", e.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|e| bad("server certificate", e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Serves until `shutdown`, then lets open requests finish for a while.
pub async fn serve(
    listener: TcpListener,
    tls: &Tls,
    stack: Arc<Stack>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let acceptor = tls.acceptor()?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (socket, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: others may close some.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = shutdown.stopping() => break,
        };
        let (acceptor, stack, shutdown) = (acceptor.clone(), stack.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            connection(socket, address, acceptor, stack, shutdown).await;
        });
    }
    drop(listener);
    // Whoever still holds a slot is a connection with a request under way.
    let all = slots.acquire_many(MAX_CONNECTIONS as u32);
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::info!("some connections were still open at the end of the drain");
    }
    Ok(())
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn connection(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    stack: Arc<Stack>,
    shutdown: Shutdown,
) {
    let _ = socket.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = Peer { address: Some(address), certificate: certificate.and_then(|c| user_of(c)) };
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (stack, peer) = (stack.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(stack.call(request.map(RequestBody::Wire), peer).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%address, %error, "the connection ended");
            }
        }
        () = shutdown.stopping() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(DRAIN, connection).await;
        }
    }
}

/// Who a client certificate names: its common name is the user, its organizations are the groups.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let usage = certificate.extended_key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
        return None;
    }
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    (!name.is_empty()).then(|| User { name, groups, ..User::default() })
}
