//! The sockets: datagrams and streams, each client held to its share.

use std::collections::HashMap;
use std::io;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::clock::SharedClock;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use netplan::dns::Zone;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Outcome, State, answer};
use super::forward::{Forwarder, Upstream};

#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's DNS address and whatever else should answer.
    pub listen: Vec<SocketAddr>,
    /// Asked for all names outside the cluster; never this server itself.
    pub upstreams: Vec<Upstream>,
}

#[derive(Debug, thiserror::Error)]
#[error("DNS on {address}")]
pub struct Error {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Questions to upstreams at any time. Further ones get SERVFAIL, so that clients ask again.
const MAX_FORWARDED: usize = 1024;
/// Of these, for one client.
const MAX_FORWARDED_PER_CLIENT: usize = 128;
/// Open streams. Further ones are closed at once.
const MAX_STREAMS: usize = 512;
/// Of these, from one client.
const MAX_STREAMS_PER_CLIENT: usize = 32;
/// How long a stream may be silent.
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// A pause after a socket failed: with descriptors used up, it would fail again at once.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A running resolver; it stops when dropped.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

struct Shared {
    state: ArcSwap<State>,
    forwarder: Forwarder,
    rotate: AtomicUsize,
    forwarded: Shares,
    streams: Shares,
}

impl Server {
    /// Binds all addresses and begins to answer: SERVFAIL for names of the cluster until
    /// [`Server::publish`] brings a complete zone.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(config: Config, zone: Zone, clock: SharedClock) -> Result<Server, Error> {
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(State { zone, complete: false }),
            forwarder: Forwarder::new(config.upstreams, clock),
            rotate: AtomicUsize::new(0),
            forwarded: Shares::new(MAX_FORWARDED, MAX_FORWARDED_PER_CLIENT),
            streams: Shares::new(MAX_STREAMS, MAX_STREAMS_PER_CLIENT),
        });
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        for address in config.listen {
            let fail = |source| Error { address, source };
            let (udp, bound, tcp) = loop {
                let udp = UdpSocket::bind(address).await.map_err(fail)?;
                let bound = udp.local_addr().map_err(fail)?;
                match TcpListener::bind(bound).await {
                    Ok(tcp) => break (udp, bound, tcp),
                    // Any port would do, and this one is free for datagrams alone.
                    Err(error) if address.port() == 0 && error.kind() == ErrorKind::AddrInUse => {}
                    Err(error) => return Err(fail(error)),
                }
            };
            tasks.spawn(datagrams(Arc::new(udp), shared.clone()));
            tasks.spawn(streams(tcp, shared.clone()));
            addresses.push(bound);
        }
        Ok(Server { shared, addresses, _tasks: tasks })
    }

    /// Where it answers, with the ports that were chosen for zero.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers from another zone from now on.
    pub fn publish(&self, zone: Zone, complete: bool) {
        self.shared.state.store(Arc::new(State { zone, complete }));
    }
}

async fn datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (len, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "receiving a DNS datagram");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let rotate = shared.rotate.fetch_add(1, Ordering::Relaxed);
        match answer(&buffer[..len], &shared.state.load(), rotate) {
            Outcome::Ignore => {}
            Outcome::Reply { reply, limit } => {
                let bytes = datagram(&reply, limit);
                // A reply that is lost here might as well be lost on its way; the client asks again.
                let _ = socket.send_to(&bytes, client).await;
            }
            Outcome::Forward { mut reply, limit, question, dnssec } => {
                let Some(share) = Shares::take(&shared, |s| &s.forwarded, client.ip()) else {
                    reply.metadata.response_code = ResponseCode::ServFail;
                    let _ = socket.send_to(&datagram(&reply, limit), client).await;
                    continue;
                };
                let socket = socket.clone();
                tokio::spawn(async move {
                    let reply = share.shared.forwarder.complete(*reply, &question, dnssec).await;
                    let _ = socket.send_to(&datagram(&reply, limit), client).await;
                });
            }
        }
    }
}

async fn streams(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                if let Some(share) = Shares::take(&shared, |s| &s.streams, client.ip()) {
                    tokio::spawn(async move {
                        let _ = stream_of(stream, client.ip(), &share.shared).await;
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a DNS stream");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Answers the questions of a stream one after another.
async fn stream_of(mut stream: TcpStream, client: IpAddr, shared: &Arc<Shared>) -> io::Result<()> {
    loop {
        let question = timeout(STREAM_IDLE, async {
            let len = stream.read_u16().await?;
            let mut question = vec![0; usize::from(len)];
            stream.read_exact(&mut question).await?;
            io::Result::Ok(question)
        });
        let question = question.await??;
        let rotate = shared.rotate.fetch_add(1, Ordering::Relaxed);
        let outcome = answer(&question, &shared.state.load(), rotate);
        let reply = match outcome {
            Outcome::Ignore => return Ok(()),
            Outcome::Reply { reply, .. } => *reply,
            Outcome::Forward { mut reply, question, dnssec, .. } => {
                match Shares::take(shared, |s| &s.forwarded, client) {
                    Some(_share) => shared.forwarder.complete(*reply, &question, dnssec).await,
                    None => {
                        reply.metadata.response_code = ResponseCode::ServFail;
                        *reply
                    }
                }
            }
        };
        let bytes = encode(&reply);
        let len = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        timeout(STREAM_IDLE, stream.write_all(&[&len, bytes.as_slice()].concat())).await??;
    }
}

/// A reply cut to what the client can take, with the mark that says so.
fn datagram(reply: &Message, limit: u16) -> Vec<u8> {
    let bytes = encode(reply);
    if bytes.len() <= usize::from(limit) {
        return bytes;
    }
    let mut short = reply.clone();
    short.additionals.clear();
    let bytes = encode(&short);
    if bytes.len() <= usize::from(limit) {
        return bytes;
    }
    encode(&reply.truncate())
}

/// What does not encode, or not into 64 KiB, becomes SERVFAIL.
fn encode(reply: &Message) -> Vec<u8> {
    let bytes = reply.to_vec().ok().filter(|bytes| bytes.len() <= usize::from(u16::MAX));
    bytes.unwrap_or_else(|| {
        let failed = Message::error_msg(reply.metadata.id, OpCode::Query, ResponseCode::ServFail);
        failed.to_vec().unwrap_or_default()
    })
}

/// How much of something is in use, in all and by each client.
struct Shares {
    most: usize,
    most_each: usize,
    used: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// One share; given back when dropped.
struct Share {
    shared: Arc<Shared>,
    of: fn(&Shared) -> &Shares,
    client: IpAddr,
}

impl Shares {
    fn new(most: usize, most_each: usize) -> Shares {
        Shares { most, most_each, used: Mutex::default() }
    }

    fn take(shared: &Arc<Shared>, of: fn(&Shared) -> &Shares, client: IpAddr) -> Option<Share> {
        let shares = of(shared);
        let mut used = shares.used.lock();
        let (total, each) = &mut *used;
        if *total >= shares.most || each.get(&client).is_some_and(|n| *n >= shares.most_each) {
            return None;
        }
        *total += 1;
        *each.entry(client).or_insert(0) += 1;
        Some(Share { shared: shared.clone(), of, client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = (self.of)(&self.shared).used.lock();
        let (total, each) = &mut *used;
        *total -= 1;
        if let Some(n) = each.get_mut(&self.client) {
            *n -= 1;
            if *n == 0 {
                each.remove(&self.client);
            }
        }
    }
}
