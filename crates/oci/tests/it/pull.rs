//! Pulling: from our registry, with skopeo as the other end, and from servers that lie, stall and break off.

use std::process::Command;
use std::time::Duration;

use base::clock::SystemClock;
use base::random::SeededRandom;
use oci::pull::{Client, Credential, Deadlines, Hosts, PullOptions};
use oci::registry::{Options, ServerConfig, Users};
use oci::{Digest, Image, Kind, Store};
use serde_json::json;

use crate::servers::{Act, Asked, Fake, Served, runtime};
use crate::support::{Fixture, Parts, busybox};

fn client(hosts: &str) -> Client {
    let deadlines = Deadlines {
        connect: Duration::from_secs(5),
        response: Duration::from_millis(700),
        stall: Duration::from_millis(700),
    };
    Client::new(Hosts::parse(hosts).unwrap(), deadlines, SystemClock::shared())
}

fn pull_with(store: &Store, client: &Client, name: &str, options: &PullOptions) -> oci::Result<Image> {
    runtime().block_on(client.pull(store, &name.parse().unwrap(), options))
}

fn pull(store: &Store, name: &str) -> oci::Result<Image> {
    pull_with(store, &client("{}"), name, &PullOptions::default())
}

fn skopeo(arguments: &[&str]) -> std::process::Output {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An OCI archive on disk for skopeo to push.
fn archive(fixture: &Fixture) -> String {
    busybox().store(&fixture.store, "busybox:1").unwrap();
    let path = fixture.dir.path().join("busybox.tar");
    let file = std::fs::File::create(&path).unwrap();
    oci::archive::export(&fixture.store, &["busybox:1"], oci::archive::Format::Oci, file).unwrap();
    format!("oci-archive:{}", path.display())
}

#[test]
fn skopeo_pushes_and_we_pull_and_the_other_way_round() {
    let (here, there) = (Fixture::new(), Fixture::new());
    let source = archive(&here);
    let served = Served::new(&there.store, Options::default());
    let address = served.address;
    for (format, tag) in [("oci", "o"), ("v2s2", "d")] {
        let target = format!("docker://{address}/team/busybox:{tag}");
        skopeo(&[
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            "--format",
            format,
            &source,
            &target,
        ]);
        let local = Fixture::new();
        let image = pull(&local.store, &format!("{address}/team/busybox:{tag}")).unwrap();
        assert_eq!(image.config.config.cmd, ["/bin/sh"]);
        assert_eq!(image.repo_tags(), [format!("{address}/team/busybox:{tag}")]);
        assert_eq!(image.repo_digests(), [format!("{address}/team/busybox@{}", image.target)]);
        // Again, all of it is there; by digest too.
        let again = pull(&local.store, &image.repo_digests()[0]).unwrap();
        assert_eq!((again.id, again.names), (image.id, image.names));
        // What we serve, skopeo takes, layer by layer.
        let back = local.dir.path().join("back");
        skopeo(&[
            "copy",
            "--insecure-policy",
            "--src-tls-verify=false",
            &target,
            &format!("dir:{}", back.display()),
        ]);
    }
    let listed = skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{address}/team/busybox")]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["Tags"], json!(["d", "o"]));
    skopeo(&["delete", "--tls-verify=false", &format!("docker://{address}/team/busybox:d")]);
}

#[test]
fn passwords_and_certificates() {
    let (here, there) = (Fixture::new(), Fixture::new());
    let source = archive(&here);
    let mut random = SeededRandom::new(3);
    let users = Users::parse(&Users::line("ann", "secret", &mut random).unwrap(), &mut random).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let options = Options { users: Some(users), tls: Some(std::sync::Arc::new(tls)), ..Options::default() };
    let served = Served::new(&there.store, options);
    let registry = format!("localhost:{}", served.address.port());
    let target = format!("docker://{registry}/private:1");
    skopeo(&[
        "copy",
        "--insecure-policy",
        "--dest-tls-verify=false",
        "--dest-creds",
        "ann:secret",
        &source,
        &target,
    ]);

    let back = format!("dir:{}", here.dir.path().join("back").display());
    let read = ["copy", "--insecure-policy", "--src-tls-verify=false", &target, &back];
    assert!(!Command::new("skopeo").args(read).output().unwrap().status.success(), "read without a password");
    skopeo(&[&read[..3], &["--src-creds", "ann:secret", &target, &back]].concat());

    let ca = here.dir.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let hosts = |extra: &str| {
        format!("registries: {{'{registry}': {{server: {{url: 'https://{registry}', {extra}}}}}}}")
    };
    let trusting = hosts(&format!("ca: {}", ca.display()));
    let name = format!("{registry}/private:1");
    let ann = PullOptions { credential: Some(Credential::basic("ann", "secret")), ..PullOptions::default() };
    let eve = PullOptions { credential: Some(Credential::basic("ann", "guess")), ..PullOptions::default() };
    for (hosts, options, expected) in [
        (trusting.as_str(), &ann, None),
        (&hosts("skipVerify: true"), &ann, None),
        (&hosts(""), &ann, Some((Kind::Unavailable, "tls handshake"))),
        (&trusting, &eve, Some((Kind::Denied, "pull access denied"))),
        (&trusting, &PullOptions::default(), Some((Kind::Denied, "no basic auth credentials"))),
    ] {
        let local = Fixture::new();
        match (pull_with(&local.store, &client(hosts), &name, options), expected) {
            (Ok(_), None) => {}
            (Err(error), Some((kind, text))) => {
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(text) && !error.to_string().contains("secret"), "{error}");
            }
            (outcome, expected) => panic!("{hosts}: {outcome:?}, expected {expected:?}"),
        }
    }
}

/// Serves an image's parts, unless `twist` has something else in mind.
fn fake(parts: Parts, twist: impl Fn(&Asked) -> Option<Act> + Send + Sync + 'static) -> Fake {
    Fake::new(move |asked| {
        if let Some(act) = twist(asked) {
            return act;
        }
        let json =
            |kind: &str, bytes: Vec<u8>| Act::Answer("200 OK", vec![format!("Content-Type: {kind}")], bytes);
        let path = asked.path.split('?').next().unwrap_or_default();
        if path.contains("/manifests/") {
            return json(oci::manifest::media::OCI_MANIFEST, parts.manifest().to_string().into_bytes());
        }
        let config = parts.config.to_string().into_bytes();
        let found =
            parts.layers.iter().chain([&config]).find(|bytes| path.ends_with(Digest::of(bytes).as_str()));
        match found {
            Some(bytes) => Act::Answer("200 OK", Vec::new(), bytes.clone()),
            None => Act::Answer("404 Not Found", Vec::new(), Vec::new()),
        }
    })
}

fn small() -> Parts {
    use crate::support::{Item, gzip, tar_of};
    let layer = |name: &str| tar_of(&[Item::File(name, name.repeat(5000).as_bytes())]);
    Parts::new(&[layer("one"), layer("two")], gzip)
}

/// Pulls from a twisted server and expects a kind of failure, a text, and nothing left behind.
fn refused(
    parts: Parts,
    twist: impl Fn(&Asked) -> Option<Act> + Send + Sync + 'static,
    kind: Kind,
    text: &str,
) {
    let server = fake(parts, twist);
    let local = Fixture::new();
    let error = pull(&local.store, &format!("{}/x:1", server.address)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("failed to pull and unpack image \"{}/x:1\": ", server.address)),
        "{error}"
    );
    assert!(local.store.images().unwrap().is_empty());
    assert_eq!(crate::support::listing(&local.store.root().join("leases")), Vec::<String>::new());
}

fn answer(status: &'static str, body: &str) -> Option<Act> {
    Some(Act::Answer(status, Vec::new(), body.as_bytes().to_vec()))
}

#[test]
fn failures_are_told_apart() {
    let manifest = |asked: &Asked| asked.path.contains("/manifests/");
    refused(small(), move |_| answer("404 Not Found", ""), Kind::NotFound, "/x:1: not found");
    refused(
        small(),
        |_| answer("403 Forbidden", r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#),
        Kind::Denied,
        "pull access denied, repository does not exist or may require authorization: server message: denied: not for you",
    );
    refused(
        small(),
        |_| answer("503 Service Unavailable", ""),
        Kind::Unavailable,
        "unexpected status from the registry: 503",
    );
    refused(small(), |_| answer("429 Too Many Requests", ""), Kind::Unavailable, "429 Too Many Requests");
    refused(small(), |_| Some(Act::Stall), Kind::Unavailable, "no answer within");
    refused(
        small(),
        |_| answer("401 Unauthorized", ""),
        Kind::Denied,
        "kind of authentication that is not supported",
    );
    refused(
        small(),
        |_| {
            Some(Act::Answer(
                "401 Unauthorized",
                vec!["WWW-Authenticate: Bearer service=\"x\"".into()],
                Vec::new(),
            ))
        },
        Kind::Denied,
        "challenge has no realm",
    );
    refused(
        small(),
        |_| Some(Act::Answer("302 Found", vec!["Location: /again".into()], Vec::new())),
        Kind::Refused,
        "redirects more than",
    );
    refused(
        small(),
        |_| Some(Act::Answer("302 Found", vec!["Location: ftp://x/".into()], Vec::new())),
        Kind::Refused,
        "neither http nor https",
    );
    refused(
        small(),
        move |asked| manifest(asked).then(|| answer("200 OK", "<html>")).flatten(),
        Kind::Corrupt,
        "manifest cannot be read",
    );
    refused(
        small(),
        move |asked| manifest(asked).then(|| answer("200 OK", &" ".repeat(5 << 20))).flatten(),
        Kind::Refused,
        "larger than",
    );
    refused(
        small(),
        move |asked| {
            let lie = format!("Docker-Content-Digest: {}", Digest::of(b"other"));
            manifest(asked)
                .then(|| Act::Answer("200 OK", vec![lie], small().manifest().to_string().into_bytes()))
        },
        Kind::Corrupt,
        "digest is",
    );
    refused(
        small(),
        move |asked| {
            let index = json!({"schemaVersion": 2, "manifests": [{"digest": Digest::of(b""), "size": 1, "platform": {"os": "plan9", "architecture": "vax"}}]});
            manifest(asked).then(|| answer("200 OK", &index.to_string())).flatten()
        },
        Kind::NotFound,
        "no match for platform in manifest",
    );
    refused(
        small(),
        |asked| asked.path.contains("/blobs/").then(|| answer("404 Not Found", "")).flatten(),
        Kind::NotFound,
        "not found",
    );
    refused(
        small(),
        |asked| {
            asked
                .path
                .contains("/blobs/")
                .then(|| answer("200 OK", &"z".repeat(small().config.to_string().len())))
                .flatten()
        },
        Kind::Corrupt,
        "unexpected digest",
    );
    refused(
        small(),
        |asked| asked.path.contains("/blobs/").then(|| answer("200 OK", &"z".repeat(100_000))).flatten(),
        Kind::Corrupt,
        "sends more than",
    );
    refused(
        small(),
        |asked| asked.path.contains("/blobs/").then(|| Act::CutOff("200 OK", 1000, b"little".to_vec())),
        Kind::Unavailable,
        "broke off",
    );
    let local = Fixture::new();
    let error = pull(&local.store, "127.0.0.1:1/x").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error
            .cri_message()
            .starts_with("RegistryUnavailable: failed to pull and unpack image \"127.0.0.1:1/x:latest\""),
        "{error}"
    );
}

#[test]
fn downloads_continue_where_they_broke_off() {
    for honours_ranges in [true, false] {
        let parts = small();
        let layers = parts.layers.clone();
        let server = fake(parts, move |asked| {
            let layer = layers.iter().find(|of| asked.path.contains(Digest::of(of).as_str()))?;
            let half = layer.len() / 2;
            let range = asked
                .headers
                .get("range")
                .map(|of| of.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
            Some(match range {
                None if asked.headers.contains_key("range") || asked.nth < 4 => {
                    Act::CutOff("200 OK", layer.len(), layer[..half].to_vec())
                }
                None => Act::Answer("200 OK", Vec::new(), layer.clone()),
                Some(from) if honours_ranges => {
                    let range = format!("Content-Range: bytes {from}-{}/{}", layer.len() - 1, layer.len());
                    Act::Answer("206 Partial Content", vec![range], layer[from..].to_vec())
                }
                Some(_) => Act::Answer("200 OK", Vec::new(), layer.clone()),
            })
        });
        let local = Fixture::new();
        let image = pull(&local.store, &format!("{}/x:1", server.address)).unwrap();
        assert_eq!(image.layers.len(), 2, "ranges: {honours_ranges}");
    }
}

#[test]
fn a_pull_that_failed_half_way_is_continued_by_the_next() {
    let parts = small();
    let digest = Digest::of(&parts.layers[0]);
    let half = parts.layers[0].len() / 2;
    let layer = parts.layers[0].clone();
    let breaking = {
        let (layer, digest) = (layer.clone(), digest.clone());
        fake(parts.clone(), move |asked| {
            let hit = asked.path.contains(digest.as_str());
            hit.then(|| match asked.headers.contains_key("range") {
                false => Act::CutOff("200 OK", layer.len(), layer[..half].to_vec()),
                true => Act::Stall,
            })
        })
    };
    let local = Fixture::new();
    assert_eq!(
        pull(&local.store, &format!("{}/x:1", breaking.address)).unwrap_err().kind(),
        Kind::Unavailable
    );
    let asked_from = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&asked_from);
    let whole = fake(parts, move |asked| {
        if !asked.path.contains(digest.as_str()) {
            return None;
        }
        let from: usize =
            asked.headers.get("range")?.trim_start_matches("bytes=").trim_end_matches('-').parse().ok()?;
        seen.lock().unwrap().push(from);
        let range = format!("Content-Range: bytes {from}-{}/{}", layer.len() - 1, layer.len());
        Some(Act::Answer("206 Partial Content", vec![range], layer[from..].to_vec()))
    });
    pull(&local.reopen(), &format!("{}/x:1", whole.address)).unwrap();
    assert_eq!(*asked_from.lock().unwrap(), [half]);
}

#[test]
fn tokens_are_fetched_where_the_challenge_says() {
    let parts = small();
    let server = fake(parts, |asked| {
        if asked.path.starts_with("/token") {
            assert!(
                asked.path.contains("service=the%20registry")
                    && asked.path.contains("scope=repository%3Ax%3Apull"),
                "{}",
                asked.path
            );
            let authorized = asked.headers.get("authorization").is_some_and(|of| of.starts_with("Basic "));
            let body = if authorized { r#"{"token":"t1"}"# } else { r#"{"access_token":"anonymous"}"# };
            return answer("200 OK", body);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some("Bearer t1") => None,
            Some(_) => answer("403 Forbidden", ""),
            None => {
                let host = &asked.headers["host"];
                let challenge = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"the registry\",scope=\"repository:x:pull\""
                );
                Some(Act::Answer("401 Unauthorized", vec![challenge], Vec::new()))
            }
        }
    });
    let name = format!("{}/x:1", server.address);
    let local = Fixture::new();
    assert_eq!(pull(&local.store, &name).unwrap_err().kind(), Kind::Denied);
    let options = PullOptions { credential: Some(Credential::basic("u", "p")), ..PullOptions::default() };
    pull_with(&local.store, &client("{}"), &name, &options).unwrap();
}

#[test]
fn mirrors_come_first_and_give_way() {
    let dead = "http://127.0.0.1:1";
    // Of the right size, so that only the digest gives it away.
    let lying = fake(small(), |asked| {
        let parts = small();
        let config = parts.config.to_string().into_bytes();
        let asked_for =
            parts.layers.iter().chain([&config]).find(|of| asked.path.contains(Digest::of(of).as_str()))?;
        answer("200 OK", &"z".repeat(asked_for.len()))
    });
    let good = fake(small(), |asked| {
        assert!(asked.path.contains("?ns=registry.test"), "{}", asked.path);
        assert!(asked.path.starts_with("/v2/cache/"), "{}", asked.path);
        assert!(!asked.headers.contains_key("authorization"));
        assert_eq!(asked.headers["x-note"], "hello");
        None
    });
    let hosts = format!(
        "registries: {{registry.test: {{mirrors: [{{url: '{dead}'}}, {{url: 'http://{}'}}, {{url: 'http://{}/cache', headers: {{X-Note: hello}}}}]}}}}",
        lying.address, good.address
    );
    let local = Fixture::new();
    let options = PullOptions { credential: Some(Credential::basic("u", "p")), ..PullOptions::default() };
    let image = pull_with(&local.store, &client(&hosts), "registry.test/x:1", &options).unwrap();
    assert_eq!(image.repo_tags(), ["registry.test/x:1"]);
}

#[test]
fn pulls_of_the_same_image_at_once_share_the_work() {
    let there = Fixture::new();
    let served = Served::new(&there.store, Options::default());
    let here = Fixture::new();
    let source = archive(&here);
    let target = format!("docker://{}/b:1", served.address);
    skopeo(&["copy", "--insecure-policy", "--dest-tls-verify=false", &source, &target]);
    let local = Fixture::new();
    let client = client("{}");
    let name: oci::Reference = format!("{}/b:1", served.address).parse().unwrap();
    runtime().block_on(async {
        let options = PullOptions::default();
        let pulls = (0..8).map(|_| client.pull(&local.store, &name, &options));
        for outcome in futures_util::future::join_all(pulls).await {
            outcome.unwrap();
        }
    });
    assert_eq!(local.store.images().unwrap().len(), 1);
    assert!(crate::support::listing(&local.store.root().join("ingest")).is_empty());
    assert!(crate::support::listing(&local.store.root().join("unpacking")).is_empty());
}

#[test]
fn redirects_are_followed_without_the_password() {
    let parts = small();
    let elsewhere = fake(parts.clone(), |asked| {
        assert!(!asked.headers.contains_key("authorization"), "{}", asked.path);
        None
    });
    let location = format!("http://{}", elsewhere.address);
    let server = fake(parts, move |asked| match asked.headers.get("authorization") {
        None => Some(Act::Answer(
            "401 Unauthorized",
            vec!["WWW-Authenticate: Basic realm=\"x\"".into()],
            Vec::new(),
        )),
        Some(_) if asked.path.contains("/blobs/") => Some(Act::Answer(
            "307 Temporary Redirect",
            vec![format!("Location: {location}{}", asked.path)],
            Vec::new(),
        )),
        Some(_) => None,
    });
    let options = PullOptions { credential: Some(Credential::basic("u", "p")), ..PullOptions::default() };
    let local = Fixture::new();
    pull_with(&local.store, &client("{}"), &format!("{}/x:1", server.address), &options).unwrap();
}
