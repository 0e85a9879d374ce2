//! `certificates.k8s.io`: certificates, asked for, granted and trusted.

pub mod certificate_signing_request;
pub mod cluster_trust_bundle;
mod keys;
pub(crate) mod pem;
pub mod pod_certificate_request;
mod pod_certificate_status;

const GROUP: &str = "certificates.k8s.io";
