//! Promised behaviours of the API server, and the tests named after them.
//!
//! `behaviours.txt` numbers what re-implementations of Kubernetes get wrong. The test of behaviour 7 is a function
//! whose name begins with `conf_07_`.

use crate::rust;
use crate::workspace::{Workspace, read, rust_files};

/// Once every behaviour has its test, losing one is a fault. Until then the gaps are only told.
const COMPLETE: bool = false;

const BEHAVIOURS: &str = include_str!("behaviours.txt");

/// One promise, and the tests that hold us to it.
pub struct Behaviour {
    pub number: u32,
    pub promise: &'static str,
    pub tests: Vec<String>,
}

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let (behaviours, mut faults) = collect(workspace)?;
    if !workspace.members().any(|package| package.name == "apiserver" && package.dir.join("tests").exists()) {
        return Ok(faults);
    }
    let missing: Vec<&Behaviour> = behaviours.iter().filter(|behaviour| behaviour.tests.is_empty()).collect();
    if COMPLETE {
        let fault = |gap: &&Behaviour| format!("no test `conf_{:02}_…`: {}", gap.number, gap.promise);
        faults.extend(missing.iter().map(fault));
    } else if !missing.is_empty() {
        let numbers: Vec<String> = missing.iter().map(|gap| gap.number.to_string()).collect();
        println!("conformance: behaviours without a test so far: {}", numbers.join(" "));
    }
    Ok(faults)
}

/// Every behaviour with its tests.
pub fn behaviours(workspace: &Workspace) -> Result<Vec<Behaviour>, String> {
    Ok(collect(workspace)?.0)
}

/// Behaviours with their tests, and tests that name a behaviour which does not exist.
fn collect(workspace: &Workspace) -> Result<(Vec<Behaviour>, Vec<String>), String> {
    let mut behaviours: Vec<Behaviour> = BEHAVIOURS.lines().filter_map(parse).collect();
    let mut faults = Vec::new();
    for package in workspace.members() {
        for file in rust_files(&package.dir) {
            for (number, name) in tests(&rust::code(&read(&file)?)) {
                match behaviours.iter_mut().find(|behaviour| behaviour.number == number) {
                    Some(behaviour) => behaviour.tests.push(format!("{}::{name}", package.name)),
                    None => {
                        faults.push(format!("{}: `{name}` has no such behaviour", workspace.short(&file)))
                    }
                }
            }
        }
    }
    Ok((behaviours, faults))
}

fn parse(line: &'static str) -> Option<Behaviour> {
    let (number, promise) = line.split_once(". ")?;
    Some(Behaviour { number: number.parse().ok()?, promise, tests: Vec::new() })
}

/// The numbers and names of the functions that are named after a behaviour.
fn tests(code: &str) -> Vec<(u32, String)> {
    let name =
        |part: &str| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(str::to_owned);
    let names = code.split("fn conf_").skip(1).filter_map(name);
    let numbered =
        names.filter_map(|name| Some((name.split('_').next()?.parse().ok()?, format!("conf_{name}"))));
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_known_by_their_numbers() {
        let found = tests("async fn conf_07_expired() {}\nfn conf_40_ports() {}\nfn configure() {}");
        assert_eq!(found, [(7, "conf_07_expired".to_owned()), (40, "conf_40_ports".to_owned())]);
    }

    #[test]
    fn behaviours_are_numbered_without_gaps() {
        let numbers: Vec<u32> =
            BEHAVIOURS.lines().filter_map(parse).map(|behaviour| behaviour.number).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    }
}
