//! A registry: the OCI distribution API, version 1.1, over the content store.
//!
//! Repositories are directories of small links (which blobs and manifests they hold, which tags name which,
//! what refers to what); all content lies in the store that images are pulled into, once.

mod body;
mod handlers;
mod repository;
mod respond;
mod route;
mod uploads;
mod users;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::random::{Random, SystemRandom};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::rustls::ServerConfig;

pub use users::Users;

use crate::error::{IoContext, Result};
use crate::store::Store;

use uploads::Uploads;

/// Connections served at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to send a request's head, or to shake hands.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long running requests may take to finish once the registry is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

pub struct Options {
    /// Who may do what; nobody is asked when there are no users.
    pub users: Option<Users>,
    /// Whether reading needs no password even though there are users.
    pub anonymous_pull: bool,
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether content may be deleted.
    pub deletes: bool,
    /// Names uploads, which must not be guessed.
    pub random: Box<dyn Random + Sync>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            users: None,
            anonymous_pull: false,
            tls: None,
            deletes: true,
            random: Box::new(SystemRandom),
        }
    }
}

pub(crate) struct Registry {
    store: Store,
    users: Option<Arc<Users>>,
    anonymous_pull: bool,
    deletes: bool,
    uploads: Uploads,
    random: Mutex<Box<dyn Random + Sync>>,
}

/// Serves until `shutdown` is done, then lets running requests finish.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let acceptor = options.tls.map(TlsAcceptor::from);
    let registry = Arc::new(Registry {
        uploads: Uploads::new(store.clone()),
        store,
        users: options.users.map(Arc::new),
        anonymous_pull: options.anonymous_pull,
        deletes: options.deletes,
        random: Mutex::new(options.random),
    });
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (registry, acceptor, stopped) = (Arc::clone(&registry), acceptor.clone(), stopped.clone());
        connections.spawn(async move {
            connection(registry, stream, acceptor, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("registry: requests were still running after {DRAIN:?}; cut off");
    }
    Ok(())
}

/// Listens and serves; a convenience over [`serve`].
pub async fn bind(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.during(format!("listen on {address}"))
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(room).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // Aborted connections and a want of descriptors pass; the listener itself does not break.
            Err(error) => {
                tracing::warn!(%error, "registry: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    registry: Arc<Registry>,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    stopped: watch::Receiver<bool>,
) {
    // Answers are small or large, never many small pieces; delaying them gains nothing.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => speak(registry, TokioIo::new(stream), stopped).await,
        Some(acceptor) => match tokio::time::timeout(HEAD_DEADLINE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => speak(registry, TokioIo::new(stream), stopped).await,
            Ok(Err(error)) => tracing::debug!(%error, "registry: tls handshake failed"),
            Err(_) => tracing::debug!("registry: tls handshake took too long"),
        },
    }
}

async fn speak<S>(registry: Arc<Registry>, stream: TokioIo<S>, mut stopped: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        // In a task of its own, since a client that hangs up must not leave an upload half written to.
        let task = tokio::spawn(async move { handlers::handle(&registry, request).await });
        async move { Ok::<_, Infallible>(task.await.unwrap_or_else(|_| respond::Failure::INTERNAL.answer())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = async { drop(stopped.wait_for(|stop| *stop).await.map(drop)) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "registry: connection ended");
    }
}
