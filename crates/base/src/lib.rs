//! What every part of Boga needs and nothing that knows Kubernetes.
//!
//! Ambient time and randomness exist here alone; everything else is handed a [`clock::Clock`] and a
//! [`random::Random`].

pub mod clock;
pub mod random;
