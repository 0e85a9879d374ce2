//! Images whose authors mean harm, and machines that fail: each refused with its reason, nothing written
//! outside the store, nothing left behind.

use std::fs;
use std::path::Path;

use oci::manifest::media;
use oci::{Access, Digest, Kind, Limits, RootFs, Snapshotter};
use serde_json::json;

use crate::support::{Fixture, Item, Parts, gzip, listing, tar_of, zstd};

/// What must not change, with paths to it that tempt.
struct Outside {
    dir: tempfile::TempDir,
}

impl Outside {
    fn new() -> Outside {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passwd"), b"root").unwrap();
        Outside { dir }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn is_untouched(&self) -> bool {
        listing(self.dir.path()) == ["passwd"] && fs::read(self.dir.path().join("passwd")).unwrap() == b"root"
    }
}

fn assert_clean(fixture: &Fixture) {
    let root = fixture.store.root();
    for directory in ["layers", "unpacking", "ingest", "snapshots", "holders", "leases", "trash"] {
        assert_eq!(listing(&root.join(directory)), Vec::<String>::new(), "{directory}");
    }
    let beside: Vec<_> =
        fs::read_dir(fixture.dir.path()).unwrap().map(|of| of.unwrap().file_name()).collect();
    assert_eq!(beside, ["store"]);
}

/// Holding an image of these layers fails so.
fn refuse(layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>, limits: Limits, kind: Kind, text: &str) {
    let fixture = Fixture::with(Snapshotter::Overlay, limits);
    let image = Parts::new(layers, pack).store(&fixture.store, "evil").unwrap();
    let error = fixture.store.hold("c", &image, Access::Writable).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}, expected {text:?}");
    assert!(error.to_string().contains(text), "{error}");
    let below: Vec<_> = layers[..layers.len() - 1].iter().collect();
    if below.is_empty() {
        assert_clean(&fixture);
    }
    fixture.store.untag("evil").unwrap();
    fixture.store.collect(&Default::default()).unwrap();
    assert_clean(&fixture);
}

#[test]
fn entries_that_point_outside_are_refused() {
    let outside = Outside::new();
    let path = outside.path();
    let check = |items: &[Item<'_>], text: &str| {
        refuse(&[tar_of(items)], gzip, Limits::default(), Kind::Refused, text);
        assert!(outside.is_untouched(), "{text}");
    };
    let up = format!("../../../../../../../..{path}/passwd");
    check(&[Item::File("../escape", b"x")], "lies outside the image's root");
    check(&[Item::File(&up, b"x")], "lies outside the image's root");
    check(&[Item::File("a/../../escape", b"x")], "lies outside the image's root");
    check(&[Item::Symlink("../link", "x")], "lies outside the image's root");
    check(&[Item::Dir("../dir", 0o755)], "lies outside the image's root");
    check(&[Item::File("../.wh.passwd", b"")], "lies outside the image's root");
    check(&[Item::Hard("stolen", &up)], "lies outside the image's root");
    check(&[Item::Hard("stolen", &format!("{path}/passwd"))], "does not exist in the image");
    check(&[Item::Symlink("dir", path), Item::Hard("stolen", "dir/passwd")], "does not exist in the image");
    check(&[Item::Hard("self", "self")], "a hard link to itself");
    check(&[Item::Dir("d", 0o755), Item::Hard("l", "d")], "a hard link to a directory");
    check(
        &[Item::Symlink("a", "b"), Item::Symlink("b", "a"), Item::File("a/x", b"")],
        "too many levels of symbolic links",
    );
    check(&[Item::Symlink("a", "a"), Item::File("a/x", b"")], "too many levels of symbolic links");
    check(&[Item::File("f", b""), Item::File("f/x", b"")], "not a directory");
    check(&[Item::File(".wh...", b"")], "whiteout of an impossible name");
    check(&[Item::File(".wh.", b"")], "whiteout of an impossible name");
    check(&[Item::Symlink("./", "x")], "the image's root is not a directory");
}

#[test]
fn links_that_leave_the_root_lead_back_into_it() {
    let outside = Outside::new();
    let path = outside.path();
    let fixture = Fixture::new();
    let inner = format!("{}/passwd", path.trim_start_matches('/'));
    let deep = format!("../../../../../../..{path}");
    let layer = tar_of(&[
        Item::Symlink("abs", path),
        Item::File("abs/passwd", b"evil"),
        Item::Symlink("rel", &deep),
        Item::File("rel/other", b"evil"),
        Item::Symlink("magic", "/proc/self/root"),
        Item::File("magic/file", b"evil"),
        // A final link is replaced, never written through.
        Item::Symlink("final", &format!("{path}/passwd")),
        Item::File("final", b"evil"),
    ]);
    let image = Parts::new(&[layer], gzip).store(&fixture.store, "evil").unwrap();
    let RootFs::Overlay(root) = fixture.store.hold("c", &image, Access::Writable).unwrap() else {
        unreachable!()
    };
    assert!(outside.is_untouched());
    let tree = &root.lower[0];
    assert_eq!(fs::read(tree.join(inner)).unwrap(), b"evil");
    assert!(fs::symlink_metadata(tree.join("final")).unwrap().is_file());
    assert!(tree.join("proc/self/root/file").exists());
}

#[test]
fn a_link_in_a_lower_layer_does_not_lead_an_upper_one_out() {
    let outside = Outside::new();
    for snapshotter in [Snapshotter::Overlay, Snapshotter::Copy] {
        let fixture = Fixture::with(snapshotter, Limits::default());
        let lower = tar_of(&[Item::Symlink("dir", outside.path())]);
        let upper = tar_of(&[Item::File("dir/passwd", b"evil"), Item::File("dir/.wh.passwd2", b"")]);
        let image = Parts::new(&[lower, upper], gzip).store(&fixture.store, "evil").unwrap();
        fixture.store.hold("c", &image, Access::Writable).unwrap();
        assert!(outside.is_untouched(), "{snapshotter:?}");
        fixture.store.release("c").unwrap();
        assert!(outside.is_untouched(), "{snapshotter:?}");
    }
}

#[test]
fn nodes_and_attributes_that_reach_into_the_host_are_refused() {
    let check = |items: &[Item<'_>], text: &str| {
        refuse(&[tar_of(items)], gzip, Limits::default(), Kind::Refused, text)
    };
    check(&[Item::Node("sda", 'b', (8, 0))], "device node 8:0");
    check(&[Item::Node("mem", 'c', (1, 1))], "device node 1:1");
    // It would be taken for a whiteout.
    check(&[Item::Node("hidden", 'c', (0, 0))], "device node 0:0");
    for name in [
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.metacopy",
        "user.overlay.whiteout",
        "trusted.x",
    ] {
        check(&[Item::Xattr("f", name, "/etc")], "layer sets extended attribute");
    }
}

#[test]
fn bombs_are_stopped() {
    let limits =
        Limits { max_layer_bytes: 64 << 20, max_entries: 50, max_ratio: 20, ratio_free_bytes: 1 << 20 };
    let zeros = vec![0; 32 << 20];
    let large = tar_of(&[Item::File("zeros", &zeros)]);
    refuse(
        std::slice::from_ref(&large),
        gzip,
        limits.clone(),
        Kind::Refused,
        "refused as a decompression bomb",
    );
    refuse(
        std::slice::from_ref(&large),
        zstd,
        limits.clone(),
        Kind::Refused,
        "refused as a decompression bomb",
    );
    let small = Limits { max_layer_bytes: 1 << 20, ..limits.clone() };
    refuse(
        &[large],
        |plain| plain.to_vec(),
        small,
        Kind::Refused,
        "layer unpacks to more than 1048576 bytes",
    );
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let many: Vec<Item<'_>> = names.iter().map(|name| Item::File(name, b"")).collect();
    refuse(&[tar_of(&many)], gzip, limits, Kind::Refused, "more than 50 entries");
    // Padding behind the archive's end counts too.
    let mut padded = tar_of(&[Item::File("f", b"x")]);
    padded.resize(40 << 20, 0);
    let limits = Limits { max_ratio: 20, ratio_free_bytes: 1 << 20, ..Limits::default() };
    refuse(&[padded], gzip, limits, Kind::Refused, "refused as a decompression bomb");
}

#[test]
fn extension_headers_are_bounded() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_path("pax").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let huge = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    refuse(&[huge], gzip, Limits::default(), Kind::Refused, "extension header of 1099511627776 bytes");
    header.set_size(0);
    header.set_cksum();
    let endless = header.as_bytes().repeat(40);
    refuse(&[endless], gzip, Limits::default(), Kind::Refused, "too many extension headers");
}

#[test]
fn padding_behind_the_archive_belongs_to_the_diff_id() {
    let mut layer = tar_of(&[Item::File("f", b"x")]);
    layer.extend_from_slice(&[0; 10240]);
    layer.extend_from_slice(b"and rubbish that no tar reads");
    for pack in [gzip, zstd, |plain: &[u8]| plain.to_vec()] {
        let fixture = Fixture::new();
        let image = Parts::new(std::slice::from_ref(&layer), pack).store(&fixture.store, "padded").unwrap();
        fixture.store.unpack(&image).unwrap();
    }
}

#[test]
fn layers_that_are_not_what_they_should_be_are_refused() {
    let plain = tar_of(&[Item::File("f", b"x")]);
    let check = |layer: Vec<u8>, kind: Kind, text: &str| {
        let fixture = Fixture::new();
        let mut parts = Parts::new(std::slice::from_ref(&plain), gzip);
        parts.layers = vec![layer];
        let image = parts.store(&fixture.store, "evil").unwrap();
        let error = fixture.store.hold("c", &image, Access::Writable).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert_clean(&fixture);
    };
    let packed = gzip(&plain);
    check(gzip(&tar_of(&[Item::File("f", b"y")])), Kind::Corrupt, "wrong diff id calculated on extraction");
    check(packed[..packed.len() / 2].to_vec(), Kind::Corrupt, "layer cannot be read");
    check(
        b"not a tar at all, but long enough to be looked at".repeat(20),
        Kind::Corrupt,
        "tar: invalid checksum",
    );
    check(b"BZh91AY".to_vec(), Kind::Unsupported, "compressed with bzip2");
    check([&[0xfd][..], b"7zXZ\0"].concat(), Kind::Unsupported, "compressed with xz");
    check(Vec::new(), Kind::Corrupt, "wrong diff id");
}

#[test]
fn manifests_that_lie_get_no_name() {
    let honest = Parts::new(&[tar_of(&[Item::File("f", b"x")])], gzip);
    let check = |parts: &Parts, change: &dyn Fn(&mut serde_json::Value), kind: Kind, text: &str| {
        let fixture = Fixture::new();
        for bytes in parts.layers.iter().cloned().chain([parts.config.to_string().into_bytes()]) {
            fixture.store.put_blob(&bytes).unwrap();
        }
        let mut manifest = parts.manifest();
        change(&mut manifest);
        let target = fixture.store.put_blob(manifest.to_string().as_bytes()).unwrap();
        let platform = oci::Platform::host();
        let error = fixture.store.tag(&"evil".parse().unwrap(), &target, &platform).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(fixture.store.images().unwrap().is_empty());
    };
    check(
        &honest,
        &|of| of["layers"][0]["digest"] = json!(Digest::of(b"absent")),
        Kind::NotFound,
        "not found",
    );
    check(&honest, &|of| of["layers"][0]["size"] = json!(1), Kind::Corrupt, "its manifest says 1");
    check(
        &honest,
        &|of| of["layers"] = json!([]),
        Kind::Corrupt,
        "number of layers and diffIDs don't match: 0 != 1",
    );
    check(
        &honest,
        &|of| of["config"]["digest"] = of["layers"][0]["digest"].clone(),
        Kind::Corrupt,
        "image configuration cannot be read",
    );
    check(
        &honest,
        &|of| of["mediaType"] = json!(media::OCI_INDEX),
        Kind::Corrupt,
        "an index must not have layers",
    );
    check(&honest, &|of| of["schemaVersion"] = json!(1), Kind::Corrupt, "schemaVersion is not 2");
    let mut bad_config = honest.clone();
    bad_config.config["rootfs"]["diff_ids"] = json!(["sha256:../../x"]);
    check(&bad_config, &|_| (), Kind::Corrupt, "image configuration cannot be read");
}

#[test]
fn an_index_that_contains_itself_ends() {
    let fixture = Fixture::new();
    // No content can contain its own digest, so the nesting is honest but deep.
    let mut inner = Parts::new(&[tar_of(&[])], gzip).manifest().to_string();
    let mut kind = media::OCI_MANIFEST;
    for _ in 0..8 {
        let digest = fixture.store.put_blob(inner.as_bytes()).unwrap();
        inner = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [{"mediaType": kind, "digest": digest, "size": inner.len()}]}).to_string();
        kind = media::OCI_INDEX;
    }
    let target = fixture.store.put_blob(inner.as_bytes()).unwrap();
    let error = fixture.store.tag(&"deep".parse().unwrap(), &target, &oci::Platform::host()).unwrap_err();
    assert!(error.to_string().contains("nested deeper than 4"), "{error}");
}

#[test]
fn a_full_disk_is_reported_and_left_as_it_was() {
    let fixture = Fixture::new();
    let small = fixture.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let data = c"size=3m";
    rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), data).unwrap();
    let _mounted = crate::support::Mounted(small.clone());
    let store = oci::Store::open(small.join("store"), oci::Options::default()).unwrap();
    let room = |path: &Path| rustix::fs::statvfs(path).unwrap().f_bavail;
    let before = room(&small);

    let mut noise = vec![0; 6 << 20];
    use base::random::Random;
    base::random::SeededRandom::new(5).fill(&mut noise);
    let error = store.put_blob(&noise).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    assert_eq!(room(&small), before);

    // The blob fits, what it unpacks to does not.
    let words = "all work and no play ".repeat(400_000);
    let layer = tar_of(&[Item::File("large", words.as_bytes())]);
    let image = Parts::new(&[layer], gzip).store(&store, "large").unwrap();
    let before = room(&small);
    let error = store.hold("c", &image, Access::Writable).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    assert_eq!(room(&small), before);
    assert!(store.holders().unwrap().is_empty());
}
