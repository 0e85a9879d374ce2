//! The shim by itself, without images and without the CRI.

use std::path::{Path, PathBuf};

use runtime::bundle::*;
use runtime::cri::Session;
use runtime::shim::protocol::*;
use runtime::shims::{Executable, Shim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, eventually};

/// A shim and what a test needs to start containers with it.
struct Pod {
    world: World,
    dir: PathBuf,
    shim: Shim,
}

impl Pod {
    async fn new(world: World) -> Pod {
        let dir = world.dir.join("pod");
        std::fs::create_dir_all(&dir).unwrap();
        let program = Executable::seal(&world.shim_program(), Vec::new()).unwrap();
        program.start(&dir, None).await.unwrap();
        let (shim, _) = Shim::connect(&dir).await.unwrap();
        Pod { world, dir, shim }
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn config(&self, name: &str, args: &[&str]) -> Config {
        let mount = |destination: &str, kind: &str, options: &[&str]| runtime::bundle::Mount {
            destination: destination.to_owned(),
            r#type: kind.to_owned(),
            source: kind.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Default::default()
        };
        Config {
            oci_version: runtime::bundle::VERSION.to_owned(),
            process: Process {
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
                env: vec!["PATH=/bin".to_owned()],
                cwd: "/".to_owned(),
                ..Process::default()
            },
            root: RootPath { path: "rootfs".into(), readonly: false },
            mounts: vec![
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount(
                    "/dev/pts",
                    "devpts",
                    &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                ),
            ],
            linux: Linux {
                cgroups_path: self.world.cgroup(name),
                namespaces: ["pid", "mount", "ipc", "uts"]
                    .map(|kind| Namespace { r#type: kind.to_owned(), path: String::new() })
                    .to_vec(),
                resources: Resources {
                    devices: vec![DeviceRule {
                        allow: true,
                        r#type: "a".into(),
                        access: "rwm".into(),
                        ..Default::default()
                    }],
                    ..Resources::default()
                },
                ..Linux::default()
            },
            ..Config::default()
        }
    }

    async fn start(&self, name: &str, config: &Config) -> runtime::cri::Result<Status> {
        let bundle = self.bundle(name);
        std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
        std::fs::write(bundle.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        self.shim
            .status(Operation::Start(Start {
                container: name.to_owned(),
                bundle: text(&bundle),
                root: Some(Root { directory: text(&self.world.busybox()), ..Root::default() }),
                log: text(&bundle.join("log")),
                tty: config.process.terminal,
                stdin: true,
                stdin_once: true,
                cgroup: config.linux.cgroups_path.clone(),
                ..Start::default()
            }))
            .await
    }

    async fn stop(&self, name: &str, grace: u64) -> Status {
        let stop = Stop { container: name.to_owned(), signal: 15, grace_milliseconds: grace };
        self.shim.status(Operation::Stop(stop)).await.unwrap()
    }

    async fn exec(&self, name: &str, args: &[&str], tty: bool) -> runtime::cri::Result<Session> {
        let mut process = self.config(name, args).process;
        process.terminal = tty;
        let exec = Exec {
            container: name.to_owned(),
            process: serde_json::to_vec(&process).unwrap(),
            stdin: true,
            stdout: true,
            stderr: !tty,
        };
        self.shim.stream(Operation::Exec(exec)).await
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.bundle(name).join("log")).unwrap_or_default()
    }

    /// The messages of the log, without times and tags.
    fn lines(&self, name: &str) -> Vec<String> {
        self.log(name).lines().filter_map(|line| line.splitn(4, ' ').nth(3).map(str::to_owned)).collect()
    }

    async fn end(self, containers: &[&str]) {
        self.shim.call(Operation::Shutdown(Nothing {})).await.unwrap();
        let hierarchies = runtime::cgroup::Hierarchies::detect().unwrap();
        for name in containers {
            let group = hierarchies.group(&self.world.cgroup(name)).unwrap();
            eventually("the cgroup to be empty", || group.remove().unwrap().then_some(())).await;
        }
        assert!(!self.dir.join("shim.sock").exists());
    }
}

async fn read_all(stream: Option<impl AsyncReadExt + Unpin>) -> String {
    let mut text = Vec::new();
    stream.unwrap().read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

world_test!(a_container_is_started_entered_and_deleted, |world| async move {
    let pod = Pod::new(world).await;
    let script = "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 1 & wait $!; done";
    let status = pod.start("web", &pod.config("web", &["sh", "-c", script])).await.unwrap();
    assert!(status.pid > 0 && status.started_at > 0);

    let session = pod.exec("web", &["sh", "-c", "cat; id -u >&2; exit 3"], false).await.unwrap();
    let mut stdin = session.stdin.unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let (out, err) = tokio::join!(read_all(session.stdout), read_all(session.stderr));
    assert_eq!((&*out, &*err), ("hello", "0\n"));
    assert_eq!(session.exit.await.unwrap(), Ok(3));

    let error = pod.exec("web", &["missing"], false).await.err().unwrap();
    assert_eq!(error.message, "exec: \"missing\": executable file not found in $PATH");

    eventually("the log", || (pod.lines("web").len() == 2).then_some(())).await;
    let mut lines = pod.lines("web");
    lines.sort();
    assert_eq!(lines, ["err", "out"]);

    let status = pod.stop("web", 20_000).await;
    assert_eq!(status.exit_code, 7);
    assert_eq!(runtime::shim::status::read(&pod.bundle("web")), Some(status));
    pod.end(&["web"]).await;
});
