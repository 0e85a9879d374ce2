//! `resource.k8s.io`: devices, asked for by what they can do.
//!
//! Expressions that select devices are checked for being there; compiling them is the task of whoever runs them.

mod claim;
pub mod device_class;
pub mod device_taint_rule;
mod parts;
pub mod resource_claim;
pub mod resource_claim_template;

const GROUP: &str = "resource.k8s.io";
