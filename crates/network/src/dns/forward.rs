//! Asking other resolvers, and remembering what they said.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::clock::SharedClock;
use base::random::{Random, SystemRandom};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::answer::MAX_DATAGRAM;

/// A resolver of the machine or of its network.
pub type Upstream = SocketAddr;

/// How long one upstream may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the client waits at most, over all upstreams; libc gives up after five seconds.
const DEADLINE: Duration = Duration::from_millis(4500);
/// Rounds over all upstreams.
const ROUNDS: usize = 2;

/// Answers remembered. When full, some other one is forgotten.
const CACHE_ENTRIES: usize = 4096;
/// Nothing is remembered for longer, whatever its owner says.
const MAX_TTL: u32 = 300;
/// What does not exist is remembered for this long at most.
const MAX_NEGATIVE_TTL: u32 = 30;

type Question = (Name, RecordType, bool);

/// Upstream resolvers and a cache of their answers.
pub struct Forwarder {
    upstreams: Vec<Upstream>,
    /// The one that answered last; it is asked first.
    preferred: AtomicUsize,
    clock: SharedClock,
    cache: Mutex<HashMap<Question, Remembered>>,
}

struct Remembered {
    reply: Message,
    since: Duration,
    lasts: Duration,
}

impl Forwarder {
    pub fn new(upstreams: Vec<Upstream>, clock: SharedClock) -> Forwarder {
        Forwarder { upstreams, preferred: AtomicUsize::new(0), clock, cache: Mutex::default() }
    }

    /// Completes `reply` with what the upstreams say to `question`; SERVFAIL when none says anything.
    pub async fn complete(&self, mut reply: Message, question: &Query, dnssec: bool) -> Message {
        let key = (question.name().to_lowercase(), question.query_type(), dnssec);
        let said = match self.remembered(&key) {
            Some(said) => Some(said),
            None => {
                let said = timeout(DEADLINE, self.ask_all(question, dnssec)).await.ok().flatten();
                if let Some(said) = &said {
                    self.remember(key, said);
                }
                said
            }
        };
        match said {
            None => reply.metadata.response_code = ResponseCode::ServFail,
            Some(said) => {
                reply.metadata.response_code = said.metadata.response_code;
                reply.metadata.authentic_data = said.metadata.authentic_data;
                reply.answers.extend(said.answers);
                reply.authorities.extend(said.authorities);
                reply.additionals.extend(said.additionals);
            }
        }
        reply
    }

    async fn ask_all(&self, question: &Query, dnssec: bool) -> Option<Message> {
        let count = self.upstreams.len();
        let mut last = None;
        for attempt in 0..count * ROUNDS {
            let which = (self.preferred.load(Ordering::Relaxed) + attempt) % count;
            match timeout(PATIENCE, ask(self.upstreams[which], question, dnssec)).await {
                Ok(Ok(said)) if said.metadata.response_code == ResponseCode::ServFail => last = Some(said),
                Ok(Ok(said)) => {
                    self.preferred.store(which, Ordering::Relaxed);
                    return Some(said);
                }
                Ok(Err(error)) => tracing::debug!(upstream = %self.upstreams[which], %error, "no answer"),
                Err(_) => tracing::debug!(upstream = %self.upstreams[which], "no answer in time"),
            }
        }
        last
    }

    fn remembered(&self, key: &Question) -> Option<Message> {
        let cache = self.cache.lock();
        let found = cache.get(key)?;
        let age = self.clock.monotonic().saturating_sub(found.since);
        (age < found.lasts).then(|| {
            let mut reply = found.reply.clone();
            let sections = [&mut reply.answers, &mut reply.authorities, &mut reply.additionals];
            for record in sections.into_iter().flatten() {
                record.ttl = record.ttl.min(MAX_TTL).saturating_sub(age.as_secs() as u32).max(1);
            }
            reply
        })
    }

    fn remember(&self, key: Question, reply: &Message) {
        let Some(lasts) = lifetime(reply).filter(|seconds| *seconds > 0) else { return };
        let since = self.clock.monotonic();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_ENTRIES && !cache.contains_key(&key) {
            cache.retain(|_, old| since.saturating_sub(old.since) < old.lasts);
            let victim = (cache.len() >= CACHE_ENTRIES).then(|| cache.keys().next().cloned()).flatten();
            victim.map(|victim| cache.remove(&victim));
        }
        let lasts = Duration::from_secs(u64::from(lasts));
        cache.insert(key, Remembered { reply: reply.clone(), since, lasts });
    }
}

/// Seconds that an answer may be kept; `None` for what is no answer.
fn lifetime(reply: &Message) -> Option<u32> {
    let negative = || {
        let minimum = reply.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        minimum.map(|ttl| ttl.min(MAX_NEGATIVE_TTL))
    };
    match reply.metadata.response_code {
        ResponseCode::NoError if !reply.answers.is_empty() => {
            reply.answers.iter().map(|record| record.ttl.min(MAX_TTL)).min()
        }
        ResponseCode::NoError | ResponseCode::NXDomain => negative(),
        _ => None,
    }
}

/// Asks one upstream: by datagram, and again over a stream when the answer did not fit. A fresh
/// socket and id for each question leave little for a forger to guess.
async fn ask(upstream: Upstream, question: &Query, dnssec: bool) -> std::io::Result<Message> {
    let id = SystemRandom.next_u64() as u16;
    let mut request = Message::new(id, MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_DATAGRAM).set_version(0).set_dnssec_ok(dnssec);
    request.edns = Some(edns);
    let bytes = request.to_vec().map_err(std::io::Error::other)?;

    let any = netplan::addr::Family::of(upstream.ip()).unspecified();
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut buffer).await?;
        // Late or forged datagrams are passed over.
        if let Some(said) = matching(&buffer[..len], id, question) {
            if said.metadata.truncation {
                return ask_by_stream(upstream, &bytes, id, question).await;
            }
            return Ok(said);
        }
    }
}

async fn ask_by_stream(
    upstream: Upstream,
    bytes: &[u8],
    id: u16,
    question: &Query,
) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let len = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), bytes].concat()).await?;
    let len = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(len)];
    stream.read_exact(&mut buffer).await?;
    matching(&buffer, id, question).ok_or_else(|| std::io::Error::other("the answer is to another question"))
}

fn matching(bytes: &[u8], id: u16, question: &Query) -> Option<Message> {
    let said = Message::from_vec(bytes).ok()?;
    let same = said.metadata.id == id
        && said.metadata.message_type == MessageType::Response
        && said.queries.first().is_some_and(|asked| {
            asked.query_type() == question.query_type()
                && asked.name().to_lowercase() == question.name().to_lowercase()
        });
    same.then_some(said)
}
