//! Ed25519 private keys and the files that hold them.
//!
//! **Invariant:** a key file that others may read is not used, and none is ever overwritten.
//! **Invariant:** the secret is wiped when the key is dropped and shows in no debug output.
//!
//! Source: RFC 8410. We write version 1 of PKCS#8 (without the public key): OpenSSL and Python's
//! cryptography refuse version 2.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use zeroize::Zeroizing;

use crate::PublicKey;

/// Longest key file that is read, in bytes; a key has about 120.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// An Ed25519 private key.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Why a key file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Group or others may read or write it.
    #[error(
        "key file `{}` has mode {mode:03o}, so others on this machine may read it: \
         run `chmod 600 {}` and, if they may have, make a new key", path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not the PEM of a private key.
    #[error("`{}` holds no `PRIVATE KEY` PEM of an Ed25519 key (PKCS#8, RFC 8410)", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// A key is already there.
    #[error("`{}` exists and is not overwritten: move the old key away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is missing, or reading failed.
    #[error("cannot read key file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed; nothing is left behind.
    #[error("cannot write key file `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SigningKey {
    /// A new key from the system's random source.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).expect("the system's random source answers");
        Self::from_seed(*seed)
    }

    /// The key of a 32-byte secret. For tests and golden data; real keys come from
    /// [`Self::generate`].
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&Zeroizing::new(seed)))
    }

    /// Reads a PKCS#8 PEM that only its owner may read.
    ///
    /// # Errors
    /// A missing or unreadable file, one that group or others may read or write, and one that holds
    /// no Ed25519 key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // The open file is asked, not the path: nothing can be put in its place in between.
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut pem = Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut pem).map_err(failed)?;
        Self::from_pem(&pem).ok_or_else(|| KeyError::NotAKey { path: path.to_owned() })
    }

    fn from_pem(pem: &str) -> Option<Self> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).ok().map(Self)
    }

    /// Writes a new file with mode 0600.
    ///
    /// # Errors
    /// A file that is already there, and whatever writing returns; then no file is left.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(|source| not_created(path, source))?;
        self.write_to(file, path).map_err(|source| {
            let _ = std::fs::remove_file(path);
            KeyError::Write { path: path.to_owned(), source }
        })
    }

    fn write_to(&self, mut file: File, path: &Path) -> io::Result<()> {
        file.write_all(self.to_pem().as_bytes())?;
        file.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        bytes.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key always has a PEM form")
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(&self.0)
    }

    /// Ed25519 (RFC 8032, without prehash) over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

fn not_created(path: &Path, source: io::Error) -> KeyError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path },
        _ => KeyError::Write { path, source },
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(secret, keyid {})", self.public().keyid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("auditor.key")
    }

    #[test]
    fn a_written_key_reads_back_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        key.write(&at(&folder)).unwrap();
        let mode = std::fs::metadata(at(&folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(SigningKey::read(&at(&folder)).unwrap().public(), key.public());
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        SigningKey::generate().write(&at(&folder)).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(at(&folder), PermissionsExt::from_mode(mode)).unwrap();
            let refused = SigningKey::read(&at(&folder)).unwrap_err();
            assert!(matches!(refused, KeyError::Exposed { .. }), "{mode:o}");
            assert!(refused.to_string().contains("chmod 600"));
        }
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let first = SigningKey::generate();
        first.write(&at(&folder)).unwrap();
        let second = SigningKey::generate().write(&at(&folder));
        assert!(matches!(second, Err(KeyError::Exists { .. })));
        assert_eq!(SigningKey::read(&at(&folder)).unwrap().public(), first.public());
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = SigningKey::read(&at(&folder)).unwrap_err();
        assert!(matches!(missing, KeyError::Read { .. }));
        std::fs::write(at(&folder), "not a key").unwrap();
        std::fs::set_permissions(at(&folder), PermissionsExt::from_mode(0o600)).unwrap();
        let refused = SigningKey::read(&at(&folder)).unwrap_err();
        assert!(refused.to_string().contains("auditor.key"), "{refused}");
    }

    #[test]
    fn the_file_is_version_1_of_pkcs8_and_debug_hides_the_secret() {
        let key = SigningKey::from_seed([0xA5; 32]);
        let pem = key.to_pem();
        // 48 bytes of DER: the fixed 16-byte prefix of version 1 and the seed.
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        use base64::Engine;
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        assert_eq!(hex::encode(&der[..16]), "302e020100300506032b657004220420");
        assert_eq!(der[16..], [0xA5; 32]);
        let shown = format!("{key:?}");
        assert!(!shown.contains("a5a5a5a5") && !shown.contains("165, 165"), "{shown}");
    }
}
