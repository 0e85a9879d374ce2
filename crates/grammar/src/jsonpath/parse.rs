//! From template to nodes.

use super::{JsonPathError, Node, Slice};
use crate::go;

/// Filters and unions hold templates of their own. No useful one goes this deep.
const MAX_DEPTH: usize = 32;

/// Parses text with actions in braces.
pub(super) fn template(text: &str, depth: usize) -> Result<Vec<Node>, JsonPathError> {
    if depth > MAX_DEPTH {
        return Err(error("template is nested too deeply"));
    }
    let mut nodes = Vec::new();
    let mut rest = text;
    loop {
        let (plain, action) = rest.split_once('{').map_or((rest, None), |(plain, rest)| (plain, Some(rest)));
        if !plain.is_empty() {
            nodes.push(Node::Text(plain.into()));
        }
        let Some(action) = action else { return Ok(nodes) };
        let mut parser = Parser { rest: action, nodes: Vec::new(), depth };
        parser.action()?;
        rest = parser.rest;
        nodes.push(Node::List(parser.nodes));
    }
}

/// Parses what stands between braces, without them. Upstream puts braces around it and takes the first action of the
/// result, so whatever follows a closing brace in it is checked and then forgotten.
fn action(text: &str, depth: usize) -> Result<Vec<Node>, JsonPathError> {
    let nodes = template(&format!("{{{text}}}"), depth + 1)?;
    match nodes.into_iter().next() {
        Some(Node::List(nodes)) => Ok(nodes),
        _ => Ok(Vec::new()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    nodes: Vec<Node>,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Reads up to and including the closing brace.
    fn action(&mut self) -> Result<(), JsonPathError> {
        loop {
            if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                return Ok(());
            }
            if let Some(rest) = self.rest.strip_prefix("[?(") {
                self.rest = rest;
                self.filter()?;
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                self.recursive()?;
                continue;
            }
            let Some(c) = self.rest.chars().next() else { return Err(error("unclosed action")) };
            match c {
                '\r' | '\n' => return Err(error("unclosed action")),
                ' ' | '@' | '$' => self.rest = &self.rest[1..],
                '[' => self.array()?,
                '"' | '\'' => self.quoted(c)?,
                '.' => {
                    self.rest = &self.rest[1..];
                    self.field();
                }
                '+' | '-' => self.number()?,
                c if c.is_numeric() => self.number()?,
                c if is_alphanumeric(c) => self.identifier(),
                c => {
                    let message = format!("unrecognized character in action: {}", go::code_point(c));
                    return Err(JsonPathError(message));
                }
            }
        }
    }

    fn identifier(&mut self) {
        let word = self.take(self.rest.find(is_terminator).unwrap_or(self.rest.len()));
        self.nodes.push(match word {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            word => Node::Identifier(word.into()),
        });
    }

    fn recursive(&mut self) -> Result<(), JsonPathError> {
        if self.nodes.last() == Some(&Node::Recursive) {
            return Err(error("invalid multiple recursive descent"));
        }
        self.nodes.push(Node::Recursive);
        if self.rest.starts_with(is_alphanumeric) {
            self.field();
        }
        Ok(())
    }

    /// A name up to the next terminator; a backslash takes the meaning from the character after it.
    fn field(&mut self) {
        let mut chars = self.rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => {
                    chars.next();
                }
                Some((i, c)) if is_terminator(c) => break i,
                Some(_) => {}
                None => break self.rest.len(),
            }
        };
        let node = match self.take(end) {
            "*" => Node::Wildcard,
            name => Node::Field(name.replace('\\', "")),
        };
        self.nodes.push(node);
    }

    fn number(&mut self) -> Result<(), JsonPathError> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = &self.rest[sign..];
        let end = digits.find(|c: char| c != '.' && !c.is_numeric()).unwrap_or(digits.len());
        let text = self.take(sign + end);
        let node = match (go::atoi(text), text.parse()) {
            (Ok(integer), _) => Node::Int(integer),
            (_, Ok(float)) => Node::Float(float),
            _ => return Err(JsonPathError(format!("cannot parse number {text}"))),
        };
        self.nodes.push(node);
        Ok(())
    }

    /// `[...]`: an index, a slice, a quoted key, or a union of those.
    fn array(&mut self) -> Result<(), JsonPathError> {
        let end = self.rest.find([']', '\n']).filter(|end| self.rest.as_bytes()[*end] == b']');
        let end = end.ok_or_else(|| error("unterminated array"))?;
        let text = match self.take(end + 1) {
            "[*]" => ":",
            text => &text[1..end],
        };
        if text.contains(',') {
            let items =
                text.split(',').map(|item| action(&format!("[{}]", item.trim_matches(' ')), self.depth));
            self.nodes.push(Node::Union(items.collect::<Result<_, _>>()?));
            return Ok(());
        }
        let key = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        if let Some(key) = key.filter(|key| !key.contains('\'')) {
            self.nodes.extend(action(&format!(".{key}"), self.depth)?);
            return Ok(());
        }
        self.nodes.push(Node::Array(slice(text)?));
        Ok(())
    }

    /// `[?(left operator right)]`, or without an operator a question of existence.
    fn filter(&mut self) -> Result<(), JsonPathError> {
        let end = self.filter_end()?;
        let text = self.take(end);
        self.rest = self.rest[1..].strip_prefix(']').ok_or_else(|| error("unclosed array expect ]"))?;
        let is_operator = |c: char| "!<>=".contains(c);
        let left_end = text.find(is_operator).unwrap_or(text.len());
        let (left, rest) = text.split_at(left_end);
        let right_start = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
        // When nothing follows the operator, its last character is taken for the right side, if it can spare one.
        let right_start = if right_start == rest.len() { right_start.saturating_sub(1) } else { right_start };
        let (operator, right) = rest.split_at(right_start);
        let node = if left.is_empty() || operator.is_empty() {
            Node::Filter { left: action(text, self.depth)?, operator: "exists".into(), right: Vec::new() }
        } else {
            Node::Filter {
                left: action(left, self.depth)?,
                operator: operator.into(),
                right: action(right, self.depth)?,
            }
        };
        self.nodes.push(node);
        Ok(())
    }

    /// Where the parenthesis of a filter closes. Only the first quoted text can hide one.
    fn filter_end(&self) -> Result<usize, JsonPathError> {
        let mut quote = None;
        let mut is_closed = false;
        let mut previous = '\0';
        for (i, c) in self.rest.char_indices() {
            match c {
                '\n' => break,
                '"' | '\'' => match quote {
                    None => quote = Some(c),
                    Some(quote) if quote == c && previous != '\\' => is_closed = true,
                    Some(_) => {}
                },
                ')' if quote.is_some() == is_closed => return Ok(i),
                _ => {}
            }
            previous = c;
        }
        Err(error("unterminated filter"))
    }

    fn quoted(&mut self, quote: char) -> Result<(), JsonPathError> {
        let mut previous = quote;
        for (i, c) in self.rest.char_indices().skip(1) {
            if c == '\n' {
                break;
            }
            if c == quote && previous != '\\' {
                let text = self.take(i + 1);
                let inner = go::unquote_inner(&text[1..i], quote)
                    .ok_or_else(|| JsonPathError(format!("unquote string {text} error invalid syntax")))?;
                self.nodes.push(Node::Text(inner));
                return Ok(());
            }
            previous = c;
        }
        Err(error("unterminated quoted string"))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

fn slice(text: &str) -> Result<Slice, JsonPathError> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_number =
        |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return Err(JsonPathError(format!("invalid array index {text}")));
    }
    let number = |i: usize| match parts.get(i) {
        None | Some(&"") => Ok(None),
        Some(part) => {
            go::atoi(part).map(Some).map_err(|_| JsonPathError(format!("array index {part} is not a number")))
        }
    };
    let is_end_derived = parts.len() == 1;
    let start = number(0)?;
    let end = if is_end_derived { Some(start.unwrap_or(0).wrapping_add(1)) } else { number(1)? };
    Ok(Slice { start, end, is_end_derived, step: number(2)? })
}

fn is_terminator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn error(message: &str) -> JsonPathError {
    JsonPathError(message.into())
}
