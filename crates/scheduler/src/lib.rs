//! Where a pod should run: filter, score, preempt. Nothing here performs I/O, reads a clock or draws chance of its
//! own: time and randomness are handed in, and the same calls give the same decisions.
//!
//! # Parts
//!
//! - [`Snapshot`](snapshot::Snapshot) is the cluster, kept up to date by deltas. It counts pods as they come and go
//!   ([`tally`]) and numbers topology domains ([`domains`]), so that no decision walks over all pods.
//! - [`Scheduler`](cycle::Scheduler) makes one decision at a time: [`cycle::Scheduler::schedule`] gives a node, or a
//!   [`Failure`](failure::Failure) with upstream's message and, if room can be made, the victims of a preemption.
//! - [`Queue`](queue::Queue) holds the pods without a node and says which to try when; [`hints`] say what wakes them.
//! - [`convert`] is the only part that knows API objects; everything else works with [`PodInfo`](pod::PodInfo) and
//!   [`NodeInfo`](node::NodeInfo), which are parsed once.
//! - [`plugins`] holds the rules, one file each. [`plugins::taint_toleration`] is the pattern for a new one.
//!
//! # How a driver uses it
//!
//! Watch events become calls to the snapshot and, for pods without a node, to the queue; what happens to nodes and
//! placed pods goes to [`queue::Queue::wake`] too. Then, in a loop: pop a pod and schedule it. With a node, assume it
//! in the snapshot, bind it, and remove it from the queue; should binding fail, remove it from the snapshot and give
//! it back without plugins. With a failure, nominate the node that it names, if any, then delete the victims, write
//! the condition and the event, and give the pod back with the plugins that refused it.
//!
//! # What is not built
//!
//! A pod that needs one of these is refused with a message that names what it asks for:
//!
//! - VolumeBinding, VolumeZone, VolumeRestrictions and NodeVolumeLimits: claims, ephemeral volumes, and volumes of the
//!   kinds that may be attached to one node only;
//! - DynamicResources: resource claims;
//! - GangScheduling, PodGroupPodsCount and TopologyAware placement: scheduling groups.
//!
//! And these are absent without a trace in a pod:
//!
//! - NodeDeclaredFeatures: every node is taken to have the features that a pod relies on;
//! - extended resources that are backed by device classes: a node has only what it declares as allocatable;
//! - scheduler profiles, plugin arguments (added affinity, other scoring strategies and default constraints) and
//!   extenders;
//! - feature gates that are off by default at v1.37, such as the `Gt` and `Lt` operators of tolerations;
//! - metrics.

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
