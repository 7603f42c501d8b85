//! A CA in a folder: `ca.pem`, and `ca.key.pem` for its owner alone.
//!
//! **Invariant:** keys are Ed25519 in files of mode 0600, and nothing is overwritten.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use seal_service::tls::{Identity, Party};
use seal_trust::SigningKey;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension};

use super::list::{Entries, Read};
use crate::commands::trust::write_new;

/// Clocks of several hosts differ by so much without harm.
const CLOCKS_DIFFER: Duration = Duration::minutes(10);

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) trust_domain: String,
    /// Its certificate, DER.
    certificate: Vec<u8>,
}

/// One certificate to be made.
pub(super) struct Wanted<'a> {
    pub(super) party: Party,
    pub(super) id: &'a str,
    pub(super) hosts: &'a [String],
    pub(super) days: u32,
}

/// A certificate and its key on disk.
pub(super) struct Written {
    pub(super) identity: Identity,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes a CA in `folder`. It says in its own name for which trust domain it is.
    pub(super) fn make(folder: &Path, trust_domain: &str, days: u32) -> Result<Self> {
        // Any name of it will do to see whether the trust domain is one.
        identity(trust_domain, Party::Conductor, "x")?;
        let key = new_key(&folder.join("ca.key.pem"))?;
        let mut params = valid_for(days);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("SEAL CA {trust_domain}"));
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        let certificate = params.self_signed(&key)?;
        write_new(&folder.join("ca.pem"), certificate.pem().as_bytes())?;
        let (trust_domain, certificate) = (trust_domain.to_owned(), certificate.der().to_vec());
        Ok(Self { issuer: Issuer::new(params, key), trust_domain, certificate })
    }

    /// The CA that [`Self::make`] has made in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("ca.pem");
        let pem = std::fs::read_to_string(&file).with_context(|| {
            format!("cannot read `{}`; make a CA with `seal tls init`", file.display())
        })?;
        let trust_domain = trust_domain_of(&pem).with_context(|| {
            format!("`{}` is no CA that `seal tls init` made; let its owner issue", file.display())
        })?;
        let key = read_key(&folder.join("ca.key.pem"))?;
        let certificate = x509_parser::pem::parse_x509_pem(pem.as_bytes())?.1.contents;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, key)?, trust_domain, certificate })
    }

    /// The serial number of a certificate that this CA has issued.
    pub(super) fn serial_of(&self, file: &Path) -> Result<Vec<u8>> {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let odd = || format!("`{}` holds no certificate in PEM form", file.display());
        let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).with_context(odd)?;
        let (_, certificate) = X509Certificate::from_der(&pem.contents).with_context(odd)?;
        let (_, own) = X509Certificate::from_der(&self.certificate)?;
        let is_ours = certificate.issuer().as_raw() == own.subject().as_raw()
            && authority_key(certificate.extensions())
                .is_some_and(|key| Some(key) == subject_key(&own));
        ensure!(
            is_ours && !certificate.is_ca(),
            "`{}` was not issued by this CA; name a certificate that was, or the folder of the CA that did",
            file.display()
        );
        Ok(certificate.raw_serial().to_vec())
    }

    /// What the list in `file` says, if this CA wrote it.
    pub(super) fn entries(&self, read: Read, file: &Path) -> Result<Entries> {
        let (_, own) = X509Certificate::from_der(&self.certificate)?;
        // Two CAs of one deployment have the same name.
        ensure!(
            read.authority_key.is_some_and(|key| Some(key.as_slice()) == subject_key(&own)),
            "`{}` is the list of another CA; move it away",
            file.display()
        );
        Ok(read.entries)
    }

    /// The list that follows, PEM.
    pub(super) fn list(&self, entries: &Entries, days: u32) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let revoked = entries.revoked.iter().map(|(serial, since)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: *since,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - CLOCKS_DIFFER,
            next_update: now + Duration::days(days.into()),
            crl_number: SerialNumber::from(entries.number + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// Writes `<role>.pem` and `<role>.key.pem` into `folder`.
    pub(super) fn issue(&self, wanted: &Wanted<'_>, folder: &Path) -> Result<Written> {
        let Wanted { party, id, hosts, days } = *wanted;
        let hosts_named = hosts.iter().map(|host| san(host)).collect::<Result<Vec<_>>>()?;
        let identity = identity(&self.trust_domain, party, id)?;
        ensure!(
            hosts.is_empty() != party.is_daemon(),
            if party.is_daemon() {
                format!(
                    "say with --host where the {party} is called: the name or address in `tls:host:port`"
                )
            } else {
                format!("nobody calls the {party}; leave --host out")
            }
        );
        let mut params = valid_for(days);
        params.distinguished_name.push(DnType::CommonName, format!("SEAL {party} {id}"));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A daemon's certificate cannot call, and a caller's cannot answer.
        params.extended_key_usages = vec![match party.is_daemon() {
            true => ExtendedKeyUsagePurpose::ServerAuth,
            false => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.subject_alt_names.extend(hosts_named);
        let certificate = folder.join(format!("{party}.pem"));
        let key_file = folder.join(format!("{party}.key.pem"));
        ensure!(
            !certificate.exists(),
            "`{}` exists and is not overwritten; move it and its key away, or name another folder with --out",
            certificate.display()
        );
        let key = new_key(&key_file)?;
        let signed = params.signed_by(&key, &self.issuer)?;
        write_new(&certificate, signed.pem().as_bytes())?;
        Ok(Written { identity, certificate, key: key_file })
    }
}

fn identity(trust_domain: &str, party: Party, id: &str) -> Result<Identity> {
    let uri = format!("spiffe://{trust_domain}/{party}/{id}");
    uri.parse().ok().with_context(|| {
        format!("`{uri}` is no name: a trust domain has lower-case letters, digits, `.`, `-` and `_`, an id letters, digits, `.`, `-` and `_`")
    })
}

fn valid_for(days: u32) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - CLOCKS_DIFFER;
    params.not_after = now + Duration::days(days.into());
    params
}

fn san(host: &str) -> Result<SanType> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    ServerName::try_from(host)
        .with_context(|| format!("`{host}` is neither a host's name nor an address"))?;
    Ok(SanType::DnsName(host.try_into()?))
}

/// Ed25519 in version 1 of PKCS#8, which OpenSSL and Python read too.
fn new_key(file: &Path) -> Result<KeyPair> {
    SigningKey::generate().write(file)?;
    read_key(file)
}

fn read_key(file: &Path) -> Result<KeyPair> {
    // It looks at the file's mode and content, with the mend.
    SigningKey::read(file)?;
    let pem = std::fs::read_to_string(file)?;
    Ok(KeyPair::from_pem(&pem)?)
}

/// The identifier of the key that signed a certificate or list.
pub(super) fn authority_key<'a>(extensions: &[X509Extension<'a>]) -> Option<&'a [u8]> {
    extensions.iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => Some(found.key_identifier.as_ref()?.0),
        _ => None,
    })
}

/// The identifier of a certificate's own key.
fn subject_key<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(found) => Some(found.0),
        _ => None,
    })
}

fn trust_domain_of(pem: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(uri.strip_prefix("spiffe://")?.to_owned()),
        _ => None,
    })
}
