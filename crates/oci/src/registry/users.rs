//! Who may use a registry: names with salted, stretched passwords.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Mutex;

use base::random::Random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD as BARE;
use ring::{hmac, pbkdf2};

use crate::error::{Error, Kind, Result};

const SCHEME: &str = "pbkdf2-sha256";
const ITERATIONS: u32 = 210_000;
/// More would let a users file stop the registry.
const MAX_ITERATIONS: u32 = 10_000_000;
const SALT: usize = 16;
const HASH: usize = 32;
/// Passwords remembered as right; beyond that the memory starts over.
const MAX_REMEMBERED: usize = 1024;

/// The users of a registry. One line each: `NAME:pbkdf2-sha256$ITERATIONS$SALT$HASH`, as [`hash`] writes them.
///
/// [`hash`]: Users::line
pub struct Users {
    entries: BTreeMap<String, Stretched>,
    /// Stretching is slow on purpose; what was right once is recognised by a keyed hash that lives in memory
    /// alone.
    remembered: Mutex<BTreeSet<Vec<u8>>>,
    key: hmac::Key,
}

struct Stretched {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Users {
    pub fn parse(text: &str, random: &mut dyn Random) -> Result<Users> {
        let mut entries = BTreeMap::new();
        for (at, line) in
            text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let entry =
                line.split_once(':').and_then(|(name, secret)| Some((name, Stretched::parse(secret)?)));
            let (name, stretched) = entry.ok_or_else(|| {
                let message = format!("users file, line {}: want NAME:{SCHEME}$ITERATIONS$SALT$HASH", at + 1);
                Error::new(Kind::Config, message)
            })?;
            entries.insert(name.to_owned(), stretched);
        }
        let mut key = [0; 32];
        random.fill(&mut key);
        Ok(Users { entries, remembered: Mutex::default(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// A users file's line.
    pub fn line(name: &str, password: &str, random: &mut dyn Random) -> Result<String> {
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            return Err(Error::new(Kind::Config, format!("{name:?} cannot be a user's name")));
        }
        let mut salt = [0; SALT];
        random.fill(&mut salt);
        let mut hash = [0; HASH];
        let iterations = NonZeroU32::new(ITERATIONS).expect("the constant is not zero");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut hash);
        Ok(format!("{name}:{SCHEME}${ITERATIONS}${}${}", BARE.encode(salt), BARE.encode(hash)))
    }

    /// Does an `Authorization` header name a user and that user's password?
    pub(super) fn admits(&self, authorization: &str) -> bool {
        let encoded = match authorization.split_once(' ') {
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => encoded.trim(),
            _ => return false,
        };
        let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return false;
        };
        let tag =
            hmac::sign(&self.key, format!("{}:{name}:{password}", name.len()).as_bytes()).as_ref().to_vec();
        if self.remembered.lock().expect("no holder of this lock panics").contains(&tag) {
            return true;
        }
        let Some(of) = self.entries.get(name) else { return false };
        let right = pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            of.iterations,
            &of.salt,
            password.as_bytes(),
            &of.hash,
        )
        .is_ok();
        if right {
            let mut remembered = self.remembered.lock().expect("no holder of this lock panics");
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(tag);
        }
        right
    }
}

impl Stretched {
    fn parse(text: &str) -> Option<Stretched> {
        let mut parts = text.trim_end().split('$');
        let (scheme, iterations) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
        let (salt, hash) = (BARE.decode(parts.next()?).ok()?, BARE.decode(parts.next()?).ok()?);
        let fits =
            scheme == SCHEME && iterations <= MAX_ITERATIONS && hash.len() == HASH && parts.next().is_none();
        fits.then_some(())?;
        Some(Stretched { iterations: NonZeroU32::new(iterations)?, salt, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::random::SeededRandom;

    #[test]
    fn only_the_right_password_is_admitted() {
        let mut random = SeededRandom::new(1);
        let line = Users::line("ann", "pass:word", &mut random).unwrap();
        let users = Users::parse(&format!("# users\n\n{line}\n"), &mut random).unwrap();
        for (credentials, expected) in [
            ("ann:pass:word", true),
            ("ann:pass:word", true),
            ("ann:pass", false),
            ("bob:pass:word", false),
            ("ann", false),
        ] {
            assert_eq!(
                users.admits(&format!("Basic {}", STANDARD.encode(credentials))),
                expected,
                "{credentials}"
            );
        }
        assert!(!users.admits("Bearer x") && !users.admits(""));
        for bad in ["ann", "ann:plain", "ann:pbkdf2-sha256$0$AA$AA", "ann:pbkdf2-sha256$4000000000$AA$AA"] {
            assert!(Users::parse(bad, &mut random).is_err(), "{bad}");
        }
        assert!(Users::line("a:b", "x", &mut random).is_err());
    }
}
