//! Sandboxes and containers.

pub mod bundle;
pub mod cgroup;
pub mod cri;
pub mod engine;
pub mod launch;
pub mod network;
pub mod shim;
pub mod shims;
pub mod spec;
pub mod users;
