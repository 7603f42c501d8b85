//! The header of a GGUF file, checked before a byte behind it is read.
//!
//! **Invariant:** the tensors of a [`Header`] tile the file up to the padding that its alignment asks
//! for: each lies inside it at the size its type and shape ask for, none overlaps another.
//! **Invariant:** reading it takes memory by our limits, never by what the file claims: a length is held
//! against what is left of the file before anything of that length is asked for.
//!
//! Source: the format's description in the ggml repository, `docs/gguf.md`.

use super::error::GgufError;
use super::kind::Kind;
use super::shown;
use super::source::Source;
use super::value::Value;
use std::collections::BTreeMap;
use std::io::Read;

/// Longest header, in bytes. A vocabulary of 256 000 tokens with its merges takes about 12 MiB.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Most tensors in a file.
const MAX_TENSORS: u64 = 16_384;
/// Most keys.
const MAX_KEYS: u64 = 4096;
/// Most elements of all lists together.
const MAX_ELEMENTS: u64 = 1 << 21;
/// Longest text that stands alone, in bytes: chat templates are the longest.
const MAX_TEXT: u64 = 1 << 20;
/// Longest text in a list, in bytes: a token.
const MAX_TOKEN: u64 = 1 << 12;
/// Longest key, in bytes.
const MAX_KEY: usize = 256;
/// Longest name of a tensor, in bytes: ggml has no longer ones.
const MAX_NAME: usize = 64;
/// Most numbers of one tensor.
const MAX_NUMBERS: u64 = 1 << 40;
/// Where tensors begin, if nothing else is said: at multiples of this.
const ALIGNMENT: u64 = 32;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// As Hugging Face has it: rows first.
    pub(super) shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
}

/// A checked header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Place>,
}

impl Header {
    /// Reads the header of a file of `file_bytes`.
    pub(super) fn read(file: impl Read, file_bytes: u64) -> Result<Self, GgufError> {
        let mut source = Source::new(file, file_bytes.min(MAX_BYTES), file_bytes);
        version(&mut source)?;
        let tensors = count(&mut source, "tensors", MAX_TENSORS)?;
        let keys = count(&mut source, "keys", MAX_KEYS)?;
        let metadata = metadata(&mut source, keys)?;
        let mut claims = Vec::new();
        for _ in 0..tensors {
            claims.push(Claim::read(&mut source)?);
        }
        let alignment = alignment(&metadata)?;
        let data = source.taken().next_multiple_of(alignment);
        Ok(Self { metadata, tensors: place(claims, data, alignment, file_bytes)? })
    }
}

fn version<R: Read>(source: &mut Source<R>) -> Result<(), GgufError> {
    let magic = source.bytes::<4>("its first bytes").map_err(|_| GgufError::Magic)?;
    match &magic {
        b"GGUF" => {}
        b"vers" => return Err(GgufError::LfsPointer),
        _ => return Err(GgufError::Magic),
    }
    match u32::from_le_bytes(source.bytes("its version")?) {
        2 | 3 => Ok(()),
        other if other.swap_bytes() <= 3 => Err(GgufError::BigEndian),
        other => Err(GgufError::Version(other)),
    }
}

fn count<R: Read>(source: &mut Source<R>, what: &'static str, max: u64) -> Result<u64, GgufError> {
    match u64::from_le_bytes(source.bytes(what)?) {
        found if found > max => Err(GgufError::TooMany { what, found, max }),
        found => Ok(found),
    }
}

fn metadata<R: Read>(
    source: &mut Source<R>,
    keys: u64,
) -> Result<BTreeMap<String, Value>, GgufError> {
    let mut metadata = BTreeMap::new();
    let mut left = MAX_ELEMENTS;
    for _ in 0..keys {
        let key = name(source, "key", MAX_KEY)?;
        let kind = u32::from_le_bytes(source.bytes(&key)?);
        let value = match kind {
            ARRAY => list(source, &key, &mut left)?,
            _ => scalar(source, &key, kind, MAX_TEXT)?,
        };
        if metadata.contains_key(&key) {
            return Err(GgufError::Duplicate { what: "key", name: key });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// Number of the type of lists.
const ARRAY: u32 = 9;
/// Number of the type of texts.
const TEXT: u32 = 8;

fn scalar<R: Read>(
    source: &mut Source<R>,
    key: &str,
    kind: u32,
    longest: u64,
) -> Result<Value, GgufError> {
    Ok(match kind {
        0 => Value::Int(u8::from_le_bytes(source.bytes(key)?).into()),
        1 => Value::Int(i8::from_le_bytes(source.bytes(key)?).into()),
        2 => Value::Int(u16::from_le_bytes(source.bytes(key)?).into()),
        3 => Value::Int(i16::from_le_bytes(source.bytes(key)?).into()),
        4 => Value::Int(u32::from_le_bytes(source.bytes(key)?).into()),
        5 => Value::Int(i32::from_le_bytes(source.bytes(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(source.bytes(key)?).into()),
        7 => match source.bytes::<1>(key)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return wrong(key, format!("is the boolean {other}, not 0 or 1")),
        },
        TEXT => Value::Text(source.text(key, longest)?),
        10 => Value::Int(u64::from_le_bytes(source.bytes(key)?).into()),
        11 => Value::Int(i64::from_le_bytes(source.bytes(key)?).into()),
        12 => Value::Float(f64::from_le_bytes(source.bytes(key)?)),
        ARRAY => return wrong(key, "is a list of lists, which no model has".to_owned()),
        other => return wrong(key, format!("has a value of the unknown type {other}")),
    })
}

/// A list of one type; `left` is how many elements may still come in the whole file.
#[allow(clippy::cast_possible_truncation)]
fn list<R: Read>(source: &mut Source<R>, key: &str, left: &mut u64) -> Result<Value, GgufError> {
    let kind = u32::from_le_bytes(source.bytes(key)?);
    let length = u64::from_le_bytes(source.bytes(key)?);
    if length > *left {
        let (found, max) = (length, MAX_ELEMENTS);
        return Err(GgufError::TooMany { what: "elements of lists", found, max });
    }
    *left -= length;
    // Nothing is reserved: what is kept grows with what was read.
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    let (mut bools, mut texts) = (Vec::new(), Vec::new());
    for _ in 0..length {
        match scalar(source, key, kind, MAX_TOKEN)? {
            Value::Int(value) => ints.push(i64::try_from(value).unwrap_or(i64::MAX)),
            Value::Float(value) => floats.push(value as f32),
            Value::Bool(value) => bools.push(value),
            Value::Text(text) => texts.push(text),
            other => return wrong(key, format!("holds {}", other.shown())),
        }
    }
    Ok(match kind {
        0..=5 | 10 | 11 => Value::Ints(ints),
        6 | 12 => Value::Floats(floats),
        7 => Value::Bools(bools),
        TEXT => Value::Texts(texts),
        ARRAY => return wrong(key, "is a list of lists, which no model has".to_owned()),
        other => return wrong(key, format!("is a list of the unknown type {other}")),
    })
}

fn wrong<T>(key: &str, problem: String) -> Result<T, GgufError> {
    Err(GgufError::Value { key: key.to_owned(), problem })
}

/// A key or the name of a tensor.
fn name<R: Read>(
    source: &mut Source<R>,
    what: &'static str,
    max: usize,
) -> Result<String, GgufError> {
    let name = source.text(what, MAX_TEXT)?;
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !name.is_empty() && name.len() <= max && name.chars().all(sound) {
        true => Ok(name),
        false => Err(GgufError::Name { what, name: shown(&name), max }),
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    match metadata.get(KEY) {
        None => Ok(ALIGNMENT),
        Some(Value::Int(value @ 1..=65_536)) if value.count_ones() == 1 => {
            Ok(u64::try_from(*value).unwrap_or(ALIGNMENT))
        }
        Some(other) => wrong(KEY, format!("is {}, not a power of two up to 65536", other.shown())),
    }
}

/// What the header says of one tensor.
struct Claim {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    bytes: u64,
    /// From where the tensors begin.
    offset: u64,
}

impl Claim {
    fn read<R: Read>(source: &mut Source<R>) -> Result<Self, GgufError> {
        let name = name(source, "tensor", MAX_NAME)?;
        let refuse = |problem: String| GgufError::Tensor { name: name.clone(), problem };
        let dims = u32::from_le_bytes(source.bytes(&name)?);
        if !(1..=2).contains(&dims) {
            return Err(refuse(format!("has {dims} dimensions; tensors of a decoder have 1 or 2")));
        }
        let mut sizes = Vec::new();
        let mut numbers = 1u64;
        for _ in 0..dims {
            let size = u64::from_le_bytes(source.bytes(&name)?);
            numbers = numbers.saturating_mul(size);
            if size == 0 || numbers > MAX_NUMBERS {
                return Err(refuse(format!("has a dimension of {size}, which no tensor has")));
            }
            sizes.push(size);
        }
        let number = u32::from_le_bytes(source.bytes(&name)?);
        let kind = Kind::of(number).map_err(|kind| GgufError::Kind { name: name.clone(), kind })?;
        let offset = u64::from_le_bytes(source.bytes(&name)?);
        if !sizes[0].is_multiple_of(kind.block()) {
            let (row, block) = (sizes[0], kind.block());
            let problem = format!("has rows of {row} numbers, no multiple of a block of {block}");
            return Err(refuse(problem));
        }
        let bytes = numbers / kind.block() * kind.block_bytes();
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let shape = sizes.into_iter().rev().map(size).collect();
        Ok(Self { name, kind, shape, bytes, offset })
    }
}

/// Turns the offsets into places in the file, and checks that they tile it.
fn place(
    mut claims: Vec<Claim>,
    data: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<BTreeMap<String, Place>, GgufError> {
    claims.sort_by_key(|claim| (claim.offset, claim.bytes));
    let mut tensors = BTreeMap::new();
    // Where the next tensor must begin, and where the last one ended.
    let (mut next, mut end) = (0u64, 0u64);
    for claim in claims {
        let Claim { name, kind, shape, bytes, offset } = claim;
        if tensors.contains_key(&name) {
            return Err(GgufError::Duplicate { what: "tensor", name });
        }
        let refuse = |problem: &str| {
            let problem = problem.to_owned();
            Err(GgufError::Tensor { name: name.clone(), problem })
        };
        let last = data.checked_add(offset).and_then(|start| start.checked_add(bytes));
        match last {
            _ if offset < end => return refuse("overlaps another"),
            _ if offset != next => return refuse("does not follow the one before it"),
            Some(last) if last <= file_bytes => {}
            _ => return refuse("lies beyond the end of the file; fetch the file again"),
        }
        tensors.insert(name, Place { kind, shape, start: data + offset, bytes });
        (end, next) = (offset + bytes, (offset + bytes).next_multiple_of(alignment));
    }
    // Some writers pad the last tensor too.
    match file_bytes.saturating_sub(data + end) {
        padding if padding < alignment => Ok(tensors),
        trailing => Err(GgufError::Trailing(trailing)),
    }
}
