//! Names of services and pods, as the Kubernetes DNS specification 1.1 gives them.
//!
//! ```text
//! SERVICE.NAMESPACE.svc.DOMAIN                 A, AAAA: the cluster address, or every endpoint when
//!                                              headless; CNAME for ExternalName; SRV for all ports
//! _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN SRV
//! HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN        A, AAAA: one endpoint of a headless service
//! 10-42-0-7.NAMESPACE.pod.DOMAIN               A, AAAA: the address that the name spells
//! 7.0.42.10.in-addr.arpa                       PTR: the service or the headless endpoint
//! dns-version.DOMAIN                           TXT
//! ```
//!
//! A [`Zone`] is a snapshot: cloning one is cheap, so a reader keeps one while the next is prepared.

mod zone;

pub use zone::{Data, Kind, Lookup, Record, TTL, Zone};
