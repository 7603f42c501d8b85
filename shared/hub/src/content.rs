//! Whether bytes are those that a hub announced.
//!
//! Source: a hub's ETag of a file is the SHA-256 of a large file and git's blob id of a small one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The name of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Etag(String);

impl Etag {
    /// The text of the header; `None` if it could not be a file's name in the cache.
    pub(crate) fn new(header: &str) -> Option<Self> {
        let text = header.strip_prefix("W/").unwrap_or(header).trim_matches('"');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let sound = (1..=128).contains(&text.len()) && text.chars().all(plain);
        (sound && !text.starts_with('.')).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares a file with what the name promises; says what differs. A name of another kind, as
    /// some mirrors give, promises nothing.
    pub(crate) fn differs(&self, path: &Path) -> io::Result<Option<String>> {
        let is_hex = self.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (kind, found) = match self.0.len() {
            64 if is_hex => ("SHA-256", hashed(path, Sha256::new())?),
            40 if is_hex => {
                let head = format!("blob {}\0", path.metadata()?.len());
                ("git's SHA-1", hashed(path, Sha1::new().chain_update(head))?)
            }
            _ => return Ok(None),
        };
        let differs = !found.eq_ignore_ascii_case(&self.0);
        Ok(differs.then(|| format!("{kind} {found} instead of {}", self.0)))
    }
}

fn hashed<D: Digest>(path: &Path, mut hash: D) -> io::Result<String> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_against_both_kinds_of_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` of these bytes.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for name in [git, sha256, &sha256.to_ascii_uppercase(), "7f-mirrors-own"] {
            let etag = Etag::new(&format!("\"{name}\"")).unwrap();
            assert_eq!(etag.differs(&path).unwrap(), None, "{name}");
        }
        std::fs::write(&path, "hellO\n").unwrap();
        for name in [git, sha256] {
            let problem = Etag::new(name).unwrap().differs(&path).unwrap().unwrap();
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn a_name_that_leads_out_of_the_cache_is_none() {
        for header in ["", "\"\"", "../x", "a/b", "..", "\"a\\b\"", "ä", &"a".repeat(129)] {
            assert!(Etag::new(header).is_none(), "{header}");
        }
        assert_eq!(Etag::new("W/\"abc\"").unwrap().as_str(), "abc");
    }
}
