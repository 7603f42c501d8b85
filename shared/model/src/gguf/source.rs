//! Bytes of a header, as far as a limit and the file go.

use super::error::GgufError;
use super::header::MAX_BYTES;
use std::io::Read;

/// A file that is read from its start, never beyond the limit.
pub(super) struct Source<R> {
    file: R,
    taken: u64,
    limit: u64,
    file_bytes: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(file: R, limit: u64, file_bytes: u64) -> Self {
        Self { file, taken: 0, limit, file_bytes }
    }

    /// Bytes read so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next `N` bytes; `at` is for the message.
    pub(super) fn bytes<const N: usize>(&mut self, at: &str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The next text, its length before it. A length beyond the limit is refused before it is asked for.
    pub(super) fn text(&mut self, at: &str, longest: u64) -> Result<String, GgufError> {
        let wrong = |problem| GgufError::Value { key: at.to_owned(), problem };
        let length = u64::from_le_bytes(self.bytes(at)?);
        if length > longest {
            return Err(wrong(format!("has a text of {length} bytes, the most is {longest}")));
        }
        if length > self.left() {
            return Err(self.short(at));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut bytes, at)?;
        String::from_utf8(bytes).map_err(|_| wrong("has a text that is not UTF-8".to_owned()))
    }

    fn left(&self) -> u64 {
        self.limit - self.taken
    }

    fn fill(&mut self, bytes: &mut [u8], at: &str) -> Result<(), GgufError> {
        if bytes.len() as u64 > self.left() || self.file.read_exact(bytes).is_err() {
            return Err(self.short(at));
        }
        self.taken += bytes.len() as u64;
        Ok(())
    }

    /// The file ended, or the limit came first.
    fn short(&self, at: &str) -> GgufError {
        match self.file_bytes > MAX_BYTES && self.limit == MAX_BYTES {
            true => GgufError::TooLong { max: MAX_BYTES },
            false => GgufError::Truncated { at: format!("`{at}`") },
        }
    }
}
