//! SHA-256 for content addresses: whole, by file, and piece by piece while bytes stream in.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use seal_protocol::Digest;
use sha2::{Digest as _, Sha256};

/// Hashes bytes as they arrive.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

pub(crate) fn sha256_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut piece = vec![0_u8; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of the empty message, FIPS 180-4.
    const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn pieces_hash_like_the_whole() {
        assert_eq!(sha256(b"").to_string(), OF_NOTHING);
        let mut hasher = Hasher::default();
        hasher.update(b"se");
        hasher.update(b"al");
        assert_eq!(hasher.finish(), sha256(b"seal"));
    }
}
