//! The store as its callers see it, over both of its backends.

mod etcd_only;
mod file_only;
mod rig;
mod suite;
