//! What the engine must not forget: one small file for each sandbox and each container.
//!
//! A record is written before anything exists that it accounts for, and removed after everything is gone. So
//! whatever a crash leaves behind has an owner, and what has none can be swept away.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use prost::Message;

use crate::cri::{ContainerConfig, PodSandboxConfig};

const FILE: &str = "record";

/// How far a sandbox has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Stage {
    /// Being made; after a crash it is taken apart again.
    Creating = 0,
    Ready = 1,
    /// Stopped, with everything of it ended, but still known.
    Stopped = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SandboxRecord {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(message, optional, tag = 2)]
    pub config: Option<PodSandboxConfig>,
    #[prost(int64, tag = 3)]
    pub created_at: i64,
    #[prost(enumeration = "Stage", tag = 4)]
    pub stage: i32,
    #[prost(string, tag = 5)]
    pub handler: String,
    #[prost(string, repeated, tag = 6)]
    pub ips: Vec<String>,
    /// Kind to path, for as long as the shim lives.
    #[prost(btree_map = "string, string", tag = 7)]
    pub namespaces: BTreeMap<String, String>,
    /// The network was asked to attach the sandbox, and so must be asked to detach it.
    #[prost(bool, tag = 8)]
    pub attached: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerRecord {
    #[prost(string, tag = 1)]
    pub id: String,
    #[prost(string, tag = 2)]
    pub sandbox: String,
    #[prost(message, optional, tag = 3)]
    pub config: Option<ContainerConfig>,
    #[prost(int64, tag = 4)]
    pub created_at: i64,
    /// The image's id, and the reference that it was found by.
    #[prost(string, tag = 5)]
    pub image_id: String,
    #[prost(string, tag = 6)]
    pub image_ref: String,
    #[prost(string, tag = 7)]
    pub cgroup: String,
    #[prost(string, tag = 8)]
    pub log_path: String,
    #[prost(uint32, tag = 9)]
    pub uid: u32,
    #[prost(uint32, tag = 10)]
    pub gid: u32,
    #[prost(uint32, repeated, tag = 11)]
    pub groups: Vec<u32>,
    #[prost(int32, tag = 12)]
    pub stop_signal: i32,
    /// Who holds images for this container: itself, and its image volumes.
    #[prost(string, repeated, tag = 13)]
    pub holders: Vec<String>,
    /// Complete: everything that starting it needs is in place.
    #[prost(bool, tag = 14)]
    pub complete: bool,
}

/// Writes a record so that a crash leaves the old one or the new one, whole.
pub fn save(directory: &Path, record: &impl Message) -> io::Result<()> {
    let fresh = directory.join("record.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&record.encode_to_vec())?;
    file.sync_all()?;
    std::fs::rename(&fresh, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

/// The record in `directory`; `None` when there is none that can be read.
pub fn load<M: Message + Default>(directory: &Path) -> Option<M> {
    M::decode(&*std::fs::read(directory.join(FILE)).ok()?).ok()
}
