//! `boga image` and `boga registry`: images without a cluster.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::SystemClock;
use base::random::SystemRandom;
use oci::archive::{self, Format, ImportOptions};
use oci::pull::{Client, Deadlines, Hosts, Keyring, PullOptions};
use oci::registry::{self, Users};
use oci::store::{Policy, bytes_to_free};
use oci::{Image, Platform, Reference, Store};

use crate::Failure;
use crate::signals::until_stopped;

#[derive(clap::Args)]
pub struct ImageFlags {
    /// Where images lie
    #[arg(long, value_name = "DIR", default_value = "/var/lib/boga/images", global = true)]
    data: PathBuf,

    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(clap::Subcommand)]
enum ImageCommand {
    /// Pull an image from its registry
    Pull {
        name: String,
        /// The platform to choose, such as linux/arm64/v8
        #[arg(long)]
        platform: Option<String>,
        /// A Docker configuration file with credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
        /// Mirrors, certificates and plain HTTP by registry
        #[arg(long, value_name = "FILE")]
        hosts: Option<PathBuf>,
    },
    /// List images
    Ls,
    /// Forget names of images; `gc` frees their space
    Rm {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Import a tarball made by `docker save`, or an OCI layout
    Load {
        tarball: PathBuf,
        /// The name for an image that has none
        #[arg(long)]
        name: Option<String>,
    },
    /// Write images to a tarball
    Export {
        #[arg(required = true)]
        names: Vec<String>,
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// oci or docker
        #[arg(long, default_value = "oci")]
        format: String,
    },
    /// Show an image's configuration and layers
    Inspect { name: String },
    /// Free what nothing leads to
    Gc {
        /// Drop images unused for this many hours, too
        #[arg(long, value_name = "HOURS")]
        unused: Option<u64>,
        /// Drop unused images while more than this share of the disk is in use
        #[arg(long, value_name = "PERCENT")]
        above: Option<u8>,
    },
}

#[derive(clap::Args)]
pub struct RegistryFlags {
    /// Where the registry's content lies
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: std::net::IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 5000)]
    port: u16,

    /// Ask for a password: one `name:hash` a line
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,

    /// Let anybody pull although there are users
    #[arg(long, requires = "users")]
    anonymous_pull: bool,
}

pub fn image(flags: ImageFlags) -> Result<(), Failure> {
    let store = Store::open(&flags.data, oci::Options::default())?;
    let mut out = std::io::stdout().lock();
    match flags.command {
        ImageCommand::Pull { name, platform, authfile, hosts } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let image =
                runtime.block_on(pull(&store, &name, platform, authfile.as_deref(), hosts.as_deref()))?;
            writeln!(out, "{}", image.id)?;
        }
        ImageCommand::Ls => {
            writeln!(out, "{:<64} {:<15} {:>10}", "NAME", "ID", "SIZE")?;
            for image in store.images()? {
                let id = image.id.to_string();
                let id = id.split(':').next_back().unwrap_or_default();
                for name in &image.names {
                    writeln!(
                        out,
                        "{:<64} {:<15} {:>10}",
                        name.to_string(),
                        &id[..12.min(id.len())],
                        size(image.size)
                    )?;
                }
            }
        }
        ImageCommand::Rm { names } => {
            for name in names {
                if !store.untag(&name)? {
                    return Err(format!("image {name:?}: not found").into());
                }
                writeln!(out, "{name}")?;
            }
        }
        ImageCommand::Load { tarball, name } => {
            let file = File::open(&tarball).map_err(|e| format!("{}: {e}", tarball.display()))?;
            let name = name.map(|name| name.parse::<Reference>()).transpose()?;
            for image in archive::import(&store, file, &ImportOptions { name, ..ImportOptions::default() })? {
                for name in &image.names {
                    writeln!(out, "{name}")?;
                }
            }
        }
        ImageCommand::Export { names, output, format } => {
            let format: Format = format.parse()?;
            let file = File::create(&output).map_err(|e| format!("{}: {e}", output.display()))?;
            archive::export(&store, &names.iter().map(String::as_str).collect::<Vec<_>>(), format, &file)?;
            file.sync_all()?;
        }
        ImageCommand::Inspect { name } => {
            let image = store.image(&name)?.ok_or_else(|| format!("image {name:?}: not found"))?;
            writeln!(out, "{}", serde_json::to_string_pretty(&described(&image))?)?;
        }
        ImageCommand::Gc { unused, above } => {
            let free = match above {
                None => 0,
                Some(percent) => {
                    let (capacity, available) = store.capacity()?;
                    bytes_to_free(capacity, available, percent, percent.saturating_sub(5))
                }
            };
            let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
            let policy = Policy { free, max_age: unused.map(hours), ..Policy::default() };
            let collected = store.collect(&policy)?;
            for name in &collected.images {
                writeln!(out, "{name}")?;
            }
            writeln!(
                out,
                "freed {} in {} blobs and {} layers",
                size(collected.bytes),
                collected.blobs,
                collected.layers
            )?;
        }
    }
    Ok(())
}

async fn pull(
    store: &Store,
    name: &str,
    platform: Option<String>,
    authfile: Option<&Path>,
    hosts: Option<&Path>,
) -> Result<Image, Failure> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let hosts = match hosts {
        Some(path) => Hosts::parse(&read(path)?)?,
        None => Hosts::default(),
    };
    let mut keyring = Keyring::default();
    if let Some(path) = authfile {
        keyring.add_docker_config(read(path)?.as_bytes())?;
    }
    let platform = match platform {
        Some(text) => Platform::parse(&text).ok_or_else(|| format!("{text:?} is not a platform"))?,
        None => Platform::host(),
    };
    let reference: Reference = oci::reference::with_default_tag(name)?.parse()?;
    let client = Client::new(hosts, Deadlines::default(), SystemClock::shared());
    let mut last: Option<Failure> = None;
    // Each credential that fits is tried, and at last none.
    for credential in keyring.lookup(name).into_iter().map(Some).chain([None]) {
        let options = PullOptions { credential, platform: platform.clone(), ..PullOptions::default() };
        match client.pull(store, &reference, &options).await {
            Ok(image) => return Ok(image),
            Err(error) => last = Some(error.into()),
        }
    }
    Err(last.unwrap_or_else(|| "nothing was tried".into()))
}

fn described(image: &Image) -> serde_json::Value {
    serde_json::json!({
        "id": image.id.to_string(),
        "manifest": image.manifest.to_string(),
        "target": image.target.to_string(),
        "names": image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "size": image.size,
        "pinned": image.pinned,
        "layers": image.layers.iter().map(|layer| layer.digest.to_string()).collect::<Vec<_>>(),
    })
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

pub fn registry(flags: RegistryFlags) -> Result<(), Failure> {
    let users = match &flags.users {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Some(Users::parse(&text, &mut SystemRandom)?)
        }
    };
    let options =
        registry::Options { users, anonymous_pull: flags.anonymous_pull, ..registry::Options::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&flags.data, oci::Options::default())?;
        let listener = registry::bind(&std::net::SocketAddr::new(flags.bind, flags.port).to_string()).await?;
        tracing::info!(address = %listener.local_addr()?, data = %flags.data.display(), "serving images");
        registry::serve(listener, store, options, until_stopped()?).await?;
        Ok(())
    })
}
