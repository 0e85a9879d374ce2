//! Every built-in kind of Kubernetes v1.37: names, versions, defaults, preparation, validation, columns.
//!
//! A kind is one file in the folder of its API group, and one line in [`list`]. Everything that treats kinds
//! alike (discovery, the registry, tables, the shared tests) walks that list. Nothing here performs I/O, reads
//! a clock or knows HTTP; a rule is a function of object trees.

mod base64;
pub mod check;
pub mod claim;
pub mod column;
pub mod condition;
mod difference;
mod go_json;
pub mod kind;
pub mod list;
pub mod meta;
mod moment;
pub mod node;
pub mod signer;
pub mod strategy;
pub mod tree;
pub mod workload;

pub mod pod;

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod flowcontrol;
pub mod networking;
pub mod node_k8s_io;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod storage;
pub mod storagemigration;

pub use kind::{Kind, Scope, Subresource, Verb};
pub use list::{all, find};
pub use node::Node;
pub use strategy::{Context, Strategy, User};
