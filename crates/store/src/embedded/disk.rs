//! The durable half of the embedded backend: a redb database below the store's title page.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::file::{self, Body, Title};
use super::medium::Medium;
use super::record::{self, Header, Versions};
use super::{Durability, upgrade};
use crate::entry::{Entry, Revision};
use crate::error::OpenError;
use crate::index::Index;
use crate::seal::{self, Sealing};

/// The newest version of each key, by the revision that wrote it. So new records lie side by side at the end,
/// whatever their keys are, and a commit writes few pages beside those that the values fill.
const VALUES: TableDefinition<'_, Revision, &[u8]> = TableDefinition::new("values");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";

/// The engine's page cache. Reads are answered from the index, so it serves writes alone.
const CACHE_BYTES: usize = 16 << 20;

const RESTORE: &str = "nothing was changed; restore the file from a backup, or move it away to start empty";

/// One revision's change of one key, as it is to be kept.
pub(super) struct Change {
    /// The version that is no longer the newest.
    pub(super) gone: Option<Revision>,
    /// The record of the new one.
    pub(super) new: Option<(Revision, Vec<u8>)>,
}

pub(super) struct Disk {
    database: redb::Database,
    medium: Arc<dyn Medium>,
    commits: u64,
}

/// What was found in the file.
pub(super) struct Contents {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) revision: Revision,
}

impl Disk {
    /// Opens or creates the file. Unless all of it is sound and understood, it is left exactly as it was.
    pub(super) fn open(
        path: &Path,
        medium: Arc<dyn Medium>,
        durability: Durability,
        index: &Index,
        sealing: Option<&Sealing>,
    ) -> Result<(Disk, Contents), OpenError> {
        let io = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
        let refuse = |problem: String| OpenError::File { path: path.to_owned(), problem, advice: RESTORE };
        let title = file::read_title(&*medium).map_err(io("read the store's file"))?;
        let mut revision_promised = 0;
        match title {
            Title::Empty => file::begin(&*medium).map_err(io("create the store's file"))?,
            Title::Foreign => {
                return Err(refuse("this is not a store's file, or its first page is damaged".into()));
            }
            Title::Format { format, oldest_reader } if !file::readable(oldest_reader) => {
                return Err(OpenError::File {
                    path: path.to_owned(),
                    problem: format!(
                        "the file has format {format}, for readers of format {oldest_reader} on; this version reads format {}",
                        file::FORMAT
                    ),
                    advice: "nothing was changed; use the newer version, or restore a backup made by this one",
                });
            }
            Title::Format { format, .. } => {
                upgrade::bring_up(path, &*medium, format)?;
                revision_promised = file::read_marks(&*medium).map_err(io("read the store's file"))?;
            }
        }
        let body = Body::held(medium.clone(), durability == Durability::Synced)
            .map_err(io("read the store's file"))?;
        let (database, contents) = sound(path, body.clone(), title != Title::Empty, index, sealing)?;
        if contents.revision < revision_promised {
            return Err(refuse(format!(
                "the file ends at revision {}, but revision {revision_promised} was acknowledged: the disk lost synced writes",
                contents.revision
            )));
        }
        body.settle().map_err(io("write the store's file"))?;
        if title == Title::Empty {
            file::finish(&*medium).map_err(io("create the store's file"))?;
        }
        Ok((Disk { database, medium, commits: 0 }, contents))
    }

    /// Makes the changes durable, all or none. After an error nothing more may be written: what reached the disk
    /// is not known until the file is opened anew.
    pub(super) fn commit(&mut self, changes: &[Change], revision: Revision) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut values = transaction.open_table(VALUES)?;
            for change in changes {
                if let Some((revision, record)) = &change.new {
                    values.insert(revision, &record[..])?;
                }
                if let Some(revision) = change.gone {
                    values.remove(revision)?;
                }
            }
            transaction.open_table(NUMBERS)?.insert(REVISION, revision)?;
        }
        transaction.commit()?;
        self.commits += 1;
        file::write_mark(&*self.medium, revision, self.commits).map_err(redb::Error::Io)
    }
}

/// Opens the database, checks every page and reads every value. redb asserts what a damaged file can break, so a
/// panic means the same as an error.
fn sound(
    path: &Path,
    body: Body,
    existed: bool,
    index: &Index,
    sealing: Option<&Sealing>,
) -> Result<(redb::Database, Contents), OpenError> {
    let damaged = |problem: String| OpenError::File { path: path.to_owned(), problem, advice: RESTORE };
    let attempt = AssertUnwindSafe(|| -> Result<Result<_, OpenError>, redb::Error> {
        let repaired = Arc::new(AtomicBool::new(false));
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_repair_callback({
            let repaired = repaired.clone();
            move |_| repaired.store(true, Ordering::Relaxed)
        });
        let mut database = builder.create_with_backend(body)?;
        if !existed {
            let transaction = database.begin_write()?;
            transaction.open_table(VALUES)?;
            transaction.open_table(NUMBERS)?.insert(REVISION, FIRST_REVISION)?;
            transaction.commit()?;
        }
        // A repair, after a crash, has checked every page already.
        let checked = !existed || repaired.load(Ordering::Relaxed);
        if !checked && !database.check_integrity()? {
            return Ok(Err(damaged("the database's checksums do not match its contents".into())));
        }
        let contents = read(path, &database, index, sealing)?;
        Ok(contents.map(|contents| (database, contents)))
    });
    match catch_unwind(attempt) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(damaged(format!("the database is damaged or cut short ({error})"))),
        Err(_) => Err(damaged("the database is damaged: reading it broke the engine's assertions".into())),
    }
}

/// A fresh store stands at 1, as etcd does, so that 0 can mean "any".
const FIRST_REVISION: Revision = 1;

fn read(
    path: &Path,
    database: &redb::Database,
    index: &Index,
    sealing: Option<&Sealing>,
) -> Result<Result<Contents, OpenError>, redb::Error> {
    let damaged =
        |problem: String| Ok(Err(OpenError::File { path: path.to_owned(), problem, advice: RESTORE }));
    let transaction = database.begin_read()?;
    let Some(revision) = transaction.open_table(NUMBERS)?.get(REVISION)?.map(|found| found.value()) else {
        return damaged("the database has no revision".into());
    };
    let (mut entries, mut versions) = (Vec::new(), Versions::default());
    for found in transaction.open_table(VALUES)?.iter()? {
        let (modified, record) = found?;
        let modified = modified.value();
        let Some((Header { key, created, expires, stamp }, stored)) =
            record::decode(record.value(), &mut versions)
        else {
            return damaged(format!("the record of revision {modified} is malformed"));
        };
        if created > modified || modified > revision {
            return damaged(format!(
                "the record of {key} is from revision {modified}, past the end at {revision}"
            ));
        }
        let (value, sealed) = match seal::open(sealing, &key, stored.to_vec().into()) {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let note = index.annotate(&key, &value);
        entries.push(Arc::new(Entry { key, value, created, modified, stamp, expires, sealed, note }));
    }
    entries.sort_unstable_by(|one, two| one.key.cmp(&two.key));
    if let Some([twice, _]) = entries.array_windows().find(|[one, two]| one.key == two.key) {
        return damaged(format!("{} has two newest versions", twice.key));
    }
    Ok(Ok(Contents { entries, revision }))
}

/// Copies a store's file, closed or in use by nobody, and raises its revision, so that no revision which clients
/// have seen since the copy was made is ever given out again.
pub fn restore(backup: &Path, to: &Path, raise: Revision) -> Result<Revision, OpenError> {
    let io = |path: &Path, operation| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, operation, source }
    };
    if to.exists() {
        return Err(OpenError::File {
            path: to.to_owned(),
            problem: "there is a store already".into(),
            advice: "move it away first; a restore never overwrites one",
        });
    }
    let draft: PathBuf = to.with_extension("restoring");
    std::fs::copy(backup, &draft).map_err(io(&draft, "copy the backup"))?;
    let raised = raise_in(&draft, raise)?;
    std::fs::rename(&draft, to).map_err(io(to, "put the restored file in place"))?;
    super::sync_folder_of(to).map_err(io(to, "sync the folder of the store's file"))?;
    Ok(raised)
}

fn raise_in(path: &Path, raise: Revision) -> Result<Revision, OpenError> {
    let medium = Arc::new(super::DiskFile::open(path)?);
    let io = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
    if file::read_title(&*medium).map_err(io("read the backup"))? == Title::Empty {
        return Err(OpenError::File {
            path: path.to_owned(),
            problem: "the backup is empty".into(),
            advice: RESTORE,
        });
    }
    let body = Body::held(medium.clone(), true).map_err(io("read the backup"))?;
    let damaged = |error: redb::Error| OpenError::File {
        path: path.to_owned(),
        problem: format!("the database is damaged or cut short ({error})"),
        advice: RESTORE,
    };
    let raise_it = AssertUnwindSafe(|| -> Result<Revision, redb::Error> {
        let mut database = redb::Builder::new().create_with_backend(body.clone())?;
        if !database.check_integrity()? {
            return Err(redb::Error::Corrupted("checksums do not match".into()));
        }
        let transaction = database.begin_write()?;
        let raised = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let now = numbers.get(REVISION)?.map_or(FIRST_REVISION, |found| found.value());
            let raised = now.saturating_add(raise);
            numbers.insert(REVISION, raised)?;
            raised
        };
        transaction.commit()?;
        Ok(raised)
    });
    let raised = catch_unwind(raise_it).map_err(|_| OpenError::File {
        path: path.to_owned(),
        problem: "the database is damaged: reading it broke the engine's assertions".into(),
        advice: RESTORE,
    })?;
    let raised = raised.map_err(damaged)?;
    body.settle().map_err(io("write the restored file"))?;
    Ok(raised)
}
