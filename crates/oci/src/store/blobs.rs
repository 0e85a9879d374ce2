//! Blobs: content under its digest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, IoContext, Kind, Result, corrupt, not_found};
use crate::store::{PathLock, Store, entries, fsync_dir, remove_file};

/// An unfinished download is kept this long for a later attempt to continue.
pub const MAX_PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

const COPY_BUFFER: usize = 128 << 10;
const ANONYMOUS: &str = "tmp-";

impl Store {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(not_found(format!("blob {digest}: not found")))
            }
            opened => opened.at("open", &path),
        }
    }

    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(not_found(format!("blob {digest}: not found")))
            }
            metadata => Ok(metadata.at("inspect", &path)?.size()),
        }
    }

    /// The whole of a small blob, checked against its digest again: disks rot, and people edit.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.open_blob(digest)?.take(limit + 1).read_to_end(&mut bytes);
        if read.at("read", &self.blob_path(digest))? as u64 > limit {
            return Err(Error::new(Kind::Refused, format!("blob {digest} is larger than {limit} bytes")));
        }
        digest.verify(&bytes).map_err(|error| error.context(format!("read blob {digest}")))?;
        Ok(bytes)
    }

    /// Stores small content that is already in memory.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        self.put_blob_as(&digest, bytes)?;
        Ok(digest)
    }

    /// Stores small content under the digest that it is claimed to have.
    pub fn put_blob_as(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        digest.verify(bytes)?;
        if self.has_blob(digest) {
            return Ok(());
        }
        let mut ingest = self.ingest()?;
        ingest.write(bytes)?;
        ingest.commit_as(digest)
    }

    /// Begins content whose digest is not known yet, or not to be continued if it breaks off.
    pub fn ingest(&self) -> Result<Ingest> {
        loop {
            let path = self.path("ingest").join(format!("{ANONYMOUS}{}", self.unique()));
            let fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            if fresh.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                continue;
            }
            if let Some(lock) = PathLock::try_acquire(&path)? {
                return Ingest::begin(self.clone(), Algorithm::Sha256, lock, true);
            }
        }
    }

    /// Begins or continues the content with this digest. Waits while another pull writes the same; answers
    /// `None` when that one has finished it.
    pub fn ingest_blob(&self, digest: &Digest) -> Result<Option<Ingest>> {
        let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
        let lock = PathLock::acquire(&self.path("ingest").join(name))?;
        if self.has_blob(digest) {
            lock.unlink()?;
            return Ok(None);
        }
        Ingest::begin(self.clone(), digest.algorithm(), lock, false).map(Some)
    }

    /// Begins a registry's upload, or finds one again that an earlier process began.
    pub(crate) fn ingest_upload(&self, repository: &str, id: &str, fresh: bool) -> Result<Option<Ingest>> {
        // The name binds the upload to its repository.
        let name = Digest::of(format!("{repository} {id}").as_bytes());
        let path = self.path("ingest").join(format!("upload-{}", name.hex()));
        if !fresh && !path.exists() {
            return Ok(None);
        }
        match PathLock::try_acquire(&path)? {
            Some(lock) => Ingest::begin(self.clone(), Algorithm::Sha256, lock, fresh).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn remove_abandoned_ingests(&self) -> Result<()> {
        let now = self.now();
        for path in entries(&self.path("ingest"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let age = fs::metadata(&path).map_or(0, |of| now.saturating_sub(of.mtime()));
            let old = age > MAX_PARTIAL_AGE.as_secs() as i64;
            if (name.starts_with(ANONYMOUS) || old)
                && let Some(lock) = PathLock::try_acquire(&path)?
            {
                lock.unlink()?;
            }
        }
        Ok(())
    }
}

/// Content on its way into the store. Dropped unfinished, it vanishes, or stays to be continued if it was
/// begun by digest and [`Ingest::keep`] was called.
pub struct Ingest {
    store: Store,
    lock: Option<PathLock>,
    hasher: Hasher,
    offset: u64,
    keep: bool,
}

impl Ingest {
    fn begin(store: Store, algorithm: Algorithm, lock: PathLock, fresh: bool) -> Result<Ingest> {
        let mut ingest =
            Ingest { store, lock: Some(lock), hasher: Hasher::new(algorithm), offset: 0, keep: false };
        if !fresh {
            ingest.rehash()?;
        }
        Ok(ingest)
    }

    /// The bytes written so far; where to continue.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let lock = self.lock.as_ref().expect("an ingest has its file until it is committed");
        (&lock.file).write_all(bytes).at("write", lock.path()).inspect_err(|_| self.keep = false)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Forgets what was written, for a server that cannot continue.
    pub fn restart(&mut self) -> Result<()> {
        let lock = self.lock.as_ref().expect("an ingest has its file until it is committed");
        lock.file.set_len(0).at("truncate", lock.path())?;
        self.rehash()
    }

    /// Whether to leave unfinished content for a later attempt.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Finishes content of any digest.
    pub fn commit(mut self) -> Result<(Digest, u64)> {
        let digest = self.digest();
        let size = self.offset;
        self.install(&digest)?;
        Ok((digest, size))
    }

    /// Finishes content that must have this digest; refuses, and removes it, otherwise.
    pub fn commit_as(mut self, expected: &Digest) -> Result<()> {
        self.keep = false;
        if expected.algorithm() != self.hasher.algorithm() {
            self.hasher = Hasher::new(expected.algorithm());
            self.rehash()?;
        }
        let actual = self.digest();
        if actual != *expected {
            return Err(corrupt(format!(
                "unexpected digest of {} bytes: got {actual}, expected {expected}",
                self.offset
            )));
        }
        self.install(expected)
    }

    fn install(&mut self, digest: &Digest) -> Result<()> {
        let lock = self.lock.as_ref().expect("an ingest has its file until it is committed");
        self.keep = false;
        lock.file.sync_all().at("sync", lock.path())?;
        let path = self.store.blob_path(digest);
        {
            let _shared = self.store.lock_shared()?;
            fs::rename(lock.path(), &path).at("install", &path)?;
            self.lock = None;
        }
        fsync_dir(path.parent().expect("a blob lies in its algorithm's directory"))
    }

    /// Brings hasher and offset in line with what the file holds.
    fn rehash(&mut self) -> Result<()> {
        let lock = self.lock.as_ref().expect("an ingest has its file until it is committed");
        let mut hasher = Hasher::new(self.hasher.algorithm());
        let mut file = &lock.file;
        file.seek(SeekFrom::Start(0)).at("read", lock.path())?;
        let mut buffer = vec![0; COPY_BUFFER];
        let mut offset = 0;
        loop {
            let n = file.read(&mut buffer).at("read", lock.path())?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            offset += n as u64;
        }
        self.hasher = hasher;
        self.offset = offset;
        Ok(())
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ingest::write(self, bytes).map_err(|error| {
            match error.io_source().and_then(|of| of.raw_os_error()) {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::other(error),
            }
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take()
            && !self.keep
        {
            // What cannot be removed now is removed at the next start: its lock is gone.
            let _ = remove_file(lock.path());
        }
    }
}
