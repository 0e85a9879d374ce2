//! The text form: tokens, then one requirement after another.

use super::super::SelectorError;
use super::{Operator, Requirement, invalid_key};
use crate::field::Path;
use std::collections::BTreeSet;

pub(super) fn parse(text: &str, path: &Path<'_>) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), position: 0, path };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token { kind: Kind::End, .. } => return Ok(requirements),
            Token { kind: Kind::Word | Kind::Not, .. } => {}
            token => return Err(unexpected(token, ", expected: !, identifier, or 'end of string'")),
        }
        let requirement = parser.requirement();
        requirements.push(
            requirement
                .map_err(|error| SelectorError::new(format!("unable to parse requirement: {error}")))?,
        );
        match parser.next() {
            Token { kind: Kind::End, .. } => return Ok(requirements),
            Token { kind: Kind::Comma, .. } => {
                let following = parser.peek();
                if !matches!(following.kind, Kind::Word | Kind::Not) {
                    return Err(unexpected(following, ", expected: identifier after ','"));
                }
            }
            token => return Err(unexpected(token, ", expected: ',' or 'end of string'")),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    End,
    Word,
    Comma,
    Open,
    Close,
    Not,
    Relation(Operator),
}

/// Splits a text into tokens, of which the last is the end. `in` and `notin` are words here: only where an operator is
/// expected do they have a meaning.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        let (kind, length) = match rest.as_bytes() {
            // Upstream's reader takes a NUL for the end of the text.
            [] | [0, ..] => {
                tokens.push(Token { kind: Kind::End, text: "" });
                return tokens;
            }
            [b'=', b'=', ..] => (Kind::Relation(Operator::DoubleEquals), 2),
            [b'!', b'=', ..] => (Kind::Relation(Operator::NotEquals), 2),
            [b'=', ..] => (Kind::Relation(Operator::Equals), 1),
            [b'>', ..] => (Kind::Relation(Operator::GreaterThan), 1),
            [b'<', ..] => (Kind::Relation(Operator::LessThan), 1),
            [b'!', ..] => (Kind::Not, 1),
            [b',', ..] => (Kind::Comma, 1),
            [b'(', ..] => (Kind::Open, 1),
            [b')', ..] => (Kind::Close, 1),
            _ => (Kind::Word, rest.find(|c| is_space(c) || is_special(c) || c == '\0').unwrap_or(rest.len())),
        };
        tokens.push(Token { kind, text: &rest[..length] });
        rest = &rest[length..];
        // A NUL right after a token is swallowed with it.
        if matches!(kind, Kind::Word | Kind::Relation(_) | Kind::Not | Kind::Comma | Kind::Open | Kind::Close)
        {
            rest = rest.strip_prefix('\0').unwrap_or(rest);
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
    path: &'a Path<'a>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.position.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut key = self.next();
        let is_negated = key.kind == Kind::Not;
        if is_negated {
            key = self.next();
        }
        if key.kind != Kind::Word {
            return Err(unexpected(key, ", expected: identifier"));
        }
        if let Some(error) = invalid_key(key.text, self.path) {
            return Err(SelectorError::new(error.to_string()));
        }
        let ends_here = matches!(self.peek().kind, Kind::End | Kind::Comma);
        let (operator, values) = if is_negated {
            (Operator::DoesNotExist, BTreeSet::new())
        } else if ends_here {
            (Operator::Exists, BTreeSet::new())
        } else {
            let operator = self.operator()?;
            let is_set = matches!(operator, Operator::In | Operator::NotIn);
            (operator, if is_set { self.values()? } else { self.exact_value()? })
        };
        let values = values.into_iter().map(str::to_string).collect();
        Ok(Requirement::new(key.text, operator, values, self.path)?)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let token = self.next();
        match (token.kind, token.text) {
            (Kind::Relation(operator), _) => Ok(operator),
            (Kind::Word, "in") => Ok(Operator::In),
            (Kind::Word, "notin") => Ok(Operator::NotIn),
            _ => Err(unexpected(token, ", expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// A parenthesised list. Empty items stand for the empty value.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, SelectorError> {
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(unexpected(open, " expected: '('"));
        }
        let mut values = BTreeSet::new();
        match self.peek() {
            Token { kind: Kind::Close, .. } => {
                self.next();
                return Ok(BTreeSet::from([""]));
            }
            Token { kind: Kind::Word | Kind::Comma, .. } => {}
            token => return Err(unexpected(token, ", expected: ',', ')' or identifier")),
        }
        loop {
            let token = self.next();
            let following = self.peek();
            match (token.kind, following.kind) {
                (Kind::Word, Kind::Comma) => {
                    values.insert(token.text);
                }
                (Kind::Word, Kind::Close) => {
                    values.insert(token.text);
                    break;
                }
                (Kind::Word, _) => return Err(unexpected(following, ", expected: ',' or ')'")),
                (Kind::Comma, kind) => {
                    if values.is_empty() || matches!(kind, Kind::Comma | Kind::Close) {
                        values.insert("");
                    }
                    if kind == Kind::Close {
                        break;
                    }
                }
                _ => return Err(unexpected(token, ", expected: ',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<BTreeSet<&'a str>, SelectorError> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok(BTreeSet::from([""]));
        }
        match self.next() {
            Token { kind: Kind::Word, text } => Ok(BTreeSet::from([text])),
            token => Err(unexpected(token, ", expected: identifier")),
        }
    }
}

fn unexpected(token: Token<'_>, expected: &str) -> SelectorError {
    SelectorError::new(format!("found '{}'{expected}", token.text))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}
