//! Signing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Wall;
use base::random::{Random, SystemRandom};
use grammar::time::Civil;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::files::read_or_create;

/// How long the authority itself is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long what it signs is valid. Servers renew theirs long before.
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Certificates are valid from a little earlier, because clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("signing a certificate for {subject}: {source}")]
    Sign { subject: String, source: rcgen::Error },
}

/// Who a client certificate says its holder is: a user name, and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub groups: Vec<String>,
}

impl Identity {
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Identity {
        Identity { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect() }
    }
}

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

/// A certificate authority, kept in two files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Opens the authority `name` in `folder`, making it where there is none.
    pub fn open(folder: &Path, name: &str, now: Wall) -> Result<Authority, PkiError> {
        let key_path = folder.join(format!("{name}.key"));
        let certificate_path = folder.join(format!("{name}.crt"));
        let bad = |path: &Path, problem: String| PkiError::File { path: path.into(), problem };
        let key_text = read_or_create(&key_path, || {
            KeyPair::generate().map(|key| key.serialize_pem()).map_err(|e| e.to_string())
        })?;
        let key =
            KeyPair::from_pem(&key_text).map_err(|e| bad(&key_path, format!("is not a private key: {e}")))?;
        let certificate = read_or_create(&certificate_path, || {
            let mut params = CertificateParams::default();
            params.distinguished_name = distinguished(&format!("boga {name}"), &[]);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::CrlSign,
                KeyUsagePurpose::DigitalSignature,
            ];
            valid(&mut params, now, AUTHORITY_LIFE);
            params.self_signed(&key).map(|certificate| certificate.pem()).map_err(|e| e.to_string())
        })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|e| bad(&certificate_path, format!("is not a certificate authority: {e}")))?;
        Ok(Authority { issuer, certificate })
    }

    /// The authority's own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate that identifies a client.
    pub fn client(&self, identity: &Identity, now: Wall) -> Result<Signed, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&identity.name, &identity.groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &identity.name, now)
    }

    /// A certificate for a server under these names and addresses.
    pub fn server(&self, name: &str, dns: &[&str], ips: &[IpAddr], now: Wall) -> Result<Signed, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(name, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for dns in dns {
            let name = (*dns).try_into().map_err(|source| PkiError::Sign { subject: name.into(), source })?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
        self.sign(params, name, now)
    }

    fn sign(&self, mut params: CertificateParams, subject: &str, now: Wall) -> Result<Signed, PkiError> {
        let failed = |source| PkiError::Sign { subject: subject.into(), source };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let mut serial = [0; 16];
        SystemRandom.fill(&mut serial);
        // A serial number is positive.
        serial[0] &= 0x7f;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_LIFE);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Signed { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn distinguished(name: &str, groups: &[String]) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    for group in groups {
        distinguished.push(DnType::OrganizationName, group.as_str());
    }
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid(params: &mut CertificateParams, now: Wall, life: Duration) {
    let date = |wall: Wall| {
        let date = Civil::from_seconds(wall.secs());
        rcgen::date_time_ymd(date.year as i32, date.month as u8, date.day as u8)
    };
    let start = Wall(now.0 - BACKDATED.as_nanos() as i64);
    // Whole days are enough; the end is rounded up.
    params.not_before = date(start);
    params.not_after = date(now.plus(life + Duration::from_secs(86_400)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall::from_secs(1_790_000_000);

    #[test]
    fn an_authority_survives_on_disk_and_signs_who_and_what_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), "ca", NOW).unwrap();
        let again = Authority::open(folder.path(), "ca", NOW).unwrap();
        assert_eq!(first.certificate(), again.certificate());

        let identity = Identity::new("system:node:n1", &["system:nodes"]);
        let signed = again.client(&identity, NOW).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let subject = certificate.subject();
        assert_eq!(subject.iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
        assert_eq!(subject.iter_organization().next().unwrap().as_str().unwrap(), "system:nodes");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);

        let server =
            again.server("kube-apiserver", &["localhost"], &["127.0.0.1".parse().unwrap()], NOW).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(server.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
    }

    #[test]
    fn keys_are_for_their_owner_alone_and_foreign_files_are_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path(), "ca", NOW).unwrap();
        let key = folder.path().join("ca.key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&key, "nonsense").unwrap();
        let error = Authority::open(folder.path(), "ca", NOW).err().unwrap().to_string();
        assert!(error.contains("ca.key: is not a private key"), "{error}");
    }
}
