//! The container runtime: sandboxes and containers behind the CRI.
//!
//! | module | what it is for | where it runs |
//! |---|---|---|
//! | [`cri`] | the seam: the trait, messages, gRPC server and client, streams | daemon |
//! | [`engine`] | the embedded runtime: decides, remembers, recovers | daemon |
//! | [`spec`] | from the CRI's configuration to a bundle | daemon |
//! | [`bundle`] | `config.json`, which the launcher and external OCI runtimes read | both |
//! | [`shims`] | the daemon's side of the shims | daemon |
//! | [`shim`] | one small process a pod: namespaces, streams, logs, exits | shim |
//! | [`launch`] | the way from a fork to the container's program | launcher, init |
//! | [`cgroup`] | limits, membership and figures, both versions | both |
//! | [`network`] | what is asked of the pod network, which others run | daemon |
//!
//! Invariants:
//!
//! - Nothing of [`launch`] runs in the daemon but what looks into an image: forking is for processes with one
//!   thread.
//! - A container's mounts exist in its own mount namespace alone. What a pod mounts on the host is its network
//!   namespace's name and its /dev/shm, and with an external runtime the root filesystem.
//! - An exit is on the disk before anybody is told of it.
//! - A record is written before what it accounts for exists, and removed after that is gone.

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
