//! `authorization.k8s.io`: may somebody do something?

pub mod local_subject_access_review;
mod question;
pub mod self_subject_access_review;
pub mod self_subject_rules_review;
pub mod subject_access_review;

const GROUP: &str = "authorization.k8s.io";
