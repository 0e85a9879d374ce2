//! Stores in temporary directories, and images made from a few lines.

use std::io::Write;
use std::path::Path;

use base::clock::{Clock, SimClock, SystemClock};
use oci::digest::Digest;
use oci::manifest::media;
use oci::{Limits, Options, Snapshotter, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Fixture {
    pub store: Store,
    pub clock: SimClock,
    pub dir: TempDir,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::with(Snapshotter::Overlay, Limits::default())
    }

    pub fn with(snapshotter: Snapshotter, limits: Limits) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        // Ages of files are measured against this clock, so it starts at the file system's present.
        let clock = SimClock::starting_at(SystemClock::new().wall());
        let options = Options { clock: std::sync::Arc::new(clock.clone()), limits, snapshotter };
        let store = Store::open(dir.path().join("store"), options).unwrap();
        Fixture { store, clock, dir }
    }

    pub fn reopen(&self) -> Store {
        Store::open(self.store.root(), self.store.options().clone()).unwrap()
    }
}

/// An entry of a layer.
pub enum Item<'a> {
    Dir(&'a str, u32),
    File(&'a str, &'a [u8]),
    Mode(&'a str, u32, (u64, u64), &'a [u8]),
    Symlink(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Xattr(&'a str, &'a str, &'a str),
    Node(&'a str, char, (u32, u32)),
}

pub fn tar_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_600_000_000);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        let mut link = None;
        let (path, data): (&str, &[u8]) = match item {
            Item::Dir(path, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                (path, b"")
            }
            Item::File(path, data) => (path, data),
            Item::Mode(path, mode, (uid, gid), data) => {
                header.set_mode(*mode);
                header.set_uid(*uid);
                header.set_gid(*gid);
                (path, data)
            }
            Item::Symlink(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                link = Some(*target);
                (path, b"")
            }
            Item::Hard(path, target) => {
                header.set_entry_type(tar::EntryType::Link);
                link = Some(*target);
                (path, b"")
            }
            Item::Xattr(path, name, value) => {
                let key = format!("SCHILY.xattr.{name}");
                builder.append_pax_extensions([(key.as_str(), value.as_bytes())]).unwrap();
                (path, b"")
            }
            Item::Node(path, kind, (major, minor)) => {
                header.set_entry_type(match kind {
                    'c' => tar::EntryType::Char,
                    'b' => tar::EntryType::Block,
                    _ => tar::EntryType::Fifo,
                });
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
                (path, b"")
            }
        };
        header.set_size(data.len() as u64);
        // The names are written as they are: the builder would refuse the malicious ones.
        let raw = header.as_mut_bytes();
        assert!(path.len() < 100, "{path}");
        raw[..100].fill(0);
        raw[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = link {
            raw[157..257].fill(0);
            raw[157..157 + target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// An image's parts, to be stored, archived or pushed, honestly or not.
#[derive(Clone)]
pub struct Parts {
    pub config: Value,
    /// Packed layers.
    pub layers: Vec<Vec<u8>>,
}

impl Parts {
    /// From plain layers, each packed.
    pub fn new(layers: &[Vec<u8>], pack: impl Fn(&[u8]) -> Vec<u8>) -> Parts {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        Parts {
            config: json!({
                "architecture": "amd64", "os": "linux",
                "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
            }),
            layers: layers.iter().map(|layer| pack(layer)).collect(),
        }
    }

    pub fn manifest(&self) -> Value {
        let config = self.config.to_string();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| json!({"mediaType": media::OCI_LAYER_GZIP, "digest": Digest::of(layer), "size": layer.len()}))
            .collect();
        json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_CONFIG, "digest": Digest::of(config.as_bytes()), "size": config.len()},
            "layers": layers,
        })
    }

    /// Puts everything into a store, without any check, and names it.
    pub fn store(&self, store: &Store, name: &str) -> oci::Result<oci::Image> {
        for layer in &self.layers {
            store.put_blob(layer).unwrap();
        }
        store.put_blob(self.config.to_string().as_bytes()).unwrap();
        let target = store.put_blob(self.manifest().to_string().as_bytes()).unwrap();
        store.tag(&name.parse().unwrap(), &target, &oci::Platform::parse("linux/amd64").unwrap())
    }
}

/// Busybox with the few links that a shell needs.
pub fn busybox() -> Parts {
    let binary = std::fs::read("/bin/busybox").unwrap();
    let base = tar_of(&[
        Item::Dir("bin/", 0o755),
        Item::Mode("bin/busybox", 0o755, (0, 0), &binary),
        Item::Symlink("bin/sh", "busybox"),
        Item::Dir("tmp/", 0o1777),
    ]);
    let top = tar_of(&[Item::Dir("etc/", 0o755), Item::File("etc/motd", b"hello\n")]);
    Parts::new(&[base, top], gzip)
}

/// Every path below a directory but for the store's lock, for before-and-after comparisons.
pub fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A mount that goes away with the test.
pub struct Mounted(pub std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
