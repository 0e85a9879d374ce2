//! Pull and unpack speed against a registry on loopback: `bench [MEGABYTES]`.
//!
//! Prints, for gzip and zstd, megabytes a second: pulled without unpacking (packed bytes), unpacked (plain
//! bytes), and both at once as a real pull does them (plain bytes).

use std::io::Write;

use base::clock::{Clock, SystemClock};
use base::random::{Random, SeededRandom};
use oci::manifest::media;
use oci::pull::{Client, Deadlines, Hosts, PullOptions};
use oci::registry::{Options, bind, serve};
use oci::{Digest, Image, Platform, Reference, Store};
use serde_json::json;

const LAYERS: usize = 4;
const FILE: usize = 64 << 10;

fn main() -> oci::Result<()> {
    let megabytes: usize = std::env::args().nth(1).and_then(|of| of.parse().ok()).unwrap_or(256);
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let plain: Vec<Vec<u8>> = (0..LAYERS).map(|n| layer(n as u64, (megabytes << 20) / LAYERS)).collect();
    println!("{megabytes} MB in {LAYERS} layers of {} KB files", FILE >> 10);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs only threads");
    for (name, kind, pack) in
        [("gzip", media::OCI_LAYER_GZIP, gzip as fn(&[u8]) -> Vec<u8>), ("zstd", media::OCI_LAYER_ZSTD, zstd)]
    {
        let open = |what: &str| {
            Store::open(directory.path().join(format!("{name}-{what}")), oci::Options::default())
        };
        let (remote, local) = (open("remote")?, open("local")?);
        let packed = store_image(&remote, name, kind, &plain, pack)?;
        runtime.block_on(async {
            let listener = bind("127.0.0.1:0").await?;
            let address = listener.local_addr().expect("a bound socket has an address");
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = tokio::spawn(serve(listener, remote, Options::default(), async { drop(stopped.await) }));
            let client = Client::new(Hosts::default(), Deadlines::default(), SystemClock::shared());
            let reference: Reference = format!("{address}/{name}:1").parse()?;
            let total: usize = plain.iter().map(Vec::len).sum();

            let clock = SystemClock::new();
            let image = client.pull(&local, &reference, &PullOptions::default()).await?;
            let both = clock.monotonic().as_secs_f64();

            // The same blobs again, this time without unpacking: by a client that has the layers unpacked.
            let again = open("again")?;
            std::fs::remove_dir_all(again.root().join("layers")).expect("the store is ours");
            std::os::unix::fs::symlink(local.root().join("layers"), again.root().join("layers")).expect("the store is ours");
            let clock = SystemClock::new();
            client.pull(&again, &reference, &PullOptions::default()).await?;
            let pull = clock.monotonic().as_secs_f64();

            let unpack = unpack(&open("unpack")?, &local, &image)?;
            let rate = |bytes: usize, seconds: f64| bytes as f64 / 1e6 / seconds;
            println!(
                "{name}: {:.0} MB packed; pull {:.0} MB/s packed, unpack {:.0} MB/s plain, pull with unpack {:.0} MB/s plain ({both:.2} s)",
                packed as f64 / 1e6,
                rate(packed, pull),
                rate(total, unpack),
                rate(total, both),
            );
            drop(stop);
            server.await.expect("the server does not panic")
        })?;
    }
    Ok(())
}

/// Seconds to unpack an image's layers from blobs that are there.
fn unpack(into: &Store, from: &Store, image: &Image) -> oci::Result<f64> {
    for digest in [&image.manifest, &image.id].into_iter().chain(image.layers.iter().map(|of| &of.digest)) {
        let mut ingest = into.ingest()?;
        std::io::copy(&mut from.open_blob(digest)?, &mut ingest)
            .map_err(|error| oci::Error::io("copy blob", error))?;
        ingest.commit_as(digest)?;
    }
    let image = into.tag(&"bench:1".parse()?, &image.manifest, &Platform::host())?;
    let clock = SystemClock::new();
    into.unpack(&image)?;
    Ok(clock.monotonic().as_secs_f64())
}

/// A layer of files that compress about as well as a distribution's binaries.
fn layer(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = SeededRandom::new(seed);
    let mut builder = tar::Builder::new(Vec::with_capacity(bytes + (bytes >> 4)));
    let mut data = vec![0; FILE];
    for n in 0..bytes / FILE {
        for chunk in data.chunks_mut(64) {
            random.fill(&mut chunk[..28]);
            chunk[28..].fill((n & 0xff) as u8);
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(FILE as u64);
        header.set_mode(0o644);
        let path = format!("usr/lib/{seed}/{}/{n}", n % 32);
        builder.append_data(&mut header, path, &data[..]).expect("memory takes any archive");
    }
    builder.into_inner().expect("memory takes any archive")
}

fn store_image(
    store: &Store,
    name: &str,
    kind: &str,
    plain: &[Vec<u8>],
    pack: fn(&[u8]) -> Vec<u8>,
) -> oci::Result<usize> {
    let repository = store.root().join("repositories").join(name);
    let (blobs, manifests, tags) =
        (repository.join("_blobs"), repository.join("_manifests"), repository.join("_tags"));
    for directory in [&blobs, &manifests, &tags] {
        std::fs::create_dir_all(directory).expect("the store is ours");
    }
    let link = |digest: &Digest| digest.as_str().replace(':', "-");
    let mut total = 0;
    let mut put = |bytes: &[u8], kind: &str| -> oci::Result<serde_json::Value> {
        let digest = store.put_blob(bytes)?;
        std::fs::write(blobs.join(link(&digest)), b"").expect("the store is ours");
        total += bytes.len();
        Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
    };
    let diff_ids: Vec<Digest> = plain.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({"architecture": Platform::host().architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = put(config.to_string().as_bytes(), media::OCI_CONFIG)?;
    let layers = plain.iter().map(|layer| put(&pack(layer), kind)).collect::<oci::Result<Vec<_>>>()?;
    let manifest =
        json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": layers});
    let digest = store.put_blob(manifest.to_string().as_bytes())?;
    std::fs::write(manifests.join(link(&digest)), media::OCI_MANIFEST).expect("the store is ours");
    std::fs::write(tags.join("1"), digest.as_str()).expect("the store is ours");
    Ok(total)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes any stream")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).expect("memory takes any stream")
}
