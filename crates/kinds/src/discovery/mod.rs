//! `discovery.k8s.io`: what stands behind a service.

pub mod endpoint_slice;
