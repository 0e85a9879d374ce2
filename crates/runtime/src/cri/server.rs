//! Any [`Cri`] served as gRPC on a unix socket, for crictl, monitoring agents and foreign kubelets.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_prost::ProstCodec;

use super::messages::*;
use super::rpc::every_rpc;
use super::{Answers, Cri, Error, Result};

/// Open connections at once. One more waits in the kernel's backlog until another closes.
const MAX_CONNECTIONS: usize = 256;

/// The largest request that is decoded; upstream's clients allow the same.
const MAX_MESSAGE: usize = 16 << 20;

/// Binds `path`, readable and writable by its owner alone. A socket that a dead process left there is
/// replaced; one that answers is an error.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} is in use", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(path)?,
    }
    // The socket is bound under a name nobody looks for and moved into place with its final mode.
    let hidden = path.with_extension("binding");
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}

/// Serves until `stop` is cancelled; running calls are then finished.
pub async fn serve(cri: Arc<dyn Cri>, listener: UnixListener, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CRI connection");
                    continue;
                }
            },
        };
        let (cri, stop) = (cri.clone(), stop.clone());
        tracker.spawn(async move {
            connection(cri, stream, stop).await;
            drop(slot);
        });
    }
    tracker.close();
    tracker.wait().await;
}

async fn connection(cri: Arc<dyn Cri>, stream: UnixStream, stop: CancellationToken) {
    let service = hyper::service::service_fn(move |request| {
        let cri = cri.clone();
        async move { Ok::<_, Infallible>(route(cri, request).await) }
    });
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a CRI connection ended early");
    }
}

macro_rules! define_route {
    ($($service:literal { $($kind:ident $name:ident $method:ident($request:ident) -> $response:ident;)* })*) => {
        fn route(cri: Arc<dyn Cri>, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
            match request.uri().path() {
                $($(concat!("/", $service, "/", stringify!($name)) => {
                    Box::pin($kind(request, move |message: $request| {
                        let answer: BoxFuture<'static, Result<_>> =
                            Box::pin(async move { cri.$method(message).await });
                        answer
                    }))
                })*)*
                path => {
                    let message = format!("unknown method {path}");
                    Box::pin(async { tonic::Status::unimplemented(message).into_http() })
                }
            }
        }
    };
}
every_rpc!(define_route);

/// A function as the service that tonic's codec layer calls: for one answer, and for many.
struct One<F>(Option<F>);
struct Many<F>(Option<F>);

async fn one<Req, Res, F, Fut>(request: Request<Incoming>, call: F) -> Response<Body>
where
    Req: prost::Message + Default + 'static,
    Res: prost::Message + Default + 'static,
    F: FnOnce(Req) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Res>> + Send + 'static,
{
    codec().unary(One(Some(call)), request).await
}

async fn many<Req, Res, F, Fut>(request: Request<Incoming>, call: F) -> Response<Body>
where
    Req: prost::Message + Default + 'static,
    Res: prost::Message + Default + 'static,
    F: FnOnce(Req) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Answers<Res>>> + Send + 'static,
{
    codec().server_streaming(Many(Some(call)), request).await
}

type Reply<T> = std::result::Result<tonic::Response<T>, tonic::Status>;

impl<Req, Res, F, Fut> Service<tonic::Request<Req>> for One<F>
where
    F: FnOnce(Req) -> Fut,
    Fut: Future<Output = Result<Res>> + Send + 'static,
{
    type Response = tonic::Response<Res>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, Reply<Res>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
        let call = self.0.take().expect("a request is served once");
        let answer = call(request.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answer.await?)) })
    }
}

impl<Req, Res, F, Fut> Service<tonic::Request<Req>> for Many<F>
where
    F: FnOnce(Req) -> Fut,
    Fut: Future<Output = Result<Answers<Res>>> + Send + 'static,
    Res: 'static,
{
    type Response = tonic::Response<BoxStream<'static, std::result::Result<Res, tonic::Status>>>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
        let call = self.0.take().expect("a request is served once");
        let answers = call(request.into_inner());
        Box::pin(async move {
            let answers = answers.await?.map(|answer| answer.map_err(tonic::Status::from));
            Ok(tonic::Response::new(answers.boxed()))
        })
    }
}

fn codec<Res, Req>() -> tonic::server::Grpc<ProstCodec<Res, Req>>
where
    Req: prost::Message + Default + 'static,
    Res: prost::Message + Default + 'static,
{
    tonic::server::Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE)
}

/// The error of a call that an implementation does not offer, with upstream's wording.
pub fn unimplemented(method: &str) -> Error {
    Error::unimplemented(format!("method {method} not implemented"))
}
