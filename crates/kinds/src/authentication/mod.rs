//! `authentication.k8s.io`: who somebody is.

pub mod self_subject_review;
pub mod token_review;
