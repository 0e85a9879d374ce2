//! What the network of one node should be, as values.
//!
//! Everything here is a function of its inputs: services and endpoints become the elements of an
//! nftables table ([`services`], [`rules`]), or the answers of a DNS zone ([`dns`]); node address
//! ranges become pod addresses ([`pods`]); pod settings become resolver and hosts files ([`files`]).
//! There are no sockets, no clock and no async runtime. The crate `network` applies what is planned.
//!
//! The inputs are the plain structs of [`model`]; [`convert`] fills them from API objects, and is
//! the only module that knows those.

pub mod addr;
pub mod conntrack;
pub mod convert;
pub mod dns;
pub mod files;
pub mod model;
pub mod pods;
pub mod rules;
pub mod services;
pub mod walk;
