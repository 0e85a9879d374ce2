//! The `autoscaling` group.

mod conversion;
pub mod horizontal_pod_autoscaler;
mod metrics;
