//! Every door of `tests/fuzz`, tried with the committed corpus and with damage done to it.
//!
//! `cargo fuzz` looks for what nobody thought of (docs/FUZZING.md); here its finds and seeds are tried
//! again at each change, on a stable toolchain.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/doors/mod.rs"]
mod doors;
#[path = "fuzz/seeds.rs"]
mod seeds;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use doors::{content, gguf, messages};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A door by its name.
type Door = fn(&[u8]) -> bool;

const DOORS: [(&str, Door); 13] = [
    ("envelope", messages::envelope),
    ("statement", messages::statement),
    ("checkpoint", messages::checkpoint),
    ("proof", messages::proof),
    ("trust_root", messages::trust_root),
    ("http_body", messages::http_body),
    ("adapter", content::adapter),
    ("edit", content::edit),
    ("reply", content::reply),
    ("chat_template", content::chat_template),
    ("ruling", content::ruling),
    ("constitution", content::constitution),
    ("gguf", gguf::gguf),
];

/// How often each seed is damaged.
const DAMAGES: usize = 400;
/// Longer files are damaged at their beginning alone.
const LONGEST: usize = 1 << 16;
/// One test at a time: each counts what it holds in memory.
static ALONE: Mutex<()> = Mutex::new(());

fn corpus(door: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(door);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn the_seeds_are_in_the_corpus_and_each_good_one_is_let_in() {
    let _alone = ALONE.lock();
    for (door, name, bytes, good) in seeds::all() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(door)
            .join(format!("seed-{name}"));
        if std::env::var_os("SEAL_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let there = std::fs::read(&file).unwrap_or_default();
        assert!(
            there == bytes,
            "{} is not what its program makes; write it anew: SEAL_WRITE_SEEDS=1 cargo test --test fuzz_corpus",
            file.display()
        );
        let (_, open) = DOORS.iter().find(|(known, _)| *known == door).unwrap();
        assert_eq!(doors::tried(*open, &bytes), good, "{door}: {name}");
    }
}

#[test]
fn nothing_in_the_corpus_and_no_damage_done_to_it_breaks_a_door() {
    let _alone = ALONE.lock();
    for (door, open) in DOORS {
        let (mut tried, mut let_in) = (0, 0);
        for (file, bytes) in corpus(door) {
            let mut dice = ChaCha8Rng::seed_from_u64(tried);
            println!("{}", file.display());
            doors::tried(open, &bytes);
            tried += 1;
            // What the fuzzer found is damaged already.
            let is_seed =
                file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"));
            for _ in 0..if is_seed { DAMAGES } else { 0 } {
                let_in += usize::from(doors::tried(open, &damaged(&bytes, &mut dice)));
                tried += 1;
            }
        }
        println!("{door}: {tried} files, {let_in} let in");
        assert!(tried > 0, "{door} has no corpus");
    }
}

/// One to four bytes changed, a part left out, doubled, or cut off.
fn damaged(bytes: &[u8], dice: &mut ChaCha8Rng) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..dice.random_range(1..=4) {
        let length = damaged.len().min(LONGEST);
        if length == 0 {
            return damaged;
        }
        let at = dice.random_range(0..length);
        let end = (at + dice.random_range(1..=16)).min(length);
        match dice.random_range(0..5) {
            0 => damaged[at] = dice.random(),
            1 => damaged[at] ^= 1 << dice.random_range(0..8),
            2 => drop(damaged.drain(at..end)),
            3 => {
                let part = damaged[at..end].to_vec();
                damaged.splice(at..at, part);
            }
            _ => damaged.truncate(at),
        }
    }
    damaged
}
