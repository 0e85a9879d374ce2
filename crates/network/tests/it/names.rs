//! The resolver over its sockets, with upstreams of the tests' own on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::clock::{SimClock, Wall};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use netplan::dns::Zone;
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name as ServiceName, Service, Slices};
use network::dns::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const WEB: &str = "web.shop.svc.cluster.local.";

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", vec![], vec![]);
    let service = Service { cluster_ips: vec!["10.96.0.5".parse().unwrap()], ..Service::default() };
    zone.set_service(&ServiceName::new("shop", "web"), Some(&service), &Slices::new());
    // More endpoints than fit a datagram.
    let many = ServiceName::new("shop", "many");
    let headless = Service { headless: true, ..Service::default() };
    let endpoints = (0..200).map(|n| Endpoint::ready([10, 42, 0, n].into())).collect();
    let ports: Vec<EndpointPort> = Vec::new();
    let slice = EndpointSlice { service: many.clone(), family: netplan::addr::Family::V4, ports, endpoints };
    zone.set_service(&many, Some(&headless), &Slices::from([("s".into(), slice)]));
    zone
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn server(upstreams: Vec<SocketAddr>, clock: &SimClock) -> Server {
    let config = Config { listen: vec![loopback()], upstreams };
    let server = Server::start(config, zone(), Arc::new(clock.clone())).await.unwrap();
    server.publish(zone(), true);
    server
}

fn question(name: &str, payload: Option<u16>) -> Message {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.edns = payload.map(|payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns
    });
    message
}

async fn ask(server: &Server, message: &Message) -> Message {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server.addresses()[0]).await.unwrap();
    let mut buffer = [0; 4096];
    let len = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..len]).unwrap()
}

async fn ask_by_stream(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

#[derive(Clone, Copy)]
enum Manner {
    Answers,
    Fails,
    /// Says by datagram that the answer needs a stream.
    Truncates,
}

/// An upstream that answers every name with 203.0.113.9, and counts.
async fn upstream(manner: Manner) -> (SocketAddr, Arc<AtomicUsize>) {
    // A port that is free for datagrams may be taken for streams, by another test: then the next one will do.
    let (udp, address, tcp) = loop {
        let udp = UdpSocket::bind(loopback()).await.unwrap();
        let address = udp.local_addr().unwrap();
        match TcpListener::bind(address).await {
            Ok(tcp) => break (udp, address, tcp),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let reply = |bytes: &[u8]| {
        let mut message = Message::from_vec(bytes).unwrap();
        message.metadata.message_type = MessageType::Response;
        let name = message.queries[0].name().clone();
        message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(203, 0, 113, 9))));
        message
    };
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = udp.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut message = reply(&buffer[..len]);
            match manner {
                Manner::Answers => {}
                Manner::Fails => {
                    message.answers.clear();
                    message.metadata.response_code = ResponseCode::ServFail;
                }
                Manner::Truncates => {
                    message.answers.clear();
                    message.metadata.truncation = true;
                }
            }
            udp.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut buffer).await.unwrap();
            let bytes = reply(&buffer).to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, asked)
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().filter_map(|a| a.data.ip_addr()).map(|ip| ip.to_string()).collect()
}

#[tokio::test]
async fn names_of_the_cluster() {
    let server = server(vec![], &SimClock::starting_at(Wall(0))).await;
    let reply = ask(&server, &question(WEB, None)).await;
    assert_eq!(addresses(&reply), ["10.96.0.5"]);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available && reply.edns.is_none());
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(addresses(&ask_by_stream(&mut stream, &question(WEB, None)).await), ["10.96.0.5"]);
    }
    server.publish(Zone::new("cluster.local", vec![], vec![]), false);
    let reply = ask(&server, &question(WEB, Some(1232))).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.edns.is_some());
}

#[tokio::test]
async fn what_does_not_fit_a_datagram() {
    let server = server(vec![], &SimClock::starting_at(Wall(0))).await;
    for (payload, most) in [(None, 512), (Some(100), 512), (Some(1232), 1232), (Some(65_000), 1232)] {
        let reply = ask(&server, &question("many.shop.svc.cluster.local.", payload)).await;
        assert!(reply.metadata.truncation, "{payload:?}");
        assert!(reply.to_vec().unwrap().len() <= most);
    }
    let mut stream = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let reply = ask_by_stream(&mut stream, &question("many.shop.svc.cluster.local.", None)).await;
    assert_eq!((addresses(&reply).len(), reply.metadata.truncation), (200, false));
}

#[tokio::test]
async fn names_elsewhere() {
    let clock = SimClock::starting_at(Wall(0));
    let (good, asked) = upstream(Manner::Answers).await;
    let server = server(vec![good], &clock).await;
    let ttl = |reply: &Message| reply.answers[0].ttl;
    let reply = ask(&server, &question("example.org.", None)).await;
    assert_eq!((addresses(&reply), ttl(&reply)), (vec!["203.0.113.9".to_owned()], 60));
    assert!(!reply.metadata.authoritative && reply.metadata.id == 99);
    clock.advance(Duration::from_secs(20));
    let reply = ask(&server, &question("EXAMPLE.org.", None)).await;
    assert_eq!((ttl(&reply), asked.load(Ordering::SeqCst)), (40, 1), "remembered, and aged");
    clock.advance(Duration::from_secs(41));
    ask(&server, &question("example.org.", None)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "forgotten in time");
}

#[tokio::test]
async fn upstreams_that_fail() {
    let clock = SimClock::starting_at(Wall(0));
    let (failing, _) = upstream(Manner::Fails).await;
    let (good, asked) = upstream(Manner::Answers).await;
    // A port where nobody listens: the kernel says so at once.
    let nobody = UdpSocket::bind(loopback()).await.unwrap().local_addr().unwrap();
    let both = server(vec![nobody, failing, good], &clock).await;
    for n in 0..3 {
        let reply = ask(&both, &question(&format!("n{n}.example.org."), None)).await;
        assert_eq!(addresses(&reply), ["203.0.113.9"]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let none = server(vec![nobody, failing], &clock).await;
    let reply = ask(&none, &question("example.org.", None)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let without = server(vec![], &clock).await;
    let reply = ask(&without, &question("example.org.", None)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let (long, _) = upstream(Manner::Truncates).await;
    let by_stream = server(vec![long], &clock).await;
    let reply = ask(&by_stream, &question("example.org.", None)).await;
    assert_eq!(addresses(&reply), ["203.0.113.9"]);
}
