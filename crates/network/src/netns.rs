//! Work in another network namespace.
//!
//! A namespace belongs to a thread, so such work runs on a thread of its own that ends with it: a
//! thread that has changed its namespace is never given back to anybody.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("network namespace {path}: {operation}")]
    Namespace {
        path: String,
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the thread for network namespace {0} panicked")]
    Panicked(String),
}

/// Runs `work` inside the namespace that `path` names, and waits for it.
///
/// # Errors
/// When there is no such namespace, or it may not be entered.
pub fn run<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let name = path.display().to_string();
    let fail = |operation, source| Error::Namespace { path: name.clone(), operation, source };
    let namespace = File::open(path).map_err(|source| fail("opening", source))?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        let thread = thread.map_err(|source| fail("starting a thread", source))?;
        let result: Result<T, nix::errno::Errno> =
            thread.join().map_err(|_| Error::Panicked(name.clone()))?;
        result.map_err(|errno| fail("entering", errno.into()))
    })
}
