//! Reading certificates and keys, before confinement, and refusing at start what peers would refuse.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use seal_protocol::Role;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder,
};

use super::config::TlsConfig;
use super::identity::{Identity, IdentityError, Party};

/// Longest PEM file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Certificates and key of one party. Without `Debug`: it holds a private key.
pub(super) struct Material {
    pub(super) roots: Arc<RootCertStore>,
    /// Empty: nothing is asked about revocation.
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) identity: Identity,
    pub(super) trust_domain: String,
}

/// Which end of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

/// Why `[tls]` cannot be used. Every variant is the reader's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A TLS endpoint without certificates.
    #[error(
        "the endpoint `{0}` needs the table `[tls]` with trust_domain, ca, certificate and key; make them with `seal tls init` and `seal tls issue`"
    )]
    NoTable(String),
    /// Certificates that nothing uses.
    #[error(
        "`[tls]` is set, but the endpoint `{0}` is on this machine alone; write it as `tls:host:port`, or take the table out"
    )]
    NotUsed(String),
    /// Not there, or not to be read.
    #[error("cannot read `{}`, which `[tls]` names; correct the path or put the file there", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Group or others may read or write it.
    #[error("key file `{}` has mode {mode:03o}, so others on this machine may read it: run `chmod 600 {}` and, if they may have, issue a new certificate", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No PEM of that kind in it.
    #[error("`{}` holds no {what} in PEM form", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Certificate or private key.
        what: &'static str,
    },
    /// It says nobody, or somebody of another deployment.
    #[error("`{}`: {source}", path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with its name.
        source: IdentityError,
    },
    /// A certificate of somebody else.
    #[error("`{}` is the certificate of {found}; this one must be of the role {expected}", path.display())]
    OtherParty {
        /// The certificate's file.
        path: PathBuf,
        /// Who was wanted.
        expected: String,
        /// Its name.
        found: String,
    },
    /// Its peers would refuse it.
    #[error("`{}` would be refused by every peer: {reason}", path.display())]
    Refused {
        /// The certificate's file.
        path: PathBuf,
        /// Why, and the mend.
        reason: String,
    },
    /// Certificate and key are of two pairs.
    #[error("`{}` is not the key of `{}`; name the pair that was issued together", key.display(), certificate.display())]
    NotAPair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Only teacher, student and auditor are called: a defect.
    #[error("the role {0} has no daemon to call")]
    NoDaemon(Role),
    /// The TLS library refuses the settings: a defect.
    #[error("the TLS library refuses what it was given")]
    Library(#[source] rustls::Error),
}

/// The one provider of cryptography, always named: several may be linked, and then none is the default.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Material {
    /// Reads the files of `config` for one of the `parties`, and verifies the chain as a peer would.
    pub(super) fn read(
        config: &TlsConfig,
        parties: &[Party],
        end: End,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(&config.ca)?);
        let lists = config.revoked.as_deref().map(lists).transpose()?.unwrap_or_default();
        let chain = certificates(&config.certificate)?;
        let key = private_key(&config.key)?;
        let at = || config.certificate.clone();
        let identity = Identity::of(&chain[0], &config.trust_domain);
        let identity = identity.map_err(|source| TlsError::Identity { path: at(), source })?;
        if !parties.contains(&identity.party) {
            let expected: Vec<&str> = parties.iter().map(|party| party.name()).collect();
            let (expected, found) = (expected.join(" or "), identity.to_string());
            return Err(TlsError::OtherParty { path: at(), expected, found });
        }
        verify(&chain, &roots, &lists, end, now).map_err(|error| refused(at(), &error))?;
        check_pair(config, &chain[0], &key)?;
        let trust_domain = config.trust_domain.clone();
        Ok(Self { roots, lists, chain, key, identity, trust_domain })
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let nothing = |_| TlsError::Nothing { path: path.to_owned(), what: "CA certificate" };
        roots.add(certificate).map_err(nothing)?;
    }
    Ok(roots)
}

/// At least one.
fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let pem = read(path, File::open(path))?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let is_list = |der: &CertificateRevocationListDer<'_>| parsed(der).is_ok();
    let found = found.ok().filter(|found| !found.is_empty() && found.iter().all(is_list));
    found.ok_or_else(|| TlsError::Nothing { path: path.to_owned(), what: "revocation list" })
}

fn parsed(der: &[u8]) -> Result<CertRevocationList<'static>, webpki::Error> {
    OwnedCertRevocationList::from_der(der).map(CertRevocationList::from)
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, File::open(path))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::Nothing { path: path.to_owned(), what: "certificate" })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unread = |source| TlsError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unread)?;
    // The open file is asked, not the path: nothing can be put in its place in between.
    let mode = file.metadata().map_err(unread)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    let pem = read(path, Ok(file))?;
    let nothing = |_| TlsError::Nothing { path: path.to_owned(), what: "private key" };
    PrivateKeyDer::from_pem_slice(&pem).map_err(nothing)
}

fn read(path: &Path, file: io::Result<File>) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let done = file.and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut bytes));
    done.map(|_| bytes).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn verify(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    lists: &[CertificateRevocationListDer<'_>],
    end: End,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let algorithms = provider().signature_verification_algorithms.all;
    // What a certificate says of its use must allow it; one that says nothing is for both ends.
    let usage = match end {
        End::Server => KeyUsage::server_auth(),
        End::Client => KeyUsage::client_auth(),
    };
    let lists = lists.iter().map(|der| parsed(der)).collect::<Result<Vec<_>, _>>()?;
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    // Without a list there is no builder. The whole chain, and nobody without a list: the defaults.
    let revocation = RevocationOptionsBuilder::new(&lists).ok();
    let revocation =
        revocation.map(|options| options.with_expiration_policy(ExpirationPolicy::Enforce).build());
    let (roots, between) = (&roots.roots, &chain[1..]);
    leaf.verify_for_usage(algorithms, roots, between, now, usage, revocation, None).map(drop)
}

/// A chain that does not hold, in words; the reasons of rustls have the same ones.
fn refused(path: PathBuf, error: &webpki::Error) -> TlsError {
    use webpki::Error::{
        CertExpired, CertNotValidYet, CertRevoked, CrlExpired, InvalidCrlSignatureForPublicKey,
        InvalidSignatureForPublicKey, RequiredEkuNotFoundContext, UnknownIssuer,
        UnknownRevocationStatus,
    };
    let reason = match error {
        CertExpired { .. } => "it has expired; issue a new one and start again".to_owned(),
        CertNotValidYet { .. } => {
            "it is not valid yet; look at this machine's clock, or wait".to_owned()
        }
        UnknownIssuer | InvalidSignatureForPublicKey => "no CA of `ca` issued it; name the CA that did".to_owned(),
        RequiredEkuNotFoundContext(_) => {
            "its extended key usage is for the other end of a connection; daemons need serverAuth, conductor and operator clientAuth".to_owned()
        }
        CertRevoked => "it is on a list of `revoked`; issue another with another key".to_owned(),
        CrlExpired { .. } => {
            "its CA's list in `revoked` has expired; write it anew with `seal tls revoke` and bring it here".to_owned()
        }
        UnknownRevocationStatus | InvalidCrlSignatureForPublicKey => {
            "`revoked` holds no list of the CA that issued it; every CA of a chain needs one".to_owned()
        }
        other => format!("{other:?}"),
    };
    TlsError::Refused { path, reason }
}

fn check_pair(
    config: &TlsConfig,
    leaf: &CertificateDer<'_>,
    key: &PrivateKeyDer<'static>,
) -> Result<(), TlsError> {
    let other =
        || TlsError::NotAPair { key: config.key.clone(), certificate: config.certificate.clone() };
    let key = provider().key_provider.load_private_key(key.clone_key());
    let nothing = |_| TlsError::Nothing { path: config.key.clone(), what: "private key" };
    let key = key.map_err(nothing)?;
    let certified = rustls::server::ParsedCertificate::try_from(leaf).map_err(TlsError::Library)?;
    match key.public_key() {
        Some(public) if public != certified.subject_public_key_info() => Err(other()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Leaf, TestCa};
    use rcgen::ExtendedKeyUsagePurpose;

    const STUDENT: &str = "spiffe://seal.test/student/s1";

    /// What reading `leaf` as the student's server certificate says, without the folder.
    fn refusal(leaf: &Leaf) -> String {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new();
        let config = ca.files(folder.path(), &ca.leaf(leaf));
        refusal_of(&config).replace(&format!("{}/", folder.path().display()), "")
    }

    fn refusal_of(config: &TlsConfig) -> String {
        let read = Material::read(config, &[Party::Student], End::Server, UnixTime::now());
        read.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
    }

    #[test]
    fn a_certificate_that_peers_would_take_is_taken() {
        assert_eq!(refusal(&Leaf::with_uris(&[STUDENT])), "taken");
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(refusal(&Leaf { usages, ..Leaf::with_uris(&[STUDENT]) }), "taken");
    }

    #[test]
    fn what_peers_would_refuse_is_refused_at_the_start_with_the_mend() {
        let expired = Leaf { valid: (-3, -2), ..Leaf::with_uris(&[STUDENT]) };
        assert_eq!(
            refusal(&expired),
            "`own.pem` would be refused by every peer: it has expired; issue a new one and start again"
        );
        let early = Leaf { valid: (2, 3), ..Leaf::with_uris(&[STUDENT]) };
        assert!(refusal(&early).contains("not valid yet; look at this machine's clock"));
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let caller = Leaf { usages, ..Leaf::with_uris(&[STUDENT]) };
        assert!(refusal(&caller).contains("daemons need serverAuth"), "{}", refusal(&caller));
        let teacher = Leaf::with_uris(&["spiffe://seal.test/teacher/t1"]);
        assert_eq!(
            refusal(&teacher),
            "`own.pem` is the certificate of spiffe://seal.test/teacher/t1; this one must be of the role student"
        );
        assert!(refusal(&Leaf::with_uris(&[])).contains("has 0 URI names"));
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let [ca, other] = [TestCa::new(), TestCa::new()];
        let leaf = Leaf::with_uris(&[STUDENT]);
        let good = ca.files(folder.path(), &ca.leaf(&leaf));
        assert_eq!(refusal_of(&good), "taken");
        let elsewhere = tempfile::tempdir().unwrap();
        let foreign = other.files(elsewhere.path(), &other.leaf(&leaf));
        let mixed = TlsConfig { key: foreign.key.clone(), ..good.clone() };
        assert!(refusal_of(&mixed).contains("name the pair that was issued together"));
        let mixed = TlsConfig { ca: foreign.ca, ..good.clone() };
        assert!(refusal_of(&mixed).contains("no CA of `ca` issued it"));
        let swapped = TlsConfig { certificate: good.key.clone(), ..good.clone() };
        assert!(refusal_of(&swapped).contains("holds no certificate in PEM form"));
        let swapped = TlsConfig { key: good.certificate.clone(), ..good.clone() };
        assert!(refusal_of(&swapped).contains("holds no private key in PEM form"));
        let missing = TlsConfig { ca: folder.path().join("no.pem"), ..good };
        assert!(refusal_of(&missing).contains("which `[tls]` names; correct the path"));
    }

    #[test]
    fn a_tls_key_that_others_may_read_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new();
        let config = ca.files(folder.path(), &ca.leaf(&Leaf::with_uris(&[STUDENT])));
        std::fs::set_permissions(&config.key, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = refusal_of(&config);
        assert!(
            refused.contains("has mode 640") && refused.contains("run `chmod 600 "),
            "{refused}"
        );
    }
}
