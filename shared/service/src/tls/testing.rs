//! A private CA for tests, with certificates that are right or wrong in one thing.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::config::TlsConfig;

pub(crate) struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate says.
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    /// From now, in days.
    pub(crate) valid: (i64, i64),
}

pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pem: String,
    key_pem: String,
}

impl Leaf {
    pub(crate) fn with_uris(uris: &[&str]) -> Self {
        Self {
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            usages: Vec::new(),
            valid: (-1, 1),
        }
    }
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn leaf(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let uris = leaf.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages = leaf.usages.clone();
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::days(leaf.valid.0);
        params.not_after = now + Duration::days(leaf.valid.1);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Issued { der: signed.der().clone(), pem: signed.pem(), key_pem: key.serialize_pem() }
    }

    /// Writes CA, certificate and key as a config names them.
    pub(crate) fn files(&self, folder: &Path, issued: &Issued) -> TlsConfig {
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
            path
        };
        TlsConfig {
            trust_domain: "seal.test".to_owned(),
            ca: write("ca.pem", &self.pem),
            revoked: None,
            certificate: write("own.pem", &issued.pem),
            key: write("own.key.pem", &issued.key_pem),
        }
    }
}
