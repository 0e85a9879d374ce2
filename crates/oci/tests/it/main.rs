//! The crate from outside. Images are built here from bytes; other tools (`skopeo`, `tar`) judge the results.

mod archive;
mod crash;
mod gc;
mod layers;
mod malicious;
mod pull;
mod registry;
mod servers;
mod support;
