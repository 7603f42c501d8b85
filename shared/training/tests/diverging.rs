//! A candidate that diverges ends alone: it is named, and its neighbours are what they would have
//! been without it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{decoder, flats, job, recipe};
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, LoraSpec};
use seal_training::{
    Diverged, Divergence, InnerJob, InnerRecipe, OptimRecipe, TrainError, fine_tune, inner_updates,
};

/// An adapter whose A is `a` everywhere and whose B is `b`.
fn constant(decoder: &Decoder, a: f32, b: f32) -> Adapter {
    let (config, spec) = (decoder.config(), LoraSpec::all(4));
    let mut flat = Vec::new();
    for shape in factor_shapes(config, &spec) {
        flat.resize(shape.offset + shape.a.0 * shape.a.1, a);
        flat.resize(shape.offset + shape.len(), b);
    }
    Adapter::from_flat(config, &spec, &flat).unwrap()
}

/// Trains `odd` between two sound candidates, checks those, and returns why `odd` was given up.
#[track_caller]
fn check(decoder: &Decoder, odd: InnerJob, recipe: &InnerRecipe) -> Diverged {
    let sound = [job(1), job(2)];
    let expected = flats(decoder, &sound, recipe);
    let mut heard = Vec::new();
    let jobs = [sound[0].clone(), odd, sound[1].clone()];
    let mut outcomes =
        inner_updates(decoder, &jobs, recipe, &mut |done, total| heard.push((done, total)))
            .unwrap();
    let total = 3 * recipe.steps;
    assert_eq!(heard.last(), Some(&(total, total)));
    let diverged = outcomes.remove(1).unwrap_err();
    let found: Vec<Vec<f32>> =
        outcomes.into_iter().map(|one| one.unwrap().adapter.flat().unwrap()).collect();
    assert!(found == expected, "the neighbours changed");
    assert_eq!(diverged.candidate, 1);
    diverged
}

#[test]
fn a_loss_that_is_no_number_ends_one_candidate() {
    let decoder = decoder();
    for recipe in [recipe(None), recipe(Some(2))] {
        let odd = InnerJob { start: Some(constant(&decoder, f32::NAN, 0.0)), ..job(3) };
        let diverged = check(&decoder, odd, &recipe);
        assert!(matches!(diverged.why, Divergence::Loss(_)), "{diverged}");
        assert_eq!(diverged.step, 0);
        assert!(diverged.to_string().contains("candidate 1 diverged at step 0"), "{diverged}");
    }
}

#[test]
fn a_gradient_without_a_norm_ends_one_candidate_though_its_loss_is_finite() {
    let decoder = decoder();
    let odd = InnerJob { start: Some(constant(&decoder, 1e25, 0.0)), ..job(3) };
    let diverged = check(&decoder, odd, &recipe(None));
    assert!(matches!(diverged.why, Divergence::Gradient(_)), "{diverged}");
}

#[test]
fn a_loss_that_stays_above_its_first_one_ends_one_candidate_when_asked_for() {
    let optim = OptimRecipe { learning_rate: 1e-2, clip: Some(1.0), ..OptimRecipe::default() };
    let mut batch = |_| job(3).sequences;
    // What this base knows by heart, the rate below destroys; of the others it knows nothing.
    let (decoder, _) = fine_tune(&decoder(), &mut batch, &optim, 60, &mut |_, _| {}).unwrap();
    let odd = job(3);
    let fast = InnerRecipe { steps: 12, learning_rate: 5e-2, clip: None, ..recipe(None) };
    let patient = |steps| InnerRecipe {
        loss_watchdog_threshold: Some(1.2),
        loss_watchdog_patience: steps,
        ..fast.clone()
    };
    let early = check(&decoder, odd.clone(), &patient(2));
    let late = check(&decoder, odd.clone(), &patient(4));
    assert!(matches!(late.why, Divergence::Watchdog { steps: 4, .. }), "{late}");
    assert_eq!(early.step + 2, late.step, "{early}, {late}");
    let outcomes = inner_updates(&decoder, &[odd], &fast, &mut |_, _| {}).unwrap();
    assert!(outcomes[0].is_ok(), "nobody asked for it");
}

#[test]
fn a_full_run_that_diverges_is_an_error() {
    let recipe = OptimRecipe { learning_rate: 1e30, ..OptimRecipe::default() };
    let mut batch = |_| job(3).sequences;
    let error = fine_tune(&decoder(), &mut batch, &recipe, 5, &mut |_, _| {}).err().unwrap();
    assert!(matches!(error, TrainError::Diverged(Diverged { step: 1, .. })), "{error}");
}
