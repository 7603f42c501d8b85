//! The explicit backward against candle's autograd over a second, plainly written forward.

#![allow(clippy::unwrap_used)]

#[path = "common/families.rs"]
mod families;
mod oracle;

use candle_core::{Tensor, Var};
use families::{FAMILIES, adapter, config, decoder, sequences, with_every_option};
use oracle::{Named, Oracle};
use seal_model::decoder::parameters;
use seal_model::lora::factor_shapes;
use seal_model::ops::dropout::Dropout;
use seal_model::{DecoderConfig, Family, LoraSpec, Projection};
use seal_training::backward::{
    AdapterGradients, Gradients, Places, WeightGradients, loss_and_gradients,
};
use seal_training::{TrainBatch, part_norms};
use std::cell::Cell;
use std::collections::BTreeMap;

fn numbers_of(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Both gradients of one tensor are present and agree to 1e-5 of the tensor's largest.
#[track_caller]
fn check_tensor(name: &str, ours: &[f32], oracle: &[f32]) {
    let largest = oracle.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = ours.iter().zip(oracle).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(largest > 0.0, "{name} received no gradient");
    assert_eq!(ours.len(), oracle.len(), "{name}");
    assert!(worst <= 1e-5 * largest.max(1e-3), "{name}: differs by {worst}, largest {largest}");
}

#[track_caller]
fn check_full(config: &DecoderConfig) {
    let decoder = decoder(config);
    let sequences = sequences(2);
    let vars: BTreeMap<String, Var> =
        decoder.tensors().into_iter().map(|(n, t)| (n, Var::from_tensor(&t).unwrap())).collect();
    let weights: Named = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
    let oracle = Oracle {
        config,
        weights: &weights,
        factors: &BTreeMap::new(),
        scale: 0.0,
        dropout: None,
        first_row: Cell::new(0),
    };
    let loss = oracle.loss(&sequences);
    let grads = loss.backward().unwrap();

    let mut batch = TrainBatch::default();
    batch.push(&sequences, 0, None, &part_norms(&sequences));
    let places = Places::new(config);
    let mut flat = vec![0.0; places.len()];
    let mut sink = Gradients::Weights(WeightGradients { flat: &mut flat, places: &places });
    let ours = loss_and_gradients(&decoder, &batch, &[], 1, &mut sink).unwrap();
    let expected = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!((ours[0] - expected).abs() < 1e-5 * expected, "loss {} instead of {expected}", ours[0]);
    let mut at = 0;
    for (name, shape) in parameters(config) {
        let len: usize = shape.iter().product();
        check_tensor(&name, &flat[at..at + len], &numbers_of(grads.get(&vars[&name]).unwrap()));
        at += len;
    }
}

#[test]
fn full_gradients_of_llama_with_untied_head_agree_with_autograd() {
    check_full(&config(Family::Llama, false));
}

#[test]
fn full_gradients_of_qwen2_with_biases_and_tied_head_agree_with_autograd() {
    check_full(&config(Family::Qwen2, true));
}

#[test]
fn full_gradients_of_every_family_with_every_option_agree_with_autograd() {
    for family in FAMILIES {
        check_full(&with_every_option(family));
    }
}

#[test]
fn every_candidates_factors_in_a_batch_get_the_gradients_of_autograd() {
    let spec = LoraSpec {
        targets: vec![
            Projection::Q,
            Projection::V,
            Projection::Up,
            Projection::Down,
            Projection::O,
        ],
        ..LoraSpec::all(3)
    };
    check_factors(&config(Family::Qwen2, true), &spec);
}

#[test]
fn factors_get_the_gradients_of_autograd_through_every_option_of_every_family() {
    for family in FAMILIES {
        check_factors(&with_every_option(family), &LoraSpec::all(2));
    }
}

#[test]
fn a_rank_stabilised_scale_gets_the_gradients_of_autograd() {
    let spec = LoraSpec { use_rslora: true, ..LoraSpec::all(3) };
    check_factors(&config(Family::Llama, false), &spec);
}

#[test]
fn with_dropout_every_candidate_gets_the_gradients_of_autograd_under_its_own_masks() {
    let spec = LoraSpec { dropout: 0.3, ..LoraSpec::all(3) };
    check_factors(&config(Family::Qwen2, true), &spec);
}

#[track_caller]
fn check_factors(config: &DecoderConfig, spec: &LoraSpec) {
    let decoder = decoder(config);
    let adapters = [adapter(config, spec, 5), adapter(config, spec, 6)];
    let jobs = [sequences(2), sequences(9)];

    let mut batch = TrainBatch::default();
    for (slot, job) in jobs.iter().enumerate() {
        batch.push(job, slot, Some(slot), &part_norms(job));
    }
    let dropout = |slot: usize| {
        let seed = 40 + slot as u64;
        Dropout { rate: spec.dropout, seed, step: 3, first_row: 0 }
    };
    if spec.dropout > 0.0 {
        batch.inputs.dropouts = (0..2).map(dropout).collect();
    }
    let mut flats = vec![vec![0.0; adapters[0].flat().unwrap().len()]; 2];
    let mut sink = Gradients::Adapters(AdapterGradients::new(config, spec, &mut flats));
    let losses =
        loss_and_gradients(&decoder, &batch, &[&adapters[0], &adapters[1]], 2, &mut sink).unwrap();

    for (slot, job) in jobs.iter().enumerate() {
        let mut vars = BTreeMap::new();
        for shape in factor_shapes(config, spec) {
            let factors = adapters[slot].factors(shape.layer, shape.projection).unwrap();
            let module = shape.projection.module(shape.layer);
            vars.insert(format!("{module}.A"), Var::from_tensor(&factors.a).unwrap());
            vars.insert(format!("{module}.B"), Var::from_tensor(&factors.b).unwrap());
        }
        let factors: Named = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
        let weights = decoder.tensors();
        let oracle = Oracle {
            config,
            weights: &weights,
            factors: &factors,
            scale: f64::from(spec.scale()),
            dropout: (spec.dropout > 0.0).then(|| dropout(slot)),
            first_row: Cell::new(0),
        };
        let loss = oracle.loss(job);
        let grads = loss.backward().unwrap();
        assert!((losses[slot] - f64::from(loss.to_scalar::<f32>().unwrap())).abs() < 1e-4);
        for shape in factor_shapes(config, spec) {
            let module = shape.projection.module(shape.layer);
            let (a, b) = flats[slot][shape.offset..shape.offset + shape.len()]
                .split_at(shape.a.0 * shape.a.1);
            check_tensor(
                &format!("{module}.A"),
                a,
                &numbers_of(grads.get(&vars[&format!("{module}.A")]).unwrap()),
            );
            check_tensor(
                &format!("{module}.B"),
                b,
                &numbers_of(grads.get(&vars[&format!("{module}.B")]).unwrap()),
            );
        }
    }
}
