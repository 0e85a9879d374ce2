//! Create, start and delete, measured against external OCI runtimes with the same bundle.
//!
//! `cargo run --release -p runtime --example latency -- SHIM [RUNTIME…]`, as root. Prints milliseconds for
//! one container at a time and for fifty at once, and the private memory of a shim.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use runtime::bundle::*;
use runtime::cgroup::Hierarchies;
use runtime::shim::protocol::{Exec, Named, Nothing, Operation, Root, Start, Stop};
use runtime::shims::{Executable, Shim};

const ROUNDS: usize = 100;
const AT_ONCE: usize = 50;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let shim = PathBuf::from(args.next().expect("usage: latency SHIM [RUNTIME…]"));
    let directory = std::env::temp_dir().join(format!("boga-latency-{}", std::process::id()));
    let root = directory.join("root");
    std::fs::create_dir_all(root.join("bin")).expect("make the root filesystem");
    std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let clock = Arc::new(SystemClock::new());

    let pod = directory.join("pod");
    std::fs::create_dir_all(&pod).expect("make the pod's directory");
    let program = Executable::seal(&shim, Vec::new()).expect("seal the shim");
    program.start(&pod, None).await.expect("start a shim");
    let (client, _events) = Shim::connect(&pod).await.expect("connect to the shim");
    let client = Arc::new(client);
    for together in [1, AT_ONCE] {
        let mut times = Vec::new();
        for batch in 0..ROUNDS / together {
            let mut running = Vec::new();
            for index in 0..together {
                let (client, clock, root) = (client.clone(), clock.clone(), root.clone());
                let name = format!("c{together}-{batch}-{index}");
                let bundle = pod.join(&name);
                running.push(tokio::spawn(async move {
                    let begun = clock.monotonic();
                    embedded(&client, &name, &bundle, &root).await;
                    clock.monotonic() - begun
                }));
            }
            for task in running {
                times.push(task.await.expect("the container ran"));
            }
        }
        print("boga shim", together, times);
    }
    print("boga shim, exec of true", 1, execs(&client, &clock, &pod, &root).await);
    println!("boga shim: {} KiB private", private_kib(client.pid));
    client.call(Operation::Shutdown(Nothing {})).await.expect("stop the shim");

    for runtime in args {
        if let Err(why) = try_out(&runtime, &directory.join("trial"), &root) {
            println!("{runtime} cannot run here: {why}");
            continue;
        }
        for together in [1, AT_ONCE] {
            let mut times = Vec::new();
            for batch in 0..ROUNDS / together {
                let mut running = Vec::new();
                for index in 0..together {
                    let (clock, root, runtime) = (clock.clone(), root.clone(), runtime.clone());
                    let name = format!("x{together}-{batch}-{index}");
                    let bundle = directory.join("bundles").join(&name);
                    running.push(tokio::task::spawn_blocking(move || {
                        let begun = clock.monotonic();
                        external(&runtime, &name, &bundle, &root);
                        clock.monotonic() - begun
                    }));
                }
                for task in running {
                    times.push(task.await.expect("the container ran"));
                }
            }
            print(&runtime, together, times);
        }
    }
    let cgroups = Hierarchies::detect().and_then(|found| found.group("/boga-latency"));
    let _ = cgroups.and_then(|group| group.remove());
    let _ = std::fs::remove_dir_all(&directory);
}

fn print(what: &str, together: usize, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}, {together} at a time: p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
}

fn config(name: &str, root: &Path) -> Config {
    let mount = |destination: &str, kind: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        r#type: kind.to_owned(),
        source: kind.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    };
    Config {
        oci_version: VERSION.to_owned(),
        process: Process {
            args: ["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            ..Process::default()
        },
        root: RootPath { path: root.to_owned(), readonly: false },
        mounts: vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        linux: Linux {
            cgroups_path: format!("/boga-latency/{name}"),
            namespaces: ["pid", "mount", "ipc", "uts", "network"]
                .map(|kind| Namespace { r#type: kind.to_owned(), path: String::new() })
                .to_vec(),
            ..Linux::default()
        },
        ..Config::default()
    }
}

fn lay_out(name: &str, bundle: &Path, root: &Path) {
    std::fs::create_dir_all(bundle.join("rootfs")).expect("make the bundle");
    let text = serde_json::to_vec(&config(name, root)).expect("a configuration is plain data");
    std::fs::write(bundle.join("config.json"), text).expect("write the configuration");
}

async fn embedded(client: &Shim, name: &str, bundle: &Path, root: &Path) {
    lay_out(name, bundle, root);
    let text = |path: &Path| path.to_str().expect("the path is UTF-8").to_owned();
    let start = Start {
        container: name.to_owned(),
        bundle: text(bundle),
        root: Some(Root { directory: text(root), ..Root::default() }),
        cgroup: format!("/boga-latency/{name}"),
        ..Start::default()
    };
    client.status(Operation::Start(start)).await.expect("start");
    let stop = Stop { container: name.to_owned(), signal: libc::SIGKILL, grace_milliseconds: 0 };
    client.status(Operation::Stop(stop)).await.expect("stop");
    client.call(Operation::Forget(Named { container: name.to_owned() })).await.expect("forget");
    let group = Hierarchies::detect().and_then(|found| found.group(&format!("/boga-latency/{name}")));
    let group = group.expect("the cgroup's path is valid");
    while !group.remove().expect("remove the cgroup") {
        tokio::task::yield_now().await;
    }
}

/// Times of a command in a running container, from the request to its exit code.
async fn execs(client: &Shim, clock: &SystemClock, pod: &Path, root: &Path) -> Vec<Duration> {
    let bundle = pod.join("exec");
    lay_out("exec", &bundle, root);
    let text = |path: &Path| path.to_str().expect("the path is UTF-8").to_owned();
    let start = Start {
        container: "exec".to_owned(),
        bundle: text(&bundle),
        root: Some(Root { directory: text(root), ..Root::default() }),
        cgroup: "/boga-latency/exec".to_owned(),
        ..Start::default()
    };
    client.status(Operation::Start(start)).await.expect("start");
    let mut process = config("exec", root).process;
    process.args = ["/bin/busybox", "true"].map(str::to_owned).to_vec();
    let exec = Exec {
        container: "exec".to_owned(),
        process: serde_json::to_vec(&process).expect("a process is plain data"),
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = clock.monotonic();
        let session = client.stream(Operation::Exec(exec.clone())).await.expect("exec");
        let code = session.exit.await.expect("the shim lives").expect("exec");
        assert_eq!(code, 0);
        times.push(clock.monotonic() - begun);
    }
    times
}

/// Whether an external runtime works on this machine at all.
fn try_out(runtime: &str, bundle: &Path, root: &Path) -> Result<(), String> {
    lay_out("trial", bundle, root);
    let mut create = Command::new(runtime);
    let output =
        create.args(["create", "trial"]).current_dir(bundle).stdin(Stdio::null()).stdout(Stdio::null());
    // Its errors go to a file: a pipe would be kept open by the container.
    let errors = bundle.join("errors");
    let file = std::fs::File::create(&errors).map_err(|error| error.to_string())?;
    let status = output.stderr(file).status().map_err(|error| error.to_string())?;
    let _ = Command::new(runtime).args(["delete", "--force", "trial"]).stderr(Stdio::null()).status();
    let said = std::fs::read_to_string(&errors).unwrap_or_default();
    if status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
}

fn external(runtime: &str, name: &str, bundle: &Path, root: &Path) {
    lay_out(name, bundle, root);
    let call = |args: &[&str]| {
        let status = Command::new(runtime)
            .args(args)
            .current_dir(bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("the runtime is installed").success(), "{runtime} {args:?}");
    };
    call(&["create", name]);
    call(&["start", name]);
    call(&["delete", "--force", name]);
}

/// Memory that is the shim's alone. The pages of its program do not count: all shims share them.
fn private_kib(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let anonymous = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    anonymous.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
