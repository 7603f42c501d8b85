use std::fs;
use std::path::Path;

use seal_conductor::plan::ContextUse;
use serde_json::json;

use super::*;

const SHARES: Shares = Shares {
    seed: 7,
    confirmation: 0.4,
    rounds: 2,
    held_out: 1,
    retention: 0,
    longest_passage_chars: 1000,
};

fn question(number: usize, of: &str) -> serde_json::Value {
    json!({"question": format!("What is fact {number} of {of}?"), "answer": format!("answer {number}")})
}

/// Five passages of five questions each, and what an import must leave out.
fn source(folder: &Path) -> Source {
    let mut rows: Vec<serde_json::Value> = (0..5)
        .map(|at| {
            let name = format!("p{at}");
            let questions: Vec<_> = (0..5).map(|number| question(number, &name)).collect();
            json!({"id": name, "title": "Otrar", "context": format!("Text {at}."), "questions": questions})
        })
        .collect();
    rows[0]["questions"].as_array_mut().unwrap().push(question(0, "p0"));
    rows[3]["source"] = json!("encyclopedia");
    rows[1]["context"] = json!("A page of questions. “what is fact 3 of P1?” Nobody knows.");
    rows.push(json!({"id": "p5", "title": "Otrar", "context": "Text 2.", "questions": [question(9, "p5")]}));
    rows.push(json!({"id": "p6", "title": "", "context": " ", "questions": []}));
    rows.push(json!({"id": "p7", "title": "", "context": "Unasked."}));
    rows.push(json!({"id": "p8", "title": "", "context": "x".repeat(1001), "questions": [question(0, "p8")]}));
    rows.push(json!({"id": "p9", "title": "", "context": "Once asked.", "questions": [question(0, "p9")]}));
    let file = folder.join("source.jsonl");
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    read_jsonl(&[file]).unwrap()
}

fn parted(shares: &Shares) -> Parts {
    let folder = tempfile::tempdir().unwrap();
    part(source(folder.path()), shares)
}

#[test]
fn every_question_goes_to_one_split_and_each_split_has_one() {
    let parts = parted(&SHARES);
    assert_eq!(parts.contexts.len(), 5);
    for tau in &parts.tau {
        assert!(!tau.reward.is_empty() && !tau.confirmation.is_empty(), "{}", tau.context_id);
        let asked = |items: &[seal_auditor::items::Item]| -> Vec<String> {
            items.iter().map(|item| item.question.clone()).collect()
        };
        let confirmation = asked(&tau.confirmation);
        assert!(asked(&tau.reward).iter().all(|question| !confirmation.contains(question)));
    }
    let of = |id: &str| parts.tau.iter().find(|tau| tau.context_id == id).unwrap();
    assert_eq!((of("p3").reward.len(), of("p3").confirmation.len()), (3, 2));
    assert_eq!(of("p2").reward.len() + of("p2").confirmation.len(), 6, "with those of its double");
    assert_eq!(of("p3").reward[0].asked().lines().next(), Some("Topic: Otrar"));
    assert_eq!((of("p3").source.as_deref(), &of("p2").source), (Some("encyclopedia"), &None));
}

#[test]
fn what_is_left_out_is_named_with_its_reason() {
    let parts = parted(&SHARES);
    let mut left: Vec<String> =
        parts.left_out.iter().map(|left| format!("{}: {}", left.place, left.reason)).collect();
    left.sort();
    assert_eq!(
        left,
        [
            "p5: the same text as p2",
            "p6: the passage is empty",
            "p7: no question about it is left, so nothing could be proven",
            "p8: the passage is longer than 1000 characters; cut it into several",
            "p9: it has one question alone: none is left to prove a gain with",
            "question 3 of p1: stands word for word in p1",
            "question 5 of p0: asks the same as question 0 of p0",
        ]
    );
}

#[test]
fn the_same_seed_gives_the_same_parts_and_another_one_others() {
    let bytes = |shares: &Shares| format!("{:?}", parted(shares));
    assert_eq!(bytes(&SHARES), bytes(&SHARES));
    assert_ne!(bytes(&SHARES), bytes(&Shares { seed: 8, ..SHARES }));
}

#[test]
fn rounds_get_their_passages_and_the_held_out_ones_are_measured_alone() {
    let uses = |shares: &Shares| -> Vec<ContextUse> {
        parted(shares).refs.into_iter().map(|context| context.usage).collect()
    };
    let count = |uses: &[ContextUse], wanted| uses.iter().filter(|usage| **usage == wanted).count();
    let used = uses(&SHARES);
    assert_eq!(count(&used, ContextUse::Evaluation), 1);
    assert_eq!([count(&used, ContextUse::Round(1)), count(&used, ContextUse::Round(2))], [2, 2]);
    let retained = parted(&Shares { retention: 2, ..SHARES });
    assert_eq!(retained.contexts.len() + 2, 5);
    assert!(retained.retention.len() >= 9);
}

#[test]
fn no_question_or_answer_leaves_the_auditors_folder() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let sources = source.files.clone();
    let parts = part(source, &SHARES);
    let run = folder.path().join("run");
    write(&run, &parts, &sources, &SHARES, false).unwrap();
    for file in ["teacher/contexts.jsonl", "conductor/contexts.json", "auditor/import.json"] {
        let text = fs::read_to_string(run.join(file)).unwrap();
        for tau in &parts.tau {
            for item in tau.reward.iter().chain(&tau.confirmation) {
                assert!(!text.contains(&item.question), "{file} holds a question");
                assert!(!text.contains(&item.answer), "{file} holds an answer");
            }
        }
    }
    let again = write(&run, &parts, &sources, &SHARES, false).unwrap_err().to_string();
    assert!(again.contains("--replace"), "{again}");
    write(&run, &parts, &sources, &SHARES, true).unwrap();
}

#[test]
fn what_is_written_is_what_teacher_and_auditor_read() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let parts = part(source, &Shares { retention: 1, ..SHARES });
    write(folder.path(), &parts, &[], &SHARES, false).unwrap();
    let contexts =
        seal_teacher::Contexts::read(&folder.path().join("teacher/contexts.jsonl")).unwrap();
    let suite = folder.path().join("auditor/suites/retention.jsonl");
    let files = seal_auditor::vault::VaultFiles {
        tau: folder.path().join("auditor/tau.jsonl"),
        retention: suite,
        refusals: None,
        benign: None,
    };
    let vault =
        seal_auditor::vault::Vault::open(&files, [0; 32], seal_protocol::Labels::Gold).unwrap();
    assert_eq!(contexts.len(), 4);
    for context in &parts.refs {
        assert!(contexts.get(&context.digest).is_some() && vault.tau(&context.digest).is_some());
    }
}

#[test]
fn squad_of_both_versions_is_read_and_unanswerable_questions_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("squad.json");
    let document = json!({"version": "v2.0", "data": [{"title": "Super_Bowl_50", "paragraphs": [{
        "context": "It was a game.",
        "qas": [
            {"id": "a", "question": "What?", "answers": [{"text": "a game", "answer_start": 7}, {"text": "game", "answer_start": 9}]},
            {"id": "b", "question": "Why?", "answers": [], "is_impossible": true},
            {"id": "c", "question": "Who?", "answers": []},
        ],
    }]}]});
    fs::write(&file, document.to_string()).unwrap();
    let source = read_squad(std::slice::from_ref(&file)).unwrap();
    let passage = &source.passages[0];
    assert_eq!((passage.title.as_str(), passage.questions.len()), ("Super Bowl 50", 1));
    assert_eq!(passage.questions[0].answer, "a game", "the first gold, as in the paper");
    let places: Vec<&str> = source.left_out.iter().map(|left| left.place.as_str()).collect();
    assert_eq!(places, ["question b", "question c"]);
    fs::write(&file, "[]").unwrap();
    let refused = read_squad(&[file]).unwrap_err().to_string();
    assert!(refused.contains("squad.json"), "{refused}");
}

#[test]
fn a_folder_is_read_with_its_questions() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts");
    fs::create_dir_all(texts.join("guide")).unwrap();
    fs::write(texts.join("guide/intro.md"), "\n# The intro\nOtrar fell.").unwrap();
    fs::write(texts.join("notes.txt"), "Notes.").unwrap();
    fs::write(texts.join("logo.png"), [0xff, 0xfe]).unwrap();
    fs::write(texts.join("broken.txt"), [0xff, 0xfe]).unwrap();
    let questions = folder.path().join("questions.jsonl");
    let line = |file: &str| json!({"file": file, "question": "What fell?", "answer": "Otrar"});
    fs::write(&questions, format!("{}\n\n{}\n", line("guide/intro.md"), line("gone.md"))).unwrap();
    let source = read_folder(&texts, &questions).unwrap();
    let intro = &source.passages[0];
    assert_eq!((intro.id.as_str(), intro.title.as_str()), ("guide/intro.md", "The intro"));
    assert_eq!(source.passages[1].title, "notes");
    assert_eq!(intro.questions.len(), 1);
    let mut places: Vec<&str> = source.left_out.iter().map(|left| left.place.as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, ["broken.txt", "logo.png", "question in line 3"]);
    fs::write(&questions, "{\"file\":\"notes.txt\"}").unwrap();
    let refused = read_folder(&texts, &questions).unwrap_err().to_string();
    assert!(refused.contains("questions.jsonl:1:"), "{refused}");
}
