//! Go's regular expressions.
//!
//! Patterns in schemas are written for Go's engine. The two engines match alike, but their syntax differs at the edges:
//! Go's `\d`, `\w`, `\s` and `\b` are ASCII, a brace that opens no repetition is itself, and some escapes mean other
//! things. So a pattern is read as Go would read it, with Go's complaints, and written anew for this engine.

use std::fmt::Write;

use regex::Regex;

/// Compiles a pattern, or says what Go would say against it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    regex::RegexBuilder::new(&translated)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|_| format!("error parsing regexp: expression too large or not supported: `{pattern}`"))
}

/// Bytes of a compiled program; past it a pattern is refused.
const SIZE_LIMIT: usize = 4 << 20;
/// Go's limit for `{n,m}`.
const MAX_REPEAT: u32 = 1000;
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
/// Go's limit for nested groups.
const MAX_DEPTH: usize = 1000;

fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { text: pattern, at: 0, out: String::with_capacity(pattern.len() + 8) };
    reader.expression()?;
    Ok(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

fn fault<T>(what: &str, shown: &str) -> Result<T, String> {
    Err(format!("error parsing regexp: {what}: `{shown}`"))
}

fn unsupported<T>(shown: &str) -> Result<T, String> {
    fault("invalid or unsupported Perl syntax", shown)
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn expression(&mut self) -> Result<(), String> {
        let mut depth = 0;
        // What a repetition may apply to: nothing yet, an atom, or another repetition that began here.
        let mut last = Last::Nothing;
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                '(' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return fault("expression nests too deeply", self.text);
                    }
                    let is_group = self.open()?;
                    depth -= usize::from(!is_group);
                    last = if is_group { Last::Nothing } else { last };
                }
                ')' => {
                    if depth == 0 {
                        return fault("unexpected )", self.text);
                    }
                    depth -= 1;
                    self.at += 1;
                    self.out.push(')');
                    last = Last::Atom;
                }
                '|' => {
                    self.at += 1;
                    self.out.push('|');
                    last = Last::Nothing;
                }
                '*' | '+' | '?' => {
                    self.at += 1;
                    last = self.repeated(start, last)?;
                }
                '{' => match self.count(start)? {
                    Some(()) => last = self.repeated(start, last)?,
                    None => {
                        self.at += 1;
                        self.out.push_str("\\{");
                        last = Last::Atom;
                    }
                },
                '[' => {
                    self.class()?;
                    last = Last::Atom;
                }
                '\\' => {
                    self.escape()?;
                    last = Last::Atom;
                }
                '^' | '$' | '.' => {
                    self.at += 1;
                    self.out.push(c);
                    last = Last::Atom;
                }
                c => {
                    self.at += c.len_utf8();
                    self.literal(c);
                    last = Last::Atom;
                }
            }
        }
        if depth > 0 { fault("missing closing )", self.text) } else { Ok(()) }
    }

    /// A literal character, escaped where this engine would read more into it.
    fn literal(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
    }

    /// After a repetition operator that began at `start`: the lazy mark, and whether there was something to repeat.
    fn repeated(&mut self, start: usize, last: Last) -> Result<Last, String> {
        let operator_end = self.at;
        if self.peek() == Some('?') {
            self.at += 1;
        }
        match last {
            Last::Nothing => {
                fault("missing argument to repetition operator", &self.text[start..operator_end])
            }
            Last::Repetition(before) => {
                fault("invalid nested repetition operator", &self.text[before..self.at])
            }
            Last::Atom => {
                self.out.push_str(&self.text[start..self.at]);
                Ok(Last::Repetition(start))
            }
        }
    }

    /// Takes `{n}`, `{n,}` or `{n,m}`; anything else is a brace.
    fn count(&mut self, start: usize) -> Result<Option<()>, String> {
        let Some(end) = self.rest().find('}') else { return Ok(None) };
        let inner = &self.rest()[1..end];
        let (low, high) = inner.split_once(',').map_or((inner, None), |(low, high)| (low, Some(high)));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (digits && (text == "0" || !text.starts_with('0')))
                .then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let Some(low) = number(low) else { return Ok(None) };
        let high = match high {
            None => Some(low),
            Some("") => None,
            Some(high) => match number(high) {
                Some(high) => Some(high),
                None => return Ok(None),
            },
        };
        self.at += end + 1;
        if low > MAX_REPEAT || high.is_some_and(|high| high > MAX_REPEAT || high < low) {
            return fault("invalid repeat count", &self.text[start..self.at]);
        }
        Ok(Some(()))
    }

    /// Takes what follows `(`; false where it only sets flags.
    fn open(&mut self) -> Result<bool, String> {
        self.at += 1;
        let Some(rest) = self.rest().strip_prefix('?') else {
            self.out.push('(');
            return Ok(true);
        };
        let start = self.at - 1;
        for prefix in ["P<", "<"] {
            let Some(name) = rest.strip_prefix(prefix) else { continue };
            let Some(end) = name.find('>').filter(|_| !name.starts_with(['=', '!'])) else { break };
            let (name, shown) = (&name[..end], &self.text[start..start + 2 + prefix.len() + end + 1]);
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return fault("invalid named capture", shown);
            }
            // Names carry no meaning in a match, and this engine allows fewer of them.
            self.at = start + shown.len();
            self.out.push('(');
            return Ok(true);
        }
        // Flags, perhaps a minus before those to clear, and a colon where a group follows.
        let (mut cleared, mut seen) = (false, false);
        for (at, c) in rest.char_indices() {
            match c {
                'i' | 'm' | 's' | 'U' => seen = true,
                '-' if !cleared => (cleared, seen) = (true, false),
                ':' | ')' if seen || !cleared => {
                    self.at += 1 + at + 1;
                    let flags = &rest[..at];
                    match c {
                        ':' => self.out.push_str(&format!("(?{flags}:")),
                        _ if flags.is_empty() => {}
                        _ => self.out.push_str(&format!("(?{flags})")),
                    }
                    return Ok(c == ':');
                }
                c => return unsupported(&self.text[start..start + 2 + at + c.len_utf8()]),
            }
        }
        unsupported(&self.text[start..])
    }

    fn escape(&mut self) -> Result<(), String> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return fault("trailing backslash at end of expression", "");
        };
        match c {
            'A' => self.out.push_str("\\A"),
            'z' => self.out.push_str("\\z"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            'Q' => {
                let end = self.rest().find("\\E");
                let quoted = &self.rest()[..end.unwrap_or(self.rest().len())];
                self.out.push_str(&regex::escape(quoted));
                self.at += quoted.len() + end.map_or(0, |_| 2);
            }
            'd' | 'w' | 's' => {
                let _ = write!(self.out, "[{}]", perl_class(c));
            }
            'D' | 'W' | 'S' => {
                let _ = write!(self.out, "[^{}]", perl_class(c.to_ascii_lowercase()));
            }
            'p' | 'P' => self.property(start)?,
            c => {
                let c = self.character(c, start)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`.
    fn property(&mut self, start: usize) -> Result<(), String> {
        let end = match self.peek() {
            Some('{') => self.rest().find('}').map(|end| self.at + end + 1),
            Some(c) => Some(self.at + c.len_utf8()),
            None => None,
        };
        let Some(end) = end else { return fault("invalid character class range", &self.text[start..]) };
        let shown = &self.text[start..end];
        self.at = end;
        let name = shown[2..].trim_start_matches('{').trim_end_matches('}');
        let (name, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let upper = shown.as_bytes()[1] == b'P';
        let property = if name == "Any" { "[\\s\\S]".to_string() } else { format!("\\p{{{name}}}") };
        if name.contains(['=', ':', ' ', '_', '-']) && !name.contains('_') || Regex::new(&property).is_err() {
            return fault("invalid character class range", shown);
        }
        let letter = if upper != negated { 'P' } else { 'p' };
        match name {
            "Any" if letter == 'p' => self.out.push_str("[\\s\\S]"),
            "Any" => self.out.push_str("[^\\s\\S]"),
            name => {
                let _ = write!(self.out, "\\{letter}{{{name}}}");
            }
        }
        Ok(())
    }

    /// The character that an escape stands for; its backslash and `c` are taken.
    fn character(&mut self, c: char, start: usize) -> Result<char, String> {
        match c {
            'a' => return Ok('\u{7}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            'x' => {
                if let Some(c) = self.hexadecimal() {
                    return Ok(c);
                }
            }
            // One to seven stand for octal only where another digit follows; alone they would refer back.
            '0'..='7' if c == '0' || matches!(self.peek(), Some('0'..='7')) => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some(digit @ '0'..='7') = self.peek() else { break };
                    value = value * 8 + (digit as u32 - '0' as u32);
                    self.at += 1;
                }
                if let Some(c) = char::from_u32(value) {
                    return Ok(c);
                }
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
            _ => {}
        }
        fault("invalid escape sequence", &self.text[start..self.at])
    }

    /// Two digits, or any number of them in braces. On failure what was read stays taken, for the complaint.
    fn hexadecimal(&mut self) -> Option<char> {
        if self.peek() != Some('{') {
            let high = self.next()?.to_digit(16);
            let low = self.next()?.to_digit(16);
            return char::from_u32(high? * 16 + low?);
        }
        self.at += 1;
        let (mut value, mut digits) = (0, 0);
        loop {
            match self.next()? {
                '}' => break,
                c => value = value * 16 + c.to_digit(16)?,
            }
            digits += 1;
            if value > char::MAX as u32 {
                return None;
            }
        }
        char::from_u32(value).filter(|_| digits > 0)
    }

    fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        self.at += 1;
        self.out.push('[');
        if self.peek() == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.peek() else { return fault("missing closing ]", &self.text[start..]) };
            if c == ']' && !first {
                self.at += 1;
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if c == '['
                && self.rest().starts_with("[:")
                && let Some(end) = self.rest().find(":]")
            {
                let shown = &self.rest()[..end + 2];
                if !NAMED_CLASSES.contains(&shown[2..end].trim_start_matches('^')) {
                    return fault("invalid character class range", shown);
                }
                self.out.push_str(shown);
                self.at += shown.len();
                continue;
            }
            if c == '\\' {
                let escape = self.at;
                match self.rest().chars().nth(1) {
                    Some(letter @ ('d' | 'w' | 's')) => {
                        self.out.push_str(perl_class(letter));
                        self.at += 2;
                        continue;
                    }
                    Some(letter @ ('D' | 'W' | 'S')) => {
                        let _ = write!(self.out, "[^{}]", perl_class(letter.to_ascii_lowercase()));
                        self.at += 2;
                        continue;
                    }
                    Some('p' | 'P') => {
                        self.at += 2;
                        self.property(escape)?;
                        continue;
                    }
                    _ => {}
                }
            }
            let range = self.at;
            let low = self.class_character(start)?;
            let mut high = low;
            let rest = self.rest();
            if rest.starts_with('-') && !rest[1..].starts_with(']') && rest.len() > 1 {
                self.at += 1;
                high = self.class_character(start)?;
                if high < low {
                    return fault("invalid character class range", &self.text[range..self.at]);
                }
            }
            self.class_literal(low);
            if high != low {
                self.out.push('-');
                self.class_literal(high);
            }
        }
    }

    fn class_character(&mut self, class: usize) -> Result<char, String> {
        let start = self.at;
        match self.next() {
            None => fault("missing closing ]", &self.text[class..]),
            Some('\\') => match self.next() {
                None => fault("trailing backslash at end of expression", ""),
                Some(c) => self.character(c, start),
            },
            Some(c) => Ok(c),
        }
    }

    /// Inside a class nearly every mark may mean something to this engine, so none is written bare.
    fn class_literal(&mut self, c: char) {
        if c.is_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, "\\x{:02x}", c as u32);
        }
    }
}

#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Atom,
    /// Where the repetition operator began.
    Repetition(usize),
}

fn perl_class(letter: char) -> &'static str {
    match letter {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => "\\t\\n\\x0c\\r ",
    }
}
