//! `storage.k8s.io`: where volumes come from, and how they reach nodes.

pub mod csi_driver;
pub mod csi_node;
pub mod csi_storage_capacity;
mod parameters;
pub mod storage_class;
pub mod volume_attachment;
pub mod volume_attributes_class;

const GROUP: &str = "storage.k8s.io";
