//! The small languages of Kubernetes, one module each.
//!
//! Everything here is a plain function or a small value: text in, value or upstream's message out. Nothing reads a
//! clock, draws a random number or performs I/O; times and random bits are passed in.

pub mod cron;
pub mod field;
pub mod go;
pub mod int_or_string;
pub mod jsonpath;
pub mod names;
pub mod quantity;
pub mod selector;
pub mod time;
