//! The runtime as a process of its own, called over its socket and killed at will.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use base::random::{Random, SeededRandom};
use futures_util::StreamExt;
use runtime::cri::client::Client;
use runtime::cri::*;
use runtime::engine::Engine;
use runtime::network::Loopback;

use crate::node::*;
use crate::world::{World, eventually};

const SERVE: &str = "BOGA_TEST_SERVE";

/// Not a test but the daemon that the tests below start: with the variable set it serves until it is killed.
#[test]
fn serve() {
    let Some(dir) = std::env::var_os(SERVE) else { return };
    let name = std::env::var("BOGA_TEST_NAME").unwrap();
    let world = World { dir: PathBuf::from(dir), name };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let images = oci::Store::open(world.dir.join("images"), oci::Options::default()).unwrap();
        let streaming =
            runtime::cri::streaming::Server::bind("127.0.0.1:0".parse().unwrap(), Default::default());
        let streaming = streaming.await.unwrap();
        let engine = Engine::open(options(&world, images, Arc::new(Loopback))).await.unwrap();
        let engine: Arc<dyn Cri> = Arc::new(engine.with_streaming(streaming.clone()));
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(streaming.serve(engine.clone(), stop.clone()));
        let listener = runtime::cri::server::bind(&world.dir.join("cri.sock")).unwrap();
        runtime::cri::server::serve(engine, listener, stop).await;
    });
}

struct Daemon {
    dir: PathBuf,
    name: String,
    child: Child,
}

impl Daemon {
    async fn start(dir: &Path, name: &str) -> Daemon {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "daemon::serve", "--nocapture"]).env(SERVE, dir).env("BOGA_TEST_NAME", name);
        command.stdout(std::process::Stdio::null());
        let child = command.spawn().unwrap();
        let daemon = Daemon { dir: dir.to_owned(), name: name.to_owned(), child };
        let socket = daemon.dir.join("cri.sock");
        eventually("the daemon", || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
        daemon
    }

    fn client(&self) -> Arc<dyn Cri> {
        Arc::new(Client::new(&self.dir.join("cri.sock")).unwrap())
    }

    async fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Dies without a word, and comes back.
    async fn killed(self) -> Daemon {
        let (dir, name) = (self.dir.clone(), self.name.clone());
        self.kill().await;
        Daemon::start(&dir, &name).await
    }
}

/// A daemon with the test's image in its store.
async fn daemon(world: World) -> (Daemon, Node) {
    let images = oci::Store::open(world.dir.join("images"), oci::Options::default()).unwrap();
    oci::archive::import(&images, &*archive(&world), &Default::default()).unwrap();
    let daemon = Daemon::start(&world.dir, &world.name).await;
    let client = daemon.client();
    (daemon, Node::over(world, client))
}

fn shim_of(node: &Node, pod: &str) -> i32 {
    let path = node.world.dir.join(format!("runtime/pods/{pod}/shim.pid"));
    std::fs::read_to_string(path).unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

world_test!(a_killed_daemon_loses_no_exit_code, |world| async move {
    let (daemon, mut node) = daemon(world).await;
    let pod = node.sandbox("web", same).await.unwrap();
    let long = node.run(&pod, "long", &["sleep", "1000"], same).await.unwrap();
    let gate = node.world.dir.join("gate");
    std::fs::create_dir(&gate).unwrap();
    let mut config = node
        .container_config("short", &["sh", "-c", "while ! test -e /gate/open; do sleep 0.01; done; exit 23"]);
    config.mounts = vec![Mount {
        container_path: "/gate".into(),
        host_path: gate.to_str().unwrap().into(),
        ..Mount::default()
    }];
    let request =
        CreateContainerRequest { pod_sandbox_id: pod.clone(), config: Some(config), sandbox_config: None };
    let short = node.engine.create_container(request).await.unwrap().container_id;
    node.start(&short).await.unwrap();
    let before = node.status(&long).await;

    let (dir, name) = (node.world.dir.clone(), node.world.name.clone());
    daemon.kill().await;
    std::fs::write(gate.join("open"), "").unwrap();
    let bundle = dir.join(format!("runtime/pods/{pod}/containers/{short}"));
    let ended = || runtime::shim::status::read(&bundle).filter(|status| status.finished_at != 0);
    eventually("the end to be recorded without a daemon", ended).await;
    let daemon = Daemon::start(&dir, &name).await;
    node.engine = daemon.client();
    assert_eq!(node.ended(&short).await.exit_code, 23);
    assert_eq!(node.status(&long).await, before, "the other container was not touched");
    assert_eq!(node.exec(&long, &["echo", "alive"], 0).await.unwrap().1, "alive\n");
    assert_eq!(
        node.create(&pod, "long", &["true"], same).await.unwrap_err().code,
        Code::Unknown,
        "names are known"
    );
    node.stop(&long, 0).await;
    assert_eq!(node.status(&long).await.exit_code, 137);
    node.clear().await;
    daemon.kill().await;
});

world_test!(a_killed_shim_takes_its_containers_along, |world| async move {
    let (daemon, mut node) = daemon(world).await;
    let pod = node.sandbox("web", same).await.unwrap();
    let id = node.run(&pod, "a", &["sleep", "1000"], same).await.unwrap();
    kill(shim_of(&node, &pod));
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, &*status.reason), (137, "Error"));
    loop {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
        let status = node.engine.pod_sandbox_status(request).await.unwrap().status.unwrap();
        if status.state() == PodSandboxState::NotReady {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }

    // The same while no daemon looks.
    let pod = node.sandbox("other", same).await.unwrap();
    let id = node.run(&pod, "b", &["sleep", "1000"], same).await.unwrap();
    let (dir, name, pid) = (node.world.dir.clone(), node.world.name.clone(), shim_of(&node, &pod));
    daemon.kill().await;
    kill(pid);
    let daemon = Daemon::start(&dir, &name).await;
    node.engine = daemon.client();
    assert_eq!(node.ended(&id).await.exit_code, 137);
    node.clear().await;
    daemon.kill().await;
});

world_test!(random_kills_lose_and_leak_nothing, |world| async move {
    let seeds = std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    let (mut daemon, mut node) = daemon(world).await;
    let mut random = SeededRandom::new(7);
    let mut expected: BTreeMap<String, i32> = BTreeMap::new();
    let mut pods: Vec<String> = Vec::new();
    for round in 0..30 * seeds {
        // A call that a kill interrupts may fail; the kubelet would try again, and so do we.
        match random.below(11) {
            10 if !pods.is_empty() => {
                // What a killed shim ran is dead, and said to be; what had ended before keeps its code.
                let pod = pods.swap_remove(random.below(pods.len() as u64) as usize);
                kill(shim_of(&node, &pod));
                let filter = ContainerFilter { pod_sandbox_id: pod.clone(), ..Default::default() };
                let list = ListContainersRequest { filter: Some(filter) };
                for container in node.engine.list_containers(list).await.unwrap().containers {
                    let code = node.ended(&container.id).await.exit_code;
                    let wanted = expected.remove(&container.id);
                    assert!(Some(code) == wanted || code == 137, "{code} in place of {wanted:?}");
                }
                let request = RemovePodSandboxRequest { pod_sandbox_id: pod };
                node.engine.remove_pod_sandbox(request).await.unwrap();
            }
            0 | 1 => {
                let mut config = node.sandbox_config("pod");
                config.metadata.as_mut().unwrap().uid = format!("u{round}");
                let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
                pods.push(node.engine.run_pod_sandbox(request).await.unwrap().pod_sandbox_id);
            }
            2..=6 if !pods.is_empty() => {
                let pod = pods[random.below(pods.len() as u64) as usize].clone();
                let code = random.below(100) as i32;
                let script = format!("sleep 0.0{}; exit {code}", random.below(9));
                let id = node.run(&pod, &format!("c{round}"), &["sh", "-c", &script], same).await.unwrap();
                expected.insert(id, code);
            }
            7 if !pods.is_empty() => {
                let pod = pods.swap_remove(random.below(pods.len() as u64) as usize);
                let request = RemovePodSandboxRequest { pod_sandbox_id: pod.clone() };
                let filter = ContainerFilter { pod_sandbox_id: pod, ..Default::default() };
                let list = ListContainersRequest { filter: Some(filter) };
                for container in node.engine.list_containers(list).await.unwrap().containers {
                    assert_eq!(
                        Some(node.ended(&container.id).await.exit_code),
                        expected.remove(&container.id)
                    );
                }
                node.engine.remove_pod_sandbox(request).await.unwrap();
            }
            _ => {
                // Killed in the middle of a call.
                let mut config = node.sandbox_config("half");
                config.metadata.as_mut().unwrap().uid = format!("h{round}");
                let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
                let engine = node.engine.clone();
                let call = tokio::spawn(async move { engine.run_pod_sandbox(request).await });
                for _ in 0..random.below(200) {
                    tokio::task::yield_now().await;
                }
                daemon = daemon.killed().await;
                node.engine = daemon.client();
                // The pod may be there or not, but not half of it.
                let _ = call.await.unwrap();
                pods.clear();
                let list = node.engine.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap();
                for pod in list.items {
                    assert_eq!(pod.state(), PodSandboxState::Ready);
                    pods.push(pod.id);
                }
            }
        }
    }
    for (id, code) in expected {
        assert_eq!(node.ended(&id).await.exit_code, code);
    }
    node.clear().await;
    daemon.kill().await;
});

world_test!(every_call_works_over_the_socket, |world| async move {
    let (daemon, node) = daemon(world).await;
    let cri = node.engine.clone();
    assert_eq!(cri.version(VersionRequest::default()).await.unwrap().runtime_name, "boga");
    let status = cri.status(StatusRequest { verbose: true }).await.unwrap();
    assert!(status.status.unwrap().conditions.iter().all(|condition| condition.status));
    let driver = cri.runtime_config(RuntimeConfigRequest {}).await.unwrap().linux.unwrap().cgroup_driver();
    assert_eq!(driver, CgroupDriver::Cgroupfs);
    let update = UpdateRuntimeConfigRequest {
        runtime_config: Some(RuntimeConfig {
            network_config: Some(NetworkConfig { pod_cidr: "10.1.0.0/16".into() }),
        }),
    };
    cri.update_runtime_config(update).await.unwrap();
    let mut events = cri.get_container_events(GetEventsRequest {}).await.unwrap();

    // Images.
    assert_eq!(cri.list_images(ListImagesRequest::default()).await.unwrap().images.len(), 1);
    let pages: Vec<_> = cri.stream_images(StreamImagesRequest::default()).await.unwrap().collect().await;
    assert_eq!(pages.len(), 1);
    let image = |name: &str| Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() });
    let found = ImageStatusRequest { image: image(IMAGE), verbose: true };
    assert!(cri.image_status(found).await.unwrap().image.is_some());
    let absent = ImageStatusRequest { image: image("registry.test/none:1"), verbose: false };
    assert!(cri.image_status(absent).await.unwrap().image.is_none());
    assert!(
        cri.image_fs_info(ImageFsInfoRequest {}).await.unwrap().image_filesystems[0]
            .used_bytes
            .unwrap()
            .value
            > 0
    );
    let pull = PullImageRequest { image: image("localhost:1/none:1"), ..PullImageRequest::default() };
    assert!(cri.pull_image(pull).await.is_err());
    let invalid = PullImageRequest { image: image("NOT VALID"), ..PullImageRequest::default() };
    assert_eq!(cri.pull_image(invalid).await.unwrap_err().code, Code::InvalidArgument);

    // Sandboxes.
    let pod = node.sandbox("web", same).await.unwrap();
    let twice = node.sandbox("web", same).await.unwrap_err();
    assert!(twice.message.contains("is reserved for"), "{twice}");
    let config = node.sandbox_config("x");
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: "nope".into() };
    assert!(
        cri.run_pod_sandbox(request)
            .await
            .unwrap_err()
            .message
            .contains("no runtime for \"nope\" is configured")
    );
    assert!(cri.run_pod_sandbox(RunPodSandboxRequest::default()).await.is_err());
    let list = ListPodSandboxRequest {
        filter: Some(PodSandboxFilter { id: pod[..8].to_owned(), ..Default::default() }),
    };
    assert_eq!(cri.list_pod_sandbox(list).await.unwrap().items.len(), 1);
    let pages: Vec<_> = cri.stream_pod_sandboxes(Default::default()).await.unwrap().collect().await;
    assert_eq!(pages[0].as_ref().unwrap().pod_sandboxes.len(), 1);
    let request = PodSandboxStatusRequest { pod_sandbox_id: "none".into(), verbose: true };
    assert_eq!(cri.pod_sandbox_status(request).await.unwrap_err().code, Code::NotFound);
    let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id: pod.clone(), ..Default::default() };
    cri.update_pod_sandbox_resources(request).await.unwrap();

    // Containers.
    let id = node.run(&pod, "a", &["sh", "-c", "echo hi; exec sleep 1000"], same).await.unwrap();
    let missing =
        node.create(&pod, "m", &["true"], |config| config.image.as_mut().unwrap().image = "none:1".into());
    assert_eq!(missing.await.unwrap_err().code, Code::NotFound);
    let user = node.create(&pod, "u", &["true"], |config| security(config).run_as_username = "nobody".into());
    assert!(user.await.unwrap_err().message.contains("unable to find user nobody"));
    assert_eq!(node.start(&id).await.unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(node.start("none").await.unwrap_err().code, Code::NotFound);
    let pages: Vec<_> = cri.stream_containers(Default::default()).await.unwrap().collect().await;
    assert_eq!(pages[0].as_ref().unwrap().containers.len(), 1);
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: true };
    assert!(cri.container_status(request).await.unwrap().info["info"].contains("runtimeSpec"));
    cri.reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() }).await.unwrap();
    assert_eq!(node.exec(&id, &["echo", "x"], 5).await.unwrap().1, "x\n");
    let exec = ExecRequest {
        container_id: id.clone(),
        cmd: vec!["cat".into()],
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    assert!(cri.exec(exec).await.unwrap().url.starts_with("http://127.0.0.1:"));
    let attach = AttachRequest { container_id: id.clone(), stdout: true, ..Default::default() };
    assert!(cri.attach(attach).await.unwrap().url.contains("/attach/"));
    let forward = PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![80] };
    assert!(cri.port_forward(forward).await.unwrap().url.contains("/portforward/"));

    // Figures.
    let stats = cri.container_stats(ContainerStatsRequest { container_id: id.clone() }).await.unwrap();
    assert!(stats.stats.unwrap().cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert_eq!(cri.list_container_stats(Default::default()).await.unwrap().stats.len(), 1);
    assert_eq!(cri.stream_container_stats(Default::default()).await.unwrap().count().await, 1);
    let stats = cri.pod_sandbox_stats(PodSandboxStatsRequest { pod_sandbox_id: pod.clone() }).await.unwrap();
    assert_eq!(stats.stats.unwrap().linux.unwrap().containers.len(), 1);
    assert_eq!(cri.list_pod_sandbox_stats(Default::default()).await.unwrap().stats.len(), 1);
    assert_eq!(cri.stream_pod_sandbox_stats(Default::default()).await.unwrap().count().await, 1);
    assert!(!cri.list_metric_descriptors(Default::default()).await.unwrap().descriptors.is_empty());
    assert_eq!(cri.list_pod_sandbox_metrics(Default::default()).await.unwrap().pod_metrics.len(), 1);
    assert_eq!(cri.stream_pod_sandbox_metrics(Default::default()).await.unwrap().count().await, 1);
    let update = UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(LinuxContainerResources { cpu_shares: 77, ..Default::default() }),
        ..Default::default()
    };
    cri.update_container_resources(update).await.unwrap();

    // What is not offered says so.
    for error in [
        cri.checkpoint_container(Default::default()).await.map(drop).unwrap_err(),
        cri.checkpoint_pod(Default::default()).await.map(drop).unwrap_err(),
        cri.restore_pod(Default::default()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.code, Code::Unimplemented);
    }

    // The end.
    node.stop(&id, 0).await;
    node.stop(&id, 0).await;
    node.stop("none", 0).await;
    let remove = |id: &str| cri.remove_container(RemoveContainerRequest { container_id: id.to_owned() });
    remove(&id).await.unwrap();
    remove(&id).await.unwrap();
    let stop = StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
    cri.stop_pod_sandbox(stop.clone()).await.unwrap();
    cri.stop_pod_sandbox(stop).await.unwrap();
    assert!(node.create(&pod, "late", &["true"], same).await.unwrap_err().message.contains("is not running"));
    node.clear().await;
    let mut kinds = Vec::new();
    while kinds.len() < 8 {
        kinds.push(events.next().await.unwrap().unwrap().container_event_type());
    }
    use ContainerEventType::{Created, Deleted, Started, Stopped};
    assert_eq!(kinds, [Created, Started, Created, Started, Stopped, Deleted, Stopped, Deleted]);
    cri.remove_image(RemoveImageRequest { image: image(IMAGE) }).await.unwrap();
    cri.remove_image(RemoveImageRequest { image: image(IMAGE) }).await.unwrap();
    daemon.kill().await;
});

world_test!(streams_work_through_urls, |world| async move {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (daemon, node) = daemon(world).await;
    let pod = node.sandbox("web", same).await.unwrap();
    let server = "while :; do echo pong | nc -l -p 8080 127.0.0.1; done";
    let id = node.run(&pod, "a", &["sh", "-c", server], same).await.unwrap();
    let exec = |script: &str, stdin: bool, tty: bool| ExecRequest {
        container_id: id.clone(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty,
        stdin,
        stdout: true,
        stderr: !tty,
    };
    // The client goes by the URL that Exec answers with.
    let mut session = node.engine.open_exec(exec("cat; echo err >&2; exit 4", true, false)).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"over the wire").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_all(session.stdout.take()).await, "over the wire");
    assert_eq!(read_all(session.stderr.take()).await, "err\n");
    assert_eq!(session.exit.await.unwrap(), Ok(4));
    let session = node.engine.open_exec(exec("sleep 0.2; stty size", true, true)).await.unwrap();
    session.resize.send(TerminalSize { width: 120, height: 40 }).await.unwrap();
    assert_eq!(read_all(session.stdout).await, "40 120\r\n");

    let mut answer = String::new();
    for _ in 0..500 {
        let mut port = node.engine.open_port(&pod, 8080).await.unwrap();
        if port.reader.read_to_string(&mut answer).await.is_ok() && !answer.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(answer, "pong\n");

    let spent = node.engine.exec(exec("true", false, false)).await.unwrap().url;
    let request = |url: &str, upgrade: &str| {
        let path = url.split_once("127.0.0.1").unwrap().1.split_once('/').unwrap().1.to_owned();
        let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        let text = format!(
            "GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut buffer = vec![0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        }
    };
    assert!(request(&spent, "SPDY/3.1").await.contains("SPDY is not offered"));
    assert!(request(&spent, "websocket").await.starts_with("HTTP/1.1 403"), "no protocol in common");
    assert!(request(&spent, "websocket").await.starts_with("HTTP/1.1 404"), "a token is good once");
    node.clear().await;
    daemon.kill().await;
});
