//! `cargo xtask bench`: benchmarks, each beside its peer in the same run.

use std::process::Command;

use crate::workspace::{Package, Target, Workspace, cargo};

/// Peers that a benchmark needs beside what cargo builds.
const PEERS: [(&str, &str); 1] = [("store", "etcd: apt-get install etcd-server")];

pub fn run(arguments: &[String]) -> Result<(), String> {
    let workspace = Workspace::load()?;
    let all: Vec<(&Package, &Target)> = workspace.members().flat_map(benches).collect();
    let [name, rest @ ..] = arguments else {
        for (package, target) in all {
            let peer = PEERS.iter().find(|(name, _)| *name == target.name);
            let peer = peer.map(|(_, peer)| format!("; peer {peer}")).unwrap_or_default();
            println!("{:<12} {} of `{}`{peer}", target.name, target.kind, package.name);
        }
        return Ok(());
    };
    let found = all.iter().find(|(_, target)| target.name == *name);
    let (package, target) = found.ok_or_else(|| format!("no benchmark is called `{name}`"))?;
    let mut command = Command::new(cargo());
    match target.kind.as_str() {
        "bench" => command.args(["bench", "--bench"]),
        _ => command.args(["run", "--release", "--example"]),
    };
    command.args([name, "--package", &package.name, "--"]).args(rest).current_dir(&workspace.root);
    match command.status().map_err(|error| format!("cargo: {error}"))?.success() {
        true => Ok(()),
        false => Err(format!("the benchmark `{name}` failed")),
    }
}

/// What measures: benches, and the examples of crates that ship.
fn benches(package: &Package) -> impl Iterator<Item = (&Package, &Target)> {
    let measures = |target: &&Target| match target.kind.as_str() {
        "bench" => true,
        kind => kind == "example" && package.name != env!("CARGO_PKG_NAME"),
    };
    package.targets.iter().filter(measures).map(move |target| (package, target))
}
