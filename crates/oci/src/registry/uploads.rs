//! Uploads in progress. They survive the registry's end: an id that is not in memory is looked for on disk.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::error::Result;
use crate::registry::respond::Failure;
use crate::store::{Ingest, Store};

/// Uploads at a time; more are told to come back later.
const MAX_UPLOADS: usize = 1024;
/// An upload that nobody continued for so long is dropped when room is needed.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Uploads {
    store: Store,
    /// By id. Never held across an await.
    open: Mutex<BTreeMap<String, Upload>>,
}

struct Upload {
    repository: String,
    /// Absent while a request writes to it.
    ingest: Option<Ingest>,
    touched: Duration,
}

impl Uploads {
    pub(super) fn new(store: Store) -> Uploads {
        Uploads { store, open: Mutex::default() }
    }

    pub(super) fn begin(&self, repository: &str, id: &str) -> Result<Ingest, Failure> {
        let now = self.now();
        {
            let mut open = self.open.lock().expect("no holder of this lock panics");
            if open.len() >= MAX_UPLOADS {
                open.retain(|_, of| {
                    let Some(ingest) = &mut of.ingest else { return true };
                    let wanted = now.saturating_sub(of.touched) < IDLE;
                    ingest.keep(wanted);
                    wanted
                });
            }
            if open.len() >= MAX_UPLOADS {
                return Err(Failure::TOO_MANY);
            }
            open.insert(
                id.to_owned(),
                Upload { repository: repository.to_owned(), ingest: None, touched: now },
            );
        }
        self.store.ingest_upload(repository, id, true)?.ok_or(Failure::UPLOAD_UNKNOWN)
    }

    /// Takes an upload to write to it; [`Uploads::put_back`] or [`Uploads::end`] follows.
    pub(super) fn take(&self, repository: &str, id: &str) -> Result<Ingest, Failure> {
        let now = self.now();
        let mut open = self.open.lock().expect("no holder of this lock panics");
        if let Some(upload) = open.get_mut(id) {
            if upload.repository != repository {
                return Err(Failure::UPLOAD_UNKNOWN);
            }
            upload.touched = now;
            let mut ingest = upload.ingest.take().ok_or(Failure::UPLOAD_BUSY)?;
            ingest.keep(false);
            return Ok(ingest);
        }
        let found = self.store.ingest_upload(repository, id, false)?.ok_or(Failure::UPLOAD_UNKNOWN)?;
        open.insert(id.to_owned(), Upload { repository: repository.to_owned(), ingest: None, touched: now });
        Ok(found)
    }

    /// How many bytes an upload has.
    pub(super) fn offset(&self, repository: &str, id: &str) -> Result<u64, Failure> {
        let ingest = self.take(repository, id)?;
        let offset = ingest.offset();
        self.put_back(id, ingest);
        Ok(offset)
    }

    pub(super) fn put_back(&self, id: &str, mut ingest: Ingest) {
        ingest.keep(true);
        let now = self.now();
        let mut open = self.open.lock().expect("no holder of this lock panics");
        if let Some(upload) = open.get_mut(id) {
            upload.ingest = Some(ingest);
            upload.touched = now;
        }
    }

    pub(super) fn end(&self, id: &str) {
        self.open.lock().expect("no holder of this lock panics").remove(id);
    }

    fn now(&self) -> Duration {
        self.store.options().clock.monotonic()
    }
}
