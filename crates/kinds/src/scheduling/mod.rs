//! `scheduling.k8s.io`: which pods come first.

pub mod priority_class;
