//! What every part of Boga needs and nothing that knows Kubernetes.
//!
//! Ambient time and randomness exist here alone; everything else is handed a [`clock::Clock`] and a
//! [`random::Random`].

pub mod backoff;
pub mod clock;
pub mod logging;
pub mod queue;
pub mod random;
pub mod report;
pub mod shutdown;
