//! Our registry on loopback, a client without opinions, and a server that misbehaves on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;

use oci::Store;
use oci::registry::{Options, serve};
use tokio::sync::oneshot;

/// A registry in a thread of its own; it ends with this value.
pub struct Served {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub fn new(store: &Store, options: Options) -> Served {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = mpsc::channel();
        let store = store.clone();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = oci::registry::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, store, options, async { drop(stopped.await) }).await.unwrap();
            });
        });
        Served { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// One request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        call(self.address, method, path, headers, body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of the first error in the body.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn call(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !matches!(method, "GET" | "HEAD") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // A server may answer and close before it has read everything; what it answered is what counts.
    let _ = stream.write_all(body);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
    let headers = read_headers(&mut reader);
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body);
    Answer { status, headers, body }
}

fn read_headers(reader: &mut impl BufRead) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            return headers;
        }
        if let Some((name, value)) = line.trim_end().split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
}

/// A request that reached the fake.
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// How many requests came before this one.
    pub nth: usize,
}

/// What the fake does with a connection.
pub enum Act {
    /// A whole answer: status line without the version, header lines, body.
    Answer(&'static str, Vec<String>, Vec<u8>),
    /// Announces `.1` bytes, sends the body and hangs up.
    CutOff(&'static str, usize, Vec<u8>),
    /// Says nothing until the client goes.
    Stall,
}

/// A server that does what `script` says, one request a connection.
pub struct Fake {
    pub address: SocketAddr,
}

impl Fake {
    pub fn new(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(script);
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        // The thread lives as long as the test's process: it only waits for connections.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, count) = (Arc::clone(&script), Arc::clone(&count));
                std::thread::spawn(move || {
                    let Ok(mut stream) = stream else { return };
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut line = String::new();
                    let _ = reader.read_line(&mut line);
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    let headers = read_headers(&mut reader);
                    let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let (status, lines, length, body) = match script(&Asked { path, headers, nth }) {
                        Act::Stall => {
                            let _ = reader.read(&mut [0]);
                            return;
                        }
                        Act::Answer(status, lines, body) => (status, lines, body.len(), body),
                        Act::CutOff(status, length, body) => (status, Vec::new(), length, body),
                    };
                    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(head.as_bytes());
                    let _ = stream.write_all(&body);
                });
            }
        });
        Fake { address }
    }
}
