//! The crate from outside: outcomes recorded from upstream, invariants of the built-in table, arbitrary input.

mod arbitrary;
mod builtin;
mod structural;
