//! The API key: from a file that its owner alone may read, or from an environment variable that the
//! config names. Never from the config itself, never from the command line.
//!
//! **Invariant:** it is read before confinement and cannot be read again; `Debug` withholds it and its
//! header is marked sensitive, so that no log of a library shows it.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// No key is longer, in bytes.
const LONGEST: u64 = 8 << 10;

/// Where the key lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with mode 0600.
    File(PathBuf),
    /// The name of an environment variable.
    Environment(String),
}

/// A key that cannot be used. What was read is in no message.
#[derive(Debug, thiserror::Error)]
pub enum KeyReadError {
    /// Not there or not readable.
    #[error("cannot read the API key `{}`: {source}; set `api_key_file` to a file that holds it", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others could read it.
    #[error("the API key `{}` is open to other users (mode {mode:03o}); run `chmod 600` on it", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set; set it, or use `api_key_file`")]
    Unset(String),
    /// Not one line of visible ASCII.
    #[error("the API key from {0} is not one line of visible ASCII characters")]
    Form(String),
}

/// A key in memory, overwritten when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey(SecretString);

impl ApiKey {
    /// Reads a key.
    ///
    /// # Errors
    /// It is not there, open to others, or no key.
    pub(crate) fn read(source: &KeySource) -> Result<Self, KeyReadError> {
        match source {
            KeySource::File(path) => Self::parse(&read_private(path)?, &path.display().to_string()),
            KeySource::Environment(name) => {
                let value = std::env::var(name).map_err(|_| KeyReadError::Unset(name.clone()))?;
                Self::parse(&SecretString::from(value), &format!("variable {name}"))
            }
        }
    }

    fn parse(text: &SecretString, from: &str) -> Result<Self, KeyReadError> {
        let key = text.expose_secret().trim();
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        match visible && !key.is_empty() {
            true => Ok(Self(SecretString::from(key.to_owned()))),
            false => Err(KeyReadError::Form(from.to_owned())),
        }
    }

    /// The value of `Authorization`, marked sensitive.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = SecretString::from(format!("Bearer {}", self.0.expose_secret()));
        let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// For a library that insists on holding it itself.
    pub(crate) fn secret(&self) -> &SecretString {
        &self.0
    }
}

fn read_private(path: &Path) -> Result<SecretString, KeyReadError> {
    let failed = |source| KeyReadError::File { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    // Of the opened file, so that nobody can swap it between look and use.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyReadError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.by_ref().take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const CANARY: &str = "sk-canary-123";

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        file
    }

    fn read(file: &tempfile::NamedTempFile) -> Result<ApiKey, KeyReadError> {
        ApiKey::read(&KeySource::File(file.path().to_owned()))
    }

    #[test]
    fn a_private_file_gives_the_key_and_no_debug_shows_it() {
        let key = read(&file(&format!("{CANARY}\n"), 0o600)).unwrap();
        let header = key.header().unwrap();
        assert_eq!(header.to_str().unwrap(), format!("Bearer {CANARY}"));
        assert!(!format!("{key:?} {header:?}").contains(CANARY));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let error = read(&file(CANARY, mode)).unwrap_err().to_string();
            assert!(error.contains("run `chmod 600`") && !error.contains(CANARY), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "\n", "two\nlines", "with space", "caf\u{e9}", "a\u{0}b"] {
            let error = read(&file(text, 0o600)).unwrap_err().to_string();
            assert!(error.ends_with("is not one line of visible ASCII characters"), "{error}");
        }
        let unset = ApiKey::read(&KeySource::Environment("SEAL_NO_SUCH_VARIABLE".to_owned()));
        assert!(matches!(unset, Err(KeyReadError::Unset(_))));
    }
}
