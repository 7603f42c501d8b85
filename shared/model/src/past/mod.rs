//! What a model remembers of the sequences it is reading: their keys and values.
//!
//! Memory comes in blocks of [`BLOCK`] positions that sequences with a common beginning share.
//!
//! **Invariant:** a row's result is the same bits whether its past was read in the same forward, in
//! an earlier one, alone, in parts, or by another sequence that began with the same tokens.

mod attend;
mod blocks;
mod prefixes;

pub(crate) use attend::{Read, read};
pub(crate) use blocks::{BLOCK, Past, Pool};
pub use prefixes::PrefixCache;
pub(crate) use prefixes::{AdapterKey, common_length};
