//! Pod sandboxes.

use std::collections::BTreeMap;

use super::{
    ContainerStatus, DnsConfig, Int64Value, LinuxContainerResources, NamespaceOption, PortMapping,
    SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, WindowsPodSandboxConfig,
};

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = 1)]
    pub namespace_options: Option<NamespaceOption>,
    #[prost(message, optional, tag = 2)]
    pub selinux_options: Option<SeLinuxOption>,
    #[prost(message, optional, tag = 3)]
    pub run_as_user: Option<Int64Value>,
    #[prost(message, optional, tag = 8)]
    pub run_as_group: Option<Int64Value>,
    #[prost(bool, tag = 4)]
    pub readonly_rootfs: bool,
    #[prost(int64, repeated, tag = 5)]
    pub supplemental_groups: Vec<i64>,
    #[prost(enumeration = "SupplementalGroupsPolicy", tag = 11)]
    pub supplemental_groups_policy: i32,
    #[prost(bool, tag = 6)]
    pub privileged: bool,
    #[prost(message, optional, tag = 9)]
    pub seccomp: Option<SecurityProfile>,
    #[prost(message, optional, tag = 10)]
    pub apparmor: Option<SecurityProfile>,
    #[prost(string, tag = 7)]
    pub seccomp_profile_path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxConfig {
    #[prost(string, tag = 1)]
    pub cgroup_parent: String,
    #[prost(message, optional, tag = 2)]
    pub security_context: Option<LinuxSandboxSecurityContext>,
    #[prost(btree_map = "string, string", tag = 3)]
    pub sysctls: BTreeMap<String, String>,
    #[prost(message, optional, tag = 4)]
    pub overhead: Option<LinuxContainerResources>,
    #[prost(message, optional, tag = 5)]
    pub resources: Option<LinuxContainerResources>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxMetadata {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(string, tag = 2)]
    pub uid: String,
    #[prost(string, tag = 3)]
    pub namespace: String,
    #[prost(uint32, tag = 4)]
    pub attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxConfig {
    #[prost(message, optional, tag = 1)]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = 2)]
    pub hostname: String,
    #[prost(string, tag = 3)]
    pub log_directory: String,
    #[prost(message, optional, tag = 4)]
    pub dns_config: Option<DnsConfig>,
    #[prost(message, repeated, tag = 5)]
    pub port_mappings: Vec<PortMapping>,
    #[prost(btree_map = "string, string", tag = 6)]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = 7)]
    pub annotations: BTreeMap<String, String>,
    #[prost(message, optional, tag = 8)]
    pub linux: Option<LinuxPodSandboxConfig>,
    #[prost(message, optional, tag = 9)]
    pub windows: Option<WindowsPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxRequest {
    #[prost(message, optional, tag = 1)]
    pub config: Option<PodSandboxConfig>,
    #[prost(string, tag = 2)]
    pub runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxResponse {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StopPodSandboxRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StopPodSandboxResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemovePodSandboxRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemovePodSandboxResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatusRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(bool, tag = 2)]
    pub verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodIp {
    #[prost(string, tag = 1)]
    pub ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxNetworkStatus {
    #[prost(string, tag = 1)]
    pub ip: String,
    #[prost(message, repeated, tag = 2)]
    pub additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespace {
    #[prost(message, optional, tag = 2)]
    pub options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxStatus {
    #[prost(message, optional, tag = 1)]
    pub namespaces: Option<Namespace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PodSandboxState {
    Ready = 0,
    NotReady = 1,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatus {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(enumeration = "PodSandboxState", tag = 3)]
    pub state: i32,
    #[prost(int64, tag = 4)]
    pub created_at: i64,
    #[prost(message, optional, tag = 5)]
    pub network: Option<PodSandboxNetworkStatus>,
    #[prost(message, optional, tag = 6)]
    pub linux: Option<LinuxPodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = 7)]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = 8)]
    pub annotations: BTreeMap<String, String>,
    #[prost(string, tag = 9)]
    pub runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = 1)]
    pub status: Option<PodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = 2)]
    pub info: BTreeMap<String, String>,
    #[prost(message, repeated, tag = 3)]
    pub containers_statuses: Vec<ContainerStatus>,
    #[prost(int64, tag = 4)]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStateValue {
    #[prost(enumeration = "PodSandboxState", tag = 1)]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxFilter {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub state: Option<PodSandboxStateValue>,
    #[prost(btree_map = "string, string", tag = 3)]
    pub label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandbox {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(enumeration = "PodSandboxState", tag = 3)]
    pub state: i32,
    #[prost(int64, tag = 4)]
    pub created_at: i64,
    #[prost(btree_map = "string, string", tag = 5)]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = 6)]
    pub annotations: BTreeMap<String, String>,
    #[prost(string, tag = 7)]
    pub runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = 1)]
    pub items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxesRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxesResponse {
    #[prost(message, repeated, tag = 1)]
    pub pod_sandboxes: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PortForwardRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(int32, repeated, tag = 2)]
    pub port: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PortForwardResponse {
    #[prost(string, tag = 1)]
    pub url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdatePodSandboxResourcesRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = 2)]
    pub overhead: Option<LinuxContainerResources>,
    #[prost(message, optional, tag = 3)]
    pub resources: Option<LinuxContainerResources>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdatePodSandboxResourcesResponse {}
