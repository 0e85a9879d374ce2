//! Starting over what an earlier daemon left: the living are taken up, the dead are told apart from them, and
//! what no record owns is swept away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::containers::HOLDER;
use super::records::{self, ContainerRecord, SandboxRecord, Stage};
use super::sandboxes::{erase, sandbox_name, unmount};
use super::{Container, Engine, Sandbox};
use crate::cri::Result;
use crate::shim::protocol::Status;

impl Engine {
    pub(super) async fn recover(&self) -> Result<()> {
        for directory in subdirectories(&self.pods()) {
            match records::load::<SandboxRecord>(&directory) {
                Some(record) => self.take_up(directory, record).await?,
                None => self.sweep_directory(&directory).await?,
            }
        }
        self.sweep_mounts();
        self.sweep_holders();
        Ok(())
    }

    async fn take_up(&self, directory: PathBuf, record: SandboxRecord) -> Result<()> {
        let stage = record.stage();
        let sandbox = Arc::new(Sandbox {
            id: record.id.clone(),
            directory,
            record: Mutex::new(record),
            shim: Mutex::new(None),
            busy: tokio::sync::Mutex::new(()),
        });
        let incomplete = self.take_up_containers(&sandbox);
        let alive = crate::shims::alive(&sandbox.directory).is_some();
        let connected = stage == Stage::Ready
            && alive
            && match self.connect_shim(&sandbox).await {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(sandbox = sandbox.id, %error, "a shim lives but does not answer");
                    false
                }
            };
        if stage == Stage::Creating {
            // Nobody was told of it, so nobody will ask for its removal.
            self.end_sandbox(&sandbox).await;
            for container in self.containers_of(&sandbox.id) {
                self.erase_container(&container).await?;
            }
            return self.erase_sandbox(&sandbox).await;
        }
        let config = sandbox.record.lock().config.clone().unwrap_or_default();
        {
            let mut tables = self.0.tables.lock();
            if let Ok(name) = sandbox_name(&config) {
                tables.names.insert(name, sandbox.id.clone());
            }
            tables.sandboxes.insert(sandbox.id.clone(), sandbox.clone());
        }
        for container in incomplete {
            self.erase_container(&container).await?;
        }
        if !connected && (stage == Stage::Ready || alive || sandbox.record.lock().attached) {
            self.end_sandbox(&sandbox).await;
        }
        Ok(())
    }

    /// Puts a sandbox's containers into the table. Those that were never complete are returned.
    fn take_up_containers(&self, sandbox: &Arc<Sandbox>) -> Vec<Arc<Container>> {
        let pod = sandbox.record.lock().config.clone().unwrap_or_default();
        let mut incomplete = Vec::new();
        for bundle in subdirectories(&sandbox.containers()) {
            let Some(record) = records::load::<ContainerRecord>(&bundle) else {
                // Its record is the first thing that a container gets, so there is nothing but the directory.
                let _ = erase(&bundle);
                continue;
            };
            let status = crate::shim::status::read(&bundle)
                .unwrap_or_else(|| Status { container: record.id.clone(), ..Status::default() });
            let container = Arc::new(Container {
                id: record.id.clone(),
                bundle,
                sandbox: Arc::downgrade(sandbox),
                record: Mutex::new(record.clone()),
                status: watch::Sender::new(status),
                busy: tokio::sync::Mutex::new(()),
            });
            let mut tables = self.0.tables.lock();
            let metadata = record.config.and_then(|config| config.metadata).unwrap_or_default();
            if let (Ok(name), true) = (sandbox_name(&pod), record.complete) {
                let name = format!("{}_{}_{}", metadata.name, name, metadata.attempt);
                tables.names.insert(name, container.id.clone());
            }
            tables.containers.insert(container.id.clone(), container.clone());
            if !record.complete {
                incomplete.push(container);
            }
        }
        incomplete
    }

    /// A directory without a record: its making or its removal was interrupted.
    async fn sweep_directory(&self, directory: &Path) -> Result<()> {
        tracing::info!(directory = %directory.display(), "sweeping away what is left of a sandbox");
        if let Some(pid) = crate::shims::alive(directory).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for bundle in subdirectories(&directory.join("containers")) {
            if let Some(record) = records::load::<ContainerRecord>(&bundle) {
                self.remove_cgroup(&record.cgroup).await?;
            }
        }
        for mount in mounts_below(directory) {
            unmount(&mount);
        }
        erase(directory)
    }

    /// Mounts below the engine's directory that belong to no sandbox that is ready.
    fn sweep_mounts(&self) {
        let owned: BTreeSet<PathBuf> = {
            let tables = self.0.tables.lock();
            let ready =
                tables.sandboxes.values().filter(|sandbox| sandbox.record.lock().stage() == Stage::Ready);
            ready.map(|sandbox| sandbox.directory.clone()).collect()
        };
        for mount in mounts_below(&self.pods()) {
            if !owned.iter().any(|directory| mount.starts_with(directory)) {
                tracing::info!(mount = %mount.display(), "unmounting what no sandbox owns");
                unmount(&mount);
            }
        }
    }

    /// Images held for containers that are not known.
    fn sweep_holders(&self) {
        let owners: BTreeSet<String> = {
            let tables = self.0.tables.lock();
            tables.containers.values().flat_map(|container| container.record.lock().holders.clone()).collect()
        };
        let images = &self.0.options.images;
        let Ok(holders) = images.holders() else { return };
        for holder in holders {
            if holder.owner.starts_with(HOLDER)
                && !owners.contains(&holder.owner)
                && let Err(error) = images.release(&holder.owner)
            {
                tracing::warn!(owner = holder.owner, %error, "cannot release an image that nobody uses");
            }
        }
    }
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The mount points below a directory, the deepest first.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(directory) && path != directory)
        .collect();
    mounts.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    mounts
}

/// Undoes the kernel's octal escapes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_mount_points_are_read() {
        for (text, expected) in [("/a\\040b", "/a b"), ("/x\\134y\\", "/x\\y\\"), ("/plain", "/plain")] {
            assert_eq!(unescape(text), expected);
        }
    }
}
