//! `coordination.k8s.io`: who leads, who is alive.

pub mod lease;
