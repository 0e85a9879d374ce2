//! `cargo xtask status`: writes `docs/status.md`, what is built and what is not, from the code itself.
//!
//! Resources that Kubernetes serves come from the schema table, kinds with their verbs from the list of kinds,
//! validation rows from the kinds' recorded verdicts, behaviours from the names of tests. Only the results of the
//! conformance suite are written by hand, in `areas.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::tidy::{Behaviour, behaviours};
use crate::workspace::{Workspace, cargo, files, read};

/// One line an area of the official suite: name, tests in it, tests that passed when it was last run.
const AREAS: &str = include_str!("areas.txt");

pub fn run(arguments: &[String]) -> Result<(), String> {
    let workspace = Workspace::load()?;
    let text = page(&workspace)?;
    let path = workspace.root.join("docs/status.md");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display())),
        ["--check"] if read(&path)? == text => Ok(()),
        ["--check"] => Err("docs/status.md is not what the code says; run `cargo xtask status`".into()),
        _ => Err("usage: cargo xtask status [--check]".into()),
    }
}

fn page(workspace: &Workspace) -> Result<String, String> {
    let served = served(&read(&workspace.root.join("crates/schema/table/v1.37.txt"))?);
    let kinds = kinds(workspace)?;
    let rows = rows(workspace)?;
    let mut page = String::from(HEAD);
    resources(&mut page, &served, &kinds, &rows);
    promises(&mut page, &behaviours(workspace)?);
    suite(&mut page);
    Ok(page)
}

const HEAD: &str = "# Status

Written by `cargo xtask status` from the code. What is not listed as built is not built.
";

/// A group and a plural.
type Resource = (String, String);

/// One line of the inventory that `kinds` prints of itself.
struct Kind {
    versions: String,
    verbs: String,
    below: String,
}

fn resources(
    page: &mut String,
    served: &BTreeSet<Resource>,
    kinds: &BTreeMap<Resource, Kind>,
    rows: &BTreeMap<String, usize>,
) {
    let built = served.iter().filter(|resource| kinds.contains_key(resource)).count();
    let all: usize = rows.values().sum();
    let _ = write!(
        page,
        "
## Resources

Of the {} resources that Kubernetes v1.37 serves by default, {built} have their kind: names, defaults, preparation,
validation and columns. {all} verdicts on them are recorded from upstream and held in tests.

| group | resource | versions | verbs | subresources | verdicts |
|---|---|---|---|---|---|
",
        served.len(),
    );
    for resource @ (group, plural) in served.iter().filter(|resource| kinds.contains_key(resource)) {
        let Kind { versions, verbs, below } = &kinds[resource];
        let verdicts = rows.get(&format!("{}/{plural}", folder(group))).copied().unwrap_or(0);
        let _ =
            writeln!(page, "| {} | {plural} | {versions} | {verbs} | {below} | {verdicts} |", named(group));
    }
    let missing = served.iter().filter(|resource| !kinds.contains_key(resource));
    let missing: Vec<String> =
        missing.map(|(group, plural)| format!("{plural} ({})", named(group))).collect();
    let _ = match missing.is_empty() {
        true => writeln!(page, "\nNone is missing."),
        false => writeln!(page, "\nNot built: {}.", missing.join(", ")),
    };
}

fn promises(page: &mut String, behaviours: &[Behaviour]) {
    let held = behaviours.iter().filter(|behaviour| !behaviour.tests.is_empty()).count();
    let _ = write!(
        page,
        "
## Promised behaviours

What re-implementations get wrong. {held} of {} have a test that is named after them.

| | behaviour | tests |
|---|---|---|
",
        behaviours.len()
    );
    for Behaviour { number, promise, tests } in behaviours {
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        let tests = if tests.is_empty() { "none".to_owned() } else { tests.join(", ") };
        let _ = writeln!(page, "| {number} | {promise} | {tests} |");
    }
}

fn suite(page: &mut String) {
    let areas: Vec<Vec<&str>> = AREAS.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let sum =
        |column: usize| areas.iter().filter_map(|area| area.get(column)?.parse::<u32>().ok()).sum::<u32>();
    let (tests, passed) = (sum(1), sum(2));
    let state = match passed {
        0 => "It has not been run against Boga yet.",
        _ => "These are the results of its last run.",
    };
    let _ = write!(
        page,
        "
## The official conformance suite

About {tests} tests at v1.37, by area. {state}

| area | tests | passed |
|---|---|---|
"
    );
    for area in &areas {
        let _ = writeln!(page, "| {} |", area.join(" | "));
    }
    let _ = writeln!(page, "| all | {tests} | {passed} |");
}

/// What Kubernetes serves by default, from lines such as
/// `resource apps/v1/Deployment deployments namespaced on status=apps/v1/Deployment`.
fn served(table: &str) -> BTreeSet<Resource> {
    let resource = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["resource", kind, plural, _, "on", ..] => Some((group(kind).to_owned(), plural.to_owned())),
        _ => None,
    };
    table.lines().filter_map(resource).collect()
}

/// The group of `group/version/Kind`, which the core group leaves out.
fn group(kind: &str) -> &str {
    match kind.split('/').collect::<Vec<_>>()[..] {
        [group, _, _] => group,
        _ => "",
    }
}

fn kinds(workspace: &Workspace) -> Result<BTreeMap<Resource, Kind>, String> {
    let arguments = ["run", "--quiet", "--package", "kinds", "--example", "inventory"];
    let output = Command::new(cargo()).args(arguments).current_dir(&workspace.root).output();
    let output = output.map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the inventory of kinds: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let kind = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [group, plural, _, versions, verbs, below] => {
            let [versions, verbs, below] = [versions, verbs, below].map(|field| field.replace(',', " "));
            Some((
                (group.to_owned(), plural.to_owned()),
                Kind { versions, verbs, below: subresources(&below) },
            ))
        }
        _ => None,
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(kind).collect())
}

/// The names in `status=get patch update scale=get`.
fn subresources(below: &str) -> String {
    let names = below.split(' ').filter_map(|word| Some(word.split_once('=')?.0));
    names.collect::<Vec<_>>().join(" ")
}

/// Recorded verdicts by folder and plural.
fn rows(workspace: &Workspace) -> Result<BTreeMap<String, usize>, String> {
    let data = workspace.root.join("crates/kinds/tests/data");
    let count = |path: &Path| -> Result<(String, usize), String> {
        let name = path.strip_prefix(&data).unwrap_or(path).with_extension("").display().to_string();
        let row = |line: &&str| !line.starts_with(' ') && !line.starts_with('#') && !line.is_empty();
        Ok((name, read(path)?.lines().filter(row).count()))
    };
    files(&data, "rows").iter().map(|path| count(path)).collect()
}

/// The folder of a group's data: the first part of its name.
fn folder(group: &str) -> &str {
    match group.split('.').next() {
        Some("") | None => "core",
        Some(first) => first,
    }
}

fn named(group: &str) -> &str {
    if group.is_empty() { "core" } else { group }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_are_on_are_served() {
        let table = "resource v1/Pod pods namespaced on status=v1/Pod\nresource apps/v1/Deployment deployments namespaced on\nresource a/v1alpha1/B bs cluster off\nmessage resource";
        let pair = |group: &str, plural: &str| (group.to_owned(), plural.to_owned());
        assert_eq!(served(table), [pair("", "pods"), pair("apps", "deployments")].into());
    }

    #[test]
    fn subresources_are_named_without_their_verbs() {
        assert_eq!(subresources("status=get patch update scale=get"), "status scale");
        assert_eq!(subresources(""), "");
    }
}
