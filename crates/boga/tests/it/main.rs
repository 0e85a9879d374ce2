//! The real binary, driven by kubectl.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long a server may take to write its kubeconfig.
const START: Duration = Duration::from_secs(60);

/// How often the server is killed.
const KILLS: usize = 50;
/// Services made and acknowledged before each kill; as many more are under way.
const ACKNOWLEDGED: usize = 3;

struct Server {
    process: Child,
    kubeconfig: PathBuf,
}

impl Server {
    /// Starts a server over `folder` and waits until it can be called.
    fn start(folder: &Path) -> Server {
        let kubeconfig = folder.join("kubeconfig");
        let _ = std::fs::remove_file(&kubeconfig);
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_boga"))
            .args(["server", "--no-node", "--port", "0", "--data"])
            .arg(folder.join("data"))
            .arg("--write-kubeconfig")
            .arg(&kubeconfig)
            .stderr(log.try_clone().expect("a log"))
            .stdout(log)
            .spawn()
            .expect("boga starts");
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(20);
        while !kubeconfig.exists() {
            let ended = process.try_wait().expect("its state");
            assert!(
                ended.is_none() && waited < START,
                "{}",
                std::fs::read_to_string(folder.join("log")).unwrap_or_default()
            );
            std::thread::sleep(step);
            waited += step;
        }
        Server { process, kubeconfig }
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl());
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments).stdin(Stdio::null());
        command
    }

    /// What kubectl prints.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", told(&output));
        told(&output)
    }

    fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The kubectl in PATH, or the one that Google's tools bring.
fn kubectl() -> PathBuf {
    let beside = PathBuf::from("/usr/lib/google-cloud-sdk/bin/kubectl.1.33");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .chain([beside])
        .find(|file| file.is_file())
        .expect("these tests drive kubectl: install it (https://kubernetes.io/docs/tasks/tools/) into a folder of PATH")
}

#[test]
fn kubectl_works_against_the_binary() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    assert!(server.run(&["get", "namespaces", "-o", "name"]).contains("namespace/kube-system"));
    assert!(server.run(&["get", "service", "kubernetes"]).contains("10.96.0.1"));
    server.run(&["create", "configmap", "a", "--from-literal=k=v"]);
    assert_eq!(server.run(&["get", "configmap", "a", "-o", "jsonpath={.data.k}"]), "v");
    server.run(&["create", "deployment", "d", "--image=image"]);
    server.run(&["scale", "deployment", "d", "--replicas=3"]);
    assert!(server.run(&["get", "deployment", "d"]).contains("0/3"));
    server.run(&["expose", "deployment", "d", "--port=80", "--type=NodePort"]);
    assert!(server.run(&["describe", "service", "d"]).contains("NodePort"));
    server.run(&["label", "configmap", "a", "color=red"]);
    assert_eq!(server.run(&["get", "configmap", "-l", "color=red", "-o", "name"]).trim(), "configmap/a");
    server.run(&["delete", "configmap", "a"]);
    let absent = server.kubectl(&["get", "configmap", "a"]).output().expect("kubectl runs");
    assert!(told(&absent).contains("Error from server (NotFound): configmaps \"a\" not found"));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let server = Server::start(folder.path());
        check_nothing_missing(&server, &acknowledged);
        // The last writes are still on their way when the server dies.
        let mut under_way = Vec::new();
        for at in 0..ACKNOWLEDGED {
            let name = format!("s{round}-{at}");
            let made = server.run(&["create", "service", "nodeport", &name, "--tcp=80", "-o", "name"]);
            assert_eq!(made.trim(), format!("service/{name}"));
            acknowledged.insert(made.trim().to_owned());
            let name = format!("w{round}-{at}");
            let mut writer =
                server.kubectl(&["create", "service", "clusterip", &name, "--tcp=80", "-o", "name"]);
            under_way
                .push(writer.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl runs"));
        }
        server.kill();
        for writer in under_way {
            let output = writer.wait_with_output().expect("kubectl ends");
            acknowledged.extend(
                output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            );
        }
    }
    let server = Server::start(folder.path());
    check_nothing_missing(&server, &acknowledged);
    println!("{KILLS} kills, {} acknowledged services", acknowledged.len());
}

/// Everything acknowledged is there, and no address or port was given out twice.
fn check_nothing_missing(server: &Server, acknowledged: &BTreeSet<String>) {
    let found: BTreeSet<String> =
        server.run(&["get", "services", "-o", "name"]).lines().map(str::to_owned).collect();
    assert_eq!(acknowledged.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new());
    for path in ["jsonpath={.items[*].spec.clusterIP}", "jsonpath={.items[*].spec.ports[*].nodePort}"] {
        let text = server.run(&["get", "services", "-o", path]);
        let all: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{path}");
    }
}
