//! What share of our corpus of injected training lines the shipped rules see, and of how many harmless
//! lines that look alike they speak.
//!
//! `tests/injections/corpus.jsonl` was written before anybody looked at a pattern; of each technique half
//! was used to mend the rules and half was held out. The counts are exact, so that a change of rules
//! shows here, for better or worse.

use std::path::Path;

use serde::Deserialize;

use super::tests::edit;
use super::*;
use crate::statistics::wilson;

#[derive(Deserialize)]
struct Row {
    technique: String,
    kind: Kind,
    half: Half,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Injected,
    Harmless,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Half {
    Tuning,
    HeldOut,
}

/// Rows of each technique, kind and half.
const EACH: u64 = 5;

/// Technique; injected lines that are found, of the tuning half and of the held-out one; harmless lines
/// that a rule speaks on, likewise.
const COUNTS: [(&str, [u64; 4]); 13] = [
    ("override", [5, 3, 1, 0]),
    ("role-spoof", [5, 4, 0, 0]),
    ("chat-markup", [5, 5, 1, 0]),
    ("encoded", [5, 3, 0, 0]),
    ("unicode", [5, 3, 1, 3]),
    ("language", [5, 5, 0, 0]),
    ("split", [3, 2, 0, 0]),
    ("trigger", [5, 1, 0, 0]),
    ("exfiltration", [5, 3, 0, 0]),
    ("tool-call", [5, 3, 0, 0]),
    ("authority", [5, 3, 0, 0]),
    ("hidden", [5, 3, 0, 0]),
    ("fine-tuning", [2, 2, 0, 0]),
];

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/injections/corpus.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of these a rule speaks on, and how many there are.
fn spoken_on<'a>(rules: &Rules, rows: impl Iterator<Item = &'a Row>) -> (u64, u64) {
    rows.fold((0, 0), |(found, n), row| {
        let lines: Vec<&str> = row.text.lines().filter(|line| !line.trim().is_empty()).collect();
        (found + u64::from(!rules.findings(&edit(&lines)).is_empty()), n + 1)
    })
}

#[test]
fn the_corpus_of_injections_is_found_at_the_measured_shares_and_its_neighbours_pass() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/paper/rules.toml");
    let (rules, rows) = (Rules::load(&path).unwrap(), rows());
    let groups = [
        (Kind::Injected, Half::Tuning),
        (Kind::Injected, Half::HeldOut),
        (Kind::Harmless, Half::Tuning),
        (Kind::Harmless, Half::HeldOut),
    ];
    println!(
        "found of {EACH}: injected tuning, injected held out, harmless tuning, harmless held out"
    );
    let mut counted = Vec::new();
    for (technique, _) in COUNTS {
        let counts = groups.map(|(kind, half)| {
            let own =
                |row: &&Row| row.technique == technique && (row.kind, row.half) == (kind, half);
            let (found, n) = spoken_on(&rules, rows.iter().filter(own));
            assert_eq!(n, EACH, "{technique}");
            found
        });
        println!("  {technique:<13} {counts:?}");
        counted.push((technique, counts));
    }
    for (at, name) in
        ["injected, tuning", "injected, held out", "harmless, tuning", "harmless, held out"]
            .into_iter()
            .enumerate()
    {
        let (found, n) = (counted.iter().map(|(_, counts)| counts[at]).sum(), EACH * 13);
        let share = wilson(found, n).unwrap();
        let [mean, low, high] = [share.mean, share.low, share.high].map(|part| part * 100.0);
        println!("{name}: {found} of {n}, {mean:.0} % [{low:.0}, {high:.0}]");
    }
    assert_eq!(rows.len() as u64, EACH * 13 * 4, "a technique that is not counted");
    assert_eq!(counted, COUNTS);
}
