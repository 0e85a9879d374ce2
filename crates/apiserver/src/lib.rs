//! The API server: one request stack, and one generic registry over the store and the kinds.
//!
//! There is no handler per kind. A request passes the layers of [`stack`] from top to bottom; the resolver then picks
//! built-in, virtual, custom or aggregated, and the [`registry`] does the same for every kind, asking its strategy
//! for the rules. Only this crate touches the store.

pub mod body;
pub mod bootstrap;
pub mod catalog;
mod discovery;
mod health;
pub mod negotiate;
pub mod object;
mod openapi;
mod prose;
pub mod registry;
pub mod render;
pub mod request;
mod reviews;
pub mod server;
pub mod stack;
