//! A store to test, over either backend, that can be closed and opened again.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{SharedClock, SimClock, Wall};
use base::random::SeededRandom;
use bytes::Bytes;
use store::{Embedded, Etcd, Keyring, Note, OpenError, Options, Retention, Sealing, Store};
use tempfile::TempDir;

/// The length of the value is what the tests keep beside it.
pub struct Length(pub usize);

fn annotate(_: &str, value: &Bytes) -> Note {
    Arc::new(Length(value.len()))
}

pub struct Rig {
    pub clock: SimClock,
    pub retention: Retention,
    pub keys: Option<Vec<[u8; 32]>>,
    pub place: Place,
}

pub enum Place {
    File(TempDir),
    Cluster(EtcdServer),
}

impl Rig {
    fn at(place: Place) -> Rig {
        let clock = SimClock::starting_at(Wall::from_secs(1_700_000_000));
        Rig { clock, retention: Retention::default(), keys: Some(vec![[7; 32]]), place }
    }

    pub fn embedded() -> Rig {
        Rig::at(Place::File(tempfile::tempdir().expect("a temporary folder")))
    }

    pub fn etcd() -> Rig {
        Rig::at(Place::Cluster(EtcdServer::start()))
    }

    pub fn options(&self) -> Options {
        let clock: SharedClock = Arc::new(self.clock.clone());
        let random = Box::new(SeededRandom::new(1));
        let sealing = self.keys.clone().map(|keys| Sealing::of_secrets(Keyring::in_memory(keys), random));
        Options { clock, annotate: Arc::new(annotate), retention: self.retention, sealing }
    }

    pub fn path(&self) -> PathBuf {
        match &self.place {
            Place::File(folder) => folder.path().join("store.db"),
            Place::Cluster(_) => unreachable!("only an embedded store has a file"),
        }
    }

    pub async fn try_open(&self) -> Result<Store, OpenError> {
        match &self.place {
            Place::File(_) => Store::embedded(&Embedded::at(self.path()), self.options()),
            Place::Cluster(server) => {
                Store::etcd(&server.config(), self.options(), Box::new(SeededRandom::new(2))).await
            }
        }
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.expect("the store opens")
    }

    pub fn numbers_its_own_writes(&self) -> bool {
        matches!(self.place, Place::File(_))
    }
}

/// An etcd server on the loopback interface, in a folder of its own, ended when dropped.
pub struct EtcdServer {
    folder: TempDir,
    client: SocketAddr,
    peer: SocketAddr,
    process: Child,
    pub tls: Option<ServerTls>,
}

pub struct ServerTls {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

const BINARY: &str = "etcd";

impl EtcdServer {
    pub fn start() -> EtcdServer {
        EtcdServer::with(None)
    }

    pub fn with(tls: Option<ServerTls>) -> EtcdServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Both ports are held until both are known, so they differ.
        let ports = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [client, peer] =
            ports.each_ref().map(|port| port.local_addr().expect("a bound port has an address"));
        drop(ports);
        if let Some(tls) = &tls {
            for (name, text) in [("ca", &tls.authority), ("cert", &tls.certificate), ("key", &tls.key)] {
                std::fs::write(folder.path().join(name), text).expect("write a PEM file");
            }
        }
        let process = launch(&folder, client, peer, tls.is_some());
        EtcdServer { folder, client, peer, process, tls }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.client)
    }

    pub fn config(&self) -> Etcd {
        Etcd { endpoints: vec![self.url()], tls: None, compact_every: None }
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        self.process.kill().expect("the server runs");
        self.process.wait().expect("the server ends");
    }

    /// Starts it again with the data that it had.
    pub fn restart(&mut self) {
        self.process = launch(&self.folder, self.client, self.peer, self.tls.is_some());
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(folder: &TempDir, client: SocketAddr, peer: SocketAddr, tls: bool) -> Child {
    let scheme = if tls { "https" } else { "http" };
    let (client_url, peer_url) = (format!("{scheme}://{client}"), format!("http://{peer}"));
    let mut command = Command::new(BINARY);
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("default={peer_url}"), "--log-level", "error"]);
    if tls {
        for (flag, name) in [("--trusted-ca-file", "ca"), ("--cert-file", "cert"), ("--key-file", "key")] {
            command.arg(flag).arg(folder.path().join(name));
        }
        command.arg("--client-cert-auth");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().expect("etcd starts; it is in Debian's package etcd-server");
    // It listens once it has joined its cluster, so a connection means that it is ready.
    while TcpStream::connect(client).is_err() {
        let ended = process.try_wait().expect("the server can be asked for");
        assert!(ended.is_none(), "etcd ended before it was ready: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}
