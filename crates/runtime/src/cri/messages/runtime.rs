//! The runtime itself: version, status, configuration, events, checkpoints.

use std::collections::BTreeMap;

use super::{ContainerConfig, ContainerStatus, PodSandboxConfig, PodSandboxStatus};

#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionRequest {
    #[prost(string, tag = 1)]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionResponse {
    #[prost(string, tag = 1)]
    pub version: String,
    #[prost(string, tag = 2)]
    pub runtime_name: String,
    #[prost(string, tag = 3)]
    pub runtime_version: String,
    #[prost(string, tag = 4)]
    pub runtime_api_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkConfig {
    #[prost(string, tag = 1)]
    pub pod_cidr: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfig {
    #[prost(message, optional, tag = 1)]
    pub network_config: Option<NetworkConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRuntimeConfigRequest {
    #[prost(message, optional, tag = 1)]
    pub runtime_config: Option<RuntimeConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRuntimeConfigResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeCondition {
    #[prost(string, tag = 1)]
    pub r#type: String,
    #[prost(bool, tag = 2)]
    pub status: bool,
    #[prost(string, tag = 3)]
    pub reason: String,
    #[prost(string, tag = 4)]
    pub message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeStatus {
    #[prost(message, repeated, tag = 1)]
    pub conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {
    #[prost(bool, tag = 1)]
    pub verbose: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RuntimeHandlerFeatures {
    #[prost(bool, tag = 1)]
    pub recursive_read_only_mounts: bool,
    #[prost(bool, tag = 2)]
    pub user_namespaces: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeHandler {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(message, optional, tag = 2)]
    pub features: Option<RuntimeHandlerFeatures>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeFeatures {
    #[prost(bool, tag = 1)]
    pub supplemental_groups_policy: bool,
    #[prost(bool, tag = 2)]
    pub user_namespaces_host_network: bool,
    #[prost(bool, tag = 3)]
    pub mount_options: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = 1)]
    pub status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = 2)]
    pub info: BTreeMap<String, String>,
    #[prost(message, repeated, tag = 3)]
    pub runtime_handlers: Vec<RuntimeHandler>,
    #[prost(message, optional, tag = 4)]
    pub features: Option<RuntimeFeatures>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointContainerRequest {
    #[prost(string, tag = 1)]
    pub container_id: String,
    #[prost(string, tag = 2)]
    pub location: String,
    #[prost(int64, tag = 3)]
    pub timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointContainerResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointPodRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(string, tag = 2)]
    pub output_path: String,
    #[prost(string, repeated, tag = 3)]
    pub container_ids: Vec<String>,
    #[prost(btree_map = "string, string", tag = 4)]
    pub options: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointPodResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RestorePodRequest {
    #[prost(string, tag = 1)]
    pub checkpoint_path: String,
    #[prost(message, optional, tag = 2)]
    pub config: Option<PodSandboxConfig>,
    #[prost(string, tag = 3)]
    pub runtime_handler: String,
    #[prost(btree_map = "string, string", tag = 4)]
    pub options: BTreeMap<String, String>,
    #[prost(message, repeated, tag = 5)]
    pub container_configs: Vec<ContainerConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RestoredContainer {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(string, tag = 2)]
    pub container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RestorePodResponse {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(message, repeated, tag = 2)]
    pub restored_containers: Vec<RestoredContainer>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetEventsRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerEventResponse {
    #[prost(string, tag = 1)]
    pub container_id: String,
    #[prost(enumeration = "ContainerEventType", tag = 2)]
    pub container_event_type: i32,
    #[prost(int64, tag = 3)]
    pub created_at: i64,
    #[prost(message, optional, tag = 4)]
    pub pod_sandbox_status: Option<PodSandboxStatus>,
    #[prost(message, repeated, tag = 5)]
    pub containers_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ContainerEventType {
    Created = 0,
    Started = 1,
    Stopped = 2,
    Deleted = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigResponse {
    #[prost(message, optional, tag = 1)]
    pub linux: Option<LinuxRuntimeConfiguration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxRuntimeConfiguration {
    #[prost(enumeration = "CgroupDriver", tag = 1)]
    pub cgroup_driver: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CgroupDriver {
    Systemd = 0,
    Cgroupfs = 1,
}
