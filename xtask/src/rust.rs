//! As much of Rust's grammar as the checks need: what is code and what is text, where tests begin, and which
//! files a file names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The text with comments and the insides of literals made blank. Lines and columns stay where they are.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !continues_word(bytes, at) => raw_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The line from which on a source file holds tests; lines count from zero.
pub fn tests_begin(code: &str) -> Option<usize> {
    code.lines().position(|line| line.trim() == "#[cfg(test)]")
}

/// The files that a target is compiled from, its root included, as far as they exist.
pub fn reachable(root: &Path) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut next = vec![(root.to_path_buf(), true)];
    while let Some((file, is_root)) = next.pop() {
        if seen.contains(&file) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        next.extend(named(&file, is_root, &text).into_iter().map(|path| (path, false)));
        seen.insert(file);
    }
    seen
}

/// The files that `mod name;`, `#[path]` and `include!` of one file can mean.
fn named(file: &Path, is_root: bool, text: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    let below = if is_root || stem == "mod" { folder.to_path_buf() } else { folder.join(stem) };
    let mut files = Vec::new();
    let mut path = None;
    for (raw, line) in text.lines().zip(code(text).lines()) {
        let (raw, line) = (raw.trim(), line.trim());
        if let Some(given) = between(raw, "#[path = \"", "\"]") {
            path = Some(folder.join(given));
        } else if let Some(name) = module(line) {
            match path.take() {
                Some(path) => files.push(path),
                None => files.extend([below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]),
            }
        } else if let Some(given) = between(raw, "include!(\"", "\")") {
            files.push(folder.join(given));
        }
    }
    files
}

/// The name in `mod name;`, whatever its visibility.
fn module(line: &str) -> Option<&str> {
    let declaration = line.strip_suffix(';')?;
    let (before, name) = declaration.rsplit_once("mod ")?;
    let visibility = before.trim();
    (visibility.is_empty() || visibility.ends_with(']') || visibility.starts_with("pub"))
        .then_some(name.trim())
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &line[line.find(before)? + before.len()..];
    rest.find(after).map(|end| &rest[..end])
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

/// Block comments nest.
fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string that starts here, if one does.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &bytes[open + 1..];
    let length = inside.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// The end of a character literal; nothing for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'\\' => bytes[at + 3..].iter().position(|byte| *byte == b'\'').map(|length| at + 4 + length),
        _ => {
            let rest = std::str::from_utf8(&bytes[at + 1..bytes.len().min(at + 6)]);
            let rest = rest
                .or_else(|error| std::str::from_utf8(&bytes[at + 1..at + 1 + error.valid_up_to()]))
                .ok()?;
            let first = rest.chars().next()?;
            let close = at + 1 + first.len_utf8();
            (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
        }
    }
}

/// A byte before belongs to the same word, so that the `r` here begins nothing. `br"…"` is a word of its own.
fn continues_word(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
    let word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match before(1) {
        Some(b'b' | b'c') => word(before(2)),
        other => word(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        // The blanked places are told by dots, each as many as bytes of text that went.
        let check = |text: &str, want: &str| assert_eq!(code(text), want.replace('.', " "), "{text}");
        check("a // b", "a ....");
        check("a /* b /* c */ d */ e", "a ................. e");
        check(r#"f("x \" // y") + 1"#, "f(...........) + 1");
        check("f(r#\"x \" y\"#, 'a', '\"', '\\'')", "f(.........., ..., ..., ....)");
        check("fn f<'a>(x: &'a str) // c", "fn f<'a>(x: &'a str) ....");
        check("for x in 0;9 {}", "for x in 0;9 {}");
        check("br\"todo\" var\"x\"", "b....... var...");
    }

    #[test]
    fn modules_are_found_whatever_their_visibility() {
        let check = |line: &str, want: Option<&str>| assert_eq!(module(line), want, "{line}");
        check("mod a;", Some("a"));
        check("pub(crate) mod a;", Some("a"));
        check("#[cfg(test)] mod a;", Some("a"));
        check("use a::mod_b;", None);
        check("mod a {", None);
        check("let x = mod y;", None);
    }

    #[test]
    fn a_path_leads_to_its_file() {
        let files = named(Path::new("src/a.rs"), false, "mod b;\n#[path = \"else/c.rs\"]\nmod c;\n");
        assert_eq!(files, [Path::new("src/a/b.rs"), Path::new("src/a/b/mod.rs"), Path::new("src/else/c.rs")]);
        assert_eq!(named(Path::new("src/lib.rs"), true, "mod b;")[0], Path::new("src/b.rs"));
    }
}
