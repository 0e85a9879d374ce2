//! Selectors: which objects a list, a watch or a controller means.
//!
//! [`label`] selectors look at labels, [`fields`] selectors at the few fields that a kind declares selectable.

pub mod fields;
pub mod label;

use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A set of names with a text value each, to be looked at by a selector.
pub trait Lookup {
    fn lookup(&self, name: &str) -> Option<&str>;
}

impl Lookup for BTreeMap<String, String> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

impl Lookup for HashMap<String, String> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// Fields of an object that is about to be selected are few, so a list of pairs does.
impl Lookup for [(&str, &str)] {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

impl Lookup for Map<String, Value> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
}

/// A `labels` subtree; anything but an object holds no labels.
impl Lookup for Value {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
}

impl<T: Lookup + ?Sized> Lookup for Option<&T> {
    fn lookup(&self, name: &str) -> Option<&str> {
        (*self)?.lookup(name)
    }
}

/// Why a text or an object is not a selector, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl SelectorError {
    fn new(message: impl Into<String>) -> SelectorError {
        SelectorError(message.into())
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SelectorError {}
