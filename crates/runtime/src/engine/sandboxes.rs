//! Sandboxes: made, stopped, removed.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::records::{SandboxRecord, Stage};
use super::{Container, Engine, Sandbox, path_text};
use crate::cri::{
    ContainerEventType, ContainerState, DnsConfig, Error, NamespaceMode, PodSandboxConfig, Result,
    RunPodSandboxRequest,
};
use crate::network::Attachment;
use crate::shim::protocol::{Answer, Nothing, Operation};
use crate::shims::Shim;
use crate::spec;

/// How long a shim may take to end what it started before it is killed itself.
const SHUTDOWN: std::time::Duration = std::time::Duration::from_secs(30);

/// Size of a pod's /dev/shm.
const SHM_SIZE: &str = "67108864";

pub(super) fn sandbox_name(config: &PodSandboxConfig) -> Result<String> {
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Error::invalid("sandbox config must include metadata"))?;
    Ok(format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt))
}

/// Whether a sandbox has a network of its own.
pub(super) fn own_network(config: &PodSandboxConfig) -> bool {
    namespace_mode(config, |options| options.network()) != NamespaceMode::Node
}

fn namespace_mode(
    config: &PodSandboxConfig,
    of: impl Fn(&crate::cri::NamespaceOption) -> NamespaceMode,
) -> NamespaceMode {
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    context.and_then(|context| context.namespace_options.as_ref()).map_or(NamespaceMode::Pod, of)
}

impl Engine {
    pub(super) async fn run_sandbox(&self, request: RunPodSandboxRequest) -> Result<String> {
        let config = request.config.ok_or_else(|| Error::invalid("sandbox config is missing"))?;
        let name = sandbox_name(&config)?;
        self.external(&request.runtime_handler)?;
        spec::run_pod(&config, "")?;
        let id = self.new_id();
        let reservation = self.reserve("sandbox", name, &id)?;
        let directory = self.pods().join(&id);
        let record = SandboxRecord {
            id: id.clone(),
            config: Some(config.clone()),
            created_at: self.now(),
            stage: Stage::Creating.into(),
            handler: request.runtime_handler,
            attached: own_network(&config),
            ..SandboxRecord::default()
        };
        let sandbox = Arc::new(Sandbox {
            id: id.clone(),
            directory,
            record: Mutex::new(record),
            shim: Mutex::new(None),
            busy: tokio::sync::Mutex::new(()),
        });
        // A client that hangs up must not leave half a sandbox: the work goes on without it.
        let (engine, made) = (self.clone(), sandbox.clone());
        let work = tokio::spawn(async move {
            let result = engine.make_sandbox(&made, &config).await;
            if let Err(error) = &result {
                tracing::debug!(sandbox = made.id, %error, "a sandbox could not be made");
                engine.end_sandbox(&made).await;
                engine.erase_sandbox(&made).await?;
                drop(reservation);
            } else {
                reservation.keep();
            }
            result
        });
        work.await.map_err(|error| Error::unknown(error.to_string()))??;
        Ok(id)
    }

    async fn make_sandbox(&self, sandbox: &Arc<Sandbox>, config: &PodSandboxConfig) -> Result<()> {
        let (made, of) = (sandbox.clone(), config.clone());
        Engine::blocking(move || prepare(&made, &of)).await?;
        let shim = self.start_shim(sandbox).await?;
        let netns = path_text(&sandbox.netns())?;
        let pod = match shim.call(Operation::RunPod(spec::run_pod(config, &netns)?)).await {
            Ok(Answer::Pod(pod)) => pod,
            Ok(_) => return Err(Error::unknown("unexpected answer of a shim")),
            Err(error) => return Err(error.context("failed to create the sandbox's namespaces")),
        };
        sandbox.record.lock().namespaces = pod.namespaces;
        if own_network(config) {
            let attachment = Attachment { sandbox: &sandbox.id, netns: &sandbox.netns(), config };
            let ips = self.0.options.network.attach(attachment).await.map_err(|error| {
                Error::unknown(format!("failed to setup network for sandbox {:?}: {error}", sandbox.id))
            })?;
            sandbox.record.lock().ips = ips.iter().map(ToString::to_string).collect();
        }
        sandbox.record.lock().stage = Stage::Ready.into();
        sandbox.save()?;
        self.0.tables.lock().sandboxes.insert(sandbox.id.clone(), sandbox.clone());
        self.emit(&sandbox.id, sandbox, ContainerEventType::Created);
        self.emit(&sandbox.id, sandbox, ContainerEventType::Started);
        Ok(())
    }

    async fn start_shim(&self, sandbox: &Arc<Sandbox>) -> Result<Arc<Shim>> {
        let options = &self.0.options;
        options.shim.start(&sandbox.directory, options.shim_cgroup.as_deref()).await?;
        self.connect_shim(sandbox).await
    }

    /// Connects to a sandbox's shim and follows what it tells. Boxed, since what follows a connection may have
    /// to make the next one.
    pub(super) fn connect_shim(&self, sandbox: &Arc<Sandbox>) -> BoxFuture<'static, Result<Arc<Shim>>> {
        let (engine, sandbox) = (self.clone(), sandbox.clone());
        Box::pin(async move {
            let (shim, mut events) = Shim::connect(&sandbox.directory).await?;
            let shim = Arc::new(shim);
            let state = match shim.call(Operation::Subscribe(Nothing {})).await? {
                Answer::State(state) => state,
                _ => return Err(Error::unknown("unexpected answer of a shim")),
            };
            *sandbox.shim.lock() = Some(shim.clone());
            for status in state.containers {
                engine.learn(&sandbox, status);
            }
            let followed = Arc::downgrade(&sandbox);
            tokio::spawn(async move {
                while let Some(status) = events.recv().await {
                    let Some(sandbox) = followed.upgrade() else { return };
                    engine.learn(&sandbox, status);
                }
                if let Some(sandbox) = followed.upgrade() {
                    engine.shim_lost(&sandbox).await;
                }
            });
            Ok(shim)
        })
    }

    /// A connection to a shim has ended. If the shim lives, a new one is made; if not, everything it ran is
    /// killed and said to be dead.
    async fn shim_lost(&self, sandbox: &Arc<Sandbox>) {
        let stopped = sandbox.record.lock().stage() != Stage::Ready;
        if stopped {
            return;
        }
        if crate::shims::alive(&sandbox.directory).is_some() && self.connect_shim(sandbox).await.is_ok() {
            return;
        }
        let _busy = sandbox.busy.lock().await;
        if sandbox.record.lock().stage() == Stage::Ready {
            tracing::warn!(sandbox = sandbox.id, "the sandbox's shim died; its containers are killed");
            self.end_sandbox(sandbox).await;
        }
    }

    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let engine = self.clone();
        // Goes on when the client hangs up.
        let work = tokio::spawn(async move {
            let _busy = sandbox.busy.lock().await;
            let attached = sandbox.record.lock().attached;
            if sandbox.record.lock().stage() == Stage::Stopped && !attached {
                return Ok(());
            }
            engine.end_sandbox(&sandbox).await;
            match sandbox.record.lock().attached {
                true => Err(Error::unknown(format!(
                    "failed to tear down the network of sandbox {:?}",
                    sandbox.id
                ))),
                false => Ok(()),
            }
        });
        work.await.map_err(|error| Error::unknown(error.to_string()))?
    }

    /// Ends everything that runs in a sandbox, disconnects it and unmounts what it had mounted. What cannot be
    /// done now stays in the record, and is tried again by the next stop or start.
    pub(super) async fn end_sandbox(&self, sandbox: &Arc<Sandbox>) {
        let config = sandbox.record.lock().config.clone().unwrap_or_default();
        if sandbox.record.lock().attached {
            let attachment = Attachment { sandbox: &sandbox.id, netns: &sandbox.netns(), config: &config };
            match self.0.options.network.detach(attachment).await {
                Ok(()) => sandbox.record.lock().attached = false,
                Err(error) => {
                    tracing::warn!(sandbox = sandbox.id, %error, "cannot detach a sandbox's network")
                }
            }
        }
        let shim = sandbox.shim.lock().clone();
        if let Some(shim) = shim {
            let bye = shim.call(Operation::Shutdown(Nothing {}));
            let _ = tokio::time::timeout(SHUTDOWN, bye).await;
        }
        if let Some(pid) = crate::shims::alive(&sandbox.directory).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for container in self.containers_of(&sandbox.id) {
            self.bury(sandbox, &container);
        }
        let ended = sandbox.clone();
        let _ = Engine::blocking(move || {
            unmount(&ended.netns());
            unmount(&ended.shm());
            Ok(())
        })
        .await;
        *sandbox.shim.lock() = None;
        let was_ready = {
            let mut record = sandbox.record.lock();
            let was_ready = record.stage() == Stage::Ready;
            record.stage = Stage::Stopped.into();
            record.namespaces = BTreeMap::new();
            was_ready
        };
        if let Err(error) = sandbox.save() {
            tracing::warn!(sandbox = sandbox.id, %error, "cannot record a stopped sandbox");
        }
        if was_ready {
            self.emit(&sandbox.id, sandbox, ContainerEventType::Stopped);
        }
    }

    /// Makes sure that a container whose shim is gone is dead, and known to be.
    pub(super) fn bury(&self, sandbox: &Sandbox, container: &Arc<Container>) {
        if let Ok(group) = self.0.cgroups.group(&container.record.lock().cgroup) {
            group.kill();
        }
        if container.state() != ContainerState::Running {
            return;
        }
        let recorded = crate::shim::status::read(&container.bundle).filter(|status| status.finished_at != 0);
        let status = recorded.unwrap_or_else(|| {
            let mut status = container.status.borrow().clone();
            status.finished_at = self.now();
            status.exit_code = 128 + libc::SIGKILL;
            if let Err(error) = crate::shim::status::write(&container.bundle, &status) {
                tracing::warn!(container = container.id, %error, "cannot record the end of a container");
            }
            status
        });
        self.learn(sandbox, status);
    }

    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(&sandbox.id).await?;
        let engine = self.clone();
        let work = tokio::spawn(async move {
            for container in engine.containers_of(&sandbox.id) {
                engine.remove_container(&container.id).await?;
            }
            let _busy = sandbox.busy.lock().await;
            engine.erase_sandbox(&sandbox).await
        });
        work.await.map_err(|error| Error::unknown(error.to_string()))?
    }

    /// Forgets a sandbox of which nothing runs any more.
    pub(super) async fn erase_sandbox(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let directory = sandbox.directory.clone();
        Engine::blocking(move || erase(&directory)).await?;
        let known = self.0.tables.lock().sandboxes.remove(&sandbox.id).is_some();
        self.release_names(&sandbox.id);
        if known {
            self.emit(&sandbox.id, sandbox, ContainerEventType::Deleted);
        }
        Ok(())
    }

    /// The external runtime behind a handler's name; `None` for the embedded one.
    pub(super) fn external(&self, handler: &str) -> Result<Option<std::path::PathBuf>> {
        match handler {
            "" | "boga" => Ok(None),
            name => match self.0.options.handlers.get(name) {
                Some(program) => Ok(Some(program.clone())),
                None => Err(Error::unknown(format!(
                    "failed to get sandbox runtime: no runtime for {name:?} is configured"
                ))),
            },
        }
    }
}

/// Makes a sandbox's directory, record and files.
fn prepare(sandbox: &Sandbox, config: &PodSandboxConfig) -> Result<()> {
    let directory = |path: &Path| std::fs::DirBuilder::new().mode(0o711).create(path);
    directory(&sandbox.directory)?;
    sandbox.save()?;
    directory(&sandbox.containers())?;
    if !config.log_directory.is_empty() {
        std::fs::create_dir_all(&config.log_directory)
            .map_err(|error| Error::unknown(format!("failed to create sandbox log directory: {error}")))?;
    }
    let hostname = match &*config.hostname {
        "" => String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned(),
        name => name.to_owned(),
    };
    std::fs::write(sandbox.directory.join("hostname"), format!("{hostname}\n"))?;
    std::fs::write(sandbox.directory.join("hosts"), std::fs::read("/etc/hosts").unwrap_or_default())?;
    let resolv_conf = match &config.dns_config {
        Some(dns) if *dns != DnsConfig::default() => resolv_conf(dns)?.into_bytes(),
        _ => std::fs::read("/etc/resolv.conf").unwrap_or_default(),
    };
    std::fs::write(sandbox.directory.join("resolv.conf"), resolv_conf)?;
    if namespace_mode(config, |options| options.ipc()) != NamespaceMode::Node {
        directory(&sandbox.shm())?;
        let (uids, gids) = spec::id_maps(config)?;
        let id = |maps: &[_]| crate::launch::host_id(maps, 0).unwrap_or(0);
        let options = format!("mode=1777,size={SHM_SIZE},uid={},gid={}", id(&uids), id(&gids));
        let options = std::ffi::CString::new(options).expect("the options have no NUL byte");
        use rustix::mount::MountFlags;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("shm", sandbox.shm(), "tmpfs", flags, &*options)
            .map_err(|errno| Error::unknown(format!("failed to mount sandbox shm: {errno}")))?;
    }
    Ok(())
}

fn resolv_conf(dns: &DnsConfig) -> Result<String> {
    let mut text = String::new();
    let plain = |words: &[String]| match words.iter().find(|word| word.contains(['\n', '\r'])) {
        Some(word) => Err(Error::invalid(format!("invalid DNS setting {word:?}"))),
        None => Ok(()),
    };
    for words in [&dns.servers, &dns.searches, &dns.options] {
        plain(words)?;
    }
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    Ok(text)
}

/// Unmounts whatever lies at `path`, and below it, however deep it is stacked.
pub(super) fn unmount(path: &Path) {
    /// Mounts that may lie on one another before something is wrong.
    const MAX_STACKED: usize = 16;
    for _ in 0..MAX_STACKED {
        if rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_err() {
            return;
        }
    }
}

/// Removes a directory tree. A crash in the middle leaves a tree without a record, which the next start sweeps
/// away.
pub(super) fn erase(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::unknown(format!("remove {}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_written_in_upstreams_order() {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let dns = DnsConfig {
            servers: words(&["10.0.0.10", "fd00::a"]),
            searches: words(&["a.svc", "svc"]),
            options: words(&["ndots:5"]),
        };
        assert_eq!(
            resolv_conf(&dns).unwrap(),
            "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n"
        );
        assert!(resolv_conf(&DnsConfig { servers: words(&["1.1.1.1\nsearch evil"]), ..dns }).is_err());
    }
}
