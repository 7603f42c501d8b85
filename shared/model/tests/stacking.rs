//! A stack does what its parts do one after another, comes apart again to the bit, and is refused where
//! it would mean something else.

#![allow(clippy::unwrap_used)]

mod tiny;

use candle_core::{DType, Device};
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, LoraSpec, Projection, ScoreItem, score};
use tiny::{adapters, config, decoder, numbers};

/// Log-probabilities of a few answers, in nats.
fn scores(decoder: &Decoder, adapter: Option<&Adapter>) -> Vec<f64> {
    let adapters: Vec<&Adapter> = adapter.into_iter().collect();
    let item = |n: u32| ScoreItem {
        adapter: adapter.map(|_| 0),
        prompt: (0..9).map(|t| (t * 7 + n) % 49).collect(),
        answer: vec![n, 3, (5 * n) % 49],
    };
    let items: Vec<ScoreItem> = (0..12).map(item).collect();
    let scored = score(decoder, &adapters, &items).unwrap();
    scored.iter().map(|one| one.log_prob_nats_per_token).collect()
}

/// The largest difference, in nats.
fn apart(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(l, r)| (l - r).abs()).fold(0.0, f64::max)
}

#[track_caller]
fn check_alike(left: &[f64], right: &[f64], tolerance: f64) {
    let far = apart(left, right);
    assert!(far < tolerance, "{far} nats apart");
}

#[test]
fn a_stack_scores_as_its_parts_merged_one_after_another() {
    let base = decoder();
    let [first, second, third] = &adapters()[..] else { panic!("three") };
    let two = first.stacked(&config(), second).unwrap();
    let three = two.stacked(&config(), third).unwrap();
    assert_eq!((three.spec().r, three.scale()), (9, first.scale()));
    let stacked = scores(&base, Some(&three));
    let merged = base.merged(first).unwrap().merged(second).unwrap();
    check_alike(&stacked, &scores(&merged, Some(third)), 1e-4);
    check_alike(&stacked, &scores(&merged.merged(third).unwrap(), None), 1e-4);
    check_alike(&stacked, &scores(&base.merged(&three).unwrap(), None), 1e-4);
    // The parts matter, else this shows nothing.
    assert!(apart(&stacked, &scores(&base, Some(&two))) > 1e-2);
    assert!(apart(&stacked, &scores(&base, None)) > 1e-2);
}

#[test]
fn merging_is_the_same_bits_on_any_number_of_threads() {
    let (base, adapter) = (decoder(), &adapters()[0]);
    let merged = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| base.merged(adapter).unwrap().flat().unwrap())
    };
    let bits = |weights: Vec<f32>| weights.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(merged(1)), bits(merged(3)));
    assert_eq!(base.flat().unwrap(), decoder().flat().unwrap(), "the base is left alone");
}

#[test]
fn the_engine_for_devices_merges_alike() {
    let composed = decoder().composed(&Device::Cpu, DType::F32).unwrap();
    let adapter = &adapters()[0];
    let (ours, theirs) = (decoder().merged(adapter).unwrap(), composed.merged(adapter).unwrap());
    check_alike(&scores(&ours, None), &scores(&theirs, None), 1e-4);
}

#[test]
fn a_stack_comes_apart_to_the_bit() {
    let [first, second, _] = &adapters()[..] else { panic!("three") };
    let stack = first.stacked(&config(), second).unwrap();
    let (head, tail) = stack.split_at(&config(), first.spec().r).unwrap();
    assert_eq!(head.flat().unwrap(), first.flat().unwrap());
    assert_eq!(tail.flat().unwrap(), second.flat().unwrap());
    assert_eq!((head.spec(), tail.spec()), (first.spec(), second.spec()));
    for rank in [0, stack.spec().r, stack.spec().r + 1, usize::MAX] {
        assert!(stack.split_at(&config(), rank).is_err(), "{rank}");
    }
}

#[test]
fn an_adapter_of_another_rank_and_scale_keeps_its_strength_in_a_stack() {
    let (base, first) = (decoder(), &adapters()[0]);
    for spec in [
        LoraSpec { r: 1, alpha: 7.0, ..LoraSpec::all(3) },
        LoraSpec { use_rslora: true, ..LoraSpec::all(3) },
    ] {
        let len = factor_shapes(&config(), &spec).last().map(|s| s.offset + s.len()).unwrap();
        let other = Adapter::from_flat(&config(), &spec, &numbers(len, 9, 0.4)).unwrap();
        assert_ne!(other.scale(), first.scale());
        let stack = first.stacked(&config(), &other).unwrap();
        let merged = base.merged(first).unwrap();
        check_alike(&scores(&base, Some(&stack)), &scores(&merged, Some(&other)), 1e-4);
    }
}

#[test]
fn what_would_mean_something_else_is_not_stacked() {
    let first = &adapters()[0];
    let all = LoraSpec::all(3);
    let others = [
        LoraSpec { targets: vec![Projection::Q], ..all.clone() },
        LoraSpec { r: 1024, alpha: 2048.0, ..all.clone() },
    ];
    for spec in others {
        let other = Adapter::init(&config(), &spec, 1).unwrap();
        assert!(first.stacked(&config(), &other).is_err(), "{spec:?}");
        assert!(other.stacked(&config(), first).is_err(), "{spec:?}");
    }
    let stabilised = LoraSpec { use_rslora: true, ..all };
    let stabilised = Adapter::init(&config(), &stabilised, 1).unwrap();
    assert!(stabilised.stacked(&config(), first).is_err());
    let narrow = seal_model::DecoderConfig { num_hidden_layers: 1, ..config() };
    let shallow = Adapter::init(&narrow, &LoraSpec::all(3), 1).unwrap();
    assert!(first.stacked(&config(), &shallow).is_err());
}
