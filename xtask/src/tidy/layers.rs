//! Dependencies point down only. The table in `ARCHITECTURE.md` says what down is.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{Purpose, Workspace, read};

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let document = read(&workspace.root.join("ARCHITECTURE.md"))?;
    let layers = Layers::parse(&document)?;
    let ours: BTreeSet<&str> = workspace.members().map(|package| package.name.as_str()).collect();
    let imports = workspace.members().flat_map(|package| {
        let uses = package.uses.iter().filter(|used| ours.contains(used.package.as_str()));
        uses.map(|used| Import { from: &package.name, to: &used.package, purpose: used.purpose })
    });
    let mut faults = layers.faults(&imports.collect::<Vec<_>>());
    faults.extend(layers.strangers(&ours));
    let described = |name: &&str| !document.contains(&format!("\n### `{name}`"));
    let undescribed = ours.iter().copied().filter(described);
    faults.extend(undescribed.map(|name| format!("ARCHITECTURE.md has no section for `{name}`")));
    Ok(faults)
}

/// What `ARCHITECTURE.md` allows.
struct Layers {
    /// The layer of each crate. What never ships lies above everything.
    of: BTreeMap<String, u32>,
    /// What a crate's tests may use though it does not lie lower.
    looser: BTreeSet<(String, String)>,
}

struct Import<'a> {
    from: &'a str,
    to: &'a str,
    purpose: Purpose,
}

const DEVELOPMENT: u32 = u32::MAX;

impl Layers {
    fn parse(document: &str) -> Result<Layers, String> {
        let mut layers = Layers { of: BTreeMap::new(), looser: BTreeSet::new() };
        for cells in rows(document, "## Layers") {
            let layer = match cells[0] {
                "dev" => DEVELOPMENT,
                number => number.parse().map_err(|_| format!("ARCHITECTURE.md: `{number}` is no layer"))?,
            };
            for name in quoted(cells[1]) {
                if layers.of.insert(name.to_owned(), layer).is_some() {
                    return Err(format!("ARCHITECTURE.md: `{name}` stands in two layers"));
                }
            }
        }
        for cells in rows(document, "## Looser in tests") {
            for from in quoted(cells[0]) {
                layers.looser.extend(quoted(cells[1]).map(|to| (from.to_owned(), to.to_owned())));
            }
        }
        match layers.of.is_empty() {
            true => Err("ARCHITECTURE.md has no table of layers".into()),
            false => Ok(layers),
        }
    }

    fn faults(&self, imports: &[Import<'_>]) -> Vec<String> {
        imports.iter().filter_map(|import| self.fault(import)).collect()
    }

    fn fault(&self, Import { from, to, purpose }: &Import<'_>) -> Option<String> {
        // A crate that is in no layer is reported once, by name.
        let (above, below) = (*self.of.get(*from)?, *self.of.get(*to)?);
        let named = *purpose == Purpose::Tests && self.looser.contains(&(from.to_string(), to.to_string()));
        if below < above || named {
            return None;
        }
        let remedy = match purpose {
            Purpose::Tests => "; where only tests need it, name it under \"Looser in tests\"",
            _ => "",
        };
        Some(format!("`{from}` (layer {above}) imports `{to}` (layer {below}), which is not lower{remedy}"))
    }

    /// Crates without a layer, and layers' crates that do not exist.
    fn strangers(&self, ours: &BTreeSet<&str>) -> Vec<String> {
        let unknown = ours.iter().filter(|name| !self.of.contains_key(**name));
        let absent = self.of.keys().filter(|name| !ours.contains(name.as_str()));
        let unknown = unknown.map(|name| format!("crate `{name}` is in no layer of ARCHITECTURE.md"));
        let absent =
            absent.map(|name| format!("ARCHITECTURE.md has a layer for `{name}`, which is no crate"));
        unknown.chain(absent).collect()
    }
}

/// The cells of the table rows below a heading, without the table's head.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = document.lines().skip_while(|line| *line != heading).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let table = section.filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    table
        .skip(2)
        .map(|row| row.split('|').map(str::trim).collect())
        .filter(|row: &Vec<_>| row.len() > 1)
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    const DOCUMENT: &str = "
## Layers

| layer | crate | what it is for |
|---|---|---|
| 0 | `base`, `grammar` | below |
| 1 | `store` | above |
| 2 | `apiserver` | on top |
| dev | `xtask` | never ships |

## Looser in tests

| crate | may use | why |
|---|---|---|
| `store` | `apiserver` | a reason |
";

    fn check(from: &str, to: &str, purpose: Purpose, want: &str) {
        let faults = Layers::parse(DOCUMENT).unwrap().faults(&[Import { from, to, purpose }]).join("\n");
        match want {
            "" => assert_eq!(faults, "", "{from} may use {to}"),
            _ => assert!(faults.contains(want), "{from} → {to}: {faults:?} lacks {want:?}"),
        }
    }

    #[test]
    fn imports_go_down_only() {
        check("store", "base", Purpose::Code, "");
        check("apiserver", "base", Purpose::Build, "");
        check(
            "base",
            "store",
            Purpose::Code,
            "`base` (layer 0) imports `store` (layer 1), which is not lower",
        );
        check("base", "store", Purpose::Build, "not lower");
        check("base", "grammar", Purpose::Code, "not lower");
        check("xtask", "apiserver", Purpose::Code, "");
        check("apiserver", "xtask", Purpose::Code, "not lower");
    }

    #[test]
    fn tests_may_look_up_where_the_document_says_so() {
        check("store", "apiserver", Purpose::Tests, "");
        check("store", "apiserver", Purpose::Code, "not lower");
        check("base", "apiserver", Purpose::Tests, "Looser in tests");
    }

    #[test]
    fn the_table_and_the_crates_are_the_same() {
        let layers = Layers::parse(DOCUMENT).unwrap();
        let faults = layers.strangers(&["base", "grammar", "store", "xtask", "new"].into());
        assert_eq!(
            faults,
            [
                "crate `new` is in no layer of ARCHITECTURE.md",
                "ARCHITECTURE.md has a layer for `apiserver`, which is no crate"
            ]
        );
    }

    /// The rule as it stands in the repository: it passes, and an import upwards would fail it.
    #[test]
    fn an_import_upwards_fails_the_real_table() {
        let workspace = Workspace::load().unwrap();
        assert_eq!(super::check(&workspace).unwrap(), Vec::<String>::new());

        let mut workspace = workspace;
        let base = workspace.packages.iter_mut().find(|package| package.name == "base").unwrap();
        base.uses.push(crate::workspace::Use { package: "boga".into(), purpose: Purpose::Code });
        let faults = super::check(&workspace).unwrap();
        assert!(faults.len() == 1 && faults[0].contains("`base` (layer 0) imports `boga`"), "{faults:?}");
    }
}
