//! Schedules, rank-stabilised scale and dropout as transformers and PEFT compute them.
//!
//! Vectors: `tests/peers/make_training_golden.py`.

#![allow(clippy::unwrap_used)]

#[path = "../../model/tests/golden_support/mod.rs"]
mod golden_support;

use candle_core::Device;
use golden_support::{Golden, golden, largest_difference, relative_difference};
use seal_model::lora::factor_shapes;
use seal_model::ops::dropout::Dropout;
use seal_model::{Adapter, Decoder, LoraSpec, Projection};
use seal_training::backward::{AdapterGradients, Gradients, loss_and_gradients};
use seal_training::{
    End, InnerJob, InnerRecipe, OptimRecipe, Schedule, TrainBatch, TrainSequence, inner_updates,
    part_norms,
};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const TOLERANCE: f32 = 1e-3;
const SEED: u64 = 77;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[derive(Deserialize)]
struct Rates {
    lr_scheduler_type: Schedule,
    steps: u64,
    warmup_steps: u64,
    warmup_ratio: f64,
    factors: Vec<f64>,
}

#[test]
fn every_step_of_every_schedule_has_the_rate_of_transformers() {
    let text = std::fs::read_to_string(folder().join("schedules.json")).unwrap();
    let schedules: Vec<Rates> = serde_json::from_str(&text).unwrap();
    assert!(schedules.len() >= 8);
    for given in schedules {
        let recipe = OptimRecipe {
            learning_rate: 1.0,
            schedule: given.lr_scheduler_type,
            warmup_steps: given.warmup_steps,
            warmup_ratio: given.warmup_ratio,
            ..OptimRecipe::default()
        };
        assert_eq!(given.factors.len() as u64, given.steps);
        for (step, expected) in given.factors.into_iter().enumerate() {
            let found = recipe.rate(step as u64, given.steps);
            let schedule = given.lr_scheduler_type;
            assert!((found - expected).abs() < 1e-12, "{schedule:?}, step {step}: {found}");
        }
    }
}

struct Case {
    golden: Golden,
    options: HashMap<String, candle_core::Tensor>,
    decoder: Decoder,
    adapter: Adapter,
}

impl Case {
    /// PEFT's adapter under a changed spec.
    fn new(change: impl FnOnce(LoraSpec) -> LoraSpec) -> Self {
        let golden = golden("llama");
        let decoder = Decoder::load(&golden.folder, &Device::Cpu).unwrap();
        let plain = Adapter::load_peft(&golden.folder.join("adapter"), decoder.config()).unwrap();
        let spec = change(plain.spec().clone());
        let adapter = Adapter::from_flat(decoder.config(), &spec, &plain.flat().unwrap()).unwrap();
        let file = folder().join("options.safetensors");
        let options = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        Self { golden, options, decoder, adapter }
    }

    fn expected(&self, name: &str) -> Vec<f32> {
        golden_support::flat(&self.options[name])
    }

    fn sequences(&self) -> Vec<TrainSequence> {
        let sequence = |n| TrainSequence {
            tokens: self.golden.ids(&format!("batch.ids.{n}")),
            weights: self.golden.floats(&format!("batch.weights.{n}")),
            part: 0,
            end: End::Truncated,
        };
        (0..self.golden.count("batch.ids")).map(sequence).collect()
    }

    #[track_caller]
    fn check_gradients(&self, prefix: &str) {
        let (config, spec) = (self.decoder.config(), self.adapter.spec());
        let sequences = self.sequences();
        let mut batch = TrainBatch::default();
        batch.push(&sequences, 0, Some(0), &part_norms(&sequences));
        if spec.dropout > 0.0 {
            let dropout = Dropout { rate: spec.dropout, seed: SEED, step: 0, first_row: 0 };
            batch.inputs.dropouts = vec![dropout];
        }
        let mut flats = [vec![0.0; self.adapter.flat().unwrap().len()]];
        let mut sink = Gradients::Adapters(AdapterGradients::new(config, spec, &mut flats));
        let losses =
            loss_and_gradients(&self.decoder, &batch, &[&self.adapter], 1, &mut sink).unwrap();
        let loss = self.expected(&format!("{prefix}.gradient.loss"));
        assert!(relative_difference(&[losses[0] as f32], &loss) < 1e-5, "{losses:?}, {loss:?}");
        let mut worst = 0f32;
        for shape in factor_shapes(config, spec) {
            let module = shape.projection.module(shape.layer);
            let (a, b) =
                flats[0][shape.offset..shape.offset + shape.len()].split_at(shape.a.0 * shape.a.1);
            for (factor, found) in [("A", a), ("B", b)] {
                let name = format!("base_model.model.{module}.lora_{factor}.weight");
                let expected = self.expected(&format!("{prefix}.gradient.{name}"));
                let difference = relative_difference(found, &expected);
                assert!(difference <= TOLERANCE, "{name} differs by {difference} of its largest");
                worst = worst.max(difference);
            }
        }
        println!("{prefix}: gradients relative {worst:e} at most");
    }

    #[track_caller]
    fn check_curve(&self, prefix: &str) {
        let (config, spec) = (self.decoder.config(), self.adapter.spec());
        let mut flat = self.adapter.flat().unwrap();
        for shape in factor_shapes(config, spec) {
            flat[shape.offset + shape.a.0 * shape.a.1..shape.offset + shape.len()].fill(0.0);
        }
        let start = Adapter::from_flat(config, spec, &flat).unwrap();
        let recipe = InnerRecipe {
            lora: spec.clone(),
            learning_rate: 1e-3,
            steps: 20,
            ..InnerRecipe::default()
        };
        let job = InnerJob { sequences: self.sequences(), seed: SEED, start: Some(start) };
        let trained = inner_updates(&self.decoder, &[job], &recipe, &mut |_, _| {}).unwrap();
        let losses = &trained[0].as_ref().unwrap().losses;
        let expected = self.expected(&format!("{prefix}.curve"));
        let difference = relative_difference(losses, &expected);
        println!("{prefix}: curve relative {difference:e} at most");
        assert!(difference <= TOLERANCE, "{losses:?}");
        let fall = expected[0] - expected[19];
        assert!(fall > 100.0 * largest_difference(losses, &expected), "falls by {fall} only");
    }
}

#[test]
fn rank_stabilised_adapters_train_as_in_peft() {
    let case = Case::new(|plain| LoraSpec { use_rslora: true, ..plain });
    case.check_gradients("rslora");
    case.check_curve("rslora");
}

#[test]
fn under_the_same_masks_dropout_trains_as_in_peft() {
    let case = Case::new(|plain| LoraSpec { dropout: 0.25, ..plain });
    case.check_gradients("dropout");
    case.check_curve("dropout");
}

#[test]
fn masks_are_the_documented_function_of_their_counters() {
    let case = Case::new(|plain| plain);
    for (step, layer, projection) in [(0, 0, Projection::Q), (3, 1, Projection::Down)] {
        let dropout = Dropout { rate: 0.25, seed: SEED, step, first_row: 5 };
        let found = dropout.mask(layer, projection).applied(&[1.0; 3 * 24], 24);
        let name = format!("dropout.mask.{step}.{layer}.{}", projection.name());
        assert_eq!(found, case.expected(&name));
    }
}
