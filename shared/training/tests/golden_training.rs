//! What PyTorch and PEFT train, this crate trains: the same gradients, the same loss curves.

#![allow(clippy::unwrap_used)]

#[path = "../../model/tests/golden_support/mod.rs"]
mod golden_support;

use candle_core::Device;
use golden_support::{Golden, MODELS, golden, largest_difference, relative_difference};
use seal_model::decoder::parameters;
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, DecoderConfig, Products};
use seal_training::backward::{
    AdapterGradients, Gradients, Places, WeightGradients, loss_and_gradients,
};
use seal_training::{
    End, InnerJob, InnerRecipe, OptimRecipe, Schedule, TrainBatch, TrainSequence, fine_tune,
    inner_updates, part_norms,
};

const TOLERANCE: f32 = 1e-3;
const STEPS: u64 = 20;

fn load(golden: &Golden) -> Decoder {
    Decoder::load(&golden.folder, &Device::Cpu).unwrap()
}

/// Every model with each kind of products.
fn models() -> impl Iterator<Item = (Golden, Decoder)> {
    MODELS.into_iter().flat_map(|name| {
        [Products::F32, Products::Bf16x3].map(|products| {
            println!("{name}, {products:?}");
            let golden = golden(name);
            let decoder = load(&golden).computing(products);
            (golden, decoder)
        })
    })
}

fn load_adapter(golden: &Golden, decoder: &Decoder) -> Adapter {
    Adapter::load_peft(&golden.folder.join("adapter"), decoder.config()).unwrap()
}

/// The adapter the reference starts its curves from: A as loaded, B = 0.
fn start(golden: &Golden, decoder: &Decoder) -> Adapter {
    let loaded = load_adapter(golden, decoder);
    let mut flat = loaded.flat().unwrap();
    for shape in factor_shapes(decoder.config(), loaded.spec()) {
        flat[shape.offset + shape.a.0 * shape.a.1..shape.offset + shape.len()].fill(0.0);
    }
    Adapter::from_flat(decoder.config(), loaded.spec(), &flat).unwrap()
}

fn sequences(golden: &Golden) -> Vec<TrainSequence> {
    let sequence = |n| TrainSequence {
        tokens: golden.ids(&format!("batch.ids.{n}")),
        weights: golden.floats(&format!("batch.weights.{n}")),
        part: 0,
        end: End::Truncated,
    };
    (0..golden.count("batch.ids")).map(sequence).collect()
}

fn batch(sequences: &[TrainSequence], adapter: Option<usize>) -> TrainBatch {
    let mut batch = TrainBatch::default();
    batch.push(sequences, 0, adapter, &part_norms(sequences));
    batch
}

/// The factors of a flat vector under the names PEFT gives them.
fn named(config: &DecoderConfig, adapter: &Adapter, flat: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    for shape in factor_shapes(config, adapter.spec()) {
        let module = shape.projection.module(shape.layer);
        let (a, b) = flat[shape.offset..shape.offset + shape.len()].split_at(shape.a.0 * shape.a.1);
        for (factor, values) in [("A", a), ("B", b)] {
            all.push((format!("base_model.model.{module}.lora_{factor}.weight"), values.to_vec()));
        }
    }
    all
}

/// Every factor against its reference under `prefix`, and none of the references left over.
#[track_caller]
fn check_factors(golden: &Golden, prefix: &str, factors: &[(String, Vec<f32>)]) {
    let mut worst = 0f32;
    for (name, values) in factors {
        let difference = relative_difference(values, &golden.floats(&format!("{prefix}{name}")));
        assert!(difference <= TOLERANCE, "{prefix}{name} differs by {difference} of its largest");
        worst = worst.max(difference);
    }
    let references = golden.group(prefix).into_keys().filter(|name| name.ends_with(".weight"));
    assert_eq!(references.count(), factors.len(), "as many factors as PEFT trains");
    println!("{}: {prefix} relative {worst:e} at most", golden.folder.display());
}

#[test]
fn gradients_of_every_factor_equal_those_of_peft() {
    for (golden, decoder) in models() {
        let (config, adapter) = (decoder.config(), load_adapter(&golden, &decoder));
        let mut flats = [vec![0.0; adapter.flat().unwrap().len()]];
        let gradients = AdapterGradients::new(config, adapter.spec(), &mut flats);
        let mut sink = Gradients::Adapters(gradients);
        let batch = batch(&sequences(&golden), Some(0));
        let losses = loss_and_gradients(&decoder, &batch, &[&adapter], 1, &mut sink).unwrap();
        let loss = relative_difference(&[losses[0] as f32], &golden.floats("gradient.loss"));
        assert!(loss <= 1e-5, "loss differs by {loss}");
        check_factors(&golden, "gradient.", &named(config, &adapter, &flats[0]));
    }
}

/// The recipe of the reference.
fn recipe(start: &Adapter, clip: Option<f64>) -> InnerRecipe {
    InnerRecipe {
        lora: start.spec().clone(),
        learning_rate: 1e-3,
        steps: STEPS,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        clip,
        schedule: Schedule::Linear,
        ..InnerRecipe::default()
    }
}

#[track_caller]
fn check_curve(golden: &Golden, name: &str, losses: &[f32]) {
    let reference = golden.floats(name);
    let difference = relative_difference(losses, &reference);
    let fall = reference[0] - reference[reference.len() - 1];
    println!("{}: {name} relative {difference:e} at most", golden.folder.display());
    assert!(difference <= TOLERANCE, "{name}: {losses:?}");
    // A curve that hardly falls would agree with any trainer.
    assert!(fall > 100.0 * largest_difference(losses, &reference), "{name} falls by {fall} only");
}

#[test]
fn twenty_adapter_steps_follow_the_loss_curve_of_pytorch() {
    for (golden, decoder) in models() {
        let start = start(&golden, &decoder);
        for (name, clip) in [("curve.plain", None), ("curve.clipped", Some(0.5))] {
            let job =
                InnerJob { sequences: sequences(&golden), seed: 0, start: Some(start.clone()) };
            let trained = inner_updates(&decoder, &[job], &recipe(&start, clip), &mut |_, _| {});
            check_curve(&golden, name, &trained.unwrap().remove(0).unwrap().losses);
        }
    }
}

#[test]
fn twenty_adapter_steps_end_at_the_factors_of_pytorch() {
    let golden = golden("llama");
    let decoder = load(&golden);
    let start = start(&golden, &decoder);
    let job = InnerJob { sequences: sequences(&golden), seed: 0, start: Some(start.clone()) };
    let trained = inner_updates(&decoder, &[job], &recipe(&start, None), &mut |_, _| {}).unwrap();
    let flat = trained[0].as_ref().unwrap().adapter.flat().unwrap();
    check_factors(&golden, "final.", &named(decoder.config(), &start, &flat));
}

/// What the reference keeps of a gradient that is too large to commit.
fn fingerprint(gradient: &[f32]) -> [f32; 2] {
    let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
    let waves = gradient.iter().enumerate().map(|(i, &g)| f64::from(g) * (i as f64).cos());
    [square.sqrt() as f32, waves.sum::<f64>() as f32]
}

#[test]
fn gradients_of_every_weight_equal_those_of_pytorch() {
    for (golden, decoder) in models() {
        let places = Places::new(decoder.config());
        let mut flat = vec![0.0; places.len()];
        let mut sink = Gradients::Weights(WeightGradients { flat: &mut flat, places: &places });
        let batch = batch(&sequences(&golden), None);
        loss_and_gradients(&decoder, &batch, &[], 1, &mut sink).unwrap();
        let (mut at, mut worst) = (0, 0f32);
        for (name, shape) in parameters(decoder.config()) {
            let len: usize = shape.iter().product();
            let found = fingerprint(&flat[at..at + len]);
            let reference = golden.floats(&format!("full.gradient.{name}"));
            let difference = relative_difference(&found, &reference);
            assert!(difference <= TOLERANCE, "{name}: {found:?}, expected {reference:?}");
            (at, worst) = (at + len, worst.max(difference));
        }
        println!("{}: all weights relative {worst:e} at most", golden.folder.display());
    }
}

#[test]
fn twenty_full_steps_follow_the_loss_curve_of_pytorch() {
    let recipe = OptimRecipe { weight_decay: 0.1, clip: Some(0.5), ..OptimRecipe::default() };
    for golden in MODELS.map(golden) {
        let all = sequences(&golden);
        let mut next = |_| all.clone();
        let (_, losses) =
            fine_tune(&load(&golden), &mut next, &recipe, STEPS, &mut |_, _| {}).unwrap();
        check_curve(&golden, "full.curve", &losses);
    }
}
