//! The embedded runtime: the CRI over shims and the image store.
//!
//! The engine decides and remembers; shims run and record. Everything about a sandbox lies in one directory,
//! with that of each container inside it: record, bundle, status, socket. The daemon may die at any moment:
//! [`recover`](Engine::open) finds the shims that live, learns from the disk what the dead ones recorded, and
//! sweeps away what no record owns.
//!
//! Lock order: a sandbox's `busy` before its containers' `busy`; the tables' lock last, and never across an
//! await.

mod containers;
mod exec;
mod filter;
mod images;
mod info;
mod records;
mod recover;
mod sandboxes;
mod service;
mod stats;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Weak;

use base::clock::SharedClock;
use base::random::Random;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::cgroup::Hierarchies;
use crate::cri::{ContainerEventResponse, ContainerEventType, ContainerState, Error, Result};
use crate::network::PodNetwork;
use crate::shim::protocol::Status;
use crate::shims::{Executable, Shim};
use records::{ContainerRecord, SandboxRecord};

/// Events that a subscriber may fall behind before it is told so and cut off.
const EVENT_QUEUE: usize = 4096;

/// How the engine is set up.
pub struct Options {
    /// Where sandboxes and containers live; 0700.
    pub root: PathBuf,
    pub images: oci::Store,
    pub registries: oci::pull::Client,
    pub shim: Executable,
    /// The cgroup that shims are put into; `None` leaves them in the daemon's.
    pub shim_cgroup: Option<String>,
    /// Where pods go whose configuration names no cgroup.
    pub cgroup_parent: String,
    pub network: Arc<dyn PodNetwork>,
    pub clock: SharedClock,
    pub random: Mutex<Box<dyn Random>>,
    /// RuntimeClass handlers that are external OCI runtimes: name to program. The empty name and `boga` are
    /// the embedded runtime.
    pub handlers: BTreeMap<String, PathBuf>,
    /// Where Localhost seccomp profiles with relative names lie.
    pub seccomp_directory: PathBuf,
}

/// The embedded runtime. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    options: Options,
    cgroups: Arc<Hierarchies>,
    tables: Mutex<Tables>,
    events: broadcast::Sender<ContainerEventResponse>,
    streaming: Mutex<Option<crate::cri::streaming::Server>>,
}

#[derive(Default)]
struct Tables {
    sandboxes: BTreeMap<String, Arc<Sandbox>>,
    containers: BTreeMap<String, Arc<Container>>,
    /// Names of sandboxes and containers to the ids that have them: a retried create must not make a second.
    names: BTreeMap<String, String>,
}

struct Sandbox {
    id: String,
    directory: PathBuf,
    record: Mutex<SandboxRecord>,
    shim: Mutex<Option<Arc<Shim>>>,
    /// Held while the sandbox is changed.
    busy: tokio::sync::Mutex<()>,
}

struct Container {
    id: String,
    bundle: PathBuf,
    sandbox: Weak<Sandbox>,
    record: Mutex<ContainerRecord>,
    status: watch::Sender<Status>,
    /// Held while the container is changed.
    busy: tokio::sync::Mutex<()>,
}

impl Container {
    fn state(&self) -> ContainerState {
        let status = self.status.borrow();
        match () {
            () if status.finished_at != 0 => ContainerState::Exited,
            () if status.started_at != 0 => ContainerState::Running,
            () => ContainerState::Created,
        }
    }

    fn sandbox(&self) -> Result<Arc<Sandbox>> {
        self.sandbox.upgrade().ok_or_else(|| Error::not_found("the container's sandbox is gone"))
    }
}

impl Sandbox {
    /// The file that the network namespace is bound to.
    fn netns(&self) -> PathBuf {
        self.directory.join("netns")
    }

    fn shm(&self) -> PathBuf {
        self.directory.join("shm")
    }

    fn containers(&self) -> PathBuf {
        self.directory.join("containers")
    }

    fn live_shim(&self) -> Result<Arc<Shim>> {
        let shim = self.shim.lock().clone().filter(|shim| shim.connected());
        shim.ok_or_else(|| Error::unknown(format!("sandbox {:?} is not running", self.id)))
    }

    fn save(&self) -> Result<()> {
        let record = self.record.lock().clone();
        records::save(&self.directory, &record)
            .map_err(|error| Error::unknown(format!("record sandbox {:?}: {error}", self.id)))
    }
}

impl Engine {
    /// Opens the engine over `options.root`, takes up the sandboxes that live, and sweeps away what is left of
    /// those that do not.
    pub async fn open(mut options: Options) -> Result<Engine> {
        use std::os::unix::fs::DirBuilderExt;
        let pods = options.root.join("pods");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&pods)?;
        // Mounts are told by their paths, and those have no links in them.
        options.root = options.root.canonicalize()?;
        let cgroups = Hierarchies::detect().map_err(|failure| Error::unknown(failure.0))?;
        let engine = Engine(Arc::new(Inner {
            options,
            cgroups,
            tables: Mutex::new(Tables::default()),
            events: broadcast::channel(EVENT_QUEUE).0,
            streaming: Mutex::new(None),
        }));
        engine.recover().await?;
        Ok(engine)
    }

    /// Offers Exec, Attach and PortForward at URLs of this server. Without one those calls are refused; the
    /// in-process streams need none.
    pub fn with_streaming(self, server: crate::cri::streaming::Server) -> Engine {
        *self.0.streaming.lock() = Some(server);
        self
    }

    fn pods(&self) -> PathBuf {
        self.0.options.root.join("pods")
    }

    fn now(&self) -> i64 {
        self.0.options.clock.wall().0
    }

    /// 64 hexadecimal digits, as in upstream's runtimes.
    fn new_id(&self) -> String {
        let mut bytes = [0; 32];
        self.0.options.random.lock().fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The sandbox with this id, or with an id that starts so.
    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        find(&self.0.tables.lock().sandboxes, id).ok_or_else(|| {
            Error::not_found(format!("an error occurred when try to find sandbox {id:?}: not found"))
        })
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        find(&self.0.tables.lock().containers, id).ok_or_else(|| {
            Error::not_found(format!("an error occurred when try to find container {id:?}: not found"))
        })
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let tables = self.0.tables.lock();
        tables
            .containers
            .values()
            .filter(|container| container.record.lock().sandbox == sandbox)
            .cloned()
            .collect()
    }

    /// Reserves a name for an id. The reservation is given up when the guard is dropped without `keep`.
    fn reserve(&self, kind: &str, name: String, id: &str) -> Result<Reservation> {
        let mut tables = self.0.tables.lock();
        if let Some(owner) = tables.names.get(&name) {
            return Err(Error::unknown(format!(
                "failed to reserve {kind} name {name:?}: name {name:?} is reserved for {owner:?}"
            )));
        }
        tables.names.insert(name.clone(), id.to_owned());
        Ok(Reservation { engine: self.clone(), name: Some(name) })
    }

    fn release_names(&self, id: &str) {
        self.0.tables.lock().names.retain(|_, owner| owner != id);
    }

    /// Tells subscribers of GetContainerEvents. `id` is a container's or a sandbox's.
    fn emit(&self, id: &str, sandbox: &Sandbox, kind: ContainerEventType) {
        let containers = self.containers_of(&sandbox.id);
        let _ = self.0.events.send(ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: self.now(),
            pod_sandbox_status: Some(info::sandbox_status(sandbox)),
            containers_statuses: containers
                .iter()
                .map(|container| info::container_status(container))
                .collect(),
        });
    }

    /// Work that blocks, away from the tasks that must not.
    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(Error::new(crate::cri::Code::Internal, format!("a task failed: {error}"))),
        }
    }
}

struct Reservation {
    engine: Engine,
    name: Option<String>,
}

impl Reservation {
    fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.engine.0.tables.lock().names.remove(name);
        }
    }
}

/// An entry by its key, or by a beginning that only it has.
fn find<T: Clone>(table: &BTreeMap<String, T>, id: &str) -> Option<T> {
    if let Some(found) = table.get(id) {
        return Some(found.clone());
    }
    let mut matching =
        table.range(id.to_owned()..).take_while(|(key, _)| !id.is_empty() && key.starts_with(id));
    match (matching.next(), matching.next()) {
        (Some((_, found)), None) => Some(found.clone()),
        _ => None,
    }
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::invalid(format!("{} is not UTF-8", path.display())))
}
