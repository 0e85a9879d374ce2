//! `node.k8s.io`: how nodes run pods.

pub mod runtime_class;
