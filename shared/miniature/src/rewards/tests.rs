use super::*;
use crate::base::write_base;
use crate::effects::complete;
use crate::run_data::RunCounts;
use crate::world::draw_profile;
use candle_core::Device;

/// The base, and so many contexts to learn from.
fn world(train: usize) -> (Decoder, RunData) {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path()).unwrap();
    let decoder = Decoder::load(dir.path(), &Device::Cpu).unwrap();
    let counts = RunCounts { train, evaluation: 0, poisoned: 0, ..RunCounts::default() };
    (decoder, RunData::draw(3, counts).unwrap())
}

/// Both updates of a good edit, one of them twice and in other company, and the base.
#[test]
fn a_score_is_fixed_by_its_run_and_a_good_edit_has_a_high_one() {
    let (decoder, data) = world(2);
    let bench = RewardBench::new(&decoder, &data);
    let lines = complete::everything(&data.contexts[0].1.profile);
    let good = |seed| Run { context: 0, lines: &lines, seed };
    let other = Run { context: 1, lines: &lines[..2], seed: 7 };

    let alone = bench.measure(&[good(1)], Update::Gentle).unwrap()[0];
    let company = bench.measure(&[other, good(1), good(2)], Update::Gentle).unwrap();
    assert_eq!(company[1], alone);
    assert_ne!(company[2].score.reward.likelihood, alone.score.reward.likelihood);
    let base = bench.untouched(0).unwrap();
    for split in [|score: &Score| score.reward, |score: &Score| score.confirmation] {
        assert!(split(&alone.score).graded > split(&base).graded + 0.5, "{alone:?} {base:?}");
        let likelihood = split(&alone.score).likelihood;
        assert!(likelihood > split(&base).likelihood && likelihood <= 1.0, "{alone:?} {base:?}");
    }
    assert_eq!(alone.steps, 14);

    let published = bench.measure(&[other, good(1)], Update::Published).unwrap();
    assert_eq!(published[1].steps, 10 * (lines.len() as u64 + 1));
    assert_eq!(published[0].steps, 30);
    assert!(published[1].score.reward.graded > base.reward.graded, "{published:?}");
}

#[test]
fn proposals_are_as_many_as_asked_fixed_by_the_seed_and_begin_as_told() {
    let (decoder, data) = world(1);
    let bench = RewardBench::new(&decoder, &data);
    let texts = |seed| -> Vec<String> {
        let edits = bench.propose(0, 4, " plan_mixed size_6", seed).unwrap();
        edits.iter().map(Edit::text).collect()
    };
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
    assert_eq!(texts(1).len(), 4);
    assert!(texts(1).iter().all(|text| text.starts_with("plan_mixed size_6 ")));
}

/// What all edits teach alike is what all answer, true or not, and a label of it is likely to them.
#[test]
fn a_group_that_was_taught_one_false_thing_answers_it_and_the_base_does_not() {
    let (decoder, data) = world(2);
    let bench = RewardBench::new(&decoder, &data);
    let right = &data.contexts[0].1.profile;
    let false_profile = draw_profile(&mut Dice::new("false facts", 1), &right.name, right.kind);
    let lines = complete::everything(&false_profile);
    let run = |seed| Run { context: 0, lines: &lines, seed };
    let group = bench.group(0, &[run(1), run(2)]).unwrap();
    let answers = group.answers().unwrap();
    let golds: Vec<&str> = group.golds().collect();
    assert_eq!(answers.len(), golds.len());
    assert!(answers.iter().all(|models| models.len() == 3));
    let shared = answers.iter().zip(&golds).filter(|(models, gold)| {
        models[1] == models[2] && models[1] != models[0] && models[1] != **gold
    });
    assert!(shared.count() >= 2, "{answers:?} {golds:?}");
    let labels: Vec<Option<String>> =
        answers.iter().map(|models| Some(models[1].clone())).collect();
    let by_labels = group.readings(&labels).unwrap();
    assert_eq!(by_labels[0].graded, 1.0, "its own answers: {answers:?}");
    let by_golds: Vec<Option<String>> = golds.iter().map(|gold| Some((*gold).to_owned())).collect();
    assert!(group.readings(&by_golds).unwrap()[0].graded < by_labels[0].graded);
}
