//! The Pod Security Standards: which pods a namespace takes.
//!
//! [`Policy`] is what the labels of a namespace ask for, [`evaluate`] what a pod violates, [`admission`] what becomes
//! of a request.

pub mod admission;
mod checks;
mod policy;

pub use checks::{Violations, evaluate};
pub use policy::{Level, Policy, Standard, Version};
