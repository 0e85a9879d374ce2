//! `config.json`: the OCI runtime specification as far as Linux containers of a pod need it.
//!
//! Plain structs with public fields: the embedded launcher reads them, an external OCI runtime reads the JSON
//! they become. Parts of the specification that boga never writes are absent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version that external runtimes in use accept; nothing newer is asked of them.
pub const VERSION: &str = "1.1.0";

macro_rules! document {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
    };
}

document!(Config {
    oci_version: String,
    process: Process,
    root: RootPath,
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
    mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    linux: Linux,
});

document!(RootPath { path: PathBuf, readonly: bool });

document!(Process {
    terminal: bool,
    user: User,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Capabilities>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rlimits: Vec<Rlimit>,
    no_new_privileges: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    apparmor_profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
});

document!(User {
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    additional_gids: Vec<u32>,
});

document!(
    /// Names with their `CAP_` prefix.
    Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        permitted: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        inheritable: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ambient: Vec<String>,
    }
);

document!(
    /// `type` is the name of the constant, such as `RLIMIT_NOFILE`.
    Rlimit {
        r#type: String,
        hard: u64,
        soft: u64,
    }
);

document!(Mount {
    destination: String,
    r#type: String,
    source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uid_mappings: Vec<IdMap>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gid_mappings: Vec<IdMap>,
});

document!(
    #[derive(Copy)]
    IdMap {
        #[serde(rename = "containerID")]
        container: u32,
        #[serde(rename = "hostID")]
        host: u32,
        size: u32,
    }
);

document!(Linux {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uid_mappings: Vec<IdMap>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gid_mappings: Vec<IdMap>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctl: BTreeMap<String, String>,
    resources: Resources,
    cgroups_path: String,
    namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<Seccomp>,
    masked_paths: Vec<String>,
    readonly_paths: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    rootfs_propagation: String,
});

document!(
    /// A namespace to create, or with a path to join. `type` is the specification's word: `pid`, `network`,
    /// `mount`, `ipc`, `uts`, `user`, `cgroup`.
    Namespace {
        r#type: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        path: String,
    }
);

document!(
    /// `type` is `c`, `b` or `p`.
    Device {
        path: String,
        r#type: String,
        major: u32,
        minor: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_mode: Option<u32>,
        uid: u32,
        gid: u32,
    }
);

document!(Resources {
    devices: Vec<DeviceRule>,
    memory: Memory,
    cpu: Cpu,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<Pids>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hugepage_limits: Vec<Hugepages>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unified: BTreeMap<String, String>,
});

document!(
    /// Without a major or minor number the rule is for all of them. `type` is `a`, `b` or `c`.
    DeviceRule {
        allow: bool,
        r#type: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        major: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        minor: Option<i64>,
        access: String,
    }
);

document!(
    /// Absent leaves a limit as it is; -1 lifts it.
    Memory {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        swap: Option<i64>,
    }
);

document!(Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    cpus: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mems: String,
});

document!(Pids { limit: i64 });

document!(
    /// `page_size` is written as the kernel names it, such as `2MB`.
    Hugepages {
        page_size: String,
        limit: u64,
    }
);

document!(Seccomp {
    default_action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    listener_path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    syscalls: Vec<SyscallRule>,
});

document!(SyscallRule {
    names: Vec<String>,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Condition>,
});

document!(
    #[derive(Copy)]
    Condition { index: u32, value: u64, value_two: u64, op: Comparison }
);

/// What the kernel does with a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[default]
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

/// How an argument is compared with a value. `MaskedEqual` takes `value` as the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[default]
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}
