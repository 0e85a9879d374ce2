//! What sandboxes and containers share: mounts, namespaces, security, resources, signals.

use std::collections::BTreeMap;

use super::ImageSpec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DnsConfig {
    #[prost(string, repeated, tag = 1)]
    pub servers: Vec<String>,
    #[prost(string, repeated, tag = 2)]
    pub searches: Vec<String>,
    #[prost(string, repeated, tag = 3)]
    pub options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Protocol {
    Tcp = 0,
    Udp = 1,
    Sctp = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PortMapping {
    #[prost(enumeration = "Protocol", tag = 1)]
    pub protocol: i32,
    #[prost(int32, tag = 2)]
    pub container_port: i32,
    #[prost(int32, tag = 3)]
    pub host_port: i32,
    #[prost(string, tag = 4)]
    pub host_ip: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MountPropagation {
    Private = 0,
    HostToContainer = 1,
    Bidirectional = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    #[prost(string, tag = 1)]
    pub container_path: String,
    #[prost(string, tag = 2)]
    pub host_path: String,
    #[prost(bool, tag = 3)]
    pub readonly: bool,
    #[prost(bool, tag = 4)]
    pub selinux_relabel: bool,
    #[prost(enumeration = "MountPropagation", tag = 5)]
    pub propagation: i32,
    #[prost(message, repeated, tag = 6)]
    pub uid_mappings: Vec<IdMapping>,
    #[prost(message, repeated, tag = 7)]
    pub gid_mappings: Vec<IdMapping>,
    #[prost(bool, tag = 8)]
    pub recursive_read_only: bool,
    #[prost(message, optional, tag = 9)]
    pub image: Option<ImageSpec>,
    #[prost(string, tag = 10)]
    pub image_sub_path: String,
    #[prost(string, repeated, tag = 11)]
    pub mount_options: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IdMapping {
    #[prost(uint32, tag = 1)]
    pub host_id: u32,
    #[prost(uint32, tag = 2)]
    pub container_id: u32,
    #[prost(uint32, tag = 3)]
    pub length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    Pod = 0,
    Container = 1,
    Node = 2,
    Target = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UserNamespace {
    #[prost(enumeration = "NamespaceMode", tag = 1)]
    pub mode: i32,
    #[prost(message, repeated, tag = 2)]
    pub uids: Vec<IdMapping>,
    #[prost(message, repeated, tag = 3)]
    pub gids: Vec<IdMapping>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespaceOption {
    #[prost(enumeration = "NamespaceMode", tag = 1)]
    pub network: i32,
    #[prost(enumeration = "NamespaceMode", tag = 2)]
    pub pid: i32,
    #[prost(enumeration = "NamespaceMode", tag = 3)]
    pub ipc: i32,
    #[prost(string, tag = 4)]
    pub target_id: String,
    #[prost(message, optional, tag = 5)]
    pub userns_options: Option<UserNamespace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SupplementalGroupsPolicy {
    Merge = 0,
    Strict = 1,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Int64Value {
    #[prost(int64, tag = 1)]
    pub value: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SecurityProfile {
    #[prost(enumeration = "ProfileType", tag = 1)]
    pub profile_type: i32,
    #[prost(string, tag = 2)]
    pub localhost_ref: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ProfileType {
    RuntimeDefault = 0,
    Unconfined = 1,
    Localhost = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    #[prost(string, tag = 1)]
    pub key: String,
    #[prost(bytes = "vec", tag = 2)]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerResources {
    #[prost(int64, tag = 1)]
    pub cpu_period: i64,
    #[prost(int64, tag = 2)]
    pub cpu_quota: i64,
    #[prost(int64, tag = 3)]
    pub cpu_shares: i64,
    #[prost(int64, tag = 4)]
    pub memory_limit_in_bytes: i64,
    #[prost(int64, tag = 5)]
    pub oom_score_adj: i64,
    #[prost(string, tag = 6)]
    pub cpuset_cpus: String,
    #[prost(string, tag = 7)]
    pub cpuset_mems: String,
    #[prost(message, repeated, tag = 8)]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[prost(btree_map = "string, string", tag = 9)]
    pub unified: BTreeMap<String, String>,
    #[prost(int64, tag = 10)]
    pub memory_swap_limit_in_bytes: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HugepageLimit {
    #[prost(string, tag = 1)]
    pub page_size: String,
    #[prost(uint64, tag = 2)]
    pub limit: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SeLinuxOption {
    #[prost(string, tag = 1)]
    pub user: String,
    #[prost(string, tag = 2)]
    pub role: String,
    #[prost(string, tag = 3)]
    pub r#type: String,
    #[prost(string, tag = 4)]
    pub level: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Capability {
    #[prost(string, repeated, tag = 1)]
    pub add_capabilities: Vec<String>,
    #[prost(string, repeated, tag = 2)]
    pub drop_capabilities: Vec<String>,
    #[prost(string, repeated, tag = 3)]
    pub add_ambient_capabilities: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Device {
    #[prost(string, tag = 1)]
    pub container_path: String,
    #[prost(string, tag = 2)]
    pub host_path: String,
    #[prost(string, tag = 3)]
    pub permissions: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CdiDevice {
    #[prost(string, tag = 1)]
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Signal {
    RuntimeDefault = 0,
    Sigabrt = 1,
    Sigalrm = 2,
    Sigbus = 3,
    Sigchld = 4,
    Sigcld = 5,
    Sigcont = 6,
    Sigfpe = 7,
    Sighup = 8,
    Sigill = 9,
    Sigint = 10,
    Sigio = 11,
    Sigiot = 12,
    Sigkill = 13,
    Sigpipe = 14,
    Sigpoll = 15,
    Sigprof = 16,
    Sigpwr = 17,
    Sigquit = 18,
    Sigsegv = 19,
    Sigstkflt = 20,
    Sigstop = 21,
    Sigsys = 22,
    Sigterm = 23,
    Sigtrap = 24,
    Sigtstp = 25,
    Sigttin = 26,
    Sigttou = 27,
    Sigurg = 28,
    Sigusr1 = 29,
    Sigusr2 = 30,
    Sigvtalrm = 31,
    Sigwinch = 32,
    Sigxcpu = 33,
    Sigxfsz = 34,
    Sigrtmin = 35,
    Sigrtminplus1 = 36,
    Sigrtminplus2 = 37,
    Sigrtminplus3 = 38,
    Sigrtminplus4 = 39,
    Sigrtminplus5 = 40,
    Sigrtminplus6 = 41,
    Sigrtminplus7 = 42,
    Sigrtminplus8 = 43,
    Sigrtminplus9 = 44,
    Sigrtminplus10 = 45,
    Sigrtminplus11 = 46,
    Sigrtminplus12 = 47,
    Sigrtminplus13 = 48,
    Sigrtminplus14 = 49,
    Sigrtminplus15 = 50,
    Sigrtmaxminus14 = 51,
    Sigrtmaxminus13 = 52,
    Sigrtmaxminus12 = 53,
    Sigrtmaxminus11 = 54,
    Sigrtmaxminus10 = 55,
    Sigrtmaxminus9 = 56,
    Sigrtmaxminus8 = 57,
    Sigrtmaxminus7 = 58,
    Sigrtmaxminus6 = 59,
    Sigrtmaxminus5 = 60,
    Sigrtmaxminus4 = 61,
    Sigrtmaxminus3 = 62,
    Sigrtmaxminus2 = 63,
    Sigrtmaxminus1 = 64,
    Sigrtmax = 65,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct UInt64Value {
    #[prost(uint64, tag = 1)]
    pub value: u64,
}
