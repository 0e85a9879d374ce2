//! The server of streams.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::random::{Random, SystemRandom};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::{PORT_FORWARD, REMOTE_COMMAND, channel};
use crate::cri::stream::{Forward, Reader, Session, TerminalSize, Writer};
use crate::cri::{AttachRequest, Code, Cri, Error, ExecRequest, PortForwardRequest, Result};

/// What the server takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that wait to be called for. One more is refused.
    pub pending: usize,
    /// How long they wait.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { pending: 1000, patience: Duration::from_secs(60) }
    }
}

/// Bytes of a stream that travel in one message.
const CHUNK: usize = 16 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A streaming server. Clones share it.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    limits: Limits,
    clock: SystemClock,
    waiting: Mutex<BTreeMap<String, (Duration, Wanted)>>,
}

#[derive(Clone)]
enum Wanted {
    Exec(ExecRequest),
    Attach(AttachRequest),
    Forward(PortForwardRequest),
}

impl Server {
    pub async fn bind(address: SocketAddr, limits: Limits) -> std::io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server(Arc::new(Shared {
            address: listener.local_addr()?,
            listener: Mutex::new(Some(listener)),
            limits,
            clock: SystemClock::new(),
            waiting: Mutex::new(BTreeMap::new()),
        })))
    }

    pub fn exec(&self, request: ExecRequest) -> Result<String> {
        check(request.stdin, request.stdout, request.stderr, request.tty)?;
        self.url("exec", Wanted::Exec(request))
    }

    pub fn attach(&self, request: AttachRequest) -> Result<String> {
        check(request.stdin, request.stdout, request.stderr, request.tty)?;
        self.url("attach", Wanted::Attach(request))
    }

    pub fn port_forward(&self, request: PortForwardRequest) -> Result<String> {
        self.url("portforward", Wanted::Forward(request))
    }

    fn url(&self, kind: &str, wanted: Wanted) -> Result<String> {
        let mut bytes = [0; 16];
        SystemRandom.fill(&mut bytes);
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let now = self.0.clock.monotonic();
        let mut waiting = self.0.waiting.lock();
        waiting.retain(|_, (deadline, _)| *deadline > now);
        if waiting.len() >= self.0.limits.pending {
            return Err(Error::new(Code::ResourceExhausted, "maximum number of in-flight requests exceeded"));
        }
        let url = format!("http://{}/{kind}/{token}", self.0.address);
        waiting.insert(token, (now + self.0.limits.patience, wanted));
        Ok(url)
    }

    /// Serves until `stop` is cancelled. Streams that are open then go on.
    pub async fn serve(self, cri: Arc<dyn Cri>, stop: CancellationToken) {
        let Some(listener) = self.0.listener.lock().take() else { return };
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a stream");
                        continue;
                    }
                },
            };
            let (server, cri) = (self.clone(), cri.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let (server, cri) = (server.clone(), cri.clone());
                    async move { Ok::<_, Infallible>(server.answer(cri, request)) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a stream's connection failed");
                }
            });
        }
    }

    fn answer(&self, cri: Arc<dyn Cri>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let refuse = |status: StatusCode, why: &str| {
            let mut response = Response::new(Full::new(Bytes::from(format!("{why}\n"))));
            *response.status_mut() = status;
            response
        };
        let upgrade =
            request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if upgrade.to_ascii_lowercase().starts_with("spdy/") {
            return refuse(
                StatusCode::NOT_IMPLEMENTED,
                "this runtime streams over WebSockets; SPDY is not offered",
            );
        }
        let response = match create_response_with_body(&request, || Full::new(Bytes::new())) {
            Ok(response) => response,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("unable to upgrade: {error}")),
        };
        let token = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
        let now = self.0.clock.monotonic();
        let found = self.0.waiting.lock().remove(&token).filter(|(deadline, _)| *deadline > now);
        let Some((_, wanted)) = found else { return refuse(StatusCode::NOT_FOUND, "no such stream") };
        let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let offered: Vec<&str> =
            offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|l| l.split(',')).collect();
        let known: &[&str] =
            if matches!(wanted, Wanted::Forward(_)) { &[PORT_FORWARD] } else { REMOTE_COMMAND };
        let chosen = known.iter().find(|protocol| offered.iter().any(|other| other.trim() == **protocol));
        let Some(chosen) = chosen else {
            let why = format!(
                "unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
            );
            return refuse(StatusCode::FORBIDDEN, &why);
        };
        let mut response = response;
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, header::HeaderValue::from_static(chosen));
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            match wanted {
                Wanted::Exec(request) => command(socket, cri.open_exec(request).await).await,
                Wanted::Attach(request) => command(socket, cri.open_attach(request).await).await,
                Wanted::Forward(request) => forward(socket, cri, request).await,
            }
        });
        response
    }
}

fn check(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Result<()> {
    if tty && stderr {
        return Err(Error::invalid("tty and stderr cannot both be true"));
    }
    if !(stdin || stdout || stderr) {
        return Err(Error::invalid("one of stdin, stdout, or stderr must be set"));
    }
    Ok(())
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(1 + data.len());
    bytes.push(channel);
    bytes.extend(data);
    Message::Binary(bytes.into())
}

/// Ties a remote command to a socket.
async fn command(socket: Socket, session: Result<Session>) {
    let (mut sink, source) = socket.split();
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            let _ = sink
                .send(message(channel::ERROR, failure("InternalError", &error.message, None).as_bytes()))
                .await;
            let _ = sink.close().await;
            return;
        }
    };
    let (stdin, resize) = (session.stdin.take(), session.resize.clone());
    let output = async {
        let exited = copy_out(&mut sink, session.stdout.take(), session.stderr.take()).await;
        if !exited {
            return;
        }
        let status = match session.exit.await {
            Ok(Ok(0)) => r#"{"metadata":{},"status":"Success"}"#.to_owned(),
            Ok(Ok(code)) => {
                let text = format!("command terminated with non-zero exit code: exit code {code}");
                failure("NonZeroExitCode", &text, Some(code))
            }
            Ok(Err(error)) => failure("InternalError", &error.message, None),
            Err(_) => failure("InternalError", "the process was lost", None),
        };
        let _ = sink.send(message(channel::ERROR, status.as_bytes())).await;
        let _ = sink.close().await;
    };
    tokio::pin!(output);
    // When the client leaves, the session is dropped, and with it the process that it alone was for.
    tokio::select! {
        () = &mut output => {}
        () = copy_in(source, stdin, resize) => {}
    }
}

fn failure(reason: &str, text: &str, code: Option<i32>) -> String {
    let mut status = serde_json::json!({
        "metadata": {}, "status": "Failure", "reason": reason, "message": text,
    });
    if let Some(code) = code {
        status["details"] =
            serde_json::json!({ "causes": [{ "reason": "ExitCode", "message": code.to_string() }] });
    }
    status.to_string()
}

/// Sends both outputs to their ends; `false` when the client is gone.
async fn copy_out(
    sink: &mut SplitSink<Socket, Message>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
) -> bool {
    let (mut stdout, mut stderr) = (stdout, stderr);
    let (mut out, mut err) = (vec![0; CHUNK], vec![0; CHUNK]);
    while stdout.is_some() || stderr.is_some() {
        let (number, data) = tokio::select! {
            read = read(&mut stdout, &mut out), if stdout.is_some() => match read {
                Some(count) => (channel::STDOUT, &out[..count]),
                None => { stdout = None; continue }
            },
            read = read(&mut stderr, &mut err), if stderr.is_some() => match read {
                Some(count) => (channel::STDERR, &err[..count]),
                None => { stderr = None; continue }
            },
        };
        if sink.send(message(number, data)).await.is_err() {
            return false;
        }
    }
    true
}

async fn read(stream: &mut Option<Reader>, buffer: &mut [u8]) -> Option<usize> {
    stream.as_mut()?.read(buffer).await.ok().filter(|&count| count > 0)
}

/// Passes on what the client sends, until it leaves.
async fn copy_in(
    mut source: SplitStream<Socket>,
    mut stdin: Option<Writer>,
    resize: tokio::sync::mpsc::Sender<TerminalSize>,
) {
    while let Some(Ok(received)) = source.next().await {
        let Message::Binary(bytes) = received else {
            if matches!(received, Message::Close(_)) {
                return;
            }
            continue;
        };
        match bytes.split_first() {
            Some((&channel::STDIN, data)) => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(data).await.is_err()
                {
                    stdin = None;
                }
            }
            Some((&channel::RESIZE, data)) => {
                if let Ok(size) = serde_json::from_slice(data) {
                    let _ = resize.try_send(size);
                }
            }
            Some((&channel::CLOSE, [channel::STDIN])) => {
                if let Some(mut writer) = stdin.take() {
                    let _ = writer.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

/// Ties forwarded ports to a socket: for the n-th port channel 2n carries data and 2n+1 errors.
async fn forward(socket: Socket, cri: Arc<dyn Cri>, request: PortForwardRequest) {
    /// Ports in one request; channels are numbered by one byte.
    const MAX_PORTS: usize = 100;
    let (mut sink, mut source) = socket.split();
    let (to_client, mut outgoing) = tokio::sync::mpsc::channel::<Message>(16);
    let mut writers: Vec<Option<Writer>> = Vec::new();
    for (index, &port) in request.port.iter().take(MAX_PORTS).enumerate() {
        let (data, errors) = (2 * index as u8, 2 * index as u8 + 1);
        let Ok(port) = u16::try_from(port) else { return };
        for channel in [data, errors] {
            let _ = to_client.try_send(message(channel, &port.to_le_bytes()));
        }
        match cri.open_port(&request.pod_sandbox_id, port).await {
            Ok(Forward { mut reader, writer }) => {
                writers.push(Some(writer));
                let to_client = to_client.clone();
                tokio::spawn(async move {
                    let mut chunk = vec![0; CHUNK];
                    while let Ok(count) = reader.read(&mut chunk).await {
                        if count == 0 || to_client.send(message(data, &chunk[..count])).await.is_err() {
                            break;
                        }
                    }
                });
            }
            Err(error) => {
                writers.push(None);
                let _ = to_client.try_send(message(errors, error.message.as_bytes()));
            }
        }
    }
    drop(to_client);
    let outward = async {
        while let Some(message) = outgoing.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let inward = async {
        while let Some(Ok(received)) = source.next().await {
            match received {
                Message::Binary(bytes) => {
                    let Some((&number, data)) = bytes.split_first() else { continue };
                    let writer = writers.get_mut(usize::from(number / 2)).and_then(|writer| writer.as_mut());
                    if let Some(writer) = writer.filter(|_| number % 2 == 0)
                        && writer.write_all(data).await.is_err()
                    {
                        return;
                    }
                }
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
