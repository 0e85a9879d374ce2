//! etcd, driven by a client as plain as can be, so that the figures are the server's.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::random::{Random, SeededRandom};
use bytes::Bytes;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::facts;

pub struct Etcd {
    folder: TempDir,
    client: SocketAddr,
    peer: SocketAddr,
    process: Child,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(bool, tag = "9")]
    count_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ranged {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Watch {
    #[prost(message, optional, tag = "1")]
    create: Option<Range>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Watched {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Nothing>,
}

/// Whatever it holds is skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Connections, and watches on each, that share the fan-out.
const CONNECTIONS: u64 = 10;
const FILLERS: u64 = 64;

impl Etcd {
    pub fn is_installed() -> bool {
        Command::new("etcd").arg("--version").output().is_ok_and(|output| output.status.success())
    }

    pub fn start() -> Option<Etcd> {
        if !Etcd::is_installed() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [client, peer] =
            ports.each_ref().map(|port| port.local_addr().expect("a bound port has an address"));
        drop(ports);
        let process = launch(&folder, client, peer);
        Some(Etcd { folder, client, peer, process })
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.client)).expect("a valid address");
        endpoint.tcp_nodelay(true).connect().await.expect("etcd answers")
    }

    pub async fn durable_writes(&self, clients: u64, bytes: usize, time: Duration) -> f64 {
        let channel = self.connect().await;
        let clock = SystemClock::shared();
        let end = clock.monotonic() + time;
        let written = Arc::new(AtomicU64::new(0));
        let tasks = (0..clients).map(|id| {
            let (channel, clock, written) = (channel.clone(), clock.clone(), written.clone());
            tokio::spawn(async move {
                let value = value(&mut SeededRandom::new(id), bytes);
                for n in 0.. {
                    if clock.monotonic() > end {
                        return;
                    }
                    put(&channel, format!("/registry/k/{id}/{n}"), value.clone()).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("the client ends");
        }
        written.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    }

    pub async fn fan_out(&self, watchers: u64, times: usize) -> f64 {
        let arrived = Arc::new(AtomicU64::new(0));
        let (ready, done) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Notify::new()));
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let channel = self.connect().await;
            let create = Watch {
                create: Some(Range {
                    key: "/registry/k/".into(),
                    range_end: "/registry/k0".into(),
                    count_only: false,
                }),
            };
            let creates = (0..watchers / CONNECTIONS).map(move |_| create.clone());
            let requests = tokio_stream::iter(creates).chain(tokio_stream::pending());
            let (ready, arrived, done) = (ready.clone(), arrived.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                let mut grpc = Grpc::new(channel);
                grpc.ready().await.expect("etcd answers");
                let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
                let codec = ProstCodec::<Watch, Watched>::default();
                let stream = grpc.streaming(tonic::Request::new(requests), path, codec).await;
                let mut stream = stream.expect("etcd watches").into_inner();
                while let Ok(Some(response)) = stream.message().await {
                    if response.created {
                        ready.add_permits(1);
                    }
                    for _ in response.events {
                        if (arrived.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(watchers) {
                            done.notify_one();
                        }
                    }
                }
            }));
        }
        let all = ready.acquire_many(watchers as u32).await;
        all.expect("the semaphore stays open").forget();
        let (channel, clock) = (self.connect().await, SystemClock::new());
        let mut took = Vec::new();
        for n in 0..times {
            let start = clock.monotonic();
            let every = done.notified();
            put(&channel, format!("/registry/k/{n}"), vec![1; 2_200].into()).await;
            every.await;
            took.push((clock.monotonic() - start).as_secs_f64() * 1e3);
        }
        tasks.iter().for_each(|task| task.abort());
        facts::median(took)
    }

    /// Bytes per value that the restarted server holds, and the seconds until it counted them all.
    pub async fn killed_and_recovered(mut self, objects: u64, bytes: usize) -> (f64, f64) {
        let before = facts::resident(self.process.id());
        let channel = self.connect().await;
        let tasks = (0..FILLERS).map(|id| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut random = SeededRandom::new(id);
                for n in (id..objects).step_by(FILLERS as usize) {
                    let key = format!("/registry/pods/namespace-{:03}/deployment-{n:06}", n % 100);
                    put(&channel, key, value(&mut random, bytes)).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("the filler ends");
        }
        self.process.kill().expect("the server runs");
        self.process.wait().expect("the server ends");
        let clock = SystemClock::new();
        let start = clock.monotonic();
        self.process = launch(&self.folder, self.client, self.peer);
        let mut grpc = Grpc::new(self.connect().await);
        let count = loop {
            grpc.ready().await.expect("etcd answers");
            let range = Range {
                key: "/registry/pods/".into(),
                range_end: "/registry/pods0".into(),
                count_only: true,
            };
            let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
            match grpc.unary(tonic::Request::new(range), path, ProstCodec::<Range, Ranged>::default()).await {
                Ok(answer) => break answer.into_inner().count,
                // It has no leader yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let seconds = (clock.monotonic() - start).as_secs_f64();
        assert_eq!(count as u64, objects, "all of them are there");
        let held = facts::resident(self.process.id()).saturating_sub(before);
        (held as f64 / objects as f64, seconds)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn value(random: &mut SeededRandom, bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    random.fill(&mut value);
    value.into()
}

async fn put(channel: &Channel, key: String, value: Bytes) {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("etcd answers");
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let put = Put { key: key.into(), value };
    grpc.unary(tonic::Request::new(put), path, ProstCodec::<Put, Nothing>::default())
        .await
        .expect("etcd writes");
}

fn launch(folder: &TempDir, client: SocketAddr, peer: SocketAddr) -> Child {
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("default={peer_url}"), "--log-level", "error"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().expect("etcd starts");
    while TcpStream::connect(client).is_err() {
        let ended = process.try_wait().expect("the server can be asked for");
        assert!(ended.is_none(), "etcd ended before it was ready: {ended:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    process
}
