//! Words that do not stand in this code.

use std::path::Path;

use crate::rust;
use crate::workspace::{Workspace, read, rust_files};

/// Nowhere: work that is not done answers with an error that says so, and a test runs or does not exist.
const NOWHERE: [(&str, &str); 4] = [
    ("todo!", "say what is missing in an error"),
    ("unimplemented!", "say what is missing in an error"),
    ("#[ignore", "a test that does not run is no test"),
    ("should_panic", "assert on the error"),
];

/// Not in tests: whoever waits for a moment waits too long or too short. Wait for the condition. In a loop, a sleep
/// is the pause between two looks at one.
const NOT_IN_TESTS: [&str; 3] = ["thread::sleep(", "time::sleep(", "sleep(Duration"];

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in workspace.members() {
        for file in rust_files(&package.dir) {
            let name = workspace.short(&file).to_string();
            faults.extend(find(&name, &read(&file)?));
        }
    }
    Ok(faults)
}

fn find(name: &str, text: &str) -> Vec<String> {
    let code = rust::code(text);
    let tests_from = if is_test(name) { 0 } else { rust::tests_begin(&code).unwrap_or(usize::MAX) };
    let mut faults = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let banned = NOWHERE.iter().filter(|(word, _)| line.contains(word));
        faults.extend(banned.map(|(word, remedy)| format!("{place}: `{word}`: {remedy}")));
        let sleeps = NOT_IN_TESTS.iter().any(|word| line.contains(word));
        if sleeps && number >= tests_from && !in_loop(&lines[..=number]) {
            faults.push(format!("{place}: a test sleeps; wait for the condition"));
        }
    }
    faults
}

/// Whether the last line stands in a loop of its function. Formatted code tells by its indentation.
fn in_loop(lines: &[&str]) -> bool {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let Some((last, before)) = lines.split_last() else { return false };
    let mut inside = depth(last);
    for line in before.iter().rev().filter(|line| !line.trim().is_empty() && line.trim() != "}") {
        if depth(line) >= inside {
            continue;
        }
        inside = depth(line);
        let head = line.trim_start();
        if ["loop ", "while ", "for "].iter().any(|word| head.starts_with(word)) {
            return true;
        }
        if head.starts_with("fn ") || head.contains(" fn ") {
            return false;
        }
    }
    false
}

fn is_test(name: &str) -> bool {
    let path = Path::new(name);
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, want: &str) {
        let faults = find(name, text).join("\n");
        match want {
            "" => assert_eq!(faults, "", "{text}"),
            _ => assert!(faults.contains(want), "{text}: {faults}"),
        }
    }

    #[test]
    fn banned_words_are_found_in_code_alone() {
        check("src/a.rs", "fn a() {\n    todo!()\n}", "src/a.rs:2: `todo!`");
        check("src/a.rs", "// todo!() is not ours\nconst A: &str = \"todo!\";", "");
        check("src/a.rs", "#[ignore = \"slow\"]", "`#[ignore`");
        check("src/a.rs", "#[should_panic]", "`should_panic`");
    }

    #[test]
    fn tests_do_not_sleep() {
        let sleep = "std::thread::sleep(pause);";
        check("crates/a/src/a.rs", sleep, "");
        check(
            "crates/a/src/a.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{sleep}\n}}"),
            "a.rs:3: a test sleeps",
        );
        check("crates/a/tests/it/a.rs", "tokio::time::sleep(pause).await", "a test sleeps");
        check("tests/a.rs", &format!("fn a() {{\n    while b() {{\n        {sleep}\n    }}\n}}"), "");
        check(
            "tests/a.rs",
            &format!("fn a() {{\n    while b() {{\n        c();\n    }}\n    {sleep}\n}}"),
            "sleeps",
        );
        check("tests/a.rs", &format!("for a in b {{\n    fn c() {{\n        {sleep}\n    }}\n}}"), "sleeps");
    }
}
