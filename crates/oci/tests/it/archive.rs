//! Tarballs in and out, judged by skopeo.

use std::process::Command;

use oci::archive::{Format, ImportOptions, export, import};
use oci::{Access, RootFs};
use serde_json::json;

use crate::support::{Fixture, Item, Parts, busybox, gzip, tar_of};

fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    tar_of(&files.iter().map(|(path, data)| Item::File(path, data)).collect::<Vec<_>>())
}

fn docker_save(parts: &Parts, tag: &str) -> Vec<u8> {
    let list = json!([{"Config": "c.json", "RepoTags": [tag], "Layers": ["l0/layer.tar", "l1/layer.tar"]}])
        .to_string();
    let config = parts.config.to_string();
    archive_of(&[
        ("l0/layer.tar", &parts.layers[0]),
        ("l1/layer.tar", &parts.layers[1]),
        ("c.json", config.as_bytes()),
        ("manifest.json", list.as_bytes()),
    ])
}

#[test]
fn docker_archives_are_read_packed_or_not() {
    let parts = busybox();
    for archive in [docker_save(&parts, "busybox:1"), gzip(&docker_save(&parts, "busybox:1"))] {
        let fixture = Fixture::new();
        let images = import(&fixture.store, &archive[..], &ImportOptions::default()).unwrap();
        assert_eq!(images[0].repo_tags(), ["docker.io/library/busybox:1"]);
        let found = fixture.reopen().image("busybox:1").unwrap().unwrap();
        assert_eq!(found.config.config.cmd, ["/bin/sh"]);
        let RootFs::Overlay(root) = fixture.store.hold("c", &found, Access::Writable).unwrap() else {
            unreachable!()
        };
        assert_eq!(std::fs::read(root.lower[0].join("etc/motd")).unwrap(), b"hello\n");
        for by_id in [found.id.as_str(), found.id.hex(), &found.id.hex()[..12]] {
            assert_eq!(fixture.store.image(by_id).unwrap().unwrap().id, found.id);
        }
        assert!(fixture.store.image("busybox:2").unwrap().is_none());
    }
}

#[test]
fn docker_archives_from_before_manifests_are_read() {
    let (lower, upper) = (tar_of(&[Item::File("a", b"a")]), tar_of(&[Item::File("b", b"b")]));
    let archive = archive_of(&[
        ("1111/json", br#"{"id":"1111","architecture":"amd64","os":"linux"}"#),
        ("1111/layer.tar", &lower),
        ("2222/json", br#"{"id":"2222","parent":"1111","architecture":"amd64","os":"linux","config":{"Cmd":["x"],"Env":null}}"#),
        ("2222/layer.tar", &upper),
        ("repositories", br#"{"old":{"v1":"2222"}}"#),
    ]);
    let fixture = Fixture::new();
    let images = import(&fixture.store, &archive[..], &ImportOptions::default()).unwrap();
    assert_eq!(images[0].repo_tags(), ["docker.io/library/old:v1"]);
    assert_eq!((images[0].config.config.cmd.as_slice(), images[0].layers.len()), (&["x".to_owned()][..], 2));
    fixture.store.unpack(&images[0]).unwrap();
}

#[test]
fn exports_are_read_back_and_by_skopeo() {
    let fixture = Fixture::new();
    let image = busybox().store(&fixture.store, "busybox:1").unwrap();
    for (format, transport) in [(Format::Oci, "oci-archive"), (Format::Docker, "docker-archive")] {
        let path = fixture.dir.path().join(format!("{transport}.tar"));
        export(&fixture.store, &["busybox:1"], format, std::fs::File::create(&path).unwrap()).unwrap();
        let inspected = Command::new("skopeo")
            .args(["inspect", "--config"])
            .arg(format!("{transport}:{}", path.display()))
            .output()
            .unwrap();
        assert!(inspected.status.success(), "{transport}: {}", String::from_utf8_lossy(&inspected.stderr));
        let config: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!(image.config.rootfs.diff_ids), "{transport}");

        let other = Fixture::new();
        let again =
            import(&other.store, std::fs::File::open(&path).unwrap(), &ImportOptions::default()).unwrap();
        assert_eq!(again[0].repo_tags(), image.repo_tags(), "{transport}");
        assert_eq!(again[0].id, image.id, "{transport}");
        other.store.unpack(&again[0]).unwrap();
    }
}

#[test]
fn archives_by_skopeo_are_read() {
    let fixture = Fixture::new();
    busybox().store(&fixture.store, "busybox:1").unwrap();
    let first = fixture.dir.path().join("first.tar");
    export(&fixture.store, &["busybox:1"], Format::Oci, std::fs::File::create(&first).unwrap()).unwrap();
    for (transport, suffix) in [("oci-archive", ":made/by:skopeo"), ("docker-archive", ":made/by:skopeo")] {
        let path = fixture.dir.path().join(format!("{transport}-skopeo.tar"));
        let copied = Command::new("skopeo")
            .args(["copy", "--insecure-policy"])
            .arg(format!("oci-archive:{}", first.display()))
            .arg(format!("{transport}:{}{suffix}", path.display()))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{transport}: {}", String::from_utf8_lossy(&copied.stderr));
        let other = Fixture::new();
        let images =
            import(&other.store, std::fs::File::open(&path).unwrap(), &ImportOptions::default()).unwrap();
        assert_eq!(images[0].repo_tags(), ["docker.io/made/by:skopeo"], "{transport}");
        other.store.unpack(&images[0]).unwrap();
    }
}

#[test]
fn broken_archives_are_refused_and_leave_nothing() {
    let parts = busybox();
    let config = parts.config.to_string();
    let list =
        |config: &str| json!([{"Config": config, "RepoTags": ["x:1"], "Layers": ["l0", "l1"]}]).to_string();
    for (what, archive, expected) in [
        ("empty", archive_of(&[]), "not an image archive"),
        (
            "no layer",
            archive_of(&[
                ("c", config.as_bytes()),
                ("l0", &parts.layers[0]),
                ("manifest.json", list("c").as_bytes()),
            ]),
            "the archive lacks \"l1\"",
        ),
        ("not JSON", archive_of(&[("manifest.json", b"[")]), "manifest.json cannot be read"),
        (
            "lying blob",
            archive_of(&[(&format!("blobs/sha256/{}", "0".repeat(64)), b"x"), ("index.json", b"{}")]),
            "archive's \"blobs/sha256/",
        ),
        ("bad name", docker_save(&parts, "UPPER/../case"), "invalid reference format"),
        ("cut off", docker_save(&parts, "x:1")[..2048].to_vec(), "layer cannot be read: tar: archive ends"),
        (
            "cycle",
            archive_of(&[
                ("1/json", br#"{"parent":"1"}"#),
                ("1/layer.tar", b""),
                ("repositories", br#"{"x":{"y":"1"}}"#),
            ]),
            "layer \"1\" is its own ancestor",
        ),
        (
            "bad layers",
            {
                let list = json!([{"Config": "c", "RepoTags": ["x:1"], "Layers": ["l0"]}]).to_string();
                archive_of(&[
                    ("c", config.as_bytes()),
                    ("l0", &parts.layers[0]),
                    ("manifest.json", list.as_bytes()),
                ])
            },
            "number of layers and diffIDs don't match: 1 != 2",
        ),
    ] {
        let fixture = Fixture::new();
        let error = import(&fixture.store, &archive[..], &ImportOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{what}: {error}");
        fixture.store.collect(&Default::default()).unwrap();
        assert!(fixture.store.images().unwrap().is_empty(), "{what}");
        let left = fixture.store.collect(&Default::default()).unwrap();
        assert_eq!((left.blobs, fixture.store.usage().unwrap().inodes), (0, 0), "{what}");
    }
}
