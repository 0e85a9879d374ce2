//! `cargo xtask tidy`: rules of the house that no compiler checks.

mod conformance;
mod files;
mod growth;
mod layers;
mod licences;
mod native;
mod words;

use std::process::Command;

use crate::clippy;
use crate::workspace::{Workspace, cargo};

pub use conformance::{Behaviour, behaviours};

/// What a check is called, and what it finds wrong.
type Check = (&'static str, fn(&Workspace) -> Result<Vec<String>, String>);

const CHECKS: [Check; 9] = [
    ("layers", layers::check),
    ("dead files", files::dead),
    ("module docs", files::documented),
    ("lints", files::linted),
    ("licences", licences::check),
    ("native code", native::check),
    ("words", words::check),
    ("conformance", conformance::check),
    ("growth", growth::check),
];

pub fn run(arguments: &[String]) -> Result<(), String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let quick = quick();
            let lints = clippy::run();
            quick.and(lints)
        }
        ["--quick"] => quick(),
        ["--bless"] => growth::bless(&Workspace::load()?),
        _ => Err("usage: cargo xtask tidy [--quick | --bless]".into()),
    }
}

/// Everything but clippy.
pub fn quick() -> Result<(), String> {
    let workspace = Workspace::load()?;
    let mut failed = Vec::new();
    let formatted = Command::new(cargo())
        .args(["fmt", "--all", "--check", "--", "-l"])
        .current_dir(&workspace.root)
        .status();
    if !formatted.map_err(|error| format!("cargo fmt: {error}"))?.success() {
        failed.push("formatting");
    }
    for (name, check) in CHECKS {
        let faults = check(&workspace).unwrap_or_else(|fault| vec![fault]);
        if !faults.is_empty() {
            failed.push(name);
        }
        for fault in faults {
            println!("{name}: {fault}");
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => Err(format!("not tidy: {}", failed.join(", "))),
    }
}
