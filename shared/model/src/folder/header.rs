//! The header of a safetensors file, checked before a byte behind it is read.
//!
//! **Invariant:** the tensors of a [`Header`] tile the file: each lies inside it at the size its
//! dtype and shape ask for, none overlaps another, nothing is left over, no name stands twice.
//! **Invariant:** reading it takes memory by our limits, never by what the file claims.
//!
//! Source: the format's description in the safetensors repository.

use safetensors::Dtype;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// Bytes in front of the header: its length.
pub(super) const LENGTH_BYTES: u64 = 8;
/// Most dimensions of a tensor; a decoder has two.
const MAX_DIMS: usize = 8;
/// Longest tensor name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The key of the file's own notes.
const METADATA: &str = "__metadata__";

/// How much header is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest header, in bytes.
    pub(crate) header_bytes: u64,
    /// Most tensors in one file.
    pub(crate) tensors: usize,
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A checked header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Why a header was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not even a length.
    #[error("has {0} bytes, too few for a safetensors header; fetch the file again")]
    TooShort(u64),
    /// A header that no real file has.
    #[error(
        "claims a header of {claimed} bytes, the most is {max}; this is no sound safetensors file"
    )]
    TooLong {
        /// What the file says.
        claimed: u64,
        /// The limit.
        max: u64,
    },
    /// The file ends before its tensors do.
    #[error("ends after {found} bytes, its header promises {expected}; fetch the file again")]
    Truncated {
        /// By the header.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// The file goes on behind its tensors.
    #[error("has {0} bytes that belong to no tensor; this is no sound safetensors file")]
    Trailing(u64),
    /// Not the JSON of a header.
    #[error("the header does not read: {0}")]
    Json(String),
    /// One name twice.
    #[error("names tensor `{0}` twice")]
    Duplicate(String),
    /// More tensors than any file has.
    #[error("names more than {0} tensors")]
    TooMany(usize),
    /// A name that no checkpoint uses.
    #[error("tensor name `{0}` is not one of a model: letters, digits and `._-` are")]
    Name(String),
    /// Bytes that do not follow from dtype and shape, or do not lie where they should.
    #[error("tensor `{name}` {problem}")]
    Place {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Header {
    /// The length of the JSON text, from the first eight bytes of a file of `file_bytes`.
    pub(crate) fn text_length(
        first: [u8; LENGTH_BYTES as usize],
        file_bytes: u64,
        limits: Limits,
    ) -> Result<usize, HeaderError> {
        let claimed = u64::from_le_bytes(first);
        if claimed > limits.header_bytes {
            return Err(HeaderError::TooLong { claimed, max: limits.header_bytes });
        }
        let expected = LENGTH_BYTES + claimed;
        if expected > file_bytes {
            return Err(HeaderError::Truncated { expected, found: file_bytes });
        }
        usize::try_from(claimed).map_err(|_| HeaderError::TooShort(file_bytes))
    }

    /// Parses the JSON text of a file of `file_bytes`.
    pub(crate) fn parse(text: &[u8], file_bytes: u64, limits: Limits) -> Result<Self, HeaderError> {
        let mut refusal = None;
        let mut json = serde_json::Deserializer::from_slice(text);
        let entries = Entries { limits, refusal: &mut refusal };
        let read = entries.deserialize(&mut json).and_then(|raw| json.end().map(|()| raw));
        let raw = match (read, refusal) {
            (Ok(raw), _) => raw,
            (Err(_), Some(refusal)) => return Err(refusal),
            (Err(error), None) => return Err(HeaderError::Json(error.to_string())),
        };
        let data_start = LENGTH_BYTES + text.len() as u64;
        let tensors = place(raw.tensors, data_start, file_bytes)?;
        Ok(Self { tensors, metadata: raw.metadata })
    }
}

/// Turns the offsets of the header into places in the file, and checks that they tile it.
fn place(
    raw: BTreeMap<String, RawTensor>,
    data_start: u64,
    file_bytes: u64,
) -> Result<BTreeMap<String, TensorInfo>, HeaderError> {
    let mut order: Vec<(&String, &RawTensor)> = raw.iter().collect();
    order.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = 0;
    for (name, tensor) in order {
        let wrong = |problem| HeaderError::Place { name: name.clone(), problem };
        let (from, to) = tensor.data_offsets;
        let bytes = byte_size(tensor)
            .ok_or_else(|| wrong("has a shape that is no whole number of bytes"))?;
        if to.checked_sub(from) != Some(bytes) {
            return Err(wrong("has offsets that do not fit its dtype and shape"));
        }
        if from != end {
            return Err(wrong("overlaps another tensor or leaves a gap before it"));
        }
        end = to;
    }
    let expected = data_start.saturating_add(end);
    if expected > file_bytes {
        return Err(HeaderError::Truncated { expected, found: file_bytes });
    }
    if expected < file_bytes {
        return Err(HeaderError::Trailing(file_bytes - expected));
    }
    let placed = raw.into_iter().map(|(name, raw)| {
        let (from, to) = raw.data_offsets;
        let (start, bytes) = (data_start + from, to - from);
        (name, TensorInfo { dtype: raw.dtype, shape: raw.shape.0, start, bytes })
    });
    Ok(placed.collect())
}

/// Bytes of a tensor; `None` where they overflow or end inside a byte.
fn byte_size(tensor: &RawTensor) -> Option<u64> {
    let bits = tensor.shape.0.iter().try_fold(tensor.dtype.bitsize() as u64, |bits, &size| {
        bits.checked_mul(u64::try_from(size).ok()?)
    })?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// True for the characters of a module path. `/`, `\` and `..` would be a path on disk.
fn is_sane(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.chars().all(plain)
        && !name.contains("..")
}

/// A name from a file, safe and short enough for a message.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: Dtype,
    shape: Dims,
    data_offsets: (u64, u64),
}

struct RawHeader {
    tensors: BTreeMap<String, RawTensor>,
    metadata: BTreeMap<String, String>,
}

/// A shape of at most [`MAX_DIMS`] dimensions.
struct Dims(Vec<usize>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {MAX_DIMS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::new();
                while let Some(size) = seq.next_element()? {
                    if dims.len() == MAX_DIMS {
                        return Err(A::Error::custom("a tensor has too many dimensions"));
                    }
                    dims.push(size);
                }
                Ok(Dims(dims))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// Reads the header's object key by key, because a lenient parser would merge repeated keys.
struct Entries<'a> {
    limits: Limits,
    refusal: &'a mut Option<HeaderError>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = RawHeader;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawHeader, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        let mut refuse = |refusal| {
            *self.refusal = Some(refusal);
            Err(A::Error::custom("refused"))
        };
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA && !std::mem::replace(&mut has_metadata, true) {
                header.metadata = map.next_value()?;
            } else if name == METADATA || header.tensors.contains_key(&name) {
                return refuse(HeaderError::Duplicate(shown(&name)));
            } else if !is_sane(&name) {
                return refuse(HeaderError::Name(shown(&name)));
            } else if header.tensors.len() == self.limits.tensors {
                return refuse(HeaderError::TooMany(self.limits.tensors));
            } else {
                let tensor = map
                    .next_value()
                    .map_err(|e| A::Error::custom(format!("tensor `{}`: {e}", shown(&name))))?;
                header.tensors.insert(name, tensor);
            }
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests;
