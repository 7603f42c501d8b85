//! A policy in one GGUF file: its shape, its texts, its numbers.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use candle_core::Device;
use rustix::fs::{MemfdFlags, memfd_create};
use seal_model::chat::ChatSettings;
use seal_model::gguf::{GgufFile, TextFiles};
use seal_model::grammar::Grammars;
use seal_model::{DecoderConfig, Prompt, SamplingConfig, generate};
use serde_json::Value;

use super::counting::most_held;
use super::let_in;

/// Most bytes held for a header, beside what follows from its own length.
const HELD_ANYWAY: usize = 1 << 20;
/// Most bytes held for one byte of the file: a list of single bytes becomes one of eight each, and grows.
const HELD_PER_BYTE: usize = 64;

/// A GGUF file, which is let in whole: header, tokenizer and weights.
pub fn gguf(sent: &[u8]) -> bool {
    let mut memory = std::fs::File::from(memfd_create("sent.gguf", MemfdFlags::CLOEXEC).unwrap());
    memory.write_all(sent).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let (opened, held) = most_held(|| let_in(GgufFile::open(&path)));
    let most = HELD_ANYWAY + HELD_PER_BYTE * sent.len();
    assert!(held <= most, "{held} bytes held for a file of {}", sent.len());
    let Some(file) = opened else { return false };
    let stored: u64 = file.stored_bytes().values().sum();
    assert!(stored <= sent.len() as u64, "tensors beyond the file");
    let read = let_in(file.texts());
    let speaks = read.is_some_and(|texts| {
        let again = file.texts().unwrap();
        assert_eq!(texts.files(), again.files(), "one file, two tokenizers");
        reads_texts(&texts, file.config());
        true
    });
    writes(&file) && speaks
}

/// Every token has the id that the file gives it, and any text can be tried.
fn reads_texts(texts: &TextFiles, config: &DecoderConfig) {
    let tokenizer = texts.tokenizer();
    assert!(tokenizer.vocab_size() <= config.vocab_size, "tokens that nothing embeds");
    let json: Value = serde_json::from_slice(&texts.files()["tokenizer.json"]).unwrap();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        assert_eq!(tokenizer.token_id(token).map(u64::from), id.as_u64(), "{token:?}");
    }
    for text in ["", "ab a\u{301}\n\n  The tower's 12.", "<|end|></s>\u{0}\u{1f600}"] {
        let Some((tokens, places)) = let_in(tokenizer.encode_places(text)) else { continue };
        assert!(tokens.iter().all(|&token| (token as usize) < config.vocab_size));
        assert!(places.iter().all(|place| place.start <= place.end && place.end <= text.len()));
        let _ = (tokenizer.decode(&tokens), tokenizer.decode_plain(&tokens));
    }
    // As slow as the rest of five files: tried where the longest text is odd, which the fuzzer finds out.
    if config.max_position_embeddings % 2 == 1 {
        let _ = let_in(Grammars::new(tokenizer, config));
    }
    let Some(chat) = let_in(texts.chat(ChatSettings::default())) else { return };
    let _ = let_in(chat.question(tokenizer, "Where?"));
}

/// The weights, and two tokens written with them.
fn writes(file: &GgufFile) -> bool {
    let Some(decoder) = let_in(file.decoder(&Device::Cpu)) else { return false };
    let sampling = SamplingConfig { max_new_tokens: 2, temperature: 0.0, ..Default::default() };
    let prompt = Prompt { adapter: None, tokens: vec![0], seed: 0 };
    let written = generate(&decoder, &[], &[prompt], &sampling, &mut |_, _| {});
    if let Some(written) = let_in(written) {
        let known = |&token: &u32| (token as usize) < file.config().vocab_size;
        assert!(written[0].tokens.iter().all(known));
    }
    true
}
