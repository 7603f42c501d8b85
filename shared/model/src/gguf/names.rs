//! GGUF's names of a decoder's tensors, and the order in which it keeps the rows of Llama's heads.
//!
//! Source: `gguf-py/gguf/constants.py` and the converter of llama.cpp.

/// The embedding.
pub(super) const EMBEDDING: &str = "token_embd.weight";
/// The output projection; absent where it is the embedding.
pub(super) const HEAD: &str = "output.weight";

/// Parts of a layer: Hugging Face's name and GGUF's.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// GGUF's name of a tensor of [`crate::decoder::parameters`].
pub(super) fn of(hugging_face: &str) -> Option<String> {
    match hugging_face {
        "model.embed_tokens.weight" => return Some(EMBEDDING.to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some(HEAD.to_owned()),
        _ => {}
    }
    let (layer, part) = hugging_face.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = part.rsplit_once('.')?;
    let (_, ours) = PARTS.iter().find(|(theirs, _)| *theirs == part)?;
    Some(format!("blk.{layer}.{ours}.{kind}"))
}

/// Weights and biases of queries and keys, whose rows the converter turns where the architecture is
/// `llama`; by Hugging Face's name.
pub(super) fn is_turned(hugging_face: &str) -> bool {
    let part = hugging_face.rsplit_once('.').map_or("", |(part, _)| part);
    part.ends_with("self_attn.q_proj") || part.ends_with("self_attn.k_proj")
}

/// Puts the rows of every head, each of `width` numbers, back into Hugging Face's order: there a pair
/// that is rotated together lies half a head apart, in the file its two rows lie beside each other.
pub(super) fn turn_back(numbers: &[f32], head_dim: usize, width: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(numbers.len());
    for head in numbers.chunks_exact((head_dim * width).max(1)) {
        let rows = |first: usize| head.chunks_exact(width).skip(first).step_by(2);
        turned.extend(rows(0).chain(rows(1)).flatten());
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_the_converter_interleaved_come_back() {
        // One head of six elements, two numbers a row: pairs (0, 3), (1, 4), (2, 5).
        let rows = |order: [u8; 6]| order.map(|row| [f32::from(row), 0.5]).concat();
        assert_eq!(turn_back(&rows([0, 3, 1, 4, 2, 5]), 6, 2), rows([0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn every_tensor_of_a_layer_has_a_name() {
        let names = |name| of(name).unwrap();
        assert_eq!(names("model.layers.12.self_attn.k_proj.bias"), "blk.12.attn_k.bias");
        assert_eq!(
            names("model.layers.0.post_attention_layernorm.weight"),
            "blk.0.ffn_norm.weight"
        );
        assert_eq!(names("lm_head.weight"), "output.weight");
        assert_eq!(of("model.layers.0.mlp.experts.weight"), None);
    }
}
