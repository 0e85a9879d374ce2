//! Everything that Boga is built from may be given away under Apache-2.0 terms.

use crate::workspace::Workspace;

/// Licences that ask for no more than their own text.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A licence for one package alone, and why. These are files of other people that we do not change.
const EXCEPTIONS: [(&str, &str, &str); 1] =
    [("pathrs", "MPL-2.0", "safe path resolution for containers; copyleft stops at its own files")];

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in workspace.foreign() {
        let Some(licence) = &package.licence else {
            faults.push(format!("{} {} names no licence", package.name, package.version));
            continue;
        };
        if !permits(licence, |one| allowed(&package.name, one)) {
            faults.push(format!("{} {} is under {licence}", package.name, package.version));
        }
    }
    for package in workspace.members().filter(|package| package.licence.as_deref() != Some("Apache-2.0")) {
        faults.push(format!("our own crate `{}` is not under Apache-2.0", package.name));
    }
    Ok(faults)
}

fn allowed(package: &str, licence: &str) -> bool {
    let excepted = EXCEPTIONS.iter().any(|(name, one, _)| *name == package && *one == licence);
    ALLOWED.contains(&licence) || excepted
}

/// Whether an SPDX expression can be satisfied with licences that are allowed. The older `A/B` means `A OR B`.
fn permits(expression: &str, allowed: impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest, &allowed) && rest.is_empty()
}

fn any(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    let mut good = all(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        good |= all(words, allowed);
    }
    good
}

fn all(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    let mut good = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut &[&str], allowed: &impl Fn(&str) -> bool) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let good = any(words, allowed);
            let closed = words.first() == Some(&")");
            *words = words.get(1..).unwrap_or_default();
            good && closed
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed(&format!("{licence} WITH {exception}"))
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_permitted_when_some_choice_is() {
        let check = |expression: &str, want: bool| {
            assert_eq!(permits(expression, |one| allowed("some", one)), want, "{expression}");
        };
        check("MIT", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT", true);
        check("GPL-3.0-only AND MIT", false);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("MIT OR Apache-2.0 AND GPL-2.0-only", true);
        check("(MIT OR Apache-2.0) AND GPL-2.0-only", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-2.0-only WITH Classpath-exception-2.0", false);
        check("MPL-2.0", false);
        check("", false);
        check("(MIT", false);
        check("MIT Apache-2.0", false);
    }

    #[test]
    fn an_exception_holds_for_its_package_alone() {
        assert!(allowed("pathrs", "MPL-2.0"));
        assert!(!allowed("other", "MPL-2.0"));
    }
}
