//! Containers: made, started, stopped, changed, removed.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::records::{self, ContainerRecord, Stage};
use super::sandboxes::{erase, sandbox_name, unmount};
use super::{Container, Engine, Sandbox, path_text};
use crate::cri::{
    ContainerConfig, ContainerEventType, ContainerState, CreateContainerRequest, Error, ImageSpec,
    LinuxContainerResources, LinuxContainerSecurityContext, NamespaceMode, PodSandboxConfig, Result, Signal,
    UpdateContainerResourcesRequest,
};
use crate::launch::{CONFIG, ROOTFS, Root, overlay};
use crate::shim::protocol::{self, Named, Operation, Start, Status, Stop};
use crate::spec::{self, ImageMount, Inputs, SandboxFiles};
use crate::users::{MAX_FILE, Resolved};

/// How long the dead may keep a cgroup busy before giving up on its removal.
const CGROUP_PATIENCE: Duration = Duration::from_secs(10);
const CGROUP_RETRY: Duration = Duration::from_millis(5);

/// Whatever is left of the grace when it is larger than any pod would wait.
const MAX_GRACE: i64 = 10 * 365 * 24 * 3600;

/// What the owner of an image in use is called in the image store.
pub(super) fn holder(container: &str) -> String {
    format!("{HOLDER}{container}")
}

pub(super) const HOLDER: &str = "ctr-";

impl Engine {
    pub(super) async fn make_container(&self, request: CreateContainerRequest) -> Result<String> {
        let config = request.config.ok_or_else(|| Error::invalid("container config is missing"))?;
        let sandbox = self.sandbox(&request.pod_sandbox_id)?;
        let metadata = config
            .metadata
            .clone()
            .ok_or_else(|| Error::invalid("container config must include metadata"))?;
        let pod = sandbox.record.lock().config.clone().unwrap_or_default();
        let id = self.new_id();
        let name = format!("{}_{}_{}", metadata.name, sandbox_name(&pod)?, metadata.attempt);
        let reservation = self.reserve("container", name, &id)?;
        let engine = self.clone();
        let work = tokio::spawn(async move {
            let _busy = sandbox.busy.lock().await;
            if sandbox.record.lock().stage() != Stage::Ready {
                return Err(Error::unknown(format!("sandbox {:?} is not running", sandbox.id)));
            }
            let (maker, of, new) = (engine.clone(), sandbox.clone(), id.clone());
            let made = Engine::blocking(move || maker.lay_out(&of, &new, config, &pod)).await?;
            reservation.keep();
            engine.0.tables.lock().containers.insert(id.clone(), made);
            engine.emit(&id, &sandbox, ContainerEventType::Created);
            Ok(id)
        });
        work.await.map_err(|error| Error::unknown(error.to_string()))?
    }

    /// Puts a container's bundle on the disk; undoes it when something fails.
    fn lay_out(
        &self,
        sandbox: &Arc<Sandbox>,
        id: &str,
        config: ContainerConfig,
        pod: &PodSandboxConfig,
    ) -> Result<Arc<Container>> {
        let bundle = sandbox.containers().join(id);
        let mut record = ContainerRecord {
            id: id.to_owned(),
            sandbox: sandbox.id.clone(),
            created_at: self.now(),
            log_path: log_path(pod, &config),
            config: Some(config),
            ..ContainerRecord::default()
        };
        let result = self.lay_out_in(sandbox, &bundle, &mut record, pod);
        if let Err(error) = result {
            self.give_up_images(&record);
            let _ = erase(&bundle);
            return Err(error);
        }
        Ok(Arc::new(Container {
            id: id.to_owned(),
            bundle,
            sandbox: Arc::downgrade(sandbox),
            record: Mutex::new(record),
            status: watch::Sender::new(Status { container: id.to_owned(), ..Status::default() }),
            busy: tokio::sync::Mutex::new(()),
        }))
    }

    fn lay_out_in(
        &self,
        sandbox: &Sandbox,
        bundle: &Path,
        record: &mut ContainerRecord,
        pod: &PodSandboxConfig,
    ) -> Result<()> {
        let config = record.config.clone().unwrap_or_default();
        let store = &self.0.options.images;
        let image = self.image(config.image.as_ref())?;
        record.image_id = image.id.to_string();
        record.image_ref = super::images::image_ref(&image);
        let linux = pod.linux.clone().unwrap_or_default();
        let parent = match &*linux.cgroup_parent {
            "" => &*self.0.options.cgroup_parent,
            parent => parent,
        };
        record.cgroup = format!("{}/{}", parent.trim_end_matches('/'), record.id);
        self.0.cgroups.group(&record.cgroup).map_err(|failure| Error::invalid(failure.0))?;
        record.holders = vec![holder(&record.id)];
        record.stop_signal = stop_signal(&config, &image.config.config.stop_signal)?;

        // The record names what the container will hold, and is there before it holds anything.
        std::fs::DirBuilder::new().mode(0o711).create(bundle)?;
        std::fs::create_dir(bundle.join(ROOTFS))?;
        let mut images = BTreeMap::new();
        for (index, mount) in config.mounts.iter().enumerate() {
            if mount.image.as_ref().is_some_and(|image| !image.image.is_empty()) {
                record.holders.push(format!("{}-{index}", holder(&record.id)));
                images.insert(index, mount.image.clone());
            }
        }
        records::save(bundle, record)?;

        let root = store.hold(&record.holders[0], &image, oci::Access::Writable).map_err(image_error)?;
        let mut mounts = BTreeMap::new();
        for (index, spec) in images {
            let image = self.image(spec.as_ref())?;
            let owner = format!("{}-{index}", record.holders[0]);
            let tree = store.hold(&owner, &image, oci::Access::ReadOnly).map_err(image_error)?;
            mounts.insert(index, image_mount(tree));
        }
        let security =
            config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default();
        let user = find_user(&root, &security, &image.config.config.user)?;
        (record.uid, record.gid, record.groups) = (user.uid, user.gid, user.groups.clone());

        let namespaces = sandbox.record.lock().namespaces.clone();
        let inputs = Inputs {
            config: &config,
            sandbox: pod,
            image: &image.config.config,
            user: &user,
            pod: &namespaces,
            target: self.target(&security)?,
            files: &files(sandbox),
            cgroup: record.cgroup.clone(),
            cgroups: self.0.cgroups.kind(),
            images: &mounts,
            seccomp_directory: &self.0.options.seccomp_directory,
        };
        let spec = spec::container(&inputs)?;
        let text = serde_json::to_vec(&spec).map_err(|error| Error::unknown(error.to_string()))?;
        std::fs::write(bundle.join(CONFIG), text)?;
        record.complete = true;
        Ok(records::save(bundle, record)?)
    }

    /// The process whose pid namespace a container joins.
    fn target(&self, security: &LinuxContainerSecurityContext) -> Result<Option<i32>> {
        let options = security.namespace_options.clone().unwrap_or_default();
        if options.pid() != NamespaceMode::Target {
            return Ok(None);
        }
        let target = self.container(&options.target_id).map_err(|_| {
            Error::precondition(format!("invalid target container: {:?} not found", options.target_id))
        })?;
        if target.state() != ContainerState::Running {
            return Err(Error::precondition(format!(
                "invalid target container: {:?} is not running",
                options.target_id
            )));
        }
        let pid = target.status.borrow().pid;
        Ok(Some(pid))
    }

    pub(super) fn image(&self, spec: Option<&ImageSpec>) -> Result<oci::Image> {
        let name = spec.map(|spec| &*spec.image).unwrap_or_default();
        if name.is_empty() {
            return Err(Error::invalid("container image is not specified"));
        }
        self.0.options.images.image(name).map_err(image_error)?.ok_or_else(|| {
            Error::not_found(format!("failed to resolve image {name:?}: image {name:?}: not found"))
        })
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let engine = self.clone();
        // A started container must be known even when the client hangs up meanwhile.
        let work = tokio::spawn(async move { engine.start_now(&container).await });
        work.await.map_err(|error| Error::unknown(error.to_string()))?
    }

    async fn start_now(&self, container: &Arc<Container>) -> Result<()> {
        let _busy = container.busy.lock().await;
        let sandbox = container.sandbox()?;
        let state = container.state();
        if state != ContainerState::Created {
            return Err(Error::precondition(format!(
                "container {:?} is in {} state",
                container.id,
                state_name(state)
            )));
        }
        let shim = sandbox.live_shim()?;
        let record = container.record.lock().clone();
        let config = record.config.clone().unwrap_or_default();
        let held = self.0.options.images.held(&record.holders[0]).map_err(image_error)?;
        let held = held.ok_or_else(|| Error::unknown("the container's root filesystem is gone"))?;
        let handler = sandbox.record.lock().handler.clone();
        let runtime = self.external(&handler)?.map(|program| path_text(&program)).transpose()?;
        let start = Start {
            container: record.id.clone(),
            bundle: path_text(&container.bundle)?,
            root: Some(root_of(held)?),
            log: record.log_path.clone(),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            cgroup: record.cgroup.clone(),
            runtime: runtime.unwrap_or_default(),
        };
        match shim.status(Operation::Start(start)).await {
            Ok(status) => {
                self.learn(&sandbox, status);
                Ok(())
            }
            Err(error) => {
                let message = format!(
                    "failed to start container {:?}: OCI runtime create failed: unable to start container process: {}",
                    container.id, error.message
                );
                if container.state() == ContainerState::Created && shim.connected() {
                    // Refused before anything was launched, so the shim has no end of it to tell.
                    let mut status = container.status.borrow().clone();
                    status.finished_at = self.now();
                    status.exit_code = START_FAILED;
                    status.failure = error.message;
                    let _ = crate::shim::status::reserve(&container.bundle);
                    let _ = crate::shim::status::write(&container.bundle, &status);
                    self.learn(&sandbox, status);
                }
                Err(Error::unknown(message))
            }
        }
    }

    /// Takes in what a shim tells about a container.
    pub(super) fn learn(&self, sandbox: &Sandbox, status: Status) {
        let Some(container) = self.0.tables.lock().containers.get(&status.container).cloned() else { return };
        let before = container.state();
        // An end is final: a late word about the start must not bring the dead back.
        let news = container.status.send_if_modified(|known| {
            let news = known.finished_at == 0 && *known != status;
            if news {
                *known = status;
            }
            news
        });
        if !news {
            return;
        }
        let after = container.state();
        if before == ContainerState::Created && container.status.borrow().started_at != 0 {
            self.emit(&container.id, sandbox, ContainerEventType::Started);
        }
        if after == ContainerState::Exited {
            self.emit(&container.id, sandbox, ContainerEventType::Stopped);
        }
    }

    pub(super) async fn stop_container(&self, id: &str, timeout: i64) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if container.state() != ContainerState::Running {
            return Ok(());
        }
        let sandbox = container.sandbox()?;
        let signal = container.record.lock().stop_signal;
        let stop = Stop {
            container: container.id.clone(),
            signal,
            grace_milliseconds: timeout.clamp(0, MAX_GRACE) as u64 * 1000,
        };
        let status = sandbox.live_shim()?.status(Operation::Stop(stop)).await;
        match status {
            Ok(status) => {
                self.learn(&sandbox, status);
                Ok(())
            }
            // The shim died under us: then the container is dead, and that is all that was asked.
            Err(_) if container.state() == ContainerState::Exited => Ok(()),
            Err(error) => Err(error.context(format!("failed to stop container {:?}", container.id))),
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let engine = self.clone();
        let work = tokio::spawn(async move {
            if container.state() == ContainerState::Running {
                engine.stop_container(&container.id, 0).await?;
            }
            let _busy = container.busy.lock().await;
            engine.erase_container(&container).await
        });
        work.await.map_err(|error| Error::unknown(error.to_string()))?
    }

    /// Forgets a container that does not run: its cgroup, its files, its images.
    pub(super) async fn erase_container(&self, container: &Arc<Container>) -> Result<()> {
        let record = container.record.lock().clone();
        if let Ok(sandbox) = container.sandbox()
            && let Ok(shim) = sandbox.live_shim()
        {
            shim.call(Operation::Forget(Named { container: container.id.clone() })).await?;
        }
        self.remove_cgroup(&record.cgroup).await?;
        let (engine, bundle) = (self.clone(), container.bundle.clone());
        Engine::blocking(move || {
            unmount(&bundle.join(ROOTFS));
            engine.release_images(&record)?;
            erase(&bundle)
        })
        .await?;
        self.0.tables.lock().containers.remove(&container.id);
        self.release_names(&container.id);
        if let Ok(sandbox) = container.sandbox() {
            self.emit(&container.id, &sandbox, ContainerEventType::Deleted);
        }
        Ok(())
    }

    /// Removes a cgroup, waiting for the last of its processes to be gone.
    pub(super) async fn remove_cgroup(&self, path: &str) -> Result<()> {
        let Ok(group) = self.0.cgroups.group(path) else { return Ok(()) };
        let started = self.0.options.clock.monotonic();
        loop {
            if group.remove().map_err(|failure| Error::unknown(failure.0))? {
                return Ok(());
            }
            group.kill();
            if self.0.options.clock.monotonic().saturating_sub(started) > CGROUP_PATIENCE {
                return Err(Error::unknown(format!("cgroup {path} is still in use: {:?}", group.pids())));
            }
            tokio::time::sleep(CGROUP_RETRY).await;
        }
    }

    fn release_images(&self, record: &ContainerRecord) -> Result<()> {
        for owner in &record.holders {
            self.0.options.images.release(owner).map_err(image_error)?;
        }
        Ok(())
    }

    fn give_up_images(&self, record: &ContainerRecord) {
        if let Err(error) = self.release_images(record) {
            tracing::warn!(container = record.id, %error, "cannot release an image");
        }
    }

    pub(super) async fn update_container(&self, request: UpdateContainerResourcesRequest) -> Result<()> {
        let container = self.container(&request.container_id)?;
        let change = request.linux.unwrap_or_default();
        let _busy = container.busy.lock().await;
        if container.state() == ContainerState::Exited {
            return Err(Error::precondition(format!(
                "container {:?} is in CONTAINER_EXITED state",
                container.id
            )));
        }
        let mut record = container.record.lock().clone();
        let mut config = record.config.clone().unwrap_or_default();
        let mut linux = config.linux.clone().unwrap_or_default();
        let updated = spec::update(&linux.resources.unwrap_or_default(), &change);
        let kind = self.0.cgroups.kind();
        let all = spec::resources(&updated, kind)?;
        let group = self.0.cgroups.group(&record.cgroup).map_err(|failure| Error::unknown(failure.0))?;
        let running = container.state() == ContainerState::Running;
        let pid = container.status.borrow().pid;
        linux.resources = Some(updated);
        config.linux = Some(linux);
        record.config = Some(config);
        record.config.as_mut().expect("it was just set").annotations.extend(request.annotations);
        let (bundle, saved) = (container.bundle.clone(), record.clone());
        Engine::blocking(move || {
            if running {
                let change = spec::resources(&with_memory(&change, &all), kind)?;
                group.apply(&change).map_err(|failure| {
                    Error::unknown(format!("failed to update container resources: {failure}"))
                })?;
                if change_oom(&saved) {
                    set_oom_score(pid, &saved);
                }
            }
            let mut spec =
                crate::launch::read_config(&bundle).map_err(|failure| Error::unknown(failure.0))?;
            let devices = std::mem::take(&mut spec.linux.resources.devices);
            spec.linux.resources = crate::bundle::Resources { devices, ..all };
            let text = serde_json::to_vec(&spec).map_err(|error| Error::unknown(error.to_string()))?;
            std::fs::write(bundle.join("config.new"), text)?;
            std::fs::rename(bundle.join("config.new"), bundle.join(CONFIG))?;
            Ok(records::save(&bundle, &saved)?)
        })
        .await?;
        *container.record.lock() = record;
        Ok(())
    }

    pub(super) async fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if container.state() != ContainerState::Running {
            return Err(Error::unknown("container is not running"));
        }
        let shim = container.sandbox()?.live_shim()?;
        shim.call(Operation::ReopenLog(Named { container: container.id.clone() })).await?;
        Ok(())
    }
}

/// What a process exits with that could not be started.
const START_FAILED: i32 = 128;

/// A change of swap alone needs to know the memory it goes with.
fn with_memory(change: &LinuxContainerResources, all: &crate::bundle::Resources) -> LinuxContainerResources {
    let mut change = change.clone();
    if change.memory_swap_limit_in_bytes != 0 && change.memory_limit_in_bytes == 0 {
        change.memory_limit_in_bytes = all.memory.limit.unwrap_or(0);
    }
    change
}

fn change_oom(record: &ContainerRecord) -> bool {
    oom_score(record) != 0
}

fn oom_score(record: &ContainerRecord) -> i64 {
    let linux = record.config.as_ref().and_then(|config| config.linux.as_ref());
    linux.and_then(|linux| linux.resources.as_ref()).map_or(0, |resources| resources.oom_score_adj)
}

fn set_oom_score(pid: i32, record: &ContainerRecord) {
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), oom_score(record).to_string()) {
        tracing::debug!(container = record.id, %error, "cannot set a container's OOM score");
    }
}

fn log_path(pod: &PodSandboxConfig, config: &ContainerConfig) -> String {
    if config.log_path.is_empty() || pod.log_directory.is_empty() {
        return String::new();
    }
    Path::new(&pod.log_directory).join(&config.log_path).to_string_lossy().into_owned()
}

/// The signal that asks a container to end: the pod's choice, the image's, or SIGTERM.
fn stop_signal(config: &ContainerConfig, image: &str) -> Result<i32> {
    let chosen = config.stop_signal();
    if chosen != Signal::RuntimeDefault {
        return signal_number(&format!("{chosen:?}"))
            .ok_or_else(|| Error::invalid(format!("unknown stop signal {chosen:?}")));
    }
    if image.is_empty() {
        return Ok(libc::SIGTERM);
    }
    let number = image.parse().ok().filter(|number| (1..=64).contains(number));
    number
        .or_else(|| signal_number(image))
        .ok_or_else(|| Error::unknown(format!("failed to parse stop signal {image:?}")))
}

/// A signal by its name, in any of the ways it is written: `SIGTERM`, `TERM`, `Sigterm`, `SIGRTMIN+3`,
/// `Sigrtminplus3`.
fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase().replace("PLUS", "+").replace("MINUS", "-");
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| -> Option<i32> { if rest.is_empty() { Some(0) } else { rest.parse().ok() } };
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return offset(rest).map(|offset| 34 + offset).filter(|number| (34..=64).contains(number));
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        return offset(rest).map(|offset| 64 + offset).filter(|number| (34..=64).contains(number));
    }
    let short = match short {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{short}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

fn files(sandbox: &Sandbox) -> SandboxFiles {
    let file = |name: &str| Some(sandbox.directory.join(name)).filter(|path| path.exists());
    SandboxFiles {
        hostname: file("hostname"),
        hosts: file("hosts"),
        resolv_conf: file("resolv.conf"),
        shm: Some(sandbox.shm()).filter(|path| path.exists()),
    }
}

/// Looks the user up in the container's root, which for that is mounted where nobody sees it.
fn find_user(
    root: &oci::RootFs,
    security: &LinuxContainerSecurityContext,
    image_user: &str,
) -> Result<Resolved> {
    let open = || -> crate::launch::Result<(Vec<u8>, Vec<u8>)> {
        let root = match root {
            oci::RootFs::Directory(directory) => Root::open(directory)?,
            oci::RootFs::Overlay(overlay_of) => match &overlay_of.lower[..] {
                [only] => Root::open(only)?,
                lower => Root::within(&overlay(lower, Path::new(""), Path::new(""))?)?,
            },
        };
        let read = |path: &str| Ok(root.read(Path::new(path), MAX_FILE)?.unwrap_or_default());
        Ok((read("/etc/passwd")?, read("/etc/group")?))
    };
    let (passwd, group) =
        open().map_err(|failure| Error::unknown(format!("failed to generate spec: {failure}")))?;
    spec::resolve_user(security, image_user, &passwd, &group)
}

fn root_of(held: oci::RootFs) -> Result<protocol::Root> {
    Ok(match held {
        oci::RootFs::Directory(directory) => {
            protocol::Root { directory: path_text(&directory)?, ..protocol::Root::default() }
        }
        oci::RootFs::Overlay(overlay) => {
            let (upper, work) =
                overlay.upper.ok_or_else(|| Error::unknown("the root filesystem is read-only"))?;
            protocol::Root {
                directory: String::new(),
                lower: overlay.lower.iter().map(|layer| path_text(layer)).collect::<Result<_>>()?,
                upper: path_text(&upper)?,
                work: path_text(&work)?,
            }
        }
    })
}

fn image_mount(tree: oci::RootFs) -> ImageMount {
    match tree {
        oci::RootFs::Directory(directory) => ImageMount::Directory(directory),
        oci::RootFs::Overlay(mut overlay) if overlay.lower.len() == 1 => {
            ImageMount::Directory(overlay.lower.remove(0))
        }
        oci::RootFs::Overlay(overlay) => ImageMount::Layers(overlay.lower),
    }
}

pub(super) fn image_error(error: oci::Error) -> Error {
    use crate::cri::Code;
    let code = match error.kind() {
        oci::Kind::NotFound => Code::NotFound,
        oci::Kind::InvalidName => Code::InvalidArgument,
        oci::Kind::NoSpace => Code::ResourceExhausted,
        _ => Code::Unknown,
    };
    Error::new(code, error.cri_message())
}

pub(super) fn state_name(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "CONTAINER_CREATED",
        ContainerState::Running => "CONTAINER_RUNNING",
        ContainerState::Exited => "CONTAINER_EXITED",
        ContainerState::Unknown => "CONTAINER_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_all_their_names() {
        for (name, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("Sigusr1", Some(10)),
            ("SIGRTMIN+3", Some(37)),
            ("Sigrtminplus15", Some(49)),
            ("Sigrtmaxminus14", Some(50)),
            ("SIGRTMAX", Some(64)),
            ("SIGCLD", Some(17)),
            ("SIGRTMIN+99", None),
            ("NOPE", None),
        ] {
            assert_eq!(signal_number(name), expected, "{name}");
        }
        let config = ContainerConfig { stop_signal: Signal::Sigquit.into(), ..ContainerConfig::default() };
        assert_eq!(stop_signal(&config, "SIGINT"), Ok(3));
        assert_eq!(stop_signal(&ContainerConfig::default(), "SIGINT"), Ok(2));
        assert_eq!(stop_signal(&ContainerConfig::default(), "9"), Ok(9));
        assert!(stop_signal(&ContainerConfig::default(), "99").is_err());
    }
}
