//! Leases: what a running pull or push needs, told to the garbage collector before any image names it.

use std::io::Write;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::store::{PathLock, Store, entries, read_limited};

/// A lease file larger than this is not one of ours: 500 layers of four images take a tenth of it.
const MAX_LEASE: u64 = 4 << 20;

/// Keeps content from being collected until dropped, or until the process dies.
pub struct Lease {
    store: Store,
    lock: Option<PathLock>,
}

impl Store {
    pub fn lease(&self) -> Result<Lease> {
        let _shared = self.lock_shared()?;
        loop {
            let path = self.path("leases").join(self.unique());
            if let Some(lock) = PathLock::try_acquire(&path)? {
                return Ok(Lease { store: self.clone(), lock: Some(lock) });
            }
        }
    }

    /// Everything that live leases name. The caller holds the store lock exclusively.
    pub(super) fn leased(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for path in entries(&self.path("leases"))? {
            if let Some(lock) = PathLock::try_acquire(&path)? {
                lock.unlink()?;
                continue;
            }
            let bytes = read_limited(&path, MAX_LEASE)?.at("read", &path)?;
            let text = String::from_utf8_lossy(&bytes);
            digests.extend(text.lines().filter_map(|line| Digest::from_str(line).ok()));
        }
        Ok(digests)
    }

    pub(super) fn remove_abandoned_leases(&self) -> Result<()> {
        self.leased().map(drop)
    }
}

impl Lease {
    /// Keeps `digest`, a blob's or a layer's, whether it is there yet or not.
    pub fn hold(&self, digest: &Digest) -> Result<()> {
        let _shared = self.store.lock_shared()?;
        let lock = self.lock.as_ref().expect("a lease has its lock until it is dropped");
        (&lock.file).write_all(format!("{digest}\n").as_bytes()).at("write", lock.path())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            // A lease that cannot be removed is void anyway once its lock is gone.
            let _ = lock.unlink();
        }
    }
}
