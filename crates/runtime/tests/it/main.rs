//! The runtime with real containers. The tests need root; each runs in namespaces of its own.

#[macro_use]
mod world;
mod daemon;
mod engine;
mod node;
mod shim;
