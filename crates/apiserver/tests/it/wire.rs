//! The same stack behind TLS, over HTTP/1.1 and HTTP/2.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use apiserver::server::{Tls, serve};
use base::clock::{Clock as _, SystemClock};
use base::shutdown::Shutdown;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pki::{Authority, Identity, Signed};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::rig::{CONFIG_MAPS, Rig, config_map};

struct Served {
    _rig: Rig,
    address: SocketAddr,
    authority: Authority,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn new() -> Served {
        let rig = Rig::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        // Both ends of TLS look at the real clock.
        let now = SystemClock::new().wall();
        let authority = Authority::open(folder.path(), "ca", now).expect("an authority");
        let own = authority
            .server("server", &["localhost"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)], now)
            .expect("a certificate");
        let tls = Tls {
            certificate: own.certificate,
            key: own.key,
            client_authority: authority.certificate().into(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (shutdown, stack) = (Shutdown::new(), rig.stack.clone());
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { serve(listener, &tls, stack, stop).await });
        Served { _rig: rig, address, authority, shutdown, task }
    }

    async fn connect(&self, protocol: &str, user: Option<Signed>) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let root =
            CertificateDer::from_pem_slice(self.authority.certificate().as_bytes()).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match user {
            None => builder.with_no_client_auth(),
            Some(user) => {
                let chain = CertificateDer::pem_slice_iter(user.certificate.as_bytes())
                    .collect::<Result<_, _>>()
                    .expect("a chain");
                let key = PrivateKeyDer::from_pem_slice(user.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a client's certificate")
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::from(self.address.ip());
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake")
    }
}

fn get(target: &str, host: SocketAddr, body: &str) -> Request<Full<Bytes>> {
    let (method, uri) = if body.is_empty() { ("GET", target) } else { ("POST", target) };
    Request::builder()
        .method(method)
        .uri(format!("https://{host}{uri}"))
        .header("host", host.to_string())
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn conf_39_http_2_by_alpn_with_many_streams() {
    let served = Served::new().await;
    let stream = served.connect("h2", None).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let open = client.send_request(get("/healthz", served.address, "")).await.expect("an answer");
    assert_eq!((open.status().as_u16(), text(open).await.as_str()), (200, "ok"));
    let closed = client.send_request(get(CONFIG_MAPS, served.address, "")).await.expect("an answer");
    assert_eq!(closed.status(), 401);
    assert!(text(closed).await.contains("Unauthorized"));
    drop(client);
    connection.await.expect("the connection's task").expect("a clean end");
}

/// A hundred watches over one connection, all of whose headers come before any event does.
#[tokio::test]
async fn conf_12_headers_are_flushed_at_once() {
    let served = Served::new().await;
    let identity = Identity::new("admin", &["system:masters"]);
    let user = || served.authority.client(&identity, SystemClock::new().wall()).expect("a user");
    let stream = served.connect("h2", Some(user())).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let h2 = tokio::spawn(connection);
    let target = format!("{CONFIG_MAPS}?watch=1");
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(
            client.send_request(get(&target, served.address, "")).await.expect("headers without an event"),
        );
    }

    let stream = served.connect("http/1.1", Some(user())).await;
    let (mut one, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    let h1 = tokio::spawn(connection);
    let watch = one.send_request(get(&target, served.address, "")).await.expect("headers without an event");
    assert_eq!(
        (watch.status().as_u16(), &watch.headers()["content-type"]),
        (200, &"application/json".parse().expect("a value"))
    );
    watches.push(watch);

    let body = config_map("a").to_string();
    let created = client.send_request(get(CONFIG_MAPS, served.address, &body)).await.expect("an answer");
    assert_eq!(created.status(), 201);
    for watch in watches {
        let frame =
            watch.into_body().frame().await.expect("an event").expect("no error").into_data().expect("data");
        assert!(frame.starts_with(b"{\"type\":\"ADDED\""));
    }
    drop((client, one));
    let (h2, h1) = tokio::join!(h2, h1);
    assert!(h2.is_ok() && h1.is_ok());
    served.shutdown.stop();
    served.task.await.expect("the server's task").expect("a clean end");
}
