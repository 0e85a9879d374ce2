//! `apiregistration.k8s.io`: who serves which group and version.

pub mod api_service;
