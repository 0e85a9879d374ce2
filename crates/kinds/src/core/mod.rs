//! The core group: `/api/v1`.

pub mod config_map;
pub mod namespace;
pub mod pod;
mod pod_resize;
mod pod_row;
mod pod_status;
mod pod_update;
pub mod secret;
pub mod service_account;
