//! The request stack as its callers see it: in process, and over TLS.

mod allocation;
mod deletes;
mod patches;
mod reads;
mod rig;
mod surface;
mod watches;
mod wire;
mod writes;
