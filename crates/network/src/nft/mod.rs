//! The service table in the kernel.
//!
//! [`Table`] keeps one socket and brings the kernel's table to what the planner says: whole at first,
//! element by element afterwards. After a restart it reads back what is there and changes only what
//! differs, so clients keep their affinity and nobody notices.

mod encode;
mod expressions;
mod readback;
mod table;

pub use table::{Error, Table};
