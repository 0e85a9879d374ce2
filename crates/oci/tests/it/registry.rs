//! The distribution API, walked as its specification's own tests do.

use oci::Digest;
use oci::manifest::media;
use oci::registry::{Options, Users};
use serde_json::json;

use crate::servers::{Answer, Served};
use crate::support::{Fixture, Item, Parts, gzip, tar_of};

/// The path of a `Location`.
fn location(answer: &Answer) -> String {
    assert!((200..300).contains(&answer.status), "{answer:?}");
    answer.header("location").to_owned()
}

fn push_blob(served: &Served, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    assert_eq!(served.call("POST", &path, &[], bytes).status, 201);
    digest
}

fn push_manifest(served: &Served, repository: &str, tag: &str, manifest: &serde_json::Value) -> Answer {
    let kind = manifest["mediaType"].as_str().unwrap().to_owned();
    let path = format!("/v2/{repository}/manifests/{tag}");
    served.call("PUT", &path, &[("Content-Type", &kind)], manifest.to_string().as_bytes())
}

fn push(served: &Served, repository: &str, tag: &str, parts: &Parts) -> Digest {
    for layer in &parts.layers {
        push_blob(served, repository, layer);
    }
    push_blob(served, repository, parts.config.to_string().as_bytes());
    let answer = push_manifest(served, repository, tag, &parts.manifest());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.header("docker-content-digest").parse().unwrap()
}

fn small(text: &str) -> Parts {
    Parts::new(&[tar_of(&[Item::File("f", text.as_bytes())])], gzip)
}

#[test]
fn blobs_are_pushed_in_every_way() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    assert_eq!(served.call("GET", "/v2/", &[], b"").status, 200);
    let bytes = b"some content that is pushed".as_slice();
    let digest = Digest::of(bytes);

    // POST then PUT.
    let begun = served.call("POST", "/v2/a/b/blobs/uploads/", &[], b"");
    assert_eq!((begun.status, begun.header("range")), (202, "0-0"));
    let put = served.call("PUT", &format!("{}?digest={digest}", location(&begun)), &[], bytes);
    assert_eq!((put.status, put.header("location")), (201, &*format!("/v2/a/b/blobs/{digest}")));

    // In chunks, the second out of order first, and across a new process.
    let begun = location(&served.call("POST", "/v2/c/blobs/uploads/", &[], b""));
    let first = served.call("PATCH", &begun, &[("Content-Range", "0-9")], &bytes[..10]);
    assert_eq!((first.status, first.header("range")), (202, "0-9"));
    let wrong = served.call("PATCH", &begun, &[("Content-Range", "12-20")], &bytes[12..21]);
    assert_eq!((wrong.status, wrong.header("range")), (416, "0-9"));
    let asked = served.call("GET", &begun, &[], b"");
    assert_eq!((asked.status, asked.header("range")), (204, "0-9"));
    drop(served);
    let served = Served::new(&fixture.reopen(), Options::default());
    assert_eq!(served.call("PATCH", &begun, &[("Content-Range", "10-19")], &bytes[10..20]).status, 202);
    assert_eq!(served.call("PUT", &format!("{begun}?digest={digest}"), &[], &bytes[20..]).status, 201);

    // Read back, whole and in part.
    let path = format!("/v2/c/blobs/{digest}");
    let whole = served.call("GET", &path, &[], b"");
    assert_eq!((whole.status, whole.body.as_slice()), (200, bytes));
    let head = served.call("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "27", 0));
    let part = served.call("GET", &path, &[("Range", "bytes=5-11")], b"");
    assert_eq!(
        (part.status, part.body.as_slice(), part.header("content-range")),
        (206, b"content".as_slice(), "bytes 5-11/27")
    );
    assert_eq!(served.call("GET", &path, &[("Range", "bytes=27-")], b"").status, 416);

    // Another repository does not see it until it is mounted there.
    assert_eq!(served.call("GET", &format!("/v2/d/blobs/{digest}"), &[], b"").code(), "BLOB_UNKNOWN");
    let mounted = served.call("POST", &format!("/v2/d/blobs/uploads/?mount={digest}&from=c"), &[], b"");
    assert_eq!(mounted.status, 201);
    assert_eq!(served.call("GET", &format!("/v2/d/blobs/{digest}"), &[], b"").status, 200);
    let missing = Digest::of(b"nobody has this");
    let refused = served.call("POST", &format!("/v2/d/blobs/uploads/?mount={missing}&from=c"), &[], b"");
    assert_eq!(refused.status, 202);
    assert_eq!(served.call("DELETE", &location(&refused), &[], b"").status, 204);
    assert_eq!(served.call("GET", &location(&refused), &[], b"").code(), "BLOB_UPLOAD_UNKNOWN");

    assert_eq!(served.call("DELETE", &path, &[], b"").status, 202);
    assert_eq!(served.call("DELETE", &path, &[], b"").code(), "BLOB_UNKNOWN");
}

#[test]
fn mistakes_have_their_codes() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    let digest = Digest::of(b"x");
    let begun = location(&served.call("POST", "/v2/a/blobs/uploads/", &[], b""));
    let put = |query: &str, body: &[u8]| served.call("PUT", &format!("{begun}{query}"), &[], body);
    assert_eq!(put("", b"").code(), "DIGEST_INVALID");
    assert_eq!(put("?digest=sha256:12", b"").code(), "DIGEST_INVALID");
    let mismatch = put(&format!("?digest={digest}"), b"y");
    assert_eq!((mismatch.status, mismatch.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(put(&format!("?digest={digest}"), b"x").code(), "BLOB_UPLOAD_UNKNOWN");
    let elsewhere = location(&served.call("POST", "/v2/a/blobs/uploads/", &[], b"")).replace("/a/", "/b/");
    assert_eq!(served.call("PATCH", &elsewhere, &[], b"x").code(), "BLOB_UPLOAD_UNKNOWN");

    let manifest = small("x").manifest();
    assert_eq!(push_manifest(&served, "a", "t", &manifest).code(), "MANIFEST_BLOB_UNKNOWN");
    let put =
        |body: &[u8]| served.call("PUT", "/v2/a/manifests/t", &[("Content-Type", media::OCI_MANIFEST)], body);
    assert_eq!(put(b"{").code(), "MANIFEST_INVALID");
    let large = put(&vec![b' '; 5 << 20]);
    assert_eq!((large.status, large.code().as_str()), (413, "MANIFEST_INVALID"));
    let by_digest = served.call(
        "PUT",
        &format!("/v2/a/manifests/{digest}"),
        &[("Content-Type", media::OCI_INDEX)],
        br#"{"schemaVersion":2,"manifests":[]}"#,
    );
    assert_eq!(by_digest.code(), "DIGEST_INVALID");
    for (method, path, status, code) in [
        ("GET", "/v2/a/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "/v2/a/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/none/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/UP/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/a/blobs/sha256:zz", 400, "DIGEST_INVALID"),
        ("GET", "/v2/_catalog?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("PUT", "/v2/", 405, "UNSUPPORTED"),
        ("GET", "/elsewhere", 404, "NOT_FOUND"),
    ] {
        let answer = served.call(method, path, &[], b"");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
}

#[test]
fn manifests_tags_and_pages() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    let parts = small("x");
    let mut digest = None;
    for tag in ["v3", "v1", "latest", "v2"] {
        digest = Some(push(&served, "team/app", tag, &parts));
    }
    let digest = digest.unwrap();
    push(&served, "alpha", "one", &small("y"));
    let got = served.call("GET", "/v2/team/app/manifests/v2", &[], b"");
    assert_eq!((got.status, got.header("content-type")), (200, media::OCI_MANIFEST));
    assert_eq!(got.body, parts.manifest().to_string().into_bytes());
    assert_eq!(got.header("docker-content-digest"), digest.as_str());
    let head = served.call("HEAD", &format!("/v2/team/app/manifests/{digest}"), &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, &*got.body.len().to_string()));

    let tags = |query: &str| served.call("GET", &format!("/v2/team/app/tags/list{query}"), &[], b"");
    assert_eq!(tags("").json(), json!({"name": "team/app", "tags": ["latest", "v1", "v2", "v3"]}));
    let page = tags("?n=2");
    assert_eq!(page.json()["tags"], json!(["latest", "v1"]));
    assert_eq!(page.header("link"), "</v2/team/app/tags/list?n=2&last=v1>; rel=\"next\"");
    assert_eq!(tags("?n=2&last=v1").json()["tags"], json!(["v2", "v3"]));
    assert_eq!(tags("?n=2&last=v1").header("link"), "");
    assert_eq!(tags("?n=0").json()["tags"], json!([]));
    let catalogue = served.call("GET", "/v2/_catalog", &[], b"");
    assert_eq!(catalogue.json()["repositories"], json!(["alpha", "team/app"]));

    assert_eq!(served.call("DELETE", "/v2/team/app/manifests/v3", &[], b"").status, 202);
    assert_eq!(tags("").json()["tags"], json!(["latest", "v1", "v2"]));
    assert_eq!(served.call("DELETE", &format!("/v2/team/app/manifests/{digest}"), &[], b"").status, 202);
    assert_eq!(tags("").json()["tags"], json!([]));
    assert_eq!(served.call("GET", &format!("/v2/team/app/manifests/{digest}"), &[], b"").status, 404);
}

#[test]
fn referrers_are_listed_by_type() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    let subject = push(&served, "app", "v1", &small("x"));
    let empty = push_blob(&served, "app", b"{}");
    let mut pushed = Vec::new();
    for kind in ["application/sbom", "application/signature"] {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": empty, "size": 2}],
            "subject": {"mediaType": media::OCI_MANIFEST, "digest": subject, "size": 1},
            "annotations": {"note": kind},
        });
        let digest = Digest::of(manifest.to_string().as_bytes());
        let answer = push_manifest(&served, "app", digest.as_str(), &manifest);
        assert_eq!((answer.status, answer.header("oci-subject")), (201, subject.as_str()));
        pushed.push(digest);
    }
    let list = |query: &str| served.call("GET", &format!("/v2/app/referrers/{subject}{query}"), &[], b"");
    assert_eq!(list("").header("content-type"), media::OCI_INDEX);
    assert_eq!(list("").json()["manifests"].as_array().unwrap().len(), 2);
    let filtered = list("?artifactType=application/sbom");
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let found = &filtered.json()["manifests"];
    assert_eq!(
        (found[0]["digest"].as_str(), found[0]["annotations"]["note"].as_str()),
        (Some(pushed[0].as_str()), Some("application/sbom"))
    );
    assert_eq!(served.call("DELETE", &format!("/v2/app/manifests/{}", pushed[0]), &[], b"").status, 202);
    assert_eq!(list("").json()["manifests"].as_array().unwrap().len(), 1);
    let nobody = served.call("GET", &format!("/v2/app/referrers/{}", Digest::of(b"?")), &[], b"");
    assert_eq!((nobody.status, nobody.json()["manifests"].clone()), (200, json!([])));
}

#[test]
fn users_are_asked_for_their_password() {
    use base::random::SeededRandom;
    use base64::Engine as _;
    let fixture = Fixture::new();
    let mut random = SeededRandom::new(7);
    let line = Users::line("ann", "secret", &mut random).unwrap();
    let header = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    for anonymous_pull in [false, true] {
        let users = Some(Users::parse(&line, &mut random).unwrap());
        let served = Served::new(&fixture.store, Options { users, anonymous_pull, ..Options::default() });
        let status = |method: &str, path: &str, authorization: Option<String>| {
            let headers: Vec<_> = authorization.iter().map(|of| ("Authorization", of.as_str())).collect();
            let answer = served.call(method, path, &headers, b"");
            assert_eq!(answer.status == 401, answer.header("www-authenticate").starts_with("Basic realm="));
            answer.status
        };
        assert_eq!(status("GET", "/v2/", None), if anonymous_pull { 200 } else { 401 });
        assert_eq!(status("POST", "/v2/a/blobs/uploads/", None), 401);
        assert_eq!(status("GET", "/v2/", Some(header("ann:wrong"))), 401);
        assert_eq!(status("GET", "/v2/", Some(header("ann:secret"))), 200);
        assert_eq!(status("POST", "/v2/a/blobs/uploads/", Some(header("ann:secret"))), 202);
    }
}

#[test]
fn what_the_registry_holds_is_not_garbage_and_what_it_deleted_is() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    let digest = push(&served, "app", "v1", &small("x"));
    assert_eq!(fixture.store.collect(&Default::default()).unwrap().blobs, 0);
    assert_eq!(served.call("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").status, 202);
    assert_eq!(fixture.store.collect(&Default::default()).unwrap().blobs, 1);
    for layer in small("x")
        .layers
        .iter()
        .map(|of| Digest::of(of))
        .chain([Digest::of(small("x").config.to_string().as_bytes())])
    {
        assert_eq!(served.call("DELETE", &format!("/v2/app/blobs/{layer}"), &[], b"").status, 202);
    }
    assert_eq!(fixture.store.collect(&Default::default()).unwrap().blobs, 2);
}

#[test]
fn pushes_that_broke_off_are_collected_in_time() {
    let fixture = Fixture::new();
    let served = Served::new(&fixture.store, Options::default());
    push(&served, "app", "v1", &small("x"));
    let orphan = push_blob(&served, "app", b"whose manifest never came");
    let hour = std::time::Duration::from_secs(3600);
    let policy = oci::store::Policy { max_orphan_age: Some(hour), ..Default::default() };
    assert_eq!(fixture.store.collect(&policy).unwrap().blobs, 0);
    fixture.clock.advance(2 * hour);
    assert_eq!(fixture.store.collect(&policy).unwrap().blobs, 1);
    assert_eq!(served.call("HEAD", &format!("/v2/app/blobs/{orphan}"), &[], b"").status, 404);
    let local = Fixture::new();
    let client =
        oci::pull::Client::new(Default::default(), Default::default(), base::clock::SystemClock::shared());
    let name = format!("{}/app:v1", served.address).parse().unwrap();
    crate::servers::runtime().block_on(client.pull(&local.store, &name, &Default::default())).unwrap();
}
