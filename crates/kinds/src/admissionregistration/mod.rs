//! `admissionregistration.k8s.io`: who is asked before something is written.

pub(crate) mod client;
