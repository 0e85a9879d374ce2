//! HTTP to registries: connections, TLS, deadlines and redirects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, IoContext, Kind, Result, refused};
use crate::pull::hosts::Endpoint;

const MAX_REDIRECTS: usize = 5;
/// Connections kept open for each server; more are closed after use.
const MAX_IDLE: usize = 4;
/// Where distributions keep the certificates that the machine trusts.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
const AGENT: &str = concat!("boga/", env!("CARGO_PKG_VERSION"));

/// How long a registry may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To connect, TLS included.
    pub connect: Duration,
    /// To begin an answer.
    pub response: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// Speaks HTTP/1.1 to any number of servers.
pub(crate) struct Transport {
    deadlines: Deadlines,
    /// Idle connections by endpoint, scheme and authority. Never held across an await.
    idle: Mutex<BTreeMap<Origin, Vec<SendRequest<Full<Bytes>>>>>,
    tls: Mutex<BTreeMap<Endpoint, Arc<ClientConfig>>>,
}

type Origin = (Endpoint, String, String);

/// One request, to be sent again elsewhere when redirected.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn get(uri: Uri) -> Call {
        Call { method: Method::GET, uri, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl Transport {
    pub(crate) fn new(deadlines: Deadlines) -> Transport {
        Transport { deadlines, idle: Mutex::default(), tls: Mutex::default() }
    }

    pub(crate) fn stall(&self) -> Duration {
        self.deadlines.stall
    }

    /// Sends a request and follows redirects. A redirect never leads from HTTPS to HTTP, and never takes
    /// credentials to another server.
    pub(crate) async fn send(&self, endpoint: &Endpoint, mut call: Call) -> Result<Response<Incoming>> {
        for (name, value) in &endpoint.headers {
            if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
                call.headers.insert(name, value);
            }
        }
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(endpoint, &call).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = redirect(&call.uri, response.headers())?;
            if call.uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(refused(format!("{} redirects from https to {next}", call.uri)));
            }
            if next.authority() != call.uri.authority() {
                call.headers.remove(AUTHORIZATION);
            }
            call.uri = next;
        }
        Err(refused(format!("{} redirects more than {MAX_REDIRECTS} times", call.uri)))
    }

    /// The whole of a small body.
    pub(crate) async fn read(&self, response: Response<Incoming>, limit: u64) -> Result<Bytes> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut body).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(refused(format!("the registry's answer is larger than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// The next piece of a body; `None` at its end.
    pub(crate) async fn chunk(&self, body: &mut Incoming) -> Result<Option<Bytes>> {
        loop {
            let stall = self.stall();
            let frame = timeout(stall, body.frame())
                .await
                .map_err(|_| unavailable(format!("the registry sent nothing for {stall:?}")))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(unavailable(format!("the registry's answer broke off: {error}")));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    async fn send_once(&self, endpoint: &Endpoint, call: &Call) -> Result<Response<Incoming>> {
        let origin = origin(endpoint, &call.uri)?;
        if let Some(mut connection) = self.take_idle(&origin)
            && let Ok(response) = self.exchange(&mut connection, call).await
        {
            self.keep(origin, connection);
            return Ok(response);
        }
        // An idle connection may have been closed by the server meanwhile, so a failure on one says nothing.
        let mut connection = self.connect(endpoint, &call.uri).await?;
        let response = self.exchange(&mut connection, call).await?;
        self.keep(origin, connection);
        Ok(response)
    }

    async fn exchange(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        call: &Call,
    ) -> Result<Response<Incoming>> {
        let path = call.uri.path_and_query().map_or("/", |of| of.as_str());
        let mut request = Request::builder()
            .method(&call.method)
            .uri(path)
            .body(Full::new(call.body.clone()))
            .map_err(|error| refused(format!("{}: {error}", call.uri)))?;
        *request.headers_mut() = call.headers.clone();
        let authority = call.uri.authority().map_or("", |of| of.as_str());
        let host =
            HeaderValue::try_from(authority).map_err(|_| refused(format!("{}: bad host", call.uri)))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let limit = self.deadlines.response;
        match timeout(limit, connection.send_request(request)).await {
            Err(_) => Err(failed(call, format!("no answer within {limit:?}"))),
            Ok(Err(error)) => Err(failed(call, error.to_string())),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn connect(&self, endpoint: &Endpoint, uri: &Uri) -> Result<SendRequest<Full<Bytes>>> {
        let tls = match uri.scheme_str() {
            Some("https") => Some(self.tls_config(endpoint)?),
            _ => None,
        };
        let limit = self.deadlines.connect;
        match timeout(limit, open(uri, tls)).await {
            Err(_) => {
                Err(unavailable(format!("connect to {}: no connection within {limit:?}", authority(uri))))
            }
            Ok(opened) => opened,
        }
    }

    fn take_idle(&self, origin: &Origin) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().expect("no holder of this lock panics");
        let connections = idle.get_mut(origin)?;
        connections.retain(|of| !of.is_closed());
        let at = connections.iter().position(SendRequest::is_ready)?;
        Some(connections.swap_remove(at))
    }

    /// Keeps a connection for later; it becomes ready when its present answer was read.
    fn keep(&self, origin: Origin, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().expect("no holder of this lock panics");
        let connections = idle.entry(origin).or_default();
        if connections.len() < MAX_IDLE {
            connections.push(connection);
        }
    }

    fn tls_config(&self, endpoint: &Endpoint) -> Result<Arc<ClientConfig>> {
        let mut known = self.tls.lock().expect("no holder of this lock panics");
        if let Some(config) = known.get(endpoint) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls_config(endpoint)?);
        known.insert(endpoint.clone(), Arc::clone(&config));
        Ok(config)
    }
}

async fn open(uri: &Uri, tls: Option<Arc<ClientConfig>>) -> Result<SendRequest<Full<Bytes>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|error| unavailable(format!("dial tcp {}: {error}", authority(uri))))?;
    // A registry answers small requests with small documents; waiting to fill packets only delays them.
    let _ = stream.set_nodelay(true);
    let Some(config) = tls else { return spawn(TokioIo::new(stream), uri).await };
    let name = ServerName::try_from(host).map_err(|error| refused(format!("{}: {error}", authority(uri))))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| unavailable(format!("tls handshake with {}: {error}", authority(uri))))?;
    spawn(TokioIo::new(stream), uri).await
}

async fn spawn<S>(stream: TokioIo<S>, uri: &Uri) -> Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream)
        .await
        .map_err(|error| unavailable(format!("http handshake with {}: {error}", authority(uri))))?;
    // The task ends with the connection, which ends with the sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a registry ended");
        }
    });
    Ok(sender)
}

fn origin(endpoint: &Endpoint, uri: &Uri) -> Result<Origin> {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) => {
            Ok((endpoint.clone(), scheme.to_owned(), authority.to_string()))
        }
        _ => Err(refused(format!("{uri} is neither http nor https"))),
    }
}

fn redirect(from: &Uri, headers: &HeaderMap) -> Result<Uri> {
    let location = headers.get(LOCATION).and_then(|of| of.to_str().ok());
    let location = location.ok_or_else(|| refused(format!("{from} redirects to nowhere")))?;
    resolve(from, location)
}

/// An absolute URI from a `Location`, which may leave out what stays the same.
pub(crate) fn resolve(from: &Uri, location: &str) -> Result<Uri> {
    let to: Uri = location
        .parse()
        .map_err(|_| refused(format!("{from} leads to {location:?}, which is no address")))?;
    let mut parts = to.clone().into_parts();
    if parts.authority.is_none() {
        if !to.path().starts_with('/') {
            return Err(refused(format!("{from} leads to {location:?}, which is no address")));
        }
        parts.authority = from.authority().cloned();
    }
    parts.scheme = parts.scheme.or_else(|| from.scheme().cloned());
    parts.path_and_query =
        Some(parts.path_and_query.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|error| refused(format!("{from} leads to {location:?}: {error}")))
}

pub(crate) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, message)
}

fn failed(call: &Call, why: String) -> Error {
    let method = call.method.as_str();
    let name = format!("{}{}", &method[..1], method[1..].to_lowercase());
    // Queries may carry signatures of blob stores; the address alone is enough to understand.
    let uri = call.uri.to_string();
    let bare = uri.split('?').next().unwrap_or_default();
    unavailable(format!("failed to do request: {name} {bare:?}: {why}"))
}

fn authority(uri: &Uri) -> &str {
    uri.authority().map_or("", |of| of.as_str())
}

fn tls_config(endpoint: &Endpoint) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let invalid = |what: String| Error::new(Kind::Config, what);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("tls: {error}")))?;
    let builder = if endpoint.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnything(provider)))
    } else {
        builder.with_root_certificates(roots(endpoint.ca.as_deref())?)
    };
    match (&endpoint.client_certificate, &endpoint.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| invalid(format!("key {}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid(format!("client certificate: {error}")))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let path = match ca {
        Some(path) => path,
        None => match SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => path,
            None => {
                let message = format!("no trusted certificates on this machine: looked for {SYSTEM_ROOTS:?}");
                return Err(Error::new(Kind::Config, message));
            }
        },
    };
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(Error::new(Kind::Config, format!("{} contains no usable certificate", path.display())));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path).at("read", path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::new(Kind::Config, format!("certificates in {}: {error}", path.display())))
}

/// For `skipVerify`, and for nothing else.
#[derive(Debug)]
struct TrustAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
