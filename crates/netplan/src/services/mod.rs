//! Services and endpoint slices, to elements of the table.
//!
//! [`endpoints`] picks the endpoints that a service may use on this node, [`elements`] writes one
//! service as elements, and the [`Planner`] keeps all services and says what changed.

mod elements;
mod endpoints;
mod health;
mod planner;

pub use endpoints::{Backend, Usable, usable};
pub use health::{HealthCheck, health_body};
pub use planner::{Planner, Update};
