//! Seeds of the door `gguf`: policies of one layer, a few tokens and a few kilobytes.

use super::Seed;
use crate::doors::gguf_support::{Gguf, Item, llama};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";

/// A policy that cuts texts as GPT-2 does.
fn byte_level(file: Gguf) -> Gguf {
    file.key("tokenizer.ggml.model", Item::Text("gpt2"))
        .key("tokenizer.ggml.pre", Item::Text("llama-bpe"))
        .key(TOKENS, Item::Texts(&["a", "b", "ab", "\u{120}", "\u{120}a", "<|end|>"]))
        .key(TYPES, Item::Ints(vec![1, 1, 1, 1, 1, 3]))
        .key("tokenizer.ggml.merges", Item::Texts(&["a b", "\u{120} a"]))
        .key("tokenizer.ggml.eos_token_id", Item::U32(5))
        .key("tokenizer.chat_template", Item::Text("{{ messages[0].content }}{{ eos_token }}"))
}

/// The tokens of SentencePiece.
fn pieces(file: Gguf) -> Gguf {
    file.key("tokenizer.ggml.model", Item::Text("llama"))
        .key(TOKENS, Item::Texts(&["<unk>", "<s>", "</s>", "<0x0A>", "\u{2581}", "a", "b", "ab"]))
        .key(TYPES, Item::Ints(vec![2, 3, 3, 6, 1, 1, 1, 1]))
        .key("tokenizer.ggml.scores", Item::Floats(vec![0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, 0.5]))
        .key("tokenizer.ggml.bos_token_id", Item::U32(1))
        .key("tokenizer.ggml.eos_token_id", Item::U32(2))
        .key("llama.attention.sliding_window", Item::U32(4))
}

/// Keys that say how frequencies are stretched, and such as change nothing.
fn with_keys(file: Gguf) -> Gguf {
    file.key("llama.rope.scaling.type", Item::Text("yarn"))
        .key("llama.rope.scaling.factor", Item::F32(4.0))
        .key("llama.rope.scaling.original_context_length", Item::U32(8))
        .key("llama.rope.scaling.yarn_beta_fast", Item::F32(16.0))
        .key("llama.rope.scaling.yarn_log_multiplier", Item::F32(0.0))
        .key("llama.rope.freq_base", Item::F32(5e5))
        .key("llama.rope.dimension_count", Item::U32(2))
        .key("llama.attention.key_length", Item::U32(2))
        .key("llama.attention.head_count_kv", Item::Ints(vec![4, 4]))
        .key("llama.attention.causal", Item::Raw(7, vec![1]))
        .key("llama.expert_count", Item::U32(0))
        .key("general.type", Item::Text("model"))
        .key("general.alignment", Item::U32(32))
        .key("general.quantization_version", Item::U32(2))
        .key("split.count", Item::U32(1))
}

/// Another architecture, with its own tensors, biases among them.
fn another(name: &'static str, parts: &[&str], length: usize) -> Gguf {
    let file = llama(8, 8).without("llama.tensor_data_layout").architecture(name);
    let row = |file: Gguf, part: &&str| file.row(&format!("blk.0.attn_{part}"), &vec![0.5; length]);
    byte_level(parts.iter().fold(file, row)).key("tokenizer.ggml.pre", Item::Text("qwen2"))
}

pub(super) fn all() -> Vec<Seed> {
    // Blocks hold 32 numbers, so their rows are no shorter.
    let blocks = byte_level(llama(32, 8).in_blocks(2, 18));
    let odd = pieces(llama(8, 8)).key("llama.context_length", Item::U32(17));
    let biased = another("qwen2", &["q.bias", "k.bias", "v.bias"], 8);
    let normed = another("qwen3", &["q_norm.weight", "k_norm.weight"], 2);
    let divided = pieces(llama(8, 8)).row("rope_freqs.weight", &[1.0]);
    let linear = pieces(llama(8, 8)).key("llama.rope.scale_linear", Item::F32(2.0));
    vec![
        ("gguf", "bytes", byte_level(llama(8, 8)).bytes(), true),
        ("gguf", "pieces", pieces(llama(8, 8)).bytes(), true),
        ("gguf", "blocks", blocks.bytes(), true),
        ("gguf", "grammar", odd.bytes(), true),
        ("gguf", "keys", with_keys(byte_level(llama(8, 8))).bytes(), true),
        ("gguf", "divisors", divided.bytes(), true),
        ("gguf", "linear", linear.bytes(), true),
        ("gguf", "qwen2", biased.bytes(), true),
        ("gguf", "qwen3", normed.bytes(), true),
        ("gguf", "no-tokenizer", llama(8, 8).bytes(), false),
        ("gguf", "many", llama(8, 8).claim_keys(4096).bytes(), false),
    ]
}
