//! Outcomes recorded from upstream's Go libraries, laws, and hostile input.

mod apply;
mod patches;
mod recorded;
