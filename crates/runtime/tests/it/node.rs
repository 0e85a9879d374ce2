//! An engine with an image, and short ways to ask it for pods.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::clock::SystemClock;
use base::random::SystemRandom;
use parking_lot::Mutex;
use runtime::cri::*;
use runtime::engine::{Engine, Options};
use runtime::network::{Loopback, PodNetwork};
use runtime::shims::Executable;
use tokio::io::AsyncReadExt;

use crate::world::World;

pub const IMAGE: &str = "registry.test/busybox:1";

pub struct Node {
    pub world: World,
    pub engine: Arc<dyn Cri>,
    pub images: oci::Store,
}

/// What a test wants to be different about a pod.
pub type Change<T> = fn(&mut T);

pub fn options(world: &World, images: oci::Store, network: Arc<dyn PodNetwork>) -> Options {
    let runc = PathBuf::from("/usr/sbin/runc");
    Options {
        root: world.dir.join("runtime"),
        images,
        registries: oci::pull::Client::new(Default::default(), Default::default(), SystemClock::shared()),
        shim: Executable::seal(&world.shim_program(), Vec::new()).unwrap(),
        shim_cgroup: Some(world.cgroup("shims")),
        cgroup_parent: world.cgroup("pods"),
        network,
        clock: SystemClock::shared(),
        random: Mutex::new(Box::new(SystemRandom)),
        handlers: BTreeMap::from([("runc".to_owned(), runc)]),
        seccomp_directory: world.dir.join("seccomp"),
    }
}

/// An archive as `docker save` writes it, of two layers.
pub fn archive(world: &World) -> Vec<u8> {
    let mut base = tar::Builder::new(Vec::new());
    base.follow_symlinks(false);
    base.append_dir_all(".", world.busybox()).unwrap();
    let base = base.into_inner().unwrap();
    let mut upper = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        upper.append_data(&mut header, path, content).unwrap();
    };
    add("etc/motd", b"welcome\n");
    let upper = upper.into_inner().unwrap();
    let diff_ids = [oci::Digest::of(&base).to_string(), oci::Digest::of(&upper).to_string()];
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": { "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["base.tar", "upper.tar"] }]);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("config.json", config.as_bytes()),
        ("base.tar", &base),
        ("upper.tar", &upper),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    archive.into_inner().unwrap()
}

impl Node {
    pub async fn new(world: World) -> Node {
        Node::with_network(world, Arc::new(Loopback)).await
    }

    pub async fn with_network(world: World, network: Arc<dyn PodNetwork>) -> Node {
        let images = oci::Store::open(world.dir.join("images"), oci::Options::default()).unwrap();
        oci::archive::import(&images, &*archive(&world), &Default::default()).unwrap();
        let engine = Engine::open(options(&world, images.clone(), network)).await.unwrap();
        Node { world, engine: Arc::new(engine), images }
    }

    /// A node whose engine is somewhere else.
    pub fn over(world: World, engine: Arc<dyn Cri>) -> Node {
        let images = oci::Store::open(world.dir.join("images"), oci::Options::default()).unwrap();
        Node { world, engine, images }
    }

    pub fn sandbox_config(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.world.dir.join("logs").join(name).to_str().unwrap().to_owned(),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.world.cgroup("pods"),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        }
    }

    pub async fn sandbox(&self, name: &str, change: Change<PodSandboxConfig>) -> Result<String> {
        let mut config = self.sandbox_config(name);
        change(&mut config);
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(self.engine.run_pod_sandbox(request).await?.pod_sandbox_id)
    }

    pub fn container_config(&self, name: &str, command: &[&str]) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: IMAGE.to_owned(), ..ImageSpec::default() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources::default()),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: NamespaceMode::Container.into(),
                        ..NamespaceOption::default()
                    }),
                    seccomp: Some(SecurityProfile::default()),
                    masked_paths: ["/proc/kcore", "/proc/keys", "/sys/firmware"].map(str::to_owned).to_vec(),
                    readonly_paths: ["/proc/sys", "/proc/bus"].map(str::to_owned).to_vec(),
                    ..LinuxContainerSecurityContext::default()
                }),
            }),
            ..ContainerConfig::default()
        }
    }

    pub async fn create(
        &self,
        sandbox: &str,
        name: &str,
        command: &[&str],
        change: Change<ContainerConfig>,
    ) -> Result<String> {
        let mut config = self.container_config(name, command);
        change(&mut config);
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: None,
        };
        Ok(self.engine.create_container(request).await?.container_id)
    }

    pub async fn start(&self, id: &str) -> Result<()> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        self.engine.start_container(request).await.map(drop)
    }

    /// Creates and starts.
    pub async fn run(
        &self,
        sandbox: &str,
        name: &str,
        command: &[&str],
        change: Change<ContainerConfig>,
    ) -> Result<String> {
        let id = self.create(sandbox, name, command, change).await?;
        self.start(&id).await?;
        Ok(id)
    }

    pub async fn status(&self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.engine.container_status(request).await.unwrap().status.unwrap()
    }

    /// Waits for a container's end.
    pub async fn ended(&self, id: &str) -> ContainerStatus {
        for _ in 0..6000 {
            let status = self.status(id).await;
            if status.state() == ContainerState::Exited {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{id} does not end");
    }

    /// Runs a script to its end; its exit code and what it wrote.
    pub async fn script(
        &self,
        sandbox: &str,
        name: &str,
        script: &str,
        change: Change<ContainerConfig>,
    ) -> (i32, String) {
        let id = self.run(sandbox, name, &["sh", "-c", script], change).await.unwrap();
        let status = self.ended(&id).await;
        (status.exit_code, self.log(&status))
    }

    /// What a container wrote, without the log's own columns.
    pub fn log(&self, status: &ContainerStatus) -> String {
        let text = std::fs::read_to_string(&status.log_path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        lines.join("\n")
    }

    pub async fn exec(&self, id: &str, command: &[&str], timeout: i64) -> Result<(i32, String, String)> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout,
        };
        let response = self.engine.exec_sync(request).await?;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok((response.exit_code, text(response.stdout), text(response.stderr)))
    }

    pub async fn stop(&self, id: &str, timeout: i64) {
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        self.engine.stop_container(request).await.unwrap();
    }

    /// Removes all sandboxes, and checks that nothing of them is left.
    pub async fn clear(&self) {
        let list = self.engine.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap();
        for sandbox in list.items {
            let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.id };
            self.engine.remove_pod_sandbox(request).await.unwrap();
        }
        let pods = self.world.dir.join("runtime/pods");
        assert_eq!(std::fs::read_dir(&pods).unwrap().count(), 0, "files are left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(pods.to_str().unwrap())).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        assert!(self.images.holders().unwrap().is_empty(), "images are held");
        let cgroups = runtime::cgroup::Hierarchies::detect().unwrap();
        for name in ["pods", "shims"] {
            let left = runtime::cgroup::children(&cgroups, &self.world.cgroup(name));
            assert!(left.is_empty(), "cgroups are left: {left:?}");
            let group = cgroups.group(&self.world.cgroup(name)).unwrap();
            crate::world::eventually("the cgroup to be empty", || group.remove().unwrap().then_some(()))
                .await;
        }
    }
}

pub fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

pub fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}

pub fn same<T>(_: &mut T) {}

pub async fn read_all(stream: Option<runtime::cri::stream::Reader>) -> String {
    let mut text = Vec::new();
    stream.unwrap().read_to_end(&mut text).await.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}
