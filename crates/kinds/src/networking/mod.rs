//! `networking.k8s.io`: ways into the cluster, and walls within it.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
mod reference;
pub mod service_cidr;

const GROUP: &str = "networking.k8s.io";
