//! `admissionregistration.k8s.io`: who is asked before something is written.
//!
//! Expressions are checked for being there; compiling them is the task of whoever runs them.

mod binding;
pub(crate) mod client;
mod expression;
pub mod mutating_admission_policy;
pub mod mutating_admission_policy_binding;
pub mod mutating_webhook_configuration;
mod policy;
mod requests;
pub mod validating_admission_policy;
pub mod validating_admission_policy_binding;
pub mod validating_webhook_configuration;
mod webhooks;

const GROUP: &str = "admissionregistration.k8s.io";
