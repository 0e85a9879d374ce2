//! Field selectors: `metadata.name=web,status.phase!=Running`.

use super::{Lookup, SelectorError};
use std::fmt;
use std::str::FromStr;

/// One comparison of a field with a literal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub field: String,
    pub value: String,
    pub negated: bool,
}

impl Term {
    /// A field that is absent compares as the empty text.
    pub fn matches(&self, fields: &(impl Lookup + ?Sized)) -> bool {
        (fields.lookup(&self.field).unwrap_or("") == self.value) != self.negated
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.negated { "!=" } else { "=" };
        write!(f, "{}{operator}{}", self.field, escape(&self.value))
    }
}

/// Terms that must all hold. Without any, every object is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

impl Selector {
    pub const fn everything() -> Selector {
        Selector { terms: Vec::new() }
    }

    /// The selector for one field that must have one value.
    pub fn equal(field: impl Into<String>, value: impl Into<String>) -> Selector {
        Selector { terms: vec![Term { field: field.into(), value: value.into(), negated: false }] }
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, fields: &(impl Lookup + ?Sized)) -> bool {
        self.terms.iter().all(|term| term.matches(fields))
    }

    /// The value that `field` must have, if one is required.
    pub fn exact_match(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| !term.negated && term.field == field).map(|term| term.value.as_str())
    }

    /// Rewrites every field and value, or fails. A term whose field and value both become empty is dropped.
    pub fn transform<E>(
        &self,
        mut rewrite: impl FnMut(&str, &str) -> Result<(String, String), E>,
    ) -> Result<Selector, E> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let (field, value) = rewrite(&term.field, &term.value)?;
            terms.push(Term { field, value, negated: term.negated });
        }
        terms.retain(|term| !(term.field.is_empty() && term.value.is_empty()));
        Ok(Selector { terms })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::with_capacity(parts.len());
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, negated, value)) = split_term(part) else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(SelectorError::new(message));
            };
            let (field, value) = (field.to_string(), unescape(value)?);
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Term { field, value, negated });
            }
        }
        Ok(Selector { terms })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{term}")?;
        }
        Ok(())
    }
}

/// Marks the characters that would end a value.
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The literal value that [`escape`] was given.
pub fn unescape(value: &str) -> Result<String, SelectorError> {
    let invalid = |sequence: &str| {
        SelectorError::new(format!("invalid field selector: invalid escape sequence: {sequence}"))
    };
    let mut literal = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => literal.push(escaped),
                Some(other) => return Err(invalid(&format!("\\{other}"))),
                None => return Err(invalid("\\")),
            },
            // Upstream prints the character's number.
            ',' | '=' => {
                let number = c as u32;
                let message = format!("invalid field selector: unescaped character in value: {number}");
                return Err(SelectorError::new(message));
            }
            c => literal.push(c),
        }
    }
    Ok(literal)
}

/// Splits at commas that are not escaped, and leaves the escapes in.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut is_escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Field, whether it must differ, and the value as written. The first operator in the text is the one meant.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let (at, operator) = term.char_indices().find_map(|(i, _)| {
        let operator = ["!=", "==", "="].into_iter().find(|operator| term[i..].starts_with(operator))?;
        Some((i, operator))
    })?;
    Some((&term[..at], operator == "!=", &term[at + operator.len()..]))
}
