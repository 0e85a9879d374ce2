//! The Windows halves of the interface. They are carried so that no field is lost between a client and a foreign runtime; the embedded runtime has no use for them.

use super::{ContainerAttributes, FilesystemIdentifier, NamespaceMode, UInt64Value};

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsPodSandboxStats {
    #[prost(message, optional, tag = 1)]
    pub cpu: Option<WindowsCpuUsage>,
    #[prost(message, optional, tag = 2)]
    pub memory: Option<WindowsMemoryUsage>,
    #[prost(message, optional, tag = 3)]
    pub network: Option<WindowsNetworkUsage>,
    #[prost(message, optional, tag = 4)]
    pub process: Option<WindowsProcessUsage>,
    #[prost(message, repeated, tag = 5)]
    pub containers: Vec<WindowsContainerStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsNetworkUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub default_interface: Option<WindowsNetworkInterfaceUsage>,
    #[prost(message, repeated, tag = 3)]
    pub interfaces: Vec<WindowsNetworkInterfaceUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsNetworkInterfaceUsage {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(message, optional, tag = 2)]
    pub rx_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub rx_packets_dropped: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub tx_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 5)]
    pub tx_packets_dropped: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsProcessUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub process_count: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsNamespaceOption {
    #[prost(enumeration = "NamespaceMode", tag = 1)]
    pub network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsSandboxSecurityContext {
    #[prost(string, tag = 1)]
    pub run_as_username: String,
    #[prost(string, tag = 2)]
    pub credential_spec: String,
    #[prost(bool, tag = 3)]
    pub host_process: bool,
    #[prost(message, optional, tag = 4)]
    pub namespace_options: Option<WindowsNamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsPodSandboxConfig {
    #[prost(message, optional, tag = 1)]
    pub security_context: Option<WindowsSandboxSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsContainerSecurityContext {
    #[prost(string, tag = 1)]
    pub run_as_username: String,
    #[prost(string, tag = 2)]
    pub credential_spec: String,
    #[prost(bool, tag = 3)]
    pub host_process: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsContainerConfig {
    #[prost(message, optional, tag = 1)]
    pub resources: Option<WindowsContainerResources>,
    #[prost(message, optional, tag = 2)]
    pub security_context: Option<WindowsContainerSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsContainerResources {
    #[prost(int64, tag = 1)]
    pub cpu_shares: i64,
    #[prost(int64, tag = 2)]
    pub cpu_count: i64,
    #[prost(int64, tag = 3)]
    pub cpu_maximum: i64,
    #[prost(int64, tag = 4)]
    pub memory_limit_in_bytes: i64,
    #[prost(int64, tag = 5)]
    pub rootfs_size_in_bytes: i64,
    #[prost(message, repeated, tag = 6)]
    pub affinity_cpus: Vec<WindowsCpuGroupAffinity>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsCpuGroupAffinity {
    #[prost(uint64, tag = 1)]
    pub cpu_mask: u64,
    #[prost(uint32, tag = 2)]
    pub cpu_group: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsFilesystemUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub fs_id: Option<FilesystemIdentifier>,
    #[prost(message, optional, tag = 3)]
    pub used_bytes: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsContainerStats {
    #[prost(message, optional, tag = 1)]
    pub attributes: Option<ContainerAttributes>,
    #[prost(message, optional, tag = 2)]
    pub cpu: Option<WindowsCpuUsage>,
    #[prost(message, optional, tag = 3)]
    pub memory: Option<WindowsMemoryUsage>,
    #[prost(message, optional, tag = 4)]
    pub writable_layer: Option<WindowsFilesystemUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsCpuUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub usage_core_nano_seconds: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub usage_nano_cores: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WindowsMemoryUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub working_set_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub available_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub page_faults: Option<UInt64Value>,
    #[prost(message, optional, tag = 5)]
    pub commit_memory_bytes: Option<UInt64Value>,
}
