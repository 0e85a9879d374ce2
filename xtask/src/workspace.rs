//! What cargo knows about the workspace, and the Rust files in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Dependencies count when one of these builds them.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

pub struct Workspace {
    pub root: PathBuf,
    /// Our own crates and everything that they are built from, ours first, each group by name.
    pub packages: Vec<Package>,
}

pub struct Package {
    pub name: String,
    pub version: String,
    /// One of ours.
    pub member: bool,
    pub dir: PathBuf,
    pub licence: Option<String>,
    /// The native library that the package says it links.
    pub links: Option<String>,
    /// The files from which cargo compiles the library, the programs, tests, benches and examples.
    pub roots: Vec<PathBuf>,
    pub uses: Vec<Use>,
}

/// One package uses another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub package: String,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Code,
    Build,
    Tests,
}

impl Workspace {
    pub fn load() -> Result<Workspace, String> {
        let root = root();
        let mut command = Command::new(cargo());
        command.args(["metadata", "--format-version", "1"]).current_dir(&root);
        for platform in PLATFORMS {
            command.args(["--filter-platform", platform]);
        }
        let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        let mut packages: Vec<Package> =
            list(&metadata, "packages").map(|it| package(it, &metadata)).collect();
        packages.sort_by(|a, b| (!a.member, &a.name).cmp(&(!b.member, &b.name)));
        Ok(Workspace { root, packages })
    }

    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.member)
    }

    pub fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !package.member)
    }

    /// A path as people write it: from the root of the workspace.
    pub fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// The folder that holds the workspace's manifest.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs us, or the one on the path.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Every `.rs` file below a folder, in order.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files(dir, "rs")
}

/// Every file below a folder whose name ends so, in order. Folders that cannot be read hold nothing.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn package(from: &Value, metadata: &Value) -> Package {
    let id = &from["id"];
    let node = list(&metadata["resolve"], "nodes").find(|node| node["id"] == *id);
    let mut uses: Vec<Use> =
        node.into_iter().flat_map(|node| list(node, "deps")).flat_map(|dep| used(dep, metadata)).collect();
    uses.sort();
    uses.dedup();
    let manifest = PathBuf::from(text(&from["manifest_path"]));
    Package {
        name: text(&from["name"]),
        version: text(&from["version"]),
        member: list(metadata, "workspace_members").any(|member| member == id),
        dir: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
        licence: from["license"].as_str().map(str::to_owned),
        links: from["links"].as_str().map(str::to_owned),
        roots: list(from, "targets").map(|target| PathBuf::from(text(&target["src_path"]))).collect(),
        uses,
    }
}

/// One entry for each purpose that a package is used for.
fn used(dep: &Value, metadata: &Value) -> Vec<Use> {
    let found = list(metadata, "packages").find(|package| package["id"] == dep["pkg"]);
    let name = found.map(|package| text(&package["name"])).unwrap_or_default();
    let purpose = |kind: &Value| match kind["kind"].as_str() {
        Some("dev") => Purpose::Tests,
        Some("build") => Purpose::Build,
        _ => Purpose::Code,
    };
    list(dep, "dep_kinds").map(|kind| Use { package: name.clone(), purpose: purpose(kind) }).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
