//! Statistics and metrics.

use std::collections::BTreeMap;

use super::{ContainerMetadata, PodSandboxMetadata, UInt64Value, WindowsPodSandboxStats};

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsRequest {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsResponse {
    #[prost(message, optional, tag = 1)]
    pub stats: Option<PodSandboxStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsFilter {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(btree_map = "string, string", tag = 2)]
    pub label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxStatsRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<PodSandboxStatsFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxStatsResponse {
    #[prost(message, repeated, tag = 1)]
    pub stats: Vec<PodSandboxStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxStatsRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<PodSandboxStatsFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxStatsResponse {
    #[prost(message, repeated, tag = 1)]
    pub pod_sandbox_stats: Vec<PodSandboxStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxAttributes {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(btree_map = "string, string", tag = 3)]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = 4)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStats {
    #[prost(message, optional, tag = 1)]
    pub attributes: Option<PodSandboxAttributes>,
    #[prost(message, optional, tag = 2)]
    pub linux: Option<LinuxPodSandboxStats>,
    #[prost(message, optional, tag = 3)]
    pub windows: Option<WindowsPodSandboxStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxStats {
    #[prost(message, optional, tag = 1)]
    pub cpu: Option<CpuUsage>,
    #[prost(message, optional, tag = 2)]
    pub memory: Option<MemoryUsage>,
    #[prost(message, optional, tag = 3)]
    pub network: Option<NetworkUsage>,
    #[prost(message, optional, tag = 4)]
    pub process: Option<ProcessUsage>,
    #[prost(message, repeated, tag = 5)]
    pub containers: Vec<ContainerStats>,
    #[prost(message, optional, tag = 6)]
    pub io: Option<IoUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub default_interface: Option<NetworkInterfaceUsage>,
    #[prost(message, repeated, tag = 3)]
    pub interfaces: Vec<NetworkInterfaceUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkInterfaceUsage {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(message, optional, tag = 2)]
    pub rx_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub rx_errors: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub tx_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 5)]
    pub tx_errors: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub process_count: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageFsInfoRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FilesystemIdentifier {
    #[prost(string, tag = 1)]
    pub mountpoint: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FilesystemUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub fs_id: Option<FilesystemIdentifier>,
    #[prost(message, optional, tag = 3)]
    pub used_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub inodes_used: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = 1)]
    pub image_filesystems: Vec<FilesystemUsage>,
    #[prost(message, repeated, tag = 2)]
    pub container_filesystems: Vec<FilesystemUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsRequest {
    #[prost(string, tag = 1)]
    pub container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsResponse {
    #[prost(message, optional, tag = 1)]
    pub stats: Option<ContainerStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainerStatsRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<ContainerStatsFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsFilter {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(string, tag = 2)]
    pub pod_sandbox_id: String,
    #[prost(btree_map = "string, string", tag = 3)]
    pub label_selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainerStatsResponse {
    #[prost(message, repeated, tag = 1)]
    pub stats: Vec<ContainerStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamContainerStatsRequest {
    #[prost(message, optional, tag = 1)]
    pub filter: Option<ContainerStatsFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamContainerStatsResponse {
    #[prost(message, repeated, tag = 1)]
    pub container_stats: Vec<ContainerStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerAttributes {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub metadata: Option<ContainerMetadata>,
    #[prost(btree_map = "string, string", tag = 3)]
    pub labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = 4)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStats {
    #[prost(message, optional, tag = 1)]
    pub attributes: Option<ContainerAttributes>,
    #[prost(message, optional, tag = 2)]
    pub cpu: Option<CpuUsage>,
    #[prost(message, optional, tag = 3)]
    pub memory: Option<MemoryUsage>,
    #[prost(message, optional, tag = 4)]
    pub writable_layer: Option<FilesystemUsage>,
    #[prost(message, optional, tag = 5)]
    pub swap: Option<SwapUsage>,
    #[prost(message, optional, tag = 6)]
    pub io: Option<IoUsage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PsiStats {
    #[prost(message, optional, tag = 1)]
    pub full: Option<PsiData>,
    #[prost(message, optional, tag = 2)]
    pub some: Option<PsiData>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PsiData {
    #[prost(uint64, tag = 1)]
    pub total: u64,
    #[prost(double, tag = 2)]
    pub avg10: f64,
    #[prost(double, tag = 3)]
    pub avg60: f64,
    #[prost(double, tag = 4)]
    pub avg300: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CpuUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub usage_core_nano_seconds: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub usage_nano_cores: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub psi: Option<PsiStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub working_set_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub available_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 4)]
    pub usage_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 5)]
    pub rss_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 6)]
    pub page_faults: Option<UInt64Value>,
    #[prost(message, optional, tag = 7)]
    pub major_page_faults: Option<UInt64Value>,
    #[prost(message, optional, tag = 8)]
    pub psi: Option<PsiStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IoUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub psi: Option<PsiStats>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SwapUsage {
    #[prost(int64, tag = 1)]
    pub timestamp: i64,
    #[prost(message, optional, tag = 2)]
    pub swap_available_bytes: Option<UInt64Value>,
    #[prost(message, optional, tag = 3)]
    pub swap_usage_bytes: Option<UInt64Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListMetricDescriptorsRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListMetricDescriptorsResponse {
    #[prost(message, repeated, tag = 1)]
    pub descriptors: Vec<MetricDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricDescriptor {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(string, tag = 2)]
    pub help: String,
    #[prost(string, repeated, tag = 3)]
    pub label_keys: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxMetricsRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxMetricsResponse {
    #[prost(message, repeated, tag = 1)]
    pub pod_metrics: Vec<PodSandboxMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxMetricsRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamPodSandboxMetricsResponse {
    #[prost(message, repeated, tag = 1)]
    pub pod_sandbox_metrics: Vec<PodSandboxMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxMetrics {
    #[prost(string, tag = 1)]
    pub pod_sandbox_id: String,
    #[prost(message, repeated, tag = 2)]
    pub metrics: Vec<Metric>,
    #[prost(message, repeated, tag = 3)]
    pub container_metrics: Vec<ContainerMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerMetrics {
    #[prost(string, tag = 1)]
    pub container_id: String,
    #[prost(message, repeated, tag = 2)]
    pub metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    #[prost(string, tag = 1)]
    pub name: String,
    #[prost(int64, tag = 2)]
    pub timestamp: i64,
    #[prost(enumeration = "MetricType", tag = 3)]
    pub metric_type: i32,
    #[prost(string, repeated, tag = 4)]
    pub label_values: Vec<String>,
    #[prost(message, optional, tag = 5)]
    pub value: Option<UInt64Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
}
