//! `boga server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::catalog::Catalog;
use apiserver::registry::{Admission, Cidr, Names, Ranges, Registry};
use apiserver::server::{Tls, serve};
use apiserver::stack::{MastersOnly, Stack};
use apiserver::{bootstrap, object};
use base::clock::{SharedClock, SystemClock};
use base::random::SystemRandom;
use base::shutdown::Shutdown;
use pki::{Authority, Identity};
use serde_json::json;
use store::{Embedded, Etcd, EtcdTls, Keyring, Options, Sealing, Store};
use tokio::net::TcpListener;

use crate::Failure;
use crate::signals::until_stopped;

#[derive(clap::Args)]
pub struct Flags {
    /// Run without a kubelet; nodes join from elsewhere
    #[arg(long)]
    no_node: bool,

    /// Where the cluster's state and keys lie
    #[arg(long, value_name = "DIR", default_value = "/var/lib/boga")]
    data: PathBuf,

    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 6443)]
    port: u16,

    /// Keep the state in etcd: one or more URLs, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd_endpoints: Vec<String>,

    /// Who signed etcd's certificates
    #[arg(long, value_name = "FILE", requires = "etcd_endpoints")]
    etcd_cafile: Option<PathBuf>,

    /// This server's certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,

    /// The IPv4 range of services' addresses
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12", value_parser = cidr)]
    service_cidr: Cidr,

    /// Write an administrator's kubeconfig here once the server is ready
    #[arg(long, value_name = "FILE")]
    write_kubeconfig: Option<PathBuf>,
}

impl Flags {
    fn ranges(&self) -> Ranges {
        Ranges { addresses: self.service_cidr, ..Ranges::default() }
    }
}

fn cidr(text: &str) -> Result<Cidr, String> {
    Cidr::parse(text).ok_or_else(|| format!("{text} is not an IPv4 range of at least four addresses"))
}

pub fn run(flags: Flags) -> Result<(), Failure> {
    if !flags.no_node {
        return Err("running a node beside the server is not built yet; pass --no-node".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(server(flags))
}

async fn server(flags: Flags) -> Result<(), Failure> {
    let clock: SharedClock = SystemClock::shared();
    let pki_folder = flags.data.join("pki");
    let authority = Authority::open(&pki_folder, "ca", clock.wall())?;
    // Pods reach the server at the first service address.
    let service = IpAddr::V4(flags.ranges().addresses.first());
    let ips: Vec<IpAddr> = [flags.bind, IpAddr::V4(Ipv4Addr::LOCALHOST), service]
        .into_iter()
        .filter(|ip| !ip.is_unspecified())
        .collect();
    let dns = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let certificate = authority.server("kube-apiserver", &dns, &ips, clock.wall())?;

    let sealing = Sealing::of_secrets(
        Keyring::load_or_create(&flags.data.join("sealing.keys"), &mut SystemRandom)?,
        Box::new(SystemRandom),
    );
    let options = Options::new(clock.clone(), Arc::new(object::annotate), Some(sealing));
    let store = open_store(&flags, options).await?;

    let registry = Arc::new(Registry {
        store: store.clone(),
        catalog: Arc::new(Catalog::builtin()).into(),
        clock: clock.clone(),
        names: Names::new(Box::new(SystemRandom)),
        admission: Admission::standard(),
        ranges: flags.ranges(),
    });
    let stack = Arc::new(Stack { registry, authorizer: Box::new(MastersOnly), version: version() });
    bootstrap::run(&stack).await?;

    let listener = TcpListener::bind(SocketAddr::new(flags.bind, flags.port))
        .await
        .map_err(|e| format!("listening on {}:{}: {e}", flags.bind, flags.port))?;
    let address = listener.local_addr()?;
    bootstrap::advertise(&stack, address).await?;
    if let Some(path) = &flags.write_kubeconfig {
        let user = authority.client(&Identity::new("kubernetes-admin", &["system:masters"]), clock.wall())?;
        let host = if flags.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { flags.bind };
        let url = format!("https://{}", SocketAddr::new(host, address.port()));
        pki::write_private(path, pki::kubeconfig("boga", &url, authority.certificate(), &user).as_bytes())?;
    }
    tracing::info!(%address, data = %flags.data.display(), "serving");

    let shutdown = Shutdown::new();
    let (stop, stopped) = (shutdown.clone(), until_stopped()?);
    tokio::spawn(async move {
        stopped.await;
        stop.stop();
    });
    let tls = Tls {
        certificate: certificate.certificate,
        key: certificate.key,
        client_authority: authority.certificate().to_owned(),
    };
    serve(listener, &tls, stack, shutdown).await?;
    store.close().await;
    Ok(())
}

async fn open_store(flags: &Flags, options: Options) -> Result<Store, Failure> {
    if flags.etcd_endpoints.is_empty() {
        let embedded = Embedded::at(flags.data.join("store.redb"));
        // Opening reads the whole file, which is no work for the runtime's own threads.
        return Ok(tokio::task::spawn_blocking(move || Store::embedded(&embedded, options)).await??);
    }
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let identity = match (&flags.etcd_certfile, &flags.etcd_keyfile) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let tls = match &flags.etcd_cafile {
        Some(path) => Some(EtcdTls { authority: read(path)?, identity }),
        None if identity.is_some() => return Err("--etcd-certfile needs --etcd-cafile".into()),
        None => None,
    };
    let etcd = Etcd { endpoints: flags.etcd_endpoints.clone(), tls, compact_every: Some(COMPACT_EVERY) };
    Ok(Store::etcd(&etcd, options, Box::new(SystemRandom)).await?)
}

/// How often this server offers to compact etcd, as upstream's does.
const COMPACT_EVERY: Duration = Duration::from_secs(300);

/// What `/version` says: the Kubernetes release whose API this is.
fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": format!("v1.37.0+boga.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}
