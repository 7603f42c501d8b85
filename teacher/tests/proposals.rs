//! Proposals: the same request yields the same edits in any batch; what does not parse is an outcome.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{Bench, CONTEXTS, content, context, sampled};
use seal_protocol::{LossPart, ProposalMethod, ProposeRequest, TrainingExample};

#[test]
fn the_same_request_yields_the_same_edits_in_any_batch_and_after_a_restart() {
    let request = sampled(&[0, 1, 2], 4);
    let mut bench = Bench::new();
    let first = bench.propose(&request).unwrap();
    assert!(!first.edits.is_empty());
    assert_eq!(first.edits.len() + first.unparsed.len(), 12);
    assert_eq!(bench.reopen().propose(&request).as_ref(), Ok(&first));

    // One context alone gets the edits it got among others.
    let alone = Bench::new().propose(&sampled(&[1], 4)).unwrap();
    let of_second = |envelope: &&_| content(envelope).context_digest == context(1);
    let among: Vec<_> = first.edits.iter().filter(of_second).cloned().collect();
    assert_eq!(alone.edits, among);
}

#[test]
fn an_edit_holds_distinct_lines_its_labels_and_the_context_as_a_part_of_its_own() {
    let mut bench = Bench::new();
    let proposals = bench.propose(&sampled(&[0], 8)).unwrap();
    for edit in proposals.edits.iter().map(content) {
        assert_eq!(edit.directives.labels[..2], ["plan_qa", "size_3"]);
        let (passage, lines) = edit.examples.split_last().unwrap();
        let text = CONTEXTS[0].to_owned();
        assert_eq!(*passage, TrainingExample::Text { text, part: LossPart::Context });
        assert!(!lines.is_empty());
        for (number, line) in lines.iter().enumerate() {
            assert!(!lines[..number].contains(line));
            let TrainingExample::Text { text, part: LossPart::Edit } = line else {
                panic!("{line:?}")
            };
            assert!(!text.contains(['<', '_']), "{text}");
        }
    }
}

#[test]
fn filters_of_the_config_are_what_replies_are_drawn_by() {
    let warm = sampled(&[0], 6);
    let free = Bench::new().propose(&warm).unwrap();
    let different: BTreeSet<_> = free.edits.iter().map(|edit| format!("{edit:?}")).collect();
    assert!(different.len() > 1, "seeds make no difference");

    // One token to draw from leaves nothing to chance, however warm: every reply is the greedy one.
    let only = |bench: Bench| bench.reopen_with(|config| config.sampling.top_k = 1);
    let mut filtered = only(Bench::new());
    let proposals = filtered.propose(&warm).unwrap();
    assert_eq!(proposals.edits.len() + proposals.unparsed.len(), 6);
    let replies = replies(&filtered);
    assert_eq!(replies.len(), 6);
    assert!(replies.windows(2).all(|pair| pair[0] == pair[1]), "{replies:?}");
}

/// The texts that were kept because no edit came of them.
fn replies(bench: &Bench) -> Vec<String> {
    let files = std::fs::read_dir(bench.config.state.join("unparsed")).unwrap();
    let text = |file: std::fs::DirEntry| -> String {
        let kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        kept["text"].as_str().unwrap().to_owned()
    };
    files.map(|file| text(file.unwrap())).collect()
}

#[test]
fn a_context_that_would_steer_the_policy_yields_no_edit_and_stops_no_other() {
    let mut bench = Bench::new();
    let proposals = bench.propose(&sampled(&[3, 0], 2)).unwrap();
    let refused: Vec<_> =
        proposals.unparsed.iter().filter(|one| one.context_digest == context(3)).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused[0].reason.contains("`<edit>`"), "{}", refused[0].reason);
    assert_eq!(proposals.edits.len() + proposals.unparsed.len(), 4);
}

#[test]
fn the_context_alone_is_an_edit_of_one_sequence() {
    let mut bench = Bench::new();
    let request = ProposeRequest { method: ProposalMethod::ContextOnly, ..sampled(&[0, 1], 1) };
    let proposals = bench.propose(&request).unwrap();
    assert_eq!(proposals.edits.len(), 2);
    let examples = content(&proposals.edits[1]).examples;
    let text = CONTEXTS[1].to_owned();
    assert_eq!(examples, [TrainingExample::Text { text, part: LossPart::Context }]);
}

#[test]
fn a_request_beyond_what_the_teacher_holds_is_refused() {
    let mut bench = Bench::new();
    let stranger = seal_trust::sha256(b"stranger");
    let unknown = ProposeRequest { context_digests: vec![stranger], ..sampled(&[], 1) };
    assert_eq!(bench.propose(&unknown), Err("context_unknown"));
    let unknown = ProposeRequest { policy_digest: Some(stranger), ..sampled(&[0], 1) };
    assert_eq!(bench.propose(&unknown), Err("policy_unknown"));
    assert_eq!(bench.propose(&sampled(&[0], 0)), Err("request_refused"));
    assert_eq!(bench.propose(&sampled(&[0], 65)), Err("request_refused"));
}
