//! SHA-256 of bytes and files, the keyed commitment, and seeds that canonical JSON can carry.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use seal_protocol::Digest;
use sha2::{Digest as _, Sha256};

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// SHA-256 of a file's bytes, read in pieces.
///
/// # Errors
/// Whatever opening or reading the file returns.
pub fn sha256_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0_u8; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// HMAC-SHA256 of `bytes`: a commitment that only the holder of `key` can confirm. A bare hash of a
/// few questions could be confirmed by guessing them.
pub fn hmac_commitment(key: &[u8], bytes: &[u8]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(bytes);
    Digest::from_bytes(mac.finalize().into_bytes().into())
}

/// A seed drawn from `parts`, the same for the same parts and below 2^53, so that it can be signed
/// (see [`crate::canonical_json`]). Each part is hashed with its length: parts never run together.
pub fn derive_seed(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut head = [0_u8; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(head) & crate::MAX_SAFE_INTEGER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_agree_with_the_published_vectors() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").to_string(), abc);
        // RFC 4231, test case 2.
        let jefe = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let committed = hmac_commitment(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(committed.to_string(), jefe);
    }

    #[test]
    fn a_file_hashes_like_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![7_u8; 200_000];
        std::fs::write(folder.path().join("f"), &bytes).unwrap();
        assert_eq!(sha256_file(&folder.path().join("f")).unwrap(), sha256(&bytes));
    }

    #[test]
    fn a_derived_seed_can_be_signed_and_parts_do_not_run_together() {
        for seed in 0..64_u8 {
            assert!(derive_seed(&[b"round-1", &[seed]]) <= crate::MAX_SAFE_INTEGER);
        }
        assert_ne!(derive_seed(&[b"ab", b"c"]), derive_seed(&[b"a", b"bc"]));
        assert_eq!(derive_seed(&[b"a"]), derive_seed(&[b"a"]));
    }
}
