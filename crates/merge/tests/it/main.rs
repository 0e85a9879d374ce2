//! Outcomes recorded from upstream's Go libraries, laws, and hostile input.

mod apply;
mod hostile;
mod laws;
mod patches;
mod recorded;
mod sets;
