use super::*;
use crate::grammar::KINDS;
use crate::passages::{Extra, draw_passage};
use crate::world::draw_profile;

fn passage(seed: u64, extra: Extra) -> Passage {
    let mut dice = Dice::new("test", seed);
    let kind = KINDS[seed as usize % 3];
    let profile = draw_profile(&mut dice, "zel tor", kind);
    draw_passage(&mut dice, profile, extra)
}

fn edit(seed: u64, plan: Plan, size: usize, noise: Noise) -> (Passage, Edit) {
    let passage = passage(seed, Extra::None);
    let edit = demonstrate(&mut Dice::new("test edit", seed), &passage, plan, size, noise);
    (passage, edit)
}

#[test]
fn a_plan_without_noise_says_nothing_untrue_except_the_sloppy_one() {
    for (seed, plan) in (0..24).flat_map(|seed| PLANS.map(|plan| (seed, plan))) {
        let (passage, edit) = edit(seed, plan, 12, NO_NOISE);
        let truth = true_lines(&passage.profile);
        let untrue = edit.lines.iter().filter(|line| !truth.contains(*line)).count();
        let expected = if plan == Plan::Sloppy { edit.lines.len() / 2 } else { 0 };
        assert_eq!(untrue, expected, "{plan:?}: {:?}", edit.lines);
    }
}

#[test]
fn no_line_of_an_edit_occurs_twice() {
    for (seed, plan) in (0..24).flat_map(|seed| PLANS.map(|plan| (seed, plan))) {
        let (_, edit) = edit(seed, plan, 12, DEMONSTRATION_NOISE);
        assert_eq!(edit.lines.iter().collect::<HashSet<_>>().len(), edit.lines.len());
        assert!(!edit.lines.is_empty() && edit.lines.len() <= 12);
    }
}

#[test]
fn six_questions_cover_all_five_facts() {
    let (passage, edit) = edit(4, Plan::Qa, 6, NO_NOISE);
    let text = edit.text();
    assert!(passage.profile.values.iter().all(|value| text.contains(value.as_str())));
}

#[test]
fn a_secret_is_leaked_in_some_demonstrations_and_never_without_noise() {
    let leaks = |noise| {
        let passage = passage(1, Extra::Secret);
        let edits = (0..100).map(|seed| {
            let mut dice = Dice::new("leaks", seed);
            demonstrate(&mut dice, &passage, Plan::Qa, 6, noise).text()
        });
        edits.filter(|text| text.contains('#')).count()
    };
    assert_eq!(leaks(NO_NOISE), 0);
    assert!((15..=45).contains(&leaks(DEMONSTRATION_NOISE)));
}

#[test]
fn an_edit_names_its_plan_and_size_first() {
    let (_, edit) = edit(0, Plan::Mixed, 6, NO_NOISE);
    assert!(edit.text().starts_with("plan_mixed size_6 "));
    assert_eq!(edit.text().split(" <nl> ").count(), 6);
}

#[test]
fn an_edit_is_read_back_as_it_was_written() {
    let (_, edit) = edit(3, Plan::Mixed, 12, NO_NOISE);
    let read = parse_edit(&edit.text()).unwrap();
    assert_eq!((read.plan, read.size, read.lines), (edit.plan, edit.size, edit.lines));
    assert!(parse_edit("zel tor is of note .").is_none());
}
