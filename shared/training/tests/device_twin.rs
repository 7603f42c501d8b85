//! Training by the engine for GPUs, on the CPU or where `SEAL_TEST_DEVICE` says, against the exact engine.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../model/tests/device_support/mod.rs"]
mod device_support;
#[path = "common/families.rs"]
mod families;

use candle_core::DType;
use device_support::device;
use families::{FAMILIES, with_every_option};
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, LoraSpec, Projection};
use seal_training::{
    Divergence, FineTune, InnerJob, InnerRecipe, OptimRecipe, Outcome, SaveError, Saves,
    TrainOptions, Trained, inner_updates, inner_updates_with,
};
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Largest difference of trained factors, as a share of how far the largest of them moved.
const F32: f32 = 1e-4;
/// Largest relative difference of a loss with bf16 weights after twenty steps.
const BF16_LOSS: f32 = 0.01;

fn twin(exact: &Decoder, dtype: DType) -> Decoder {
    exact.composed(device(), dtype).unwrap()
}

fn recipe(sequences_per_step: Option<usize>) -> InnerRecipe {
    InnerRecipe { steps: 20, learning_rate: 3e-3, eps: 1e-4, ..common::recipe(sequences_per_step) }
}

/// Jobs of different lengths over 37 tokens.
fn jobs() -> Vec<InnerJob> {
    let job = |seed: u64| {
        let mut sequences = families::sequences(u32::try_from(seed).unwrap() + 2);
        sequences.truncate(2 + seed as usize % 2);
        InnerJob { sequences, seed, start: None }
    };
    (0..5).map(job).collect()
}

fn train(decoder: &Decoder, jobs: &[InnerJob], recipe: &InnerRecipe) -> Vec<Trained> {
    let outcomes = inner_updates(decoder, jobs, recipe, &mut |_, _| {}).unwrap();
    outcomes.into_iter().map(Result::unwrap).collect()
}

fn numbers(trained: &Trained) -> Vec<f32> {
    trained.adapter.flat().unwrap()
}

/// Largest difference, as a share of the farthest move from where B began.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    worst / largest
}

#[track_caller]
fn check_equal(what: &str, found: &[Trained], expected: &[Trained]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let losses = apart(&found.losses, &expected.losses);
        let factors = apart(&numbers(found), &numbers(expected));
        println!("{what}: losses differ by {losses:e}, factors by {factors:e}");
        assert!(losses <= F32 && factors <= F32, "{what}: {losses} {factors}");
        let moved = |loss: &f32| (loss - expected.losses[0]).abs() > 0.05 * expected.losses[0];
        assert!(expected.losses.iter().any(moved), "{what}: nothing was learned");
    }
}

#[test]
fn adapters_of_every_family_end_where_the_exact_engine_ends() {
    for family in FAMILIES {
        let exact = families::decoder(&with_every_option(family));
        for recipe in [recipe(None), recipe(Some(1))] {
            let expected = train(&exact, &jobs(), &recipe);
            let found = train(&twin(&exact, DType::F32), &jobs(), &recipe);
            check_equal(&format!("{family:?}"), &found, &expected);
        }
    }
}

#[test]
fn bf16_weights_change_a_loss_curve_by_their_rounding_only() {
    for family in FAMILIES {
        let exact = families::decoder(&with_every_option(family));
        let expected = train(&exact, &jobs(), &recipe(None));
        let found = train(&twin(&exact, DType::BF16), &jobs(), &recipe(None));
        for (found, expected) in found.iter().zip(&expected) {
            let losses = apart(&found.losses, &expected.losses);
            println!("{family:?}: bf16 losses differ by {losses:e}");
            assert!((1e-6..=BF16_LOSS).contains(&losses), "{losses}");
        }
    }
}

#[test]
fn candidates_together_equal_each_alone() {
    let exact = families::decoder(&with_every_option(FAMILIES[3]));
    let twin = twin(&exact, DType::F32);
    for recipe in [recipe(None), recipe(Some(2))] {
        let together = train(&twin, &jobs(), &recipe);
        let alone: Vec<Trained> =
            jobs().into_iter().flat_map(|job| train(&twin, &[job], &recipe)).collect();
        check_equal("together", &together, &alone);
    }
}

#[test]
fn parts_short_forwards_and_recomputed_layers_train_the_same() {
    let exact = families::decoder(&with_every_option(FAMILIES[2]));
    let twin = twin(&exact, DType::F32);
    let whole = train(&twin, &jobs(), &recipe(None));
    for (parts, rows) in [(2, None), (1, Some(60)), (1, Some(1))] {
        let cut = InnerRecipe {
            gradient_accumulation_steps: parts,
            max_tokens_per_forward: rows,
            ..recipe(None)
        };
        check_equal("in parts", &train(&twin, &jobs(), &cut), &whole);
    }
    let options = TrainOptions { gradient_checkpointing: true, saves: None };
    let again = inner_updates_with(&twin, &jobs(), &recipe(None), &options, &mut |_, _| {});
    let again: Vec<Trained> = again.unwrap().into_iter().map(Result::unwrap).collect();
    for (again, whole) in again.iter().zip(&whole) {
        assert!(numbers(again) == numbers(whole), "the same operations give the same bits");
    }
}

#[test]
fn dropout_leaves_out_what_the_exact_engine_leaves_out() {
    let exact = families::decoder(&with_every_option(FAMILIES[0]));
    let few = vec![Projection::V, Projection::O, Projection::Down];
    let lora = LoraSpec { dropout: 0.3, use_rslora: true, targets: few, ..LoraSpec::all(4) };
    for cut in [recipe(Some(2)), InnerRecipe { gradient_accumulation_steps: 2, ..recipe(None) }] {
        let recipe = InnerRecipe { lora: lora.clone(), ..cut };
        let expected = train(&exact, &jobs(), &recipe);
        check_equal("dropout", &train(&twin(&exact, DType::F32), &jobs(), &recipe), &expected);
        let dry = LoraSpec { dropout: 0.0, ..lora.clone() };
        let dry = train(&exact, &jobs(), &InnerRecipe { lora: dry, ..recipe });
        let without = apart(&numbers(&dry[0]), &numbers(&expected[0]));
        assert!(without > 10.0 * F32, "dropout must do something");
    }
}

/// An adapter whose A is `a` everywhere.
fn constant(decoder: &Decoder, a: f32) -> Adapter {
    let (config, spec) = (decoder.config(), LoraSpec::all(4));
    let mut flat = Vec::new();
    for shape in factor_shapes(config, &spec) {
        flat.resize(shape.offset + shape.a.0 * shape.a.1, a);
        flat.resize(shape.offset + shape.len(), 0.0);
    }
    Adapter::from_flat(config, &spec, &flat).unwrap()
}

#[test]
fn a_candidate_that_diverges_ends_alone_at_its_step_and_reaches_no_other() {
    let exact = families::decoder(&with_every_option(FAMILIES[1]));
    let twin = twin(&exact, DType::F32);
    let sound = jobs();
    let expected = train(&twin, &sound[1..3], &recipe(None));
    for place in 0..3 {
        let odd = InnerJob { start: Some(constant(&exact, f32::NAN)), ..sound[0].clone() };
        let mut three = sound[1..3].to_vec();
        three.insert(place, odd);
        let mut heard = Vec::new();
        let mut outcomes: Vec<Outcome> =
            inner_updates(&twin, &three, &recipe(None), &mut |done, all| heard.push((done, all)))
                .unwrap();
        assert_eq!(heard.last(), Some(&(60, 60)));
        let diverged = outcomes.remove(place).unwrap_err();
        assert_eq!((diverged.candidate, diverged.step), (place, 0));
        assert!(matches!(diverged.why, Divergence::Loss(_)));
        let left: Vec<Trained> = outcomes.into_iter().map(Result::unwrap).collect();
        check_equal("neighbours", &left, &expected);
    }
}

#[test]
fn a_rate_that_is_too_high_is_seen_by_the_watchdog_at_the_same_step() {
    let exact = families::decoder(&with_every_option(FAMILIES[1]));
    let recipe = InnerRecipe {
        learning_rate: 0.5,
        clip: None,
        loss_watchdog_threshold: Some(1.02),
        loss_watchdog_patience: 2,
        ..recipe(None)
    };
    let run = |decoder: &Decoder| {
        let outcomes = inner_updates(decoder, &jobs()[..1], &recipe, &mut |_, _| {}).unwrap();
        *outcomes[0].as_ref().unwrap_err()
    };
    let (found, expected) = (run(&twin(&exact, DType::F32)), run(&exact));
    assert!(matches!(found.why, Divergence::Watchdog { .. }), "{found}");
    assert_eq!(found.step, expected.step);
}

#[test]
fn a_killed_run_goes_on_from_its_save_and_never_from_that_of_another_engine() {
    let exact = families::decoder(&with_every_option(FAMILIES[2]));
    let twin = twin(&exact, DType::F32);
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..2).map(|at| folder.path().join(at.to_string())).collect();
    let run = |decoder: &Decoder, stop_after: Option<u64>| {
        let told = std::sync::Mutex::new(Vec::new());
        let unusable = |error: &SaveError| told.lock().unwrap().push(error.to_string());
        let every_steps = NonZeroU64::new(5).unwrap();
        let saves = Saves { every_steps, identity: b"base", files: &files, unusable: &unusable };
        let options = TrainOptions { saves: Some(saves), ..TrainOptions::default() };
        let stop = std::panic::AssertUnwindSafe(|| {
            inner_updates_with(decoder, &jobs()[..2], &recipe(Some(1)), &options, &mut |done, _| {
                if stop_after.is_some_and(|most| done >= most) {
                    // As near to a kill as a test comes without another process.
                    std::panic::resume_unwind(Box::new(()));
                }
            })
        });
        let trained = std::panic::catch_unwind(stop).ok().map(|outcomes| {
            outcomes.unwrap().into_iter().map(Result::unwrap).collect::<Vec<Trained>>()
        });
        (trained, told.into_inner().unwrap())
    };
    let whole = train(&twin, &jobs()[..2], &recipe(Some(1)));
    assert!(run(&twin, Some(26)).0.is_none() && files.iter().all(|file| file.is_file()));
    let (resumed, told) = run(&twin, None);
    assert!(told.is_empty(), "{told:?}");
    check_equal("resumed", &resumed.unwrap(), &whole);
    let (_, told) = run(&exact, None);
    assert!(told.len() == 2 && told[0].contains("another base"), "{told:?}");
}

fn tune(decoder: &Decoder, recipe: &OptimRecipe, steps: u64) -> (Decoder, Vec<f64>) {
    let mut run = FineTune::new(decoder, recipe, steps).unwrap();
    let sequences = families::sequences(3);
    let losses = (0..steps).map(|_| run.step(&sequences).unwrap()).collect();
    (run.decoder().unwrap(), losses)
}

#[test]
fn every_weight_of_every_family_ends_where_the_exact_engine_ends() {
    let recipe = OptimRecipe {
        learning_rate: 3e-3,
        eps: 1e-4,
        weight_decay: 0.1,
        clip: Some(0.5),
        gradient_accumulation_steps: 2,
        ..OptimRecipe::default()
    };
    for (family, tied) in FAMILIES.into_iter().zip([true, false, false, true]) {
        let config =
            seal_model::DecoderConfig { tie_word_embeddings: tied, ..with_every_option(family) };
        let exact = families::decoder(&config);
        let (tuned, losses) = tune(&exact, &recipe, 20);
        let (ours, our_losses) = tune(&twin(&exact, DType::F32), &recipe, 20);
        let worst = our_losses.iter().zip(&losses).map(|(a, b)| (a - b).abs() / b);
        assert!(worst.fold(0.0, f64::max) <= 1e-4, "{our_losses:?} {losses:?}");
        assert!(losses[19] < 0.9 * losses[0], "{losses:?}");
        let weights = apart(&ours.flat().unwrap(), &tuned.flat().unwrap());
        println!("{family:?}: weights differ by {weights:e}");
        assert!(weights <= F32, "{weights}");
    }
}

#[test]
fn updates_too_small_for_bf16_add_up_in_the_masters() {
    let exact = families::decoder(&with_every_option(FAMILIES[0]));
    let recipe = OptimRecipe { learning_rate: 1e-4, ..OptimRecipe::default() };
    let (_, losses) = tune(&twin(&exact, DType::BF16), &recipe, 60);
    let (_, expected) = tune(&exact, &recipe, 60);
    let (found, expected) = (losses[0] - losses[59], expected[0] - expected[59]);
    println!("bf16 weights fall by {found} nats, f32 ones by {expected}");
    assert!(found > 0.7 * expected && expected > 0.0, "{found} {expected}");
}
