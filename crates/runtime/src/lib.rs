//! Sandboxes and containers.

pub mod bundle;
pub mod cgroup;
pub mod cri;
pub mod launch;
pub mod shim;
pub mod shims;
pub mod users;
