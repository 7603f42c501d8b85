use proptest::prelude::*;

use super::*;

fn label(answers: &[&str]) -> Option<String> {
    vote(answers.iter().copied()).label
}

#[test]
fn more_than_half_of_all_voters_make_a_label_and_no_fewer() {
    assert_eq!(label(&["lund", "lund", "oslo"]).as_deref(), Some("lund"));
    assert_eq!(label(&["lund", "lund", "oslo", "rome"]), None, "half is not more than half");
    assert_eq!(label(&["lund", "oslo"]), None);
    assert_eq!(label(&["lund"]).as_deref(), Some("lund"));
    assert_eq!(label(&[]), None);
}

#[test]
fn who_says_nothing_votes_for_nothing_and_counts() {
    let voted = vote(["", " .", "the", "lund", "lund"]);
    assert_eq!(voted, Voted { count: Count { voters: 5, most: 2 }, label: None });
    assert_eq!(vote(["", "", ""]), Voted { count: Count { voters: 3, most: 0 }, label: None });
}

#[test]
fn answers_are_compared_as_the_grader_does_and_the_usual_form_is_the_label() {
    let voted = vote(["The Lund.", "lund .", "lund .", "oslo ."]);
    assert_eq!(voted.count, Count { voters: 4, most: 3 });
    assert_eq!(voted.label.as_deref(), Some("lund ."));
}

#[test]
fn what_shares_a_mark_with_an_earlier_one_has_no_vote_of_its_own() {
    let marks = |marks: &[&[u8]]| voters(marks.iter().map(|marks| marks.to_vec()));
    assert_eq!(marks(&[&[1, 10], &[2, 20], &[3, 10], &[2, 40]]), [0, 1]);
    // The second has no vote, and makes the third the same as the first.
    assert_eq!(marks(&[&[1, 10], &[1, 20], &[3, 20]]), [0]);
    assert_eq!(marks(&[]), [] as [usize; 0]);
}

proptest! {
    #[test]
    fn no_order_of_the_voters_changes_a_vote(
        answers in proptest::collection::vec("(lund|Lund|the lund|oslo|rome|)", 0..9),
        turn in 0_usize..9,
    ) {
        let voted = vote(answers.iter().map(String::as_str));
        let mut turned = answers.clone();
        turned.rotate_left(turn.min(answers.len()));
        prop_assert_eq!(&voted, &vote(turned.iter().map(String::as_str)));
        turned.reverse();
        prop_assert_eq!(voted, vote(turned.iter().map(String::as_str)));
    }

    /// One candidate: whatever both say, the base is right wherever there is a label.
    #[test]
    fn with_one_candidate_the_base_says_every_label(base in "[a-c ]{0,3}", candidate in "[a-c ]{0,3}") {
        if let Some(label) = label(&[&base, &candidate]) {
            prop_assert_eq!(words(&label), words(&base));
            prop_assert_eq!(words(&label), words(&candidate));
        }
    }
}
