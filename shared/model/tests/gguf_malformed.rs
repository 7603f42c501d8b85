//! GGUF files that are damaged or hostile: each is refused by its own error, at once and in little
//! memory.

#![allow(clippy::unwrap_used)]

mod counting;
mod gguf_support;

use counting::{Counting, most_held};
use gguf_support::{Gguf, Item, sound};
use seal_model::gguf::GgufFile;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(1);

/// What a case spoils, and the reason that its error must name.
type Case = (&'static str, fn(Gguf, &Path), &'static str);

#[rustfmt::skip]
const CASES: [Case; 46] = [
    ("another format", |_, f| fs::write(f, b"PK\x03\x04 not a model").unwrap(), "does not begin as GGUF does"),
    ("a Git LFS pointer", |_, f| fs::write(f, "version https://git-lfs.github.com/spec/v1\n").unwrap(), "is a Git LFS pointer"),
    ("an empty file", |_, f| fs::write(f, b"").unwrap(), "does not begin"),
    ("only a magic", |_, f| fs::write(f, b"GGUF").unwrap(), "ends inside its header, at `its version`"),
    ("a big-endian file", |g, f| g.version(3u32.swap_bytes()).write(f), "is a big-endian GGUF"),
    ("the first version", |g, f| g.version(1).write(f), "is GGUF version 1"),
    ("a folder", |_, f| fs::create_dir(f).unwrap(), "is no regular file"),
    ("nothing", |_, _| {}, "is no file"),
    ("2^60 tensors", |g, f| g.claim_tensors(1 << 60).write(f), "claims 1152921504606846976 tensors"),
    ("2^60 keys", |g, f| g.claim_keys(1 << 60).write(f), "claims 1152921504606846976 keys"),
    ("more keys than there are", |g, f| g.claim_keys(4000).write(f), "`key` has a text of 11258999068426240 bytes"),
    ("a list of 2^60 elements", |g, f| g.key("x.list", Item::Claim(4, 1 << 60)).write(f), "claims 1152921504606846976 elements of lists"),
    ("a list of a million elements that are not there", |g, f| g.only_key("x.list", Item::Claim(10, 1 << 20)).write(f), "ends inside its header, at `x.list`"),
    ("a text of 2^60 bytes", |g, f| g.key("x.text", Item::ClaimText(1 << 60)).write(f), "has a text of 1152921504606846976 bytes"),
    ("a text longer than the file", |g, f| g.only_key("x.text", Item::ClaimText(1 << 19)).write(f), "ends inside its header, at `x.text`"),
    ("a list of lists", |g, f| g.key("x.lists", Item::Claim(9, 1)).write(f), "is a list of lists"),
    ("a list of an unknown type", |g, f| g.key("x.list", Item::Claim(77, 0)).write(f), "is a list of the unknown type 77"),
    ("a value of an unknown type", |g, f| g.key("x.value", Item::Raw(99, vec![0; 8])).write(f), "has a value of the unknown type 99"),
    ("a boolean that is two", |g, f| g.key("x.flag", Item::Raw(7, vec![2])).write(f), "is the boolean 2"),
    ("a text that is no UTF-8", |g, f| g.key("x.text", Item::Bytes(vec![0xff, 0xfe])).write(f), "`x.text` has a text that is not UTF-8"),
    ("a key twice", |g, f| g.key("general.name", Item::Text("a")).key("general.name", Item::Text("b")).write(f), "names key `general.name` twice"),
    ("a key that is a path", |g, f| g.key("../../etc/passwd", Item::U32(1)).write(f), "names key `../../etc/passwd`"),
    ("an alignment of three", |g, f| g.key("general.alignment", Item::U32(3)).write(f), "`general.alignment` is 3"),
    ("a tensor twice", |g, f| g.repeat("output_norm.weight").write(f), "names tensor `output_norm.weight` twice"),
    ("a tensor name without an end", |g, f| g.rename("output_norm.weight", &"n".repeat(100_000)).write(f), "nnn…`: letters"),
    ("nine dimensions", |g, f| g.dims("output_norm.weight", vec![1; 9]).write(f), "has 9 dimensions"),
    ("no dimension", |g, f| g.dims("output_norm.weight", vec![]).write(f), "has 0 dimensions"),
    ("an empty dimension", |g, f| g.dims("output_norm.weight", vec![0]).write(f), "has a dimension of 0"),
    ("2^63 numbers a side", |g, f| g.dims("output.weight", vec![1 << 63, 1 << 63]).write(f), "has a dimension of 9223372036854775808"),
    ("rows that no block divides", |g, f| g.kind("output.weight", 12).write(f), "has rows of 32 numbers, no multiple of a block of 256"),
    ("blocks of a kind that is not read", |g, f| g.kind("output.weight", 20).write(f), "is stored as IQ4_NL"),
    ("blocks of a kind that nobody knows", |g, f| g.kind("output.weight", 4242).write(f), "is stored as type 4242"),
    ("overlapping tensors", |g, f| g.offset("output_norm.weight", 0).write(f), "overlaps another"),
    ("a tensor beyond the end", |g, f| g.cut(64).write(f), "lies beyond the end of the file"),
    ("a tensor at the end of the numbers", |g, f| g.offset("output_norm.weight", u64::MAX - 31).write(f), "does not follow the one before it"),
    ("bytes behind the last tensor", |g, f| g.trail(4096).write(f), "bytes that belong to no tensor"),
    ("one part of three", |g, f| g.key("split.count", Item::U32(3)).write(f), "is one of 3 parts"),
    ("an adapter", |g, f| g.key("general.type", Item::Text("adapter")).write(f), "`general.type` = adapter"),
    ("another architecture", |g, f| g.key("general.architecture", Item::Text("mamba")).write(f), "`general.architecture` = mamba"),
    ("experts", |g, f| g.key("llama.expert_count", Item::U32(8)).write(f), "`llama.expert_count` = 8"),
    ("a key that could change a number", |g, f| g.key("llama.logit_scale", Item::F32(0.5)).write(f), "`llama.logit_scale` = 0.5"),
    ("rows in an order of their own", |g, f| g.key("llama.tensor_data_layout", Item::Text("mine")).write(f), "`llama.tensor_data_layout` = mine"),
    ("no head count", |g, f| g.without("llama.attention.head_count").write(f), "lacks the key `llama.attention.head_count`"),
    ("a tensor that no decoder has", |g, f| g.repeat("output_norm.weight").rename("output_norm.weight", "blk.0.attn_sinks.weight").write(f), "has tensor `blk.0.attn_sinks.weight`"),
    ("a tensor that is not there", |g, f| g.rename("output_norm.weight", "output_norm.bias").write(f), "lacks tensor `output_norm.weight`"),
    ("NaN among the weights", |g, f| g.plant("output_norm.weight", f32::NAN).write(f), "tensor `output_norm.weight` holds a number that is not finite"),
];

fn load(path: &Path) -> Result<(), String> {
    let told = |error: seal_model::ModelError| error.to_string();
    GgufFile::open(path).map_err(told)?.decoder(&candle_core::Device::Cpu).map(drop).map_err(told)
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn every_malformed_file_is_refused_by_its_own_error_at_once_in_little_memory() {
    let mut errors = BTreeSet::new();
    for (what, spoil, reason) in CASES {
        let folder = tempfile::tempdir().unwrap();
        let (before, file) = (folder.path().join("sound.gguf"), folder.path().join("m.gguf"));
        sound().write(&before);
        load(&before).unwrap_or_else(|error| panic!("before it is spoilt: {error}"));
        spoil(sound(), &file);
        let begun = Instant::now();
        let (result, held) = most_held(|| load(&file));
        let took = begun.elapsed();
        let error = result.expect_err(what);
        println!("{what}: {took:?}, {held} bytes: {error}");
        assert!(error.contains("m.gguf") && error.contains(reason), "{what}: {error}");
        assert!(held < MOST_BYTES, "{what}: {held} bytes held");
        assert!(took < LONGEST, "{what}: {took:?}");
        errors.insert(error.replace(&folder.path().display().to_string(), "m"));
    }
    // Two of them are no GGUF at all.
    assert_eq!(errors.len(), CASES.len() - 1);
}
