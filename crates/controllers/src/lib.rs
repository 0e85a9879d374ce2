//! What each controller decides, as plain functions: `reconcile(&View, now) -> Plan`.
//!
//! A [`View`](view) holds what one controller reads for one key; a [`Plan`] holds what is to be written, in which
//! order, under which preconditions, and when to look again. Nothing here knows a client, a clock or a runtime: the
//! same view and the same time give the same plan. Whoever executes plans makes sure that a view is never older than
//! the controller's own last writes, so no controller counts expectations.

pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod garbage;
#[cfg(test)]
mod model;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod owner;
pub mod plan;
pub mod pod_garbage;
pub mod pods;
pub mod replica_set;
pub mod replicas;
pub mod replication_controller;
pub mod root_ca;
pub mod service_account;
pub mod taint_eviction;
pub mod time;
pub mod view;

pub use plan::Plan;
