//! What only a cluster can show: other servers, lost connections, and revisions that are raised.

use std::net::SocketAddr;
use std::time::Duration;

use base::random::SeededRandom;
use store::*;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::rig::{EtcdServer, Place, Rig, ServerTls};

fn pods() -> Span {
    Span::folder("/registry/pods")
}

fn put(name: &str, value: &str) -> Put {
    Put::new(format!("/registry/pods/{name}"), value.to_owned())
}

async fn connect(rig: &Rig, etcd: Etcd) -> Store {
    Store::etcd(&etcd, rig.options(), Box::new(SeededRandom::new(5))).await.expect("the store opens")
}

fn server(rig: &mut Rig) -> &mut EtcdServer {
    let Place::Cluster(server) = &mut rig.place else { unreachable!("the rig is a cluster") };
    server
}

#[tokio::test]
async fn servers_see_each_other() {
    let rig = Rig::etcd();
    let (one, two) = (rig.open().await, rig.open().await);
    let mut watcher = two.watch(&pods(), two.current_revision()).expect("watch");
    for n in 0..50 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let entry = writer.create(put(&n.to_string(), "v")).await.expect("create");
        let latest = reader.latest().await.expect("a consistent read");
        assert_eq!(latest.get(&entry.key).map(|e| e.modified), Some(entry.modified));
        assert_eq!(watcher.next().await.expect("an event").revision, entry.modified);
    }
    let seen = one.snapshot().get("/registry/pods/7").expect("it was created").modified;
    two.update(put("7", "theirs"), seen).await.expect("update");
    let error = one.update(put("7", "ours"), seen).await.expect_err("the other server was faster");
    assert!(matches!(error, WriteError::Conflict { current, .. } if &current.value[..] == b"theirs"));
}

#[tokio::test]
async fn a_watch_outlives_its_server() {
    let mut rig = Rig::etcd();
    let store = rig.open().await;
    let start = store.current_revision();
    let mut watcher = store.watch(&pods(), start).expect("watch");
    let before = store.create(put("before", "v")).await.expect("create");
    server(&mut rig).stop();
    let error = store.create(put("meanwhile", "v")).await.expect_err("the server is down");
    assert!(matches!(error, WriteError::Unavailable { .. } | WriteError::Indeterminate { .. }), "{error}");
    assert!(matches!(store.latest().await, Err(ReadError::Unavailable(_))));
    assert!(store.snapshot().get("/registry/pods/before").is_some(), "what is known is still served");
    server(&mut rig).restart();
    let other = rig.open().await;
    let after = other.create(put("after", "v")).await.expect("create");
    let mut seen = Vec::new();
    while seen.last() != Some(&after.modified) {
        seen.push(watcher.next().await.expect("an event").revision);
    }
    assert_eq!(seen[0], before.modified);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let mut rig = Rig::etcd();
    let mut etcd = server(&mut rig).config();
    // Nobody listens on this port once the listener is gone.
    let dead =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("it is bound");
    etcd.endpoints.insert(0, format!("http://{dead}"));
    let store = connect(&rig, etcd.clone()).await;
    store.create(put("a", "v")).await.expect("create");
    etcd.endpoints.truncate(1);
    let refused = Store::etcd(&etcd, rig.options(), Box::new(SeededRandom::new(5))).await;
    assert!(matches!(refused, Err(OpenError::Etcd(_))));
}

/// A wire that can be cut.
struct Wire {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (whole, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let carry = async {
                        let mut far = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        _ = carry => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Wire { address, whole }
    }
}

/// While the connection is gone the events to go on with are compacted: the watcher hears of it, the state is right.
#[tokio::test]
async fn compaction_during_a_cut_is_told() {
    let mut rig = Rig::etcd();
    let direct = server(&mut rig).config();
    let target = direct.endpoints[0].trim_start_matches("http://").parse().expect("an address");
    let wire = Wire::to(target).await;
    let cut_off =
        connect(&rig, Etcd { endpoints: vec![format!("http://{}", wire.address)], ..direct.clone() }).await;
    // This server compacts as fast as it can.
    let eager = connect(&rig, Etcd { compact_every: Some(Duration::from_millis(5)), ..direct }).await;
    let mut at = eager.create(put("a", "0")).await.expect("create").modified;
    let lagged = async {
        for round in 0.. {
            let mut watcher =
                cut_off.watch(&pods(), cut_off.current_revision()).expect("watch from the present");
            wire.whole.send_replace(false);
            for step in 0..50 {
                at = eager.update(put("a", &format!("{round}.{step}")), at).await.expect("update").modified;
            }
            wire.whole.send_replace(true);
            cut_off.wait_for_revision(at, Duration::from_secs(30)).await.expect("it catches up");
            loop {
                match watcher.next().await {
                    // It was back in time.
                    Ok(batch) if batch.revision >= at => break,
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        }
        unreachable!("the rounds do not end by themselves")
    };
    let error = tokio::time::timeout(Duration::from_secs(60), lagged).await.expect("some round is compacted");
    assert!(matches!(error, WatchError::Lagged { .. }), "{error}");
    let (ours, theirs) = (cut_off.snapshot(), eager.latest().await.expect("a consistent read"));
    assert_eq!(
        ours.get("/registry/pods/a").map(|e| e.modified),
        theirs.get("/registry/pods/a").map(|e| e.modified)
    );
}

#[tokio::test]
async fn raised_revisions_hold_for_every_server() {
    let mut rig = Rig::etcd();
    let store = rig.open().await;
    let old = store.create(put("a", "1")).await.expect("create");
    let mut watcher = store.watch(&pods(), old.modified).expect("watch");
    let raised = raise(&server(&mut rig).config(), 5_000).await.expect("raise");
    assert!(raised >= 5_000);
    assert!(matches!(watcher.next().await, Err(WatchError::Stopped(_))), "a running server must not go on");
    assert!(matches!(store.create(put("b", "1")).await, Err(WriteError::Stopped(_))));

    let store = rig.open().await;
    assert!(store.current_revision() >= raised);
    let found = store.snapshot().get("/registry/pods/a").expect("still there").clone();
    assert!(found.modified >= 5_000 - 10 && found.modified > old.modified);
    assert!(matches!(store.at(old.modified, &pods()), Err(ReadError::Compacted { .. })));
    store.update(put("a", "2"), old.modified).await.expect_err("a revision from before means nothing now");
    let next = store.update(put("a", "2"), found.modified).await.expect("update");
    assert!(next.modified > raised);
    assert_eq!(store.at(next.modified, &pods()).map(|view| view.count(&pods())), Ok(1));
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("an authority");
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let certificate = |names: &[&str]| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("valid names");
        parameters.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (server_certificate, server_key) = certificate(&["127.0.0.1", "localhost"]);
    let tls = ServerTls { authority: authority.pem(), certificate: server_certificate, key: server_key };
    let server = EtcdServer::with(Some(tls));
    let (ours, key) = certificate(&["boga"]);
    let identity = Some((ours.into_bytes(), key.into_bytes()));
    let tls = EtcdTls { authority: authority.pem().into_bytes(), identity };
    let etcd = Etcd { tls: Some(tls.clone()), ..server.config() };
    let rig = Rig::embedded();
    let store = connect(&rig, etcd.clone()).await;
    store.create(put("a", "v")).await.expect("create");

    let open = |tls| {
        let etcd = Etcd { tls, ..etcd.clone() };
        let options = rig.options();
        async move { Store::etcd(&etcd, options, Box::new(SeededRandom::new(5))).await.err() }
    };
    let anonymous = EtcdTls { identity: None, ..tls };
    assert!(matches!(open(Some(anonymous)).await, Some(OpenError::Etcd(_))), "a stranger is turned away");
    assert!(matches!(open(None).await, Some(OpenError::Etcd(_))), "no authority is no trust");
}
