//! Clippy over the whole workspace, with every warning an error.

use std::process::Command;

use crate::workspace::{cargo, root};

pub fn run() -> Result<(), String> {
    let arguments =
        ["clippy", "--quiet", "--keep-going", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let status = Command::new(cargo()).args(arguments).current_dir(root()).status();
    match status.map_err(|error| format!("cargo clippy: {error}"))?.success() {
        true => Ok(()),
        false => Err("clippy warns".into()),
    }
}
