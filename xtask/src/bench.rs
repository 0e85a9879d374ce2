//! `cargo xtask bench`: what measures, each beside its peer in the same run.

use std::process::Command;

use crate::workspace::{cargo, root};

struct Bench {
    name: &'static str,
    package: &'static str,
    what: &'static str,
    /// What it is compared with, and how to install that where cargo does not build it.
    peer: &'static str,
    /// What cargo builds and runs.
    target: [&'static str; 2],
}

const BENCHES: [Bench; 5] = [
    Bench {
        name: "codec",
        package: "api",
        what: "JSON and protobuf of a pod",
        peer: "serde_json and prost-reflect",
        target: ["--bench", "codec"],
    },
    Bench {
        name: "store",
        package: "store",
        what: "durable writes, watchers, recovery, memory",
        peer: "etcd; apt-get install etcd-server",
        target: ["--bench", "store"],
    },
    Bench {
        name: "images",
        package: "oci",
        what: "pulling and unpacking; takes MEGABYTES",
        peer: "none",
        target: ["--example", "bench"],
    },
    Bench {
        name: "containers",
        package: "runtime",
        what: "starting containers, as root; takes SHIM RUNTIME...",
        peer: "crun and runc; apt-get install crun runc",
        target: ["--example", "latency"],
    },
    Bench {
        name: "services",
        package: "network",
        what: "loading services, as root; takes SERVICES ENDPOINTS",
        peer: "none",
        target: ["--example", "services"],
    },
];

pub fn run(arguments: &[String]) -> Result<(), String> {
    let [name, rest @ ..] = arguments else {
        for Bench { name, what, peer, .. } in BENCHES {
            println!("{name:<12} {what}; peer: {peer}");
        }
        return Ok(());
    };
    let found = BENCHES.iter().find(|bench| bench.name == name);
    let bench = found.ok_or_else(|| format!("no benchmark is called `{name}`"))?;
    let mut command = Command::new(cargo());
    match bench.target[0] {
        "--bench" => command.arg("bench"),
        _ => command.args(["run", "--release"]),
    };
    command.args(["--package", bench.package]).args(bench.target).arg("--").args(rest).current_dir(root());
    match command.status().map_err(|error| format!("cargo: {error}"))?.success() {
        true => Ok(()),
        false => Err(format!("the benchmark `{name}` failed")),
    }
}
