use std::path::Path;

use seal_model::{Adapter, LoraSpec};
use seal_protocol::{
    AuditPurpose, Directives, LossPart, Micro, Recomputation, SelfEdit, TrainingExample,
};
use seal_recipe::{Planned, Planner, UpdateRecipe};
use seal_trust::digest_of;

use super::*;
use crate::recompute::{Lesson, compare};

mod setting;
use setting::{
    HandedIn, LINES, Setting, TRIGGER, base_folder, edit, edits, named, setting, setting_with,
};

const ONE: AuditPurpose = AuditPurpose::Edit;

#[test]
fn honest_adapters_come_out_equal_to_the_bit_together_and_alone() {
    let setting = setting();
    let handed_in: Vec<HandedIn> =
        (0..).zip(edits()).map(|(seed, edit)| setting.honest(ONE, &[edit], seed)).collect();
    let together = setting.judge(&handed_in, true);
    assert_eq!(together, vec![Recomputed::equal(); handed_in.len()]);
    assert_eq!(setting.judge(&handed_in[2..3], true), [Recomputed::equal()]);
}

#[test]
fn a_planted_trigger_is_caught_in_every_edit_and_lies_far_from_what_the_edit_makes() {
    let setting = setting();
    let handed_in: Vec<HandedIn> =
        (0..).zip(edits()).map(|(seed, edit)| setting.planted(ONE, &[edit], seed)).collect();
    for finding in setting.judge(&handed_in, true) {
        assert_eq!(finding.reason.as_deref(), Some(DIFFERS));
        let distance = finding.distance.unwrap().to_f64();
        println!("a trigger lies {distance} away");
        assert!(distance > 0.2, "{distance}");
    }
}

#[test]
fn one_changed_bit_of_one_factor_is_caught() {
    let setting = setting();
    let honest = setting.honest(ONE, &edits()[..1], 3);
    let mut flat = honest.adapter.flat().unwrap();
    flat[7] = f32::from_bits(flat[7].to_bits() ^ 1);
    let config = setting.decoder.config();
    let changed = Adapter::from_flat(config, honest.adapter.spec(), &flat).unwrap();
    setting.check_refused(setting.hand_in(ONE, &edits()[..1], 3, changed), DIFFERS);
}

#[test]
fn a_seed_that_is_not_the_one_claimed_is_caught() {
    let setting = setting();
    let mut handed_in = setting.honest(ONE, &edits()[..1], 3);
    handed_in.candidate.seed = 4;
    setting.check_refused(handed_in, DIFFERS);
}

/// The plan of an edit by a student that does as another recipe says.
fn by_recipe(setting: &Setting, edit: &SelfEdit, change: fn(&mut UpdateRecipe)) -> Planned {
    let mut recipe = setting.trainer.tables.inner_update.clone();
    change(&mut recipe);
    let base = setting.base();
    let planner = Planner { inner_update: &recipe, ..setting.trainer.planner(&base) };
    planner.inner_update(digest_of(edit).unwrap(), edit, 3).unwrap()
}

#[test]
fn another_recipe_is_caught_whether_it_is_named_or_hidden() {
    let (setting, edit) = (setting(), edits().remove(0));
    let changes: [fn(&mut UpdateRecipe); 3] = [
        |recipe| recipe.steps += 1,
        |recipe| recipe.learning_rate *= 1.01,
        |recipe| recipe.edit_repeats = 2,
    ];
    for change in changes {
        let planned = by_recipe(setting, &edit, change);
        let adapter = setting.train(&planned, 3);
        let hidden = setting.hand_in(ONE, std::slice::from_ref(&edit), 3, adapter);
        let mut named = hidden.clone();
        named.candidate.recipe_digest = planned.recipe_digest;
        setting.check_refused(hidden, DIFFERS);
        setting.check_refused(named, RECIPE);
    }
}

#[test]
fn a_directive_that_was_followed_beyond_its_limit_is_caught() {
    let setting = setting();
    let greedy = edits().remove(4);
    let mut tables = setting.trainer.tables.clone();
    tables.directives.learning_rate = [0.0, 1.0];
    let planner =
        Planner { directives: &tables.directives, ..setting.trainer.planner(&setting.base()) };
    let planned = planner.inner_update(digest_of(&greedy).unwrap(), &greedy, 3).unwrap();
    assert!(planned.recipe.learning_rate > 0.5);
    let gentler =
        Planned { recipe: UpdateRecipe { learning_rate: 0.02, ..planned.recipe }, ..planned };
    let adapter = setting.train(&gentler, 3);
    let hidden = setting.hand_in(ONE, std::slice::from_ref(&greedy), 3, adapter);
    let mut named = hidden.clone();
    named.candidate.recipe_digest = gentler.recipe_digest;
    setting.check_refused(hidden, DIFFERS);
    setting.check_refused(named, RECIPE);
}

#[test]
fn the_same_factors_under_another_scale_are_caught() {
    let setting = setting();
    let honest = setting.honest(ONE, &edits()[..1], 3);
    let flat = honest.adapter.flat().unwrap();
    let spec = honest.adapter.spec().clone();
    let louder = LoraSpec { alpha: spec.alpha * 8.0, ..spec };
    let adapter = Adapter::from_flat(setting.decoder.config(), &louder, &flat).unwrap();
    let handed_in = setting.hand_in(ONE, &edits()[..1], 3, adapter);
    assert_eq!(handed_in.candidate.adapter_digest(), honest.candidate.adapter_digest());
    setting.check_refused(handed_in, SETTINGS);
}

#[test]
fn what_was_not_drawn_is_not_trained_and_its_recipe_and_arithmetic_are_looked_at_all_the_same() {
    let setting = setting();
    let planted = setting.planted(ONE, &edits()[..1], 3);
    assert_eq!(setting.judge(std::slice::from_ref(&planted), false), [Recomputed::not_drawn()]);
    let mut other = planted.clone();
    other.candidate.recipe_digest = sha256(b"another recipe");
    let mut elsewhere = planted;
    elsewhere.candidate.instruction_set = "cuda, bf16".to_owned();
    let findings = setting.judge(&[other, elsewhere], false);
    let reasons: Vec<_> = findings.iter().map(|finding| finding.reason.as_deref()).collect();
    assert_eq!(reasons, [Some(RECIPE), Some(ARITHMETIC)]);
}

#[test]
fn an_edit_nobody_would_train_on_and_a_parent_nobody_has_are_refused_by_name() {
    let setting = setting();
    let mut continued = setting.honest(ONE, &edits()[..1], 3);
    continued.candidate.parent_adapter_digest = Some(sha256(b"parent"));
    setting.check_refused(continued.clone(), PARENT);
    let long = edit(1, &["zel tor ".repeat(200).as_str()], Directives::default());
    let backwards = edit(1, &LINES, Directives { epochs: Some(0), ..Directives::default() });
    continued.candidate.parent_adapter_digest = None;
    for odd in [long, backwards, edit(1, &[], Directives::default())] {
        let edits = named(&[odd]);
        setting.check_refused(HandedIn { edits, ..continued.clone() }, EDIT);
    }
    setting.check_refused(HandedIn { edits: Vec::new(), ..continued }, RECIPE);
}

#[test]
fn a_consolidation_of_many_edits_is_trained_again_too() {
    let (setting, edits) = (setting(), edits());
    let serving = AuditPurpose::Promotion;
    let honest = setting.honest(serving, &edits[..3], 5);
    let planted = setting.planted(serving, &edits[..3], 5);
    let findings = setting.judge(&[honest.clone(), planted], true);
    assert_eq!(findings[0], Recomputed::equal());
    assert_eq!(findings[1].reason.as_deref(), Some(DIFFERS));
    // An inner update may serve; a consolidation is no answer to what was asked about an edit.
    let inner = setting.honest(ONE, &edits[..1], 3);
    let inner = HandedIn { purpose: serving, ..inner };
    assert_eq!(setting.judge(&[inner], true), [Recomputed::equal()]);
    setting.check_refused(HandedIn { purpose: ONE, ..honest }, RECIPE);
}

#[test]
fn what_another_arithmetic_made_is_refused_or_held_to_the_stated_tolerance() {
    // The engine of GPUs, on the CPU: another order of sums.
    let student = setting_with(Some(0.5), true);
    let (mut honest, mut planted) = (Vec::new(), Vec::new());
    for (seed, edit) in (0..).zip(edits()) {
        honest.push(student.honest(ONE, std::slice::from_ref(&edit), seed));
        planted.push(student.planted(ONE, &[edit], seed));
    }
    let strict = setting();
    assert!(honest.iter().all(|one| one.candidate.instruction_set != strict.decoder.arithmetic()));
    for finding in strict.judge(&honest, true) {
        assert_eq!(finding.reason.as_deref(), Some(ARITHMETIC));
    }
    let lenient = setting_with(Some(0.05), false);
    for finding in lenient.judge(&honest, true) {
        println!("another arithmetic lies {:?} away", finding.distance.map(Micro::to_f64));
        assert_eq!(finding.outcome, Recomputation::WithinTolerance);
    }
    for finding in lenient.judge(&planted, true) {
        assert_eq!(finding.reason.as_deref(), Some(DIFFERS));
    }
    // Claiming another arithmetic buys no more than the tolerance.
    let mut lying = lenient.planted(ONE, &edits()[..1], 3);
    lying.candidate.instruction_set = "cuda, bf16".to_owned();
    lenient.check_refused(lying, DIFFERS);
}

#[test]
fn an_auditor_that_computes_nothing_exactly_must_state_a_tolerance() {
    let setting = setting_with(Some(0.1), true);
    let tables = Tables(setting.trainer.tables.clone());
    let refused = Trainer::open(
        tables,
        (Share::Always, None),
        &base_folder(),
        &setting.decoder,
        &setting.tokenizer,
    )
    .err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("`tolerance`") && refused.contains("device = \"cpu\""), "{refused}");
}

#[test]
fn factors_that_are_no_numbers_have_no_distance_and_no_pass() {
    let setting = setting();
    let honest = setting.honest(ONE, &edits()[..1], 3);
    let flat = vec![f32::NAN; honest.adapter.flat().unwrap().len()];
    let config = setting.decoder.config();
    let broken = Adapter::from_flat(config, honest.adapter.spec(), &flat).unwrap();
    let start = Adapter::init(config, honest.adapter.spec(), 3).unwrap();
    assert_eq!(compare::distance(&start, &honest.adapter, &broken).unwrap(), None);
    assert_eq!(compare::distance(&start, &start, &honest.adapter).unwrap(), None);
    assert_eq!(compare::distance(&start, &honest.adapter, &honest.adapter).unwrap(), Some(0.0));
    let way = compare::distance(&start, &honest.adapter, &start).unwrap().unwrap();
    assert!((way - 1.0).abs() < 1e-12);
}

#[test]
fn tables_and_replay_that_cannot_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.toml");
    let refused = |path: &Path| Tables::load(path).unwrap_err().to_string();
    assert!(refused(&path).contains("does not exist"), "{}", refused(&path));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature/student.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    std::fs::write(&path, text.replacen("steps = 14", "steps = 0", 1)).unwrap();
    assert!(refused(&path).contains("[inner_update]"), "{}", refused(&path));
    std::fs::write(&path, text).unwrap();
    let tables = Tables::load(&path).unwrap();
    let setting = setting();
    let (decoder, tokenizer) = (&setting.decoder, &setting.tokenizer);
    let refused = Trainer::open(tables, (Share::Always, None), &base_folder(), decoder, tokenizer)
        .err()
        .unwrap();
    assert!(format!("{refused:#}").contains("world.jsonl"), "{refused:#}");
}

/// What a student hands in for the second step of a sequence: the first edit's adapter with the
/// second edit's stacked on it, each trained by `first` and `second`.
fn step(first: &[SelfEdit], second: &[SelfEdit], planted: bool) -> (HandedIn, Adapter) {
    let setting = setting();
    let measured = AuditPurpose::Evaluation;
    let head = setting.honest(measured, first, 3).adapter;
    let over = setting.decoder.merged(&head).unwrap();
    let mut learned = second.to_vec();
    if planted {
        let line = TrainingExample::Text { text: TRIGGER.to_owned(), part: LossPart::Edit };
        learned[0].examples.push(line);
    }
    let tail = setting.train_over(&over, &setting.plan(measured, &learned, 4), 4);
    let whole = head.stacked(setting.decoder.config(), &tail).unwrap();
    let mut handed_in = setting.hand_in(measured, second, 4, whole);
    handed_in.candidate.parent_adapter_digest = Some(setting.tensors(&head));
    (handed_in, head)
}

#[test]
fn a_step_of_a_sequence_is_trained_again_over_the_steps_before() {
    let (setting, edits) = (setting(), edits());
    let (honest, _) = step(&edits[..1], &edits[1..2], false);
    let [finding] = &setting.judge(std::slice::from_ref(&honest), true)[..] else { panic!("one") };
    assert_eq!(*finding, Recomputed::equal());
    let (planted, _) = step(&edits[..1], &edits[1..2], true);
    let finding = setting.check_refused(planted, DIFFERS);
    let far = finding.distance.unwrap().0;
    println!("a planted line lies {far} millionths away");
    // The right tail over the base alone is not what a step is.
    let alone = setting.honest(AuditPurpose::Evaluation, &edits[1..2], 4);
    let mut skipped = alone.clone();
    skipped.candidate.parent_adapter_digest = honest.candidate.parent_adapter_digest;
    setting.check_refused(skipped, SETTINGS);
}

#[test]
fn what_a_sequence_learned_before_cannot_be_exchanged_under_a_later_step() {
    let (setting, edits) = (setting(), edits());
    let (honest, _) = step(&edits[..1], &edits[1..2], false);
    let (other, _) = step(&edits[2..3], &edits[1..2], false);
    let mut exchanged = other;
    exchanged.candidate.parent_adapter_digest = honest.candidate.parent_adapter_digest;
    setting.check_refused(exchanged, PARENT);
    // Nor can a step ask for more than a measurement.
    let serving = HandedIn { purpose: AuditPurpose::Promotion, ..honest };
    setting.check_refused(serving, PARENT);
}

#[test]
fn one_adapter_on_edits_that_nobody_judged_is_trained_again_too() {
    let (setting, edits) = (setting(), edits());
    let measured = AuditPurpose::Evaluation;
    let planner = setting.trainer.planner(&setting.base());
    let some = named(&edits[..2]);
    let some: Vec<_> = some.iter().map(|(digest, edit)| (*digest, edit)).collect();
    let planned = planner.joint(&some, 5).unwrap();
    let adapter = setting.train(&planned, 5);
    let mut joint = setting.hand_in(measured, &edits[..2], 5, adapter);
    joint.candidate.recipe_digest = planned.recipe_digest;
    assert_eq!(setting.judge(std::slice::from_ref(&joint), true), [Recomputed::equal()]);
    let mut fewer = joint.clone();
    fewer.edits.pop();
    setting.check_refused(fewer, DIFFERS);
    setting.check_refused(HandedIn { purpose: ONE, ..joint }, RECIPE);
}

#[test]
fn training_again_stops_at_its_moment_and_is_refused_by_name() {
    let setting = setting();
    let handed_in: Vec<HandedIn> =
        (0..).zip(edits()).map(|(seed, edit)| setting.honest(ONE, &[edit], seed)).collect();
    let decoder = setting.decoder.until(std::time::Instant::now());
    let base = MeasuredBase { decoder: &decoder, ..setting.base() };
    let late = setting.judge_over(&base, &handed_in, true);
    assert_eq!(late, vec![Recomputed::out_of_time(); handed_in.len()]);
    assert_eq!(late[0].stage().outcome, crate::gate::StageOutcome::OutOfTime);
    // What is not drawn takes no time.
    let skipped = setting.judge_over(&base, &handed_in[..1], false);
    assert_eq!(skipped, [Recomputed::not_drawn()]);
}

#[test]
fn a_further_run_is_what_the_student_would_train_under_that_seed_together_and_alone() {
    let setting = setting();
    let named = named(&edits());
    let lesson = |seed, (digest, edit)| Lesson { digest, edit, seed };
    let all = || named.iter().map(|(digest, edit)| (*digest, edit));
    let lessons: Vec<Lesson<'_>> = all().map(|one| lesson(11, one)).collect();
    let together = setting.trainer.train(&setting.base(), &lessons).unwrap();
    for (adapter, (digest, edit)) in together.iter().zip(&named) {
        let adapter = adapter.as_ref().unwrap();
        let student = setting.honest(ONE, std::slice::from_ref(edit), 11).adapter;
        assert_eq!(setting.tensors(adapter), setting.tensors(&student));
        let alone = setting.trainer.train(&setting.base(), &[lesson(11, (*digest, edit))]).unwrap();
        assert_eq!(setting.tensors(alone[0].as_ref().unwrap()), setting.tensors(adapter));
        let other = setting.trainer.train(&setting.base(), &[lesson(12, (*digest, edit))]).unwrap();
        assert_ne!(setting.tensors(other[0].as_ref().unwrap()), setting.tensors(adapter));
    }
}

#[test]
fn an_edit_that_nobody_would_train_on_yields_no_run_and_harms_no_other() {
    let setting = setting();
    let (empty, good) =
        (edit(1, &[], Directives::default()), edit(2, &LINES, Directives::default()));
    let digest = |edit: &SelfEdit| digest_of(edit).unwrap();
    let lesson = |edit| Lesson { digest: digest(edit), edit, seed: 5 };
    let lessons = [lesson(&empty), lesson(&good)];
    let trained = setting.trainer.train(&setting.base(), &lessons).unwrap();
    assert!(trained[0].is_none() && trained[1].is_some());
}
