//! Public keys and the requests that they sign.
//!
//! Signatures are checked for RSA, Ed25519 and ECDSA over P-256 and P-384. A P-521 signature cannot be checked, so a
//! request that carries one is refused.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ed25519,
    /// The name of the curve.
    Ecdsa(&'static str),
    /// The size of the modulus in bits.
    Rsa(usize),
    Unknown,
}

const ED25519: &str = "1.3.101.112";
const CURVES: [(&str, &str); 4] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.33", "P-224"),
];

/// A PKCS#10 request, if `der` is one and nothing follows it.
pub(super) fn request(der: &[u8]) -> Option<X509CertificationRequest<'_>> {
    let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
    rest.is_empty().then_some(request)
}

/// What kind of key this is.
pub(super) fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Algorithm {
    let id = key.algorithm.algorithm.to_id_string();
    match key.parsed() {
        _ if id == ED25519 => Algorithm::Ed25519,
        Ok(PublicKey::RSA(rsa)) => {
            let zeros = rsa.modulus.iter().take_while(|byte| **byte == 0).count();
            Algorithm::Rsa((rsa.modulus.len() - zeros) * 8)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            let name = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
            let known = CURVES.iter().find(|(oid, _)| *oid == name);
            known.map_or(Algorithm::Unknown, |(_, curve)| Algorithm::Ecdsa(curve))
        }
        _ => Algorithm::Unknown,
    }
}

/// What is wrong with the signature by which a request proves that its author holds the key.
pub(super) fn bad_signature(request: &X509CertificationRequest<'_>) -> Option<&'static str> {
    if request.verify_signature().is_ok() {
        return None;
    }
    Some(match algorithm(&request.certification_request_info.subject_pki) {
        Algorithm::Ed25519 => "x509: Ed25519 verification failure",
        Algorithm::Ecdsa("P-521") => "x509: signatures over curve P-521 cannot be verified",
        Algorithm::Ecdsa(_) => "x509: ECDSA verification failure",
        Algorithm::Rsa(_) => "crypto/rsa: verification error",
        Algorithm::Unknown => "x509: cannot verify signature: algorithm unimplemented",
    })
}
