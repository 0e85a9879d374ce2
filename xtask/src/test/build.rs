//! Builds all tests once, and learns from cargo where they lie.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::workspace::{cargo, root};

/// A built test program.
pub struct Binary {
    pub package: String,
    /// The file that the program is compiled from, from its package's folder on.
    pub source: String,
    pub program: PathBuf,
    pub dir: PathBuf,
}

/// Builds the tests of these crates, or of all.
pub fn tests(crates: &[String]) -> Result<Vec<Binary>, String> {
    let mut command = Command::new(cargo());
    command.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).current_dir(root());
    match crates {
        [] => command.arg("--workspace"),
        named => command.args(named.iter().flat_map(|name| ["--package", name])),
    };
    let mut build = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo test: {error}"))?;
    let output = BufReader::new(build.stdout.take().ok_or("cargo has no output")?);
    let mut binaries: Vec<Binary> =
        output.lines().map_while(Result::ok).filter_map(|line| binary(&line)).collect();
    binaries.sort_by(|a, b| (&a.package, &a.source).cmp(&(&b.package, &b.source)));
    match build.wait() {
        Ok(status) if status.success() => {
            println!("{} test programs", binaries.len());
            Ok(binaries)
        }
        Ok(_) => Err("the tests do not build".into()),
        Err(error) => Err(format!("cargo test: {error}")),
    }
}

/// The test program that one of cargo's messages tells of.
fn binary(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let dir = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let source = Path::new(message["target"]["src_path"].as_str()?);
    Some(Binary {
        package: dir.file_name()?.to_str()?.to_owned(),
        source: source.strip_prefix(&dir).unwrap_or(source).display().to_string(),
        program: PathBuf::from(message["executable"].as_str()?),
        dir,
    })
}
