use std::path::PathBuf;

use serde::Deserialize;

use super::*;

fn june(split_newlines: bool, completion: &str) -> Vec<String> {
    SequenceBuilder::new(SequenceRule::June, split_newlines).pieces(completion)
}

fn august(split_newlines: bool, completion: &str) -> Vec<String> {
    SequenceBuilder::new(SequenceRule::August, split_newlines).pieces(completion)
}

#[test]
fn every_sequence_begins_with_the_title_and_the_context_comes_last() {
    let builder = SequenceBuilder::new(SequenceRule::June, true);
    let sequences = builder.build("Otrar", "\n A town.\u{a0}\n", "One.\r\n\r\n Two. \n");
    assert_eq!(sequences, ["Otrar\nOne.", "Otrar\nTwo.", "Otrar\nA town."]);
    let alone = SequenceBuilder { with_context: false, ..builder };
    assert_eq!(alone.build("Otrar", "A town.", "One."), ["Otrar\nOne."]);
}

#[test]
fn an_empty_completion_leaves_a_title_under_june_without_splitting_and_nothing_elsewhere() {
    for empty in ["", " \n\t", "\u{1c}"] {
        assert_eq!(june(false, empty), [""]);
        assert!(june(true, empty).is_empty() && august(false, empty).is_empty());
        assert!(august(true, empty).is_empty());
    }
}

#[test]
fn a_completion_of_separators_alone_is_kept_as_it_is() {
    assert_eq!(june(false, " ---\n--- "), ["---\n---"]);
    assert_eq!(june(true, "---\n\n------"), ["---", "------"]);
    assert_eq!(august(true, "---"), ["---"]);
}

#[test]
fn documents_are_cut_at_three_dashes_anywhere_in_a_line() {
    assert_eq!(june(false, "a---b\n-----\nc"), ["a", "b", "--\nc"]);
    assert_eq!(june(true, "a---b\n-----\nc"), ["a", "b", "--", "c"]);
}

#[test]
fn a_chatty_opener_goes_only_where_the_list_begins_in_the_second_line() {
    assert_eq!(june(true, "Sure:\n1. a\n2. b"), ["1. a", "2. b"]);
    assert_eq!(june(true, "Sure:\n---\n1.a"), ["1.a"], "a separator hides no opener");
    assert_eq!(june(true, "1. a\n2. b"), ["1. a", "2. b"]);
    assert_eq!(june(true, "1. a\n1. b"), ["1. b"]);
    assert_eq!(june(true, "Sure:\nIndeed:\n1. a"), ["Sure:", "Indeed:", "1. a"]);
    assert_eq!(june(false, "Sure:\n1. a"), ["Sure:\n1. a"]);
}

#[test]
fn questions_are_cut_before_each_numbered_one_and_the_first_gets_its_number() {
    let completion =
        " Who?\nAnswer: she.\n\nQuestion 2: When?\nAnswer : then.\nQuestion\u{a0}10: x\n";
    let pieces = ["Question 1: Who?\nAnswer: she.", "Question 2: When?\nAnswer : then."];
    let found = june(true, completion);
    assert_eq!(found[..2], pieces);
    assert_eq!(found[2], "Question\u{a0}10: x");
    assert_eq!(found, august(true, completion));
}

#[test]
fn a_question_keeps_its_blank_lines_and_separators() {
    let completion = "Question 1: a\nAnswer: b\n\n---\nQuestion 2: c\nAnswer: d";
    assert_eq!(
        june(true, completion),
        ["Question 1: a\nAnswer: b\n\n---", "Question 2: c\nAnswer: d"]
    );
}

#[test]
fn a_question_is_cut_at_the_start_of_a_line_alone() {
    let completion = "a\nAnswer: b. Question 2: c\r\nQuestion 3: d\n Question 4: e";
    let pieces = ["Question 1: a\nAnswer: b. Question 2: c", "Question 3: d\n Question 4: e"];
    assert_eq!(june(true, completion), pieces);
}

#[test]
fn numbered_answers_are_no_answers() {
    let completion = "a\nAnswer 1: b\nQuestion 2: c\nAnswer 2: d";
    assert_eq!(june(true, completion), ["a", "Answer 1: b", "Question 2: c", "Answer 2: d"]);
    assert_eq!(june(true, "question 1: a\nanswer: b"), ["question 1: a", "answer: b"]);
}

#[test]
fn a_first_piece_that_begins_with_the_word_gets_no_number() {
    assert_eq!(
        june(true, "Questions follow.\nQuestion 1: a\nAnswer: b"),
        ["Questions follow.", "Question 1: a\nAnswer: b"]
    );
}

#[test]
fn august_drops_a_train_of_thought_up_to_the_first_list() {
    let completion = "I think.\nImplications:\n\n1. a\n2. b\nImplications: c";
    assert_eq!(august(true, completion), ["1. a", "2. b", "Implications: c"]);
    assert_eq!(june(true, completion)[0], "I think.");
    assert_eq!(august(true, "Implications:\na"), ["Implications:", "a"], "no line break before");
    assert_eq!(august(true, "I think.\n Implications:\na").len(), 3, "an indented one is text");
    assert!(august(true, "I think.\nImplications: \u{1d}\n").is_empty());
}

#[test]
fn august_keeps_thirty_pieces_of_each_completion() {
    let many: Vec<String> = (2..42).map(|number| format!("{number}.")).collect();
    for separator in ["\n", "---"] {
        let completion = many.join(separator);
        assert_eq!(august(separator == "\n", &completion), many[..30]);
        assert_eq!(june(separator == "\n", &completion).len(), 40);
    }
    let asked: Vec<String> = (1..40).map(|n| format!("Question {n}: a\nAnswer: b")).collect();
    assert_eq!(august(true, &asked.join("\n")), asked[..30]);
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    title: String,
    context: String,
    completion: String,
    split_newlines: bool,
    sequences: Vec<String>,
    sequences_aug2025: Option<Vec<String>>,
}

/// Inputs and outputs recorded from the original system; absent where the machine does not have them.
fn recorded_cases() -> Option<Vec<Case>> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = match std::env::var_os("SEAL_REFERENCE_DATA") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("../shared/data/seal"),
    };
    let path = folder.join("sequence_builder_cases.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn every_recorded_case_comes_out_to_the_letter_under_both_rules() {
    let Some(cases) = recorded_cases() else { return };
    assert!(!cases.is_empty());
    for (index, case) in cases.iter().enumerate() {
        let built = |rule| {
            SequenceBuilder::new(rule, case.split_newlines).build(
                &case.title,
                &case.context,
                &case.completion,
            )
        };
        let named = format!("case {index} ({})", case.kind);
        assert_eq!(built(SequenceRule::June), case.sequences, "{named}, June");
        let expected = case.sequences_aug2025.as_ref().unwrap_or(&case.sequences);
        assert_eq!(&built(SequenceRule::August), expected, "{named}, August");
    }
}
