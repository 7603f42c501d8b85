//! The embedded base model reads and answers in this engine as it does in transformers.

#![allow(clippy::unwrap_used)]

mod golden_support;

use std::path::{Path, PathBuf};

use candle_core::Device;
use golden_support::{Golden, golden_file, largest_difference};
use seal_model::batch::Batch;
use seal_model::{Decoder, Prompt, SamplingConfig, Tokenizer, generate};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../miniature/base")
}

/// What tests/peers/check_miniature.py recorded.
fn recorded() -> Golden {
    golden_file("miniature.safetensors")
}

#[test]
fn its_tokenizer_reads_text_as_transformers_does() {
    let (tokenizer, recorded) = (Tokenizer::load(&base()).unwrap(), recorded());
    for n in 0..recorded.count("ids") {
        let text = recorded.text(&format!("text.{n}"));
        let ids = [vec![tokenizer.bos().unwrap()], tokenizer.encode(&text).unwrap()].concat();
        assert_eq!(ids, recorded.ids(&format!("ids.{n}")), "{text}");
        assert_eq!(tokenizer.decode(&ids[1..]), text);
    }
}

#[test]
fn its_logits_equal_those_of_transformers() {
    let (decoder, recorded) = (Decoder::load(&base(), &Device::Cpu).unwrap(), recorded());
    for n in 0..recorded.count("ids") {
        let mut batch = Batch::default();
        let span = batch.push(&recorded.ids(&format!("ids.{n}")), None);
        let logits = decoder.logits(&batch, &[]).unwrap().to_vec2::<f32>().unwrap();
        let expected = recorded.floats(&format!("logits.{n}"));
        let difference = largest_difference(&logits[span.len - 1], &expected);
        println!("miniature, text {n}: logits differ by {difference:e} at most");
        assert!(
            difference <= 1e-4,
            "text {n}: {difference}; if the base is new, run check_miniature.py"
        );
    }
}

#[test]
fn it_continues_text_as_transformers_does() {
    let (decoder, recorded) = (Decoder::load(&base(), &Device::Cpu).unwrap(), recorded());
    let greedy = SamplingConfig { max_new_tokens: 12, temperature: 0.0, ..Default::default() };
    let prompt = |n| Prompt { adapter: None, tokens: recorded.ids(&format!("ids.{n}")), seed: 0 };
    let prompts: Vec<Prompt> = (0..recorded.count("ids")).map(prompt).collect();
    let written = generate(&decoder, &[], &prompts, &greedy, &mut |_, _| {}).unwrap();
    for (n, text) in written.iter().enumerate() {
        assert_eq!(text.tokens, recorded.ids(&format!("greedy.{n}")), "text {n}");
    }
}
