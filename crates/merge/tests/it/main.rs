//! Outcomes recorded from upstream's Go libraries, laws, and hostile input.

mod patches;
mod recorded;
