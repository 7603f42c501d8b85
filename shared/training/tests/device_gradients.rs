//! Gradients of the engine for GPUs, on the CPU or where `SEAL_TEST_DEVICE` says, against those of
//! the exact one.

#![allow(clippy::unwrap_used)]

#[path = "../../model/tests/device_support/mod.rs"]
mod device_support;
#[path = "common/families.rs"]
mod families;

use candle_core::DType;
use device_support::device;
use families::{FAMILIES, adapter, decoder, sequences, with_every_option};
use seal_model::decoder::parameters;
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, DecoderConfig, LoraSpec};
use seal_training::backward::{self, AdapterGradients, Keep, Places, WeightGradients};
use seal_training::device::{Batch, Gradients, Stack, loss_and_gradients};
use seal_training::{TrainBatch, TrainSequence, part_norms};

/// Largest difference, as a share of the tensor's largest number.
const F32: f32 = 1e-4;
/// The same with bf16 weights: ten bits of fraction less, through two layers and back.
const BF16: f32 = 0.1;

fn jobs() -> [Vec<TrainSequence>; 3] {
    let mut short = sequences(4);
    short.truncate(1);
    [sequences(2), short, sequences(9)]
}

#[track_caller]
fn check(what: &str, found: &[f32], expected: &[f32], tolerance: f32) -> f32 {
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(largest > 0.0 && found.len() == expected.len(), "{what} has no gradient");
    assert!(worst <= tolerance * largest, "{what} differs by {worst}, largest {largest}");
    worst / largest
}

fn twin(exact: &Decoder, dtype: DType) -> Decoder {
    exact.composed(device(), dtype).unwrap()
}

fn batch(decoder: &Decoder, jobs: &[Vec<TrainSequence>]) -> Batch {
    let norms: Vec<_> = jobs.iter().map(part_norms).collect();
    let slices: Vec<Vec<&TrainSequence>> = jobs.iter().map(|job| job.iter().collect()).collect();
    Batch::new(decoder, &slices, &norms).unwrap()
}

/// Losses and flat gradients of each candidate by the exact engine.
fn expected(
    decoder: &Decoder,
    adapters: &[&Adapter],
    spec: &LoraSpec,
) -> (Vec<f64>, Vec<Vec<f32>>) {
    let mut batch = TrainBatch::default();
    for (slot, job) in jobs().iter().enumerate() {
        batch.push(job, slot, Some(slot), &part_norms(job));
    }
    let mut flats = vec![vec![0.0; adapters[0].flat().unwrap().len()]; adapters.len()];
    let sink = AdapterGradients::new(decoder.config(), spec, &mut flats);
    let mut sink = backward::Gradients::Adapters(sink);
    let losses = backward::loss_and_gradients(decoder, &batch, adapters, adapters.len(), &mut sink);
    (losses.unwrap(), flats)
}

/// The same by this engine.
fn found(decoder: &Decoder, adapters: &[&Adapter], spec: &LoraSpec) -> (Vec<f32>, Vec<Vec<f32>>) {
    let flats: Vec<Vec<f32>> = adapters.iter().map(|one| one.flat().unwrap()).collect();
    let slices: Vec<&[f32]> = flats.iter().map(Vec::as_slice).collect();
    let stack = Stack::upload(decoder.config(), spec, &slices, false, decoder.device()).unwrap();
    let mut gradients = Gradients::of_adapters(decoder.config().num_hidden_layers);
    let batch = batch(decoder, &jobs());
    let lora = stack.lora(batch.tiles()).unwrap();
    let losses =
        loss_and_gradients(decoder, Some(&lora), &batch, Keep::Everything, &mut gradients).unwrap();
    let tensors = stack.gradient(gradients, batch.tiles()).unwrap();
    let flats = stack.like(&tensors).download().unwrap();
    (losses.to_vec1().unwrap(), flats)
}

#[track_caller]
fn check_factors(config: &DecoderConfig, dtype: DType, tolerance: f32) {
    let (exact, spec) = (decoder(config), LoraSpec::all(3));
    let adapters =
        [adapter(config, &spec, 5), adapter(config, &spec, 6), adapter(config, &spec, 7)];
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    let (losses, flats) = expected(&exact, &adapters, &spec);
    let (our_losses, our_flats) = found(&twin(&exact, dtype), &adapters, &spec);
    let mut worst = 0f32;
    for (slot, (loss, ours)) in losses.iter().zip(&our_losses).enumerate() {
        let relative = (f64::from(*ours) - loss).abs() / loss;
        assert!(relative <= f64::from(tolerance), "loss {ours}, expected {loss}");
        for shape in factor_shapes(config, &spec) {
            let range = shape.offset..shape.offset + shape.len();
            let (ours, theirs) = (&our_flats[slot][range.clone()], &flats[slot][range]);
            let middle = shape.a.0 * shape.a.1;
            let module = shape.projection.module(shape.layer);
            for (name, of) in [("A", 0..middle), ("B", middle..shape.len())] {
                let what = format!("{:?} {slot} {module}.{name}", config.family);
                worst = worst.max(check(&what, &ours[of.clone()], &theirs[of], tolerance));
            }
        }
    }
    println!("{:?} {dtype:?}: factors' gradients differ by {worst:e}", config.family);
}

#[test]
fn every_factor_of_every_candidate_gets_the_gradient_of_the_exact_engine() {
    for family in FAMILIES {
        check_factors(&with_every_option(family), DType::F32, F32);
        check_factors(&families::config(family, true), DType::F32, F32);
    }
}

#[test]
fn with_bf16_weights_gradients_are_off_by_their_rounding() {
    for family in FAMILIES {
        check_factors(&with_every_option(family), DType::BF16, BF16);
    }
}

#[test]
fn every_weight_of_every_family_gets_the_gradient_of_the_exact_engine() {
    for (family, tied) in FAMILIES.into_iter().zip([true, false, true, false]) {
        let config = DecoderConfig { tie_word_embeddings: tied, ..with_every_option(family) };
        let (exact, job) = (decoder(&config), sequences(2));
        let mut batch_of_all = TrainBatch::default();
        batch_of_all.push(&job, 0, None, &part_norms(&job));
        let places = Places::new(&config);
        let mut flat = vec![0.0; places.len()];
        let sink = WeightGradients { flat: &mut flat, places: &places };
        let mut sink = backward::Gradients::Weights(sink);
        let losses =
            backward::loss_and_gradients(&exact, &batch_of_all, &[], 1, &mut sink).unwrap();

        let twin = twin(&exact, DType::F32);
        let mut gradients = Gradients::of_weights();
        let batch = batch(&twin, &[job]);
        let ours = loss_and_gradients(&twin, None, &batch, Keep::LayerInputs, &mut gradients);
        let ours = ours.unwrap().to_vec1::<f32>().unwrap();
        assert!((f64::from(ours[0]) - losses[0]).abs() <= 1e-5 * losses[0]);
        let Gradients::Weights(found) = gradients else { panic!("weights were asked for") };
        let mut at = 0;
        for (name, shape) in parameters(&config) {
            let len: usize = shape.iter().product();
            let ours = found[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            check(&format!("{family:?} {name}"), &ours, &flat[at..at + len], F32);
            at += len;
        }
        assert_eq!(at, flat.len());
        assert_eq!(found.len(), parameters(&config).len());
    }
}
