//! A run whose policy is a GGUF file: it writes edits, learns by adapters over the file, and its evidence
//! verifies; a file that was exchanged afterwards is found.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use common::{Run, stderr, stdout};
use seal_model::Decoder;
use seal_protocol::{AuditPurpose, Decision};
use toml_edit::{DocumentMut, value};

/// Writes a Llama folder as a GGUF file, by the tensor library's own writer: matrices in blocks of eight
/// bits where rows are whole blocks, else as half floats, vectors as they are.
fn write_gguf(folder: &Path, out: &Path) {
    let model = Decoder::load(folder, &Device::Cpu).unwrap();
    let config = model.config();
    let size = |size: usize| gguf_file::Value::U32(size.try_into().unwrap());
    let metadata = [
        ("general.architecture", gguf_file::Value::String("llama".to_owned())),
        ("general.quantization_version", size(2)),
        ("llama.context_length", size(config.max_position_embeddings)),
        ("llama.embedding_length", size(config.hidden_size)),
        ("llama.block_count", size(config.num_hidden_layers)),
        ("llama.feed_forward_length", size(config.intermediate_size)),
        ("llama.attention.head_count", size(config.num_attention_heads)),
        ("llama.attention.head_count_kv", size(config.num_key_value_heads)),
        ("llama.attention.key_length", size(config.head_dim)),
        ("llama.attention.value_length", size(config.head_dim)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            gguf_file::Value::F32(config.rms_norm_eps as f32),
        ),
        ("llama.rope.dimension_count", size(config.head_dim)),
        ("llama.rope.freq_base", gguf_file::Value::F32(config.rope_theta as f32)),
        ("tokenizer.ggml.bos_token_id", size(config.bos_token_id.unwrap() as usize)),
        ("tokenizer.ggml.eos_token_id", size(config.eos_token_ids[0] as usize)),
    ];
    let tensors: Vec<(String, QTensor)> = model
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = match name.contains("q_proj") || name.contains("k_proj") {
                true => turned(&tensor, config.head_dim),
                false => tensor,
            };
            let kind = match *tensor.dims() {
                [_, row] if row.is_multiple_of(32) => GgmlDType::Q8_0,
                [_, _] => GgmlDType::F16,
                _ => GgmlDType::F32,
            };
            (gguf_name(&name), QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    let metadata: Vec<(&str, &gguf_file::Value)> =
        metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(out).unwrap(), &metadata, &tensors).unwrap();
}

/// llama.cpp's order of the rows of queries and keys: pairs that are rotated together side by side.
fn turned(weight: &Tensor, head_dim: usize) -> Tensor {
    let (rows, width) = weight.dims2().unwrap();
    let halves = weight.reshape((rows / head_dim, 2, head_dim / 2, width)).unwrap();
    let pairs = halves.transpose(1, 2).unwrap().contiguous().unwrap();
    pairs.reshape((rows, width)).unwrap()
}

fn gguf_name(name: &str) -> String {
    let pairs = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    pairs.iter().fold(name.to_owned(), |name, (theirs, ours)| name.replace(theirs, ours))
}

/// The run's teacher with the file as its policy, read by the base's tokenizer, learning by adapters.
fn configure(run: &Run) {
    let path = run.path("teacher.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: DocumentMut = text.parse().unwrap();
    config["policy"] = value("policy.gguf");
    config["backend"]["kind"] = value("local");
    config["backend"]["tokenizer"] = value("base");
    config["writer"] = value("local:miniature.q8_0.gguf");
    config["policy_update"]["lora"]["r"] = value(8);
    config["policy_update"]["lora"]["lora_alpha"] = value(16.0);
    config["policy_update"]["lora"]["target_modules"] = value("all-linear");
    config["policy_update"]["epochs"] = value(1);
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_run_with_a_gguf_policy_learns_and_its_evidence_verifies() {
    let run = Run::small(&["--contexts", "6", "--proposals", "3", "--held-out", "1"]);
    let policy = run.path("policy.gguf");
    write_gguf(&run.path("base"), &policy);
    configure(&run);
    run.complete();

    let attempts = run.ledger();
    let judged: Vec<_> = attempts
        .iter()
        .filter(|one| one.purpose == AuditPurpose::Edit && one.stage == "round-1")
        .collect();
    let accepted = judged.iter().filter(|one| one.decision == Decision::Accept).count();
    println!("{} edits judged, {accepted} accepted", judged.len());
    assert!(judged.len() >= 12 && accepted > 0, "the policy writes edits that help");
    let updates = std::fs::read_dir(run.path("teacher/state/policies")).unwrap();
    let learned: Vec<_> = updates.map(|entry| entry.unwrap().path()).collect();
    assert!(learned.iter().any(|folder| folder.join("adapter_model.safetensors").is_file()));

    let verified = run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    println!("{}", stdout(&verified));

    // Doctor reads the file as the teacher does.
    let told = stdout(&run.seal(&["doctor"]));
    assert!(told.lines().any(|line| line.starts_with("ok") && line.contains("teacher")), "{told}");

    // An exchanged file is another policy: what was learned over it is not what the evidence says.
    let mut bytes = std::fs::read(&policy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&policy, bytes).unwrap();
    let refused = run.seal(&["verify", "--all"]);
    assert!(!refused.status.success(), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("policies/"), "{}", stderr(&refused));
}

#[test]
fn doctor_tells_what_a_file_is_and_whether_it_fits() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/shared/model/tests/golden/gguf");
    let file = format!("{golden}/llama/q8_0.gguf");
    let output = common::seal(&["doctor", "--model", &file]);
    let told = stdout(&output);
    assert!(output.status.success(), "{told}{}", stderr(&output));
    for part in ["Llama", "Q8_0", "f32", "template", "Does it fit?", "LoRA M-step", "answering"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(stderr(&output).contains("`policy = "), "{}", stderr(&output));

    let many = ["--texts", "1000000", "--text-tokens", "16384"];
    let output = common::seal(&[["doctor", "--model", &file].as_slice(), &many].concat());
    let told = stdout(&output);
    assert!(!output.status.success() && told.contains("FAIL  answering"), "{told}");
    assert!(told.contains("write at most"), "{told}");

    let without = common::seal(&["doctor", "--model", &format!("{golden}/blocks/mixed.gguf")]);
    let told = stdout(&without);
    assert!(!without.status.success() && told.contains("FAIL"), "{told}");
    assert!(told.contains("`tokenizer` under [backend]"), "{told}");

    let none = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    let refused = common::seal(&["doctor", "--model", none.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("does not begin as GGUF does"), "{}", stderr(&refused));
}
