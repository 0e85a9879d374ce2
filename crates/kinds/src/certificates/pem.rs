//! PEM: labelled blocks of base64 in between any other text.

use crate::base64;

/// One block, or what looks like one.
pub(crate) struct Block<'a> {
    pub label: &'a str,
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Every block of `text`, in order. What is no block is passed over, as Go does.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (block, after) = next(rest)?;
            rest = after;
            if let Some(block) = block {
                return Some(block);
            }
        }
    })
}

/// The next block, if what begins like one is one, and the text after it.
fn next(text: &str) -> Option<(Option<Block<'_>>, &str)> {
    let at = text.match_indices(BEGIN).map(|(at, _)| at).find(|at| starts_line(text, *at))?;
    let opened = &text[at + BEGIN.len()..];
    let (line, body) = opened.split_once('\n').unwrap_or((opened, ""));
    let Some(label) = line.trim_end().strip_suffix(DASHES) else {
        return Some((None, opened));
    };
    let closing = format!("{END}{label}{DASHES}");
    let Some(end) = body.find(&closing).filter(|end| starts_line(body, *end)) else {
        return Some((None, opened));
    };
    let (headers, encoded) = split_headers(&body[..end]);
    let packed: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let after = &body[end + closing.len()..];
    let block = base64::decode(&packed).filter(|_| packed.len().is_multiple_of(4));
    Some((block.map(|bytes| Block { label, has_headers: headers > 0, bytes }), after))
}

fn starts_line(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes()[at - 1] == b'\n'
}

/// How many headers open a block, and what follows them.
fn split_headers(body: &str) -> (usize, &str) {
    let mut rest = body;
    let mut count = 0;
    while let Some((line, after)) = rest.split_once('\n')
        && line.contains(':')
    {
        count += 1;
        rest = after;
    }
    (count, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let check = |text: &str, want: &[(&str, bool, &[u8])]| {
            let found: Vec<_> = blocks(text).map(|b| (b.label, b.has_headers, b.bytes)).collect();
            let found: Vec<_> = found.iter().map(|(l, h, b)| (*l, *h, b.as_slice())).collect();
            assert_eq!(found, want, "{text}");
        };
        let block = "-----BEGIN A B-----\nZm9v\n-----END A B-----\n";
        check(block, &[("A B", false, b"foo")]);
        check(&format!("words\n{block}more\n{block}"), &[("A B", false, b"foo"), ("A B", false, b"foo")]);
        check("-----BEGIN X-----\nK: v\n\nZm9v\n-----END X-----", &[("X", true, b"foo")]);
        check("", &[]);
        check("x-----BEGIN X-----\nZm9v\n-----END X-----\n", &[]);
        check("-----BEGIN X-----\nZm9v\n", &[]);
        check(&format!("-----BEGIN X-----\n!!\n-----END X-----\n{block}"), &[("A B", false, b"foo")]);
    }
}
