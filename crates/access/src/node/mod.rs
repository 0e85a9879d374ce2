//! What a kubelet may do: read what its pods need, write what is its own.
//!
//! [`Graph`] knows which objects the pods of a node refer to and decides as upstream's Node authorizer does.
//! [`restriction`] looks at the objects that a kubelet writes.

mod authorizer;
mod graph;
pub mod references;
pub mod restriction;

pub use graph::{Graph, Target};

use api::User;

/// The group of all kubelets.
pub const NODES: &str = "system:nodes";

/// The node that a user speaks for: `Some("")` where a node does not say its name, `None` where it is no node.
pub fn identity(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.in_group(NODES))
}
