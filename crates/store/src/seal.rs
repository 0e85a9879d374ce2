//! Sealing: what lies between the index, which holds plain values, and a backend, which must not.
//!
//! A sealed value is an envelope in the style of upstream's encryption providers, so that whoever reads the
//! backend sees at once what it is:
//!
//! ```text
//! k8s:enc:boga:v1:<key id>:<32 random bytes><AES-256-GCM ciphertext and tag>
//! ```
//!
//! Each value has a key of its own, derived by HKDF-SHA256 from the sealing key and the random bytes. So a nonce
//! never repeats however many values are sealed, which random nonces under one key cannot promise. The store key
//! is the associated data: a sealed value moved under another name does not open.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::random::Random;
use bytes::Bytes;
use parking_lot::Mutex;
use ring::{aead, hkdf};
use zeroize::Zeroizing;

use crate::error::OpenError;

/// What every scheme's envelope begins with, upstream's included.
const ANY_ENVELOPE: &[u8] = b"k8s:enc:";
const ENVELOPE: &str = "k8s:enc:boga:v1:";
const ID_CHARS: usize = 8;
const SALT: usize = 32;

/// Names a sealing key without telling anything about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which values are sealed, and with what.
pub struct Sealing {
    keys: Keyring,
    covers: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    random: Mutex<Box<dyn Random>>,
}

impl Sealing {
    /// Seals Secrets. `random` must be fit for keys.
    pub fn of_secrets(keys: Keyring, random: Box<dyn Random>) -> Sealing {
        Sealing::of(keys, random, Arc::new(|key| key.starts_with("/registry/secrets/")))
    }

    /// Seals what `covers` names, by store key.
    pub fn of(
        keys: Keyring,
        random: Box<dyn Random>,
        covers: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    ) -> Sealing {
        Sealing { keys, covers, random: Mutex::new(random) }
    }

    /// What the backend is to keep for `value`, and the key it was sealed with.
    pub(crate) fn seal(&self, key: &str, value: &Bytes) -> (Bytes, Option<KeyId>) {
        // A plain value that looks like an envelope could not be told from one later.
        if !(self.covers)(key) && !value.starts_with(ANY_ENVELOPE) {
            return (value.clone(), None);
        }
        let sealing = self.keys.first();
        let mut salt = [0; SALT];
        self.random.lock().fill(&mut salt);
        let mut body = value.to_vec();
        sealing
            .value_key(&salt)
            .seal_in_place_append_tag(only_nonce(), aead::Aad::from(key), &mut body)
            .expect("a value is far shorter than the cipher's limit");
        let mut envelope = Vec::with_capacity(ENVELOPE.len() + ID_CHARS + 1 + SALT + body.len());
        write!(envelope, "{ENVELOPE}{}:", sealing.id).expect("writing to memory succeeds");
        envelope.extend_from_slice(&salt);
        envelope.extend_from_slice(&body);
        (envelope.into(), Some(sealing.id))
    }

    /// Whether a value should be written again, to be sealed with the first key.
    pub(crate) fn is_stale(&self, key: &str, sealed: Option<KeyId>) -> bool {
        match sealed {
            Some(id) => id != self.keys.first().id,
            None => (self.covers)(key),
        }
    }
}

/// The plain value of what a backend kept. Plain text passes, so that sealing can be switched on later.
pub(crate) fn open(
    sealing: Option<&Sealing>,
    key: &str,
    stored: Bytes,
) -> Result<(Bytes, Option<KeyId>), OpenError> {
    if !stored.starts_with(ANY_ENVELOPE) {
        return Ok((stored, None));
    }
    let refuse = |reason: String| OpenError::Sealed { key: key.into(), reason };
    let Some(rest) = stored.strip_prefix(ENVELOPE.as_bytes()) else {
        let scheme = String::from_utf8_lossy(&stored[..stored.len().min(32)]).into_owned();
        return Err(refuse(format!(
            "the value is sealed by a scheme that is not supported here ({scheme:?})"
        )));
    };
    let malformed = || refuse("the sealed value is malformed; restore it from a backup".into());
    let (id, rest) = rest.split_at_checked(ID_CHARS).ok_or_else(malformed)?;
    let id = std::str::from_utf8(id).ok().and_then(|id| u32::from_str_radix(id, 16).ok());
    let id = KeyId(id.ok_or_else(malformed)?);
    let rest = rest.strip_prefix(b":").ok_or_else(malformed)?;
    let (salt, body) = rest.split_first_chunk::<SALT>().ok_or_else(malformed)?;
    let Some(sealing) = sealing else {
        return Err(refuse(format!("the value is sealed with key {id}, but no key file was given")));
    };
    let Some(opener) = sealing.keys.find(id) else {
        let place = sealing.keys.place();
        return Err(refuse(format!(
            "the value is sealed with key {id}, which {place} does not hold; put that key file back"
        )));
    };
    let mut body = body.to_vec();
    let plain = opener.value_key(salt).open_in_place(only_nonce(), aead::Aad::from(key), &mut body);
    let length = match plain {
        Ok(plain) => plain.len(),
        Err(_) => {
            return Err(refuse(format!(
                "the value does not open with key {id}: it was altered or moved; restore it from a backup"
            )));
        }
    };
    body.truncate(length);
    Ok((body.into(), Some(id)))
}

pub(crate) fn looks_sealed(value: &[u8]) -> bool {
    value.starts_with(ANY_ENVELOPE)
}

/// A derived key seals one value only, so it needs but one nonce.
fn only_nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// The sealing keys, newest first. The first one seals, all of them open.
pub struct Keyring {
    keys: Vec<Key>,
    path: Option<PathBuf>,
}

struct Key {
    id: KeyId,
    secret: Zeroizing<[u8; 32]>,
}

const FILE_TITLE: &str = "boga store keys, format 1: the first key seals, all of them open";

impl Keyring {
    /// Reads a key file. It must be readable by its owner alone.
    pub fn load(path: &Path) -> Result<Keyring, OpenError> {
        let io = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
        let bad = |problem: &str| OpenError::Keys { path: path.to_owned(), problem: problem.into() };
        let mode = std::fs::metadata(path).map_err(io("read the key file"))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(bad("the key file must be readable by its owner alone (mode 0600)"));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io("read the key file"))?);
        let mut lines = text.lines();
        if lines.next() != Some(FILE_TITLE) {
            return Err(bad("this is not a key file of format 1"));
        }
        let keys: Option<Vec<Key>> = lines.map(|line| Some(Key::new(unhex(line)?))).collect();
        match keys {
            Some(keys) if !keys.is_empty() => Ok(Keyring { keys, path: Some(path.to_owned()) }),
            _ => Err(bad("the key file holds no keys, or a line that is not a key of 64 hexadecimal digits")),
        }
    }

    /// Reads the key file, or makes one with a new key where there is none. Where a store exists already, use
    /// [`Keyring::load`]: a missing file then means a lost key.
    pub fn load_or_create(path: &Path, random: &mut dyn Random) -> Result<Keyring, OpenError> {
        if !path.exists() {
            let fresh = Keyring { keys: vec![Key::random(random)], path: Some(path.to_owned()) };
            fresh.save(path)?;
        }
        Keyring::load(path)
    }

    /// Keys held in memory alone, for tests and for callers that keep them elsewhere.
    pub fn in_memory(secrets: impl IntoIterator<Item = [u8; 32]>) -> Keyring {
        let keys: Vec<Key> = secrets.into_iter().map(|secret| Key::new(Zeroizing::new(secret))).collect();
        assert!(!keys.is_empty(), "a keyring has a first key");
        Keyring { keys, path: None }
    }

    /// Puts a new key in front and writes the file anew. Once every server has loaded it and
    /// [`Store::reseal_all`](crate::Store::reseal_all) has run, the older keys can go.
    pub fn rotate(path: &Path, random: &mut dyn Random) -> Result<Keyring, OpenError> {
        let mut ring = Keyring::load(path)?;
        ring.keys.insert(0, Key::random(random));
        ring.save(path)?;
        Ok(ring)
    }

    /// Takes out all keys but the first. Values that were not resealed become unreadable, so reseal before.
    pub fn retire(path: &Path) -> Result<Keyring, OpenError> {
        let mut ring = Keyring::load(path)?;
        ring.keys.truncate(1);
        ring.save(path)?;
        Ok(ring)
    }

    fn save(&self, path: &Path) -> Result<(), OpenError> {
        let mut text = Zeroizing::new(format!("{FILE_TITLE}\n"));
        for key in &self.keys {
            key.secret.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
            text.push('\n');
        }
        let draft = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let _ = std::fs::remove_file(&draft);
            let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
            let mut file = options?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, path)?;
            crate::embedded::sync_folder_of(path)
        };
        write().map_err(|source| OpenError::Io {
            path: path.to_owned(),
            operation: "write the key file",
            source,
        })
    }

    fn first(&self) -> &Key {
        &self.keys[0]
    }

    fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "the keyring".into(), |path| path.display().to_string())
    }
}

impl Key {
    fn new(secret: Zeroizing<[u8; 32]>) -> Key {
        // The name is derived as the value keys are, under another label, so it gives nothing away.
        let mut name = [0; 4];
        let okm = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&*secret);
        okm.expand(&[b"boga store key id"], Length(4))
            .and_then(|okm| okm.fill(&mut name))
            .expect("four bytes are within HKDF's limit");
        Key { id: KeyId(u32::from_be_bytes(name)), secret }
    }

    fn random(random: &mut dyn Random) -> Key {
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(&mut *secret);
        Key::new(secret)
    }

    fn value_key(&self, salt: &[u8; SALT]) -> aead::LessSafeKey {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&*self.secret);
        let derived = secret.expand(&[b"boga store value"], &aead::AES_256_GCM);
        aead::LessSafeKey::new(derived.expect("a key's length is within HKDF's limit").into())
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn unhex(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    if line.len() != 64 || !line.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in secret.iter_mut().zip(line.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use base::random::SeededRandom;

    use super::*;

    fn sealing(keys: &[u8]) -> Sealing {
        let keys = Keyring::in_memory(keys.iter().map(|byte| [*byte; 32]));
        Sealing::of_secrets(keys, Box::new(SeededRandom::new(1)))
    }

    const KEY: &str = "/registry/secrets/ns/s";

    #[test]
    fn every_sealing_is_different_and_opens() {
        let sealing = sealing(&[1]);
        let value = Bytes::from_static(b"value");
        let (one, id) = sealing.seal(KEY, &value);
        let (two, _) = sealing.seal(KEY, &value);
        assert_ne!(one, two);
        for stored in [one, two] {
            assert_eq!(open(Some(&sealing), KEY, stored).expect("it opens"), (value.clone(), id));
        }
    }

    #[track_caller]
    fn refused(sealing: Option<&Sealing>, key: &str, stored: impl Into<Bytes>, because: &str) {
        let error = open(sealing, key, stored.into()).expect_err("it does not open").to_string();
        assert!(error.contains(key) && error.contains(because), "{error}");
    }

    #[test]
    fn refusals_say_why() {
        let keys = sealing(&[1]);
        let (stored, _) = keys.seal(KEY, &Bytes::from_static(b"value"));
        refused(Some(&keys), "/registry/secrets/ns/other", stored.clone(), "altered or moved");
        refused(Some(&sealing(&[2])), KEY, stored.clone(), "put that key file back");
        refused(None, KEY, stored.clone(), "no key file was given");
        refused(Some(&keys), KEY, &b"k8s:enc:aescbc:v1:key1:xyz"[..], "not supported here");
        refused(Some(&keys), KEY, &b"k8s:enc:boga:v1:"[..], "malformed");
        for cut in ENVELOPE.len()..stored.len() {
            open(Some(&keys), KEY, stored.slice(..cut)).expect_err("a cut envelope does not open");
        }
    }

    #[test]
    fn no_altered_envelope_opens() {
        // The keys do not change while they are used.
        let sealing = AssertUnwindSafe(sealing(&[1, 2]));
        let (stored, _) = sealing.seal(KEY, &Bytes::from_static(b"a value of some length"));
        bolero::check!().with_type::<(u16, u8, Vec<u8>)>().for_each(|(at, flip, tail)| {
            let mut altered = stored.to_vec();
            let at = ENVELOPE.len() + usize::from(*at) % (altered.len() - ENVELOPE.len());
            altered[at] ^= flip;
            altered.extend(tail);
            let opened = open(Some(&*sealing), KEY, altered.clone().into());
            // Hexadecimal digits may be written large.
            let same = altered.eq_ignore_ascii_case(&stored)
                && altered[ENVELOPE.len() + ID_CHARS..] == stored[ENVELOPE.len() + ID_CHARS..];
            assert_eq!(opened.is_ok(), same);
        });
    }

    #[test]
    fn any_bytes_open_or_are_refused() {
        let sealing = AssertUnwindSafe(sealing(&[1]));
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let mut enveloped = ENVELOPE.as_bytes().to_vec();
            enveloped.extend(bytes);
            open(Some(&*sealing), KEY, enveloped.into()).expect_err("nobody guesses a tag");
            let plain = open(Some(&*sealing), KEY, bytes.clone().into());
            assert!(
                looks_sealed(bytes)
                    || plain.is_ok_and(|(value, sealed)| value == bytes[..] && sealed.is_none())
            );
        });
    }
}
