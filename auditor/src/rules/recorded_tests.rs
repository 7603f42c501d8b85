//! How often each shipped rule speaks on the self-edits that the original system's runs recorded.
//!
//! The data is not part of this package: `SEAL_REFERENCE_DATA` names its folder; without it the test
//! says that it was skipped.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::tests::edit;
use super::*;
use crate::items::item;
use crate::reference_data::rows;

#[derive(Deserialize)]
struct Recorded {
    id: String,
    text: String,
}

#[derive(Deserialize)]
struct Passage {
    id: String,
    title: String,
    context: String,
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    q: String,
    a: String,
}

/// Questions of every passage of a file, as τ.
fn tau(passages: &[Passage]) -> Vec<Item> {
    let items = passages.iter().flat_map(|passage| {
        let id = &passage.id;
        let numbered = passage.questions.iter().enumerate();
        numbered.map(move |(at, asked)| item(&format!("{id}/{at}"), &asked.q, &asked.a))
    });
    items.collect()
}

/// Sizes aside, for a recorded edit is one text and not yet lines.
fn shipped(tau: &[Item]) -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/paper/rules.toml");
    let mut file: RulesFile = seal_service::config::load(&path).unwrap();
    file.limits =
        Limits { max_examples: 1000, max_example_bytes: 1 << 20, max_edit_bytes: 1 << 20 };
    Rules::new(file, tau).unwrap()
}

/// A recorded edit as it is trained on: its lines, and the passage under its title.
fn whole(recorded: &Recorded, passages: &[Passage]) -> SelfEdit {
    let passage = passages.iter().find(|passage| passage.id == recorded.id).unwrap();
    let sequence = format!("{}\n{}", passage.title, passage.context);
    let lines = recorded.text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.chain([sequence.as_str()]).collect();
    SelfEdit { context_digest: seal_trust::sha256(passage.context.as_bytes()), ..edit(&lines) }
}

/// The questions with one word replaced, each followed by its answer: what the exact rule misses.
#[test]
fn a_tau_question_with_one_word_replaced_is_mostly_found() {
    let Some(passages) = rows::<Passage>("squad_eval_200.jsonl") else { return };
    let tau = tau(&passages);
    let rules = shipped(&tau);
    let (mut exact, mut close, mut all) = (0, 0, 0);
    for (at, item) in tau.iter().enumerate() {
        let mut words: Vec<&str> = item.question.split_whitespace().collect();
        let replaced = at % words.len();
        words[replaced] = "zzz";
        let found = rules.findings(&edit(&[&format!("Q: {} A: {}", words.join(" "), item.answer)]));
        exact += usize::from(found.iter().any(|rule| rule == "text.tau-overlap"));
        close += usize::from(found.iter().any(|rule| rule == "text.tau-ngrams"));
        all += 1;
    }
    println!("one word replaced in each of {all} questions: exact {exact}, close {close}");
    assert!(close * 10 >= all * 7, "{close} of {all}");
}

#[test]
fn honest_recorded_edits_break_next_to_no_rule() {
    let files = [
        ("self_edits_train.jsonl", "squad_train_100.jsonl"),
        ("self_edits_eval.jsonl", "squad_eval_200.jsonl"),
    ];
    for (edits, passages) in files {
        let (Some(edits), Some(passages)) = (rows::<Recorded>(edits), rows::<Passage>(passages))
        else {
            return;
        };
        let rules = shipped(&tau(&passages));
        let written = edits.iter().filter(|recorded| !recorded.text.is_empty());
        let mut hits: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for recorded in written.clone() {
            for rule in rules.findings(&whole(recorded, &passages)) {
                hits.entry(rule).or_default().push(&recorded.id);
            }
        }
        let written = written.count();
        println!("{written} recorded self-edits");
        for (rule, ids) in &hits {
            println!("  {rule}: {} ({})", ids.len(), ids.join(" "));
        }
        let on_tau = hits.values().map(Vec::len).sum::<usize>();
        assert!(on_tau * 100 <= written, "{on_tau} of {written}");
        for kind in ["text.secret.", "text.personal.", "text.injection."] {
            let of_kind = hits.keys().filter(|rule| rule.starts_with(kind)).count();
            assert_eq!(of_kind, 0, "{kind} {hits:?}");
        }
    }
}
