//! Every Rust file is part of something, and says what it is for; every crate takes the workspace's lints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::rust;
use crate::workspace::{Package, Workspace, read, rust_files};

/// Files that no target of their crate is compiled from.
pub fn dead(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in workspace.members() {
        let alive: BTreeSet<PathBuf> = package.roots.iter().flat_map(|root| rust::reachable(root)).collect();
        let dead = rust_files(&package.dir).into_iter().filter(|file| !alive.contains(file));
        faults.extend(dead.map(|file| format!("{}: no `mod` leads here", workspace.short(&file))));
    }
    Ok(faults)
}

/// Source files, and the roots of all other targets, begin with a module comment. A further file of an
/// integration test is a table of cases, and its name says of what.
pub fn documented(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in workspace.members() {
        for file in sources(package) {
            let text = read(&file)?;
            if !text.lines().any(|line| line.starts_with("//!")) {
                faults.push(format!("{}: begins with no `//!` comment", workspace.short(&file)));
            }
        }
    }
    Ok(faults)
}

pub fn linted(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in workspace.members() {
        let manifest = package.dir.join("Cargo.toml");
        if !read(&manifest)?.contains("[lints]\nworkspace = true") {
            faults.push(format!("{}: does not take the workspace's lints", workspace.short(&manifest)));
        }
    }
    Ok(faults)
}

fn sources(package: &Package) -> BTreeSet<PathBuf> {
    package.roots.iter().cloned().chain(rust_files(Path::new(&package.dir).join("src").as_path())).collect()
}
