//! The recorded decisions of upstream's own authorizers, and the laws that must hold besides.

mod decisions;
mod defaults;
mod laws;
mod pod_security;
mod restriction;
mod tokens;
