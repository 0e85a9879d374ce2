//! The Debian packages that tests need: peers to compare with, and tools that judge results or prepare a scene.
//! Boga itself needs none of them.

use std::process::{Command, Stdio};

/// A package, and the tests that fail without it.
const PACKAGES: [(&str, &str); 7] = [
    ("busybox-static", "runtime, kubelet, boga: what containers run"),
    ("crun", "runtime: launching through a configured external runtime"),
    ("etcd-server", "store, apiserver: everything on etcd"),
    ("iproute2", "network, runtime: scenes of links and addresses"),
    ("nftables", "network: a second opinion on the tables"),
    ("runc", "runtime: launching through a configured external runtime"),
    ("skopeo", "oci: a second opinion on images and the registry"),
];

/// Installs what is missing where that is possible, and says loudly which tests will fail where it is not.
pub fn install() -> Result<(), String> {
    let missing: Vec<_> = PACKAGES.into_iter().filter(|(package, _)| !installed(package)).collect();
    if missing.is_empty() {
        println!("all {} Debian packages are there", PACKAGES.len());
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    println!("installing {}", names.join(" "));
    let fetched = apt(&["update", "--quiet"]);
    let installed = fetched.and_then(|()| {
        apt(&[&["install", "--yes", "--quiet", "--no-install-recommends"], &names[..]].concat())
    });
    installed.map_err(|reason| {
        let failing: Vec<String> =
            missing.iter().map(|(name, tests)| format!("\n  {name}: {tests}")).collect();
        format!("{reason}; these tests will fail:{}", failing.concat())
    })
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("apt-get {} failed ({status}); it needs root", arguments[0])),
        Err(error) => Err(format!("apt-get cannot be run: {error}")),
    }
}
