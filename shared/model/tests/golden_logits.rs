//! What transformers and PEFT compute, this engine computes.

#![allow(clippy::unwrap_used)]

mod golden_support;

use candle_core::Device;
use golden_support::{Golden, MODELS, flat, golden, largest_difference};
use seal_model::batch::Batch;
use seal_model::{Adapter, Decoder, Products, Prompt, SamplingConfig, generate};

const TOLERANCE: f32 = 1e-4;

/// The exact engine with each kind of products.
fn load(golden: &Golden) -> [Decoder; 2] {
    let decoder = Decoder::load(&golden.folder, &Device::Cpu).unwrap();
    [Products::F32, Products::Bf16x3].map(|products| decoder.computing(products))
}

fn load_adapter(golden: &Golden, decoder: &Decoder) -> Adapter {
    Adapter::load_peft(&golden.folder.join("adapter"), decoder.config()).unwrap()
}

/// All sequences in one ragged batch against the reference, which ran them one by one.
#[track_caller]
fn check_logits(golden: &Golden, decoder: &Decoder, adapter: Option<&Adapter>, reference: &str) {
    let mut batch = Batch::default();
    let mut expected = Vec::new();
    for n in 0..golden.count("ids") {
        batch.push(&golden.ids(&format!("ids.{n}")), adapter.map(|_| 0));
        expected.extend(golden.floats(&format!("{reference}.{n}")));
    }
    let adapters: Vec<&Adapter> = adapter.into_iter().collect();
    let logits = flat(&decoder.logits(&batch, &adapters).unwrap());
    let difference = largest_difference(&logits, &expected);
    let (folder, products) = (golden.folder.display(), decoder.products());
    println!("{folder}, {products:?}: {reference} differ by {difference:e} at most");
    assert!(difference <= TOLERANCE, "{reference} of {}: {difference}", golden.folder.display());
}

#[test]
fn logits_of_every_family_equal_those_of_transformers() {
    for golden in MODELS.map(golden) {
        for decoder in load(&golden) {
            check_logits(&golden, &decoder, None, "logits");
        }
    }
}

#[test]
fn an_adapter_saved_by_peft_gives_the_logits_peft_gives() {
    for golden in MODELS.map(golden) {
        for decoder in load(&golden) {
            let adapter = load_adapter(&golden, &decoder);
            check_logits(&golden, &decoder, Some(&adapter), "adapter.logits");
        }
    }
}

#[test]
fn sixty_four_greedy_tokens_equal_those_of_transformers() {
    let greedy = SamplingConfig { max_new_tokens: 64, temperature: 0.0, ..Default::default() };
    for golden in MODELS.map(golden) {
        for decoder in load(&golden) {
            let prompt = Prompt { adapter: None, tokens: golden.ids("greedy.prompt"), seed: 0 };
            let written = generate(&decoder, &[], &[prompt], &greedy, &mut |_, _| {}).unwrap();
            let (folder, expected) = (golden.folder.display(), golden.ids("greedy.tokens"));
            assert_eq!(written[0].tokens, expected, "{folder}, {:?}", decoder.products());
        }
    }
}
