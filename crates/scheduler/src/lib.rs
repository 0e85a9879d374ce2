//! Where a pod should run.

pub mod affinity;
pub mod convert;
pub mod cycle;
pub mod domains;
pub mod failure;
pub mod hints;
pub mod node;
pub mod plugins;
pub mod pod;
mod preempt;
pub mod queue;
pub mod resources;
pub mod snapshot;
pub mod tally;
pub mod testing;
