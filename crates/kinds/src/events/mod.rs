//! The `events.k8s.io` group: the core group's events under other names.

pub mod event;
