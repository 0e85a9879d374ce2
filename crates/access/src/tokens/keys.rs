//! The keys of tokens: ES256 to sign, ES256 and RS256 to verify.
//!
//! A key's name is the hash of its public part, as upstream names keys, so tokens signed by an upstream server with the
//! same key verify here.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use ring::{digest, pkcs8};

/// What a `SubjectPublicKeyInfo` of a P-256 key holds before the point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The algorithm identifier `rsaEncryption` with its NULL.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const POINT: usize = 65;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// A private ES256 key with its name.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    // A signature needs a fresh secret number; the library takes it from the kernel itself and from nobody else.
    random: SystemRandom,
}

impl SigningKey {
    /// A new key as PKCS#8.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let document: pkcs8::Document =
            EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| KeyError("cannot generate a P-256 key".into()))?;
        Ok(document.as_ref().to_vec())
    }

    /// Reads PKCS#8, bare or as PEM.
    pub fn from_pkcs8(key: &[u8]) -> Result<SigningKey, KeyError> {
        let der = from_pem(key, "PRIVATE KEY")?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|error| KeyError(format!("not a P-256 key in PKCS#8: {error}")))?;
        let spki = [&P256_PREFIX[..], pair.public_key().as_ref()].concat();
        Ok(SigningKey { public: PublicKey::from_spki(&spki)?, pair, random })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&self.random, message);
        Ok(signature.map_err(|_| KeyError("cannot sign the token".into()))?.as_ref().to_vec())
    }
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The unpadded base64url of the SHA-256 of the key's `SubjectPublicKeyInfo`.
    pub id: String,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// The uncompressed point.
    P256(Vec<u8>),
    /// The PKCS#1 form, its modulus and its exponent.
    Rsa { pkcs1: Vec<u8>, modulus: Vec<u8>, exponent: Vec<u8> },
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`, bare or as PEM.
    pub fn from_spki(key: &[u8]) -> Result<PublicKey, KeyError> {
        let der = from_pem(key, "PUBLIC KEY")?;
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der));
        let material = match der.strip_prefix(&P256_PREFIX[..]) {
            Some(point) if point.len() == POINT => Material::P256(point.to_vec()),
            _ => rsa(&der).ok_or_else(|| KeyError("neither a P-256 nor an RSA public key".into()))?,
        };
        Ok(PublicKey { id, material })
    }

    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::P256(_) => "ES256",
            Material::Rsa { .. } => "RS256",
        }
    }

    /// Whether this key made the signature. The algorithm that a token names must be this key's own.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if algorithm != self.algorithm() {
            return false;
        }
        let verified = match &self.material {
            Material::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Rsa { pkcs1, .. } => {
                UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, pkcs1)
                    .verify(message, signature)
            }
        };
        verified.is_ok()
    }

    /// The key as a JSON Web Key, its members in upstream's order.
    pub(super) fn jwk(&self) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let id = &self.id;
        match &self.material {
            Material::P256(point) => format!(
                r#"{{"use":"sig","kty":"EC","kid":"{id}","crv":"P-256","alg":"ES256","x":"{}","y":"{}"}}"#,
                encode(&point[1..33]),
                encode(&point[33..])
            ),
            Material::Rsa { modulus, exponent, .. } => format!(
                r#"{{"use":"sig","kty":"RSA","kid":"{id}","alg":"RS256","n":"{}","e":"{}"}}"#,
                encode(modulus),
                encode(exponent)
            ),
        }
    }
}

fn rsa(spki: &[u8]) -> Option<Material> {
    let (body, _) = element(spki, 0x30)?;
    let (bits, _) = element(body.strip_prefix(&RSA_ALGORITHM[..])?, 0x03)?;
    let pkcs1 = bits.strip_prefix(&[0])?;
    let (numbers, _) = element(pkcs1, 0x30)?;
    let (modulus, rest) = element(numbers, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let unsigned = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
    Some(Material::Rsa { pkcs1: pkcs1.to_vec(), modulus: unsigned(modulus), exponent: unsigned(exponent) })
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn from_pem(bytes: &[u8], label: &str) -> Result<Vec<u8>, KeyError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => text,
        _ => return Ok(bytes.to_vec()),
    };
    let missing = || KeyError(format!("no {label} in this PEM"));
    let begin = format!("-----BEGIN {label}-----");
    let (_, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----")).ok_or_else(missing)?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).map_err(|error| KeyError(format!("cannot read the {label} of this PEM: {error}")))
}
