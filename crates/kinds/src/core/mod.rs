//! The core group: `/api/v1`.

pub mod config_map;
pub mod namespace;
pub mod node;
pub mod pod;
mod pod_resize;
mod pod_row;
mod pod_status;
mod pod_update;
pub mod secret;
pub mod service;
pub mod service_account;
mod service_address;
