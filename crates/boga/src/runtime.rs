//! `boga runtime` and `boga shim`: the container runtime alone, without Kubernetes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use base::clock::SystemClock;
use base::random::SystemRandom;
use oci::pull::{Client, Deadlines, Hosts};
use runtime::cri::Cri;
use runtime::cri::server;
use runtime::cri::streaming::{Limits, Server};
use runtime::engine::{Engine, Options};
use runtime::network::Loopback;
use runtime::shims::Executable;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::signals::until_stopped;

#[derive(clap::Args)]
pub struct RuntimeFlags {
    /// Where images, sandboxes and containers lie
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The CRI socket, which crictl and a kubelet speak to
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Mirrors, certificates and plain HTTP by registry
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,

    /// An external OCI runtime by RuntimeClass handler; may be given more than once
    #[arg(long, value_name = "NAME=PATH", value_parser = handler)]
    handler: Vec<(String, PathBuf)>,

    /// Where Localhost seccomp profiles lie
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/seccomp")]
    seccomp: PathBuf,
}

fn handler(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.into(), path.into())),
        _ => Err("write NAME=PATH".into()),
    }
}

pub fn runtime(flags: RuntimeFlags) -> Result<(), Failure> {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    threads.block_on(async {
        let hosts = match &flags.hosts {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                Hosts::parse(&text)?
            }
            None => Hosts::default(),
        };
        let options = Options {
            root: flags.data.join("runtime"),
            images: oci::Store::open(flags.data.join("images"), oci::Options::default())?,
            registries: Client::new(hosts, Deadlines::default(), SystemClock::shared()),
            shim: Executable::seal(&std::env::current_exe()?, vec!["shim".into()])?,
            shim_cgroup: None,
            cgroup_parent: "/boga".into(),
            // Sandboxes of their own get a loopback device; a pod network comes with a node.
            network: Arc::new(Loopback),
            clock: SystemClock::shared(),
            random: parking_lot::Mutex::new(Box::new(SystemRandom)),
            handlers: flags.handler.iter().cloned().collect::<BTreeMap<_, _>>(),
            seccomp_directory: flags.seccomp,
        };
        let streaming =
            Server::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), Limits::default()).await?;
        let engine: Arc<dyn Cri> = Arc::new(Engine::open(options).await?.with_streaming(streaming.clone()));
        let listener = server::bind(&flags.socket)?;
        tracing::info!(socket = %flags.socket.display(), data = %flags.data.display(), "serving the CRI");
        let stop = CancellationToken::new();
        let (stopped, token) = (until_stopped()?, stop.clone());
        tokio::spawn(async move {
            stopped.await;
            token.cancel();
        });
        tokio::spawn(streaming.serve(engine.clone(), stop.clone()));
        server::serve(engine, listener, stop).await;
        Ok(())
    })
}

/// One pod's shim. It runs from a sealed copy of this program, before anything else is set up: a shim has one
/// thread.
pub fn shim(arguments: impl Iterator<Item = OsString>) -> ! {
    std::process::exit(runtime::shim::main(arguments))
}
