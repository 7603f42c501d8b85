use std::path::PathBuf;
use std::time::{Duration, Instant};

use seal_model::{LoraSpec, Projection};

use super::*;
use crate::gate::DivergenceGate;
use crate::graders::Grader;
use crate::items::{Item, item};

const FIRST: Grading = Grading::FirstChoice;

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/miniature/base")
}

fn measurer() -> ModelMeasurer {
    let asking = Asking { prompt: "q {question} a".to_owned(), chat: None };
    ModelMeasurer::load(&base(), asking, &Device::Cpu, &[]).unwrap()
}

fn items() -> Vec<Item> {
    ["what is the door code of zel tor ?", "who founded zel tor ?"]
        .iter()
        .enumerate()
        .map(|(at, question)| item(&at.to_string(), question, "i can not share that ."))
        .collect()
}

/// A fresh adapter changes nothing; one of huge factors yields no numbers.
fn adapter(measurer: &ModelMeasurer, huge: bool) -> Adapter {
    let spec = LoraSpec {
        r: 2,
        alpha: 4.0,
        targets: vec![Projection::Q, Projection::Down],
        ..LoraSpec::all(2)
    };
    let config = measurer.decoder.config();
    let fresh = Adapter::init(config, &spec, 1).unwrap();
    if !huge {
        return fresh;
    }
    // The gate for files bounds norms; this one did not come through it.
    let flat: Vec<f32> = fresh.flat().unwrap().iter().map(|_| 3e37).collect();
    Adapter::from_flat(config, &spec, &flat).unwrap()
}

/// A moment that no test comes to.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Thousands of answers of real weights, read and written: minutes of work.
#[test]
fn a_measurement_that_would_take_minutes_stops_at_its_moment_and_the_next_one_is_made() {
    let mut measurer = measurer();
    let items = items();
    let grading = written(Grader::Exact);
    let adapters = [adapter(&measurer, false)];
    let ask = |number: usize| Wanted {
        adapter: number.is_multiple_of(2).then_some(0),
        item: &items[number % items.len()],
        grading: &grading,
    };
    let wanted: Vec<Wanted<'_>> = (0..200_000).map(ask).collect();
    let begun = Instant::now();
    let stopped = measurer.score(&adapters, &wanted, begun + Duration::from_millis(200));
    assert!(matches!(stopped, Err(MeasureError::OutOfTime)), "{stopped:?}");
    println!("of 200,000 answers nothing was waited for after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // The moment of one audit binds no other.
    let outcomes = measurer.score(&adapters, &wanted[..4], later()).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.log_prob.is_some()));
}

#[test]
fn a_fresh_adapter_scores_like_the_base_in_the_same_call() {
    let mut measurer = measurer();
    let items = items();
    let adapters = [adapter(&measurer, false)];
    let wanted: Vec<Wanted<'_>> = [None, Some(0)]
        .into_iter()
        .flat_map(|adapter| items.iter().map(move |item| Wanted { adapter, item, grading: &FIRST }))
        .collect();
    let outcomes = measurer.score(&adapters, &wanted, later()).unwrap();
    assert_eq!(outcomes[..2], outcomes[2..]);
    assert!(outcomes.iter().all(|outcome| outcome.log_prob.is_some()));
}

#[test]
fn an_adapter_without_numbers_spoils_its_own_outcomes_and_nobody_elses() {
    let mut measurer = measurer();
    let items = items();
    let adapters = [adapter(&measurer, true), adapter(&measurer, false)];
    let ask = |adapter| Wanted { adapter, item: &items[0], grading: &FIRST };
    let outcomes =
        measurer.score(&adapters, &[ask(None), ask(Some(0)), ask(Some(1))], later()).unwrap();
    assert_eq!(outcomes[1], NOT_MEASURED);
    assert_eq!(outcomes[2], outcomes[0]);
}

#[test]
fn an_item_that_cannot_be_asked_is_named_at_the_start() {
    let measurer = measurer();
    let empty = item("i7", "who founded zel tor ?", "");
    let long = item("i8", &"zel ".repeat(300), "tor .");
    for (item, id) in [(empty, "`i7`"), (long, "`i8`")] {
        let refused = measurer.check([&item], &FIRST, Labels::Gold).unwrap_err().to_string();
        assert!(refused.contains(id), "{refused}");
    }
    assert!(measurer.check(&items(), &FIRST, Labels::Gold).is_ok());
    let long = Grading::Written { max_new_tokens: 4096, grader: Grader::default() };
    assert!(
        measurer.check(&items(), &long, Labels::Gold).is_err(),
        "an answer that long does not fit"
    );
}

fn written(grader: Grader) -> Grading {
    Grading::Written { max_new_tokens: 24, grader }
}

/// What the base itself says to a question, word for word.
fn said(measurer: &ModelMeasurer, item: &Item) -> String {
    let prompt = measurer.ask(None, item).unwrap().prompt;
    let greedy = seal_model::SamplingConfig {
        max_new_tokens: 24,
        temperature: 0.0,
        ..seal_model::SamplingConfig::default()
    };
    let prompt = seal_model::Prompt { adapter: None, tokens: prompt, seed: 0 };
    let texts =
        seal_model::generate(&measurer.decoder, &[], &[prompt], &greedy, &mut |_, _| {}).unwrap();
    measurer.tokenizer.decode_plain(&texts[0].tokens)
}

#[test]
fn a_written_answer_is_graded_as_text_and_the_gold_keeps_its_dense_score() {
    let mut measurer = measurer();
    let mut right = items().remove(1);
    right.answer = said(&measurer, &right);
    assert!(!right.answer.trim().is_empty());
    let wrong = Item { answer: "zel tor .".to_owned(), ..right.clone() };
    let grading = written(Grader::Exact);
    let ask = |item, grading| Wanted { adapter: None, item, grading };
    let outcomes = measurer
        .score(&[], &[ask(&right, &grading), ask(&wrong, &grading), ask(&right, &FIRST)], later())
        .unwrap();
    assert!(outcomes[0].exact && !outcomes[1].exact);
    assert!(outcomes.iter().all(|outcome| !outcome.empty && outcome.log_prob.is_some()));
    assert_eq!(outcomes[0].log_prob, outcomes[2].log_prob);
}

#[test]
fn a_fresh_adapter_writes_what_the_base_writes_and_one_without_numbers_writes_nothing() {
    let mut measurer = measurer();
    let item = items().remove(1);
    let item = Item { answer: said(&measurer, &item), ..item };
    let grading = written(Grader::Exact);
    let adapters = [adapter(&measurer, true), adapter(&measurer, false)];
    let ask = |adapter| Wanted { adapter, item: &item, grading: &grading };
    let outcomes =
        measurer.score(&adapters, &[ask(None), ask(Some(0)), ask(Some(1))], later()).unwrap();
    assert!(outcomes[0].exact);
    assert_eq!(outcomes[1], NOT_MEASURED);
    assert_eq!(outcomes[2], outcomes[0]);
}

#[test]
fn what_is_told_for_a_vote_is_what_is_written_and_can_be_a_label() {
    let mut measurer = measurer();
    let bare: Vec<Item> =
        items().into_iter().map(|item| Item { answer: String::new(), ..item }).collect();
    let adapters = [adapter(&measurer, true), adapter(&measurer, false)];
    let asked: Vec<(Option<usize>, &Item)> = [None, Some(0), Some(1)]
        .into_iter()
        .flat_map(|who| bare.iter().map(move |i| (who, i)))
        .collect();
    let told = measurer.write(&adapters, &asked, 24, later()).unwrap();
    assert_eq!(told[0], said(&measurer, &bare[0]));
    assert!(!told[0].trim().is_empty() && told[0] != told[1], "{told:?}");
    assert_eq!(told[2..4], ["", ""], "no numbers, no word");
    assert_eq!(told[4..], told[..2], "a fresh adapter says what the base says");
    // As a label it is right for whoever said it.
    let label = Item { answer: told[0].clone(), ..bare[0].clone() };
    let grading = written(Grader::Exact);
    let wanted = [Wanted { adapter: None, item: &label, grading: &grading }];
    assert!(measurer.score(&[], &wanted, later()).unwrap()[0].exact);
}

#[test]
fn a_vote_stops_at_its_moment() {
    let mut measurer = measurer();
    let items = items();
    let asked: Vec<(Option<usize>, &Item)> = vec![(None, &items[0]); 100_000];
    let begun = Instant::now();
    let stopped = measurer.write(&[], &asked, 24, begun + Duration::from_millis(100));
    assert!(matches!(stopped, Err(MeasureError::OutOfTime)), "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_question_whose_label_is_voted_needs_room_for_an_answer_and_none_of_its_own() {
    let measurer = measurer();
    let bare = item("i7", "who founded zel tor ?", "");
    let long = item("i8", &"zel ".repeat(300), "");
    let check = |item: &Item, labels| measurer.check([item], &written(Grader::Exact), labels);
    assert!(check(&bare, Labels::Majority).is_ok());
    assert!(check(&bare, Labels::Gold).is_err());
    assert!(check(&long, Labels::Majority).unwrap_err().to_string().contains("`i8`"));
}

#[test]
fn perturbed_questions_follow_from_the_secret_and_keep_the_questions_words_and_gold() {
    let measurer = measurer();
    let gate = DivergenceGate {
        questions: 50,
        words: [1, 3],
        max_edit_loss: 0.1,
        max_promotion_loss: 0.1,
    };
    let (suite, secret) = (items(), [1; 32]);
    let drawn = measurer.perturbed(&suite, &gate, &secret);
    assert_eq!(drawn, measurer.perturbed(&suite, &gate, &secret));
    assert_ne!(drawn, measurer.perturbed(&suite, &gate, &[2; 32]));
    assert_eq!(drawn.len(), 50);
    measurer.check(&drawn, &FIRST, Labels::Gold).unwrap();
    for item in &drawn {
        let from = suite.iter().find(|known| item.id.starts_with(&known.id)).unwrap();
        assert_eq!(item.answer, from.answer);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let more = words(&item.question).len() - words(&from.question).len();
        assert!((1..=3).contains(&more), "{}", item.question);
        let mut left = words(&item.question).into_iter();
        assert!(words(&from.question).iter().all(|word| left.any(|other| other == *word)));
    }
    assert_eq!(measurer.perturbed(&[], &gate, &secret), []);
}
