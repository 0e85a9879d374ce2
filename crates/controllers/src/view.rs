//! What views have in common.
//!
//! Every controller's module has a `View` of its own: a struct of references to just the objects that it reads for one
//! key. What happened to the plan before this one is part of the view, because some controllers report it.

/// Why the last plan for this key was not carried out in full. It is forgotten once a plan succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// Everything fails while a namespace is being deleted, which is nobody's fault and not worth reporting.
    pub namespace_terminating: bool,
}
