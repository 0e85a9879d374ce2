//! Growth is a ratchet: what is large is written down, and becomes larger only in a commit that says so.
//!
//! `xtask/growth.txt` records the lines of each crate, of each file that is over [`LARGE`] lines, and the number
//! of packages in `Cargo.lock`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::workspace::{Workspace, read, rust_files};

/// Lines from which on a file is asked to be split by concept, or to be written down.
const LARGE: usize = 800;
/// What may be added to something recorded before it must be written down again.
const SLACK: [(&str, fn(usize) -> usize); 3] =
    [("crate", |lines| 500 + lines / 10), ("file", |_| 25), ("packages", |_| 0)];

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let recorded = parse(&read(&record(workspace))?)?;
    Ok(faults(&recorded, &measure(workspace)?))
}

pub fn bless(workspace: &Workspace) -> Result<(), String> {
    let path = record(workspace);
    let lines: String = measure(workspace)?
        .into_iter()
        .map(|((what, name), size)| format!("{what} {name} {size}\n"))
        .collect();
    std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))
}

/// Sizes by what is measured and its name.
type Sizes = BTreeMap<(String, String), usize>;

fn faults(recorded: &Sizes, measured: &Sizes) -> Vec<String> {
    let mut faults = Vec::new();
    for ((what, name), size) in measured {
        let allowed =
            recorded.get(&(what.clone(), name.clone())).map(|recorded| recorded + slack(what, *recorded));
        match allowed {
            Some(allowed) if *size <= allowed => {}
            Some(allowed) => faults.push(format!("{what} {name} grew to {size}, over {allowed}; {REMEDY}")),
            None => faults.push(format!("{what} {name} is new with {size}; {REMEDY}")),
        }
    }
    faults
}

const REMEDY: &str = "if it must, run `cargo xtask tidy --bless` and commit xtask/growth.txt";

fn slack(what: &str, recorded: usize) -> usize {
    SLACK.iter().find(|(name, _)| *name == what).map_or(0, |(_, slack)| slack(recorded))
}

fn measure(workspace: &Workspace) -> Result<Sizes, String> {
    let mut sizes = Sizes::new();
    for package in workspace.members() {
        let mut sum = 0;
        for file in rust_files(&package.dir) {
            let lines = read(&file)?.lines().count();
            sum += lines;
            if lines > LARGE {
                sizes.insert(("file".into(), workspace.short(&file).to_string()), lines);
            }
        }
        sizes.insert(("crate".into(), package.name.clone()), sum);
    }
    let lock = read(&workspace.root.join("Cargo.lock"))?;
    sizes.insert(("packages".into(), "Cargo.lock".into()), lock.matches("[[package]]").count());
    Ok(sizes)
}

fn parse(text: &str) -> Result<Sizes, String> {
    let entry = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [what, name, size] => Some(((what.to_owned(), name.to_owned()), size.parse().ok()?)),
        _ => None,
    };
    let entries = text.lines().map(|line| entry(line).ok_or(format!("growth.txt: not an entry: {line}")));
    entries.collect()
}

fn record(workspace: &Workspace) -> PathBuf {
    workspace.root.join("xtask/growth.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(recorded: &str, measured: &str, want: &[&str]) {
        let faults = faults(&parse(recorded).unwrap(), &parse(measured).unwrap());
        let same =
            faults.len() == want.len() && faults.iter().zip(want).all(|(fault, want)| fault.contains(want));
        assert!(same, "{recorded} → {measured}: {faults:?}");
    }

    #[test]
    fn growth_beyond_the_slack_is_a_fault() {
        check("crate api 1000", "crate api 1600", &[]);
        check("crate api 1000", "crate api 1601", &["crate api grew to 1601, over 1600"]);
        check("file a.rs 900", "file a.rs 925", &[]);
        check("file a.rs 900", "file a.rs 926", &["grew"]);
        check("packages Cargo.lock 9", "packages Cargo.lock 10", &["grew"]);
        check("packages Cargo.lock 9", "packages Cargo.lock 8", &[]);
    }

    #[test]
    fn what_is_large_and_new_is_a_fault() {
        check("", "file a.rs 801", &["file a.rs is new with 801"]);
        check("file a.rs 900", "", &[]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error() {
        assert!(parse("crate api").is_err());
        assert!(parse("crate api many").is_err());
    }
}
