//! Role-based access control.
//!
//! [`Index`] holds the four kinds of object and decides. [`Rule`] is the algebra: what a rule allows and which rules
//! cover which. [`escalation`] keeps users from granting what they do not hold. [`defaults`] are the objects that
//! every cluster starts with, [`reconcile`] brings them up to date, [`aggregate`] fills the roles that gather others.

pub mod aggregate;
pub mod defaults;
pub mod escalation;
mod index;
pub mod reconcile;
mod rule;

pub use index::{Index, MissingRole, Resolved, not_found_reason};
pub(crate) use rule::quoted_list;
pub use rule::{Rule, compact, covers};

/// The API group of all four kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";
