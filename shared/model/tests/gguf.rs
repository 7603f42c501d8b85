//! GGUF files of llama.cpp's converter compute what transformers computes with the weights that they
//! stand for, and read texts as the models' own tokenizers do.

#![allow(clippy::unwrap_used)]

mod gguf_support;
mod golden_support;

use candle_core::Device;
use gguf_support::{Item, sound};
use golden_support::{Golden, flat, golden, golden_folder, largest_difference};
use rand::{Rng, SeedableRng};
use seal_model::batch::Batch;
use seal_model::chat::ChatSettings;
use seal_model::gguf::{GgufFile, TextFiles, gguf_digest};
use seal_model::{
    Adapter, Decoder, Family, LoraSpec, ModelFolder, Prompt, RopeScaling, SamplingConfig,
    Tokenizer, generate,
};
use std::fs;
use std::path::Path;

const TOLERANCE: f32 = 1e-4;
const MODELS: [&str; 4] = ["gguf/llama", "gguf/mistral", "gguf/qwen2", "gguf/qwen3"];

fn open(golden: &Golden, kind: &str) -> GgufFile {
    GgufFile::open(&golden.folder.join(format!("{kind}.gguf"))).unwrap()
}

fn decoder(golden: &Golden, kind: &str) -> Decoder {
    open(golden, kind).decoder(&Device::Cpu).unwrap()
}

#[track_caller]
fn check_logits(golden: &Golden, kind: &str) {
    let decoder = decoder(golden, kind);
    let mut batch = Batch::default();
    let mut expected = Vec::new();
    for n in 0..golden.count("ids") {
        batch.push(&golden.ids(&format!("ids.{n}")), None);
        expected.extend(golden.floats(&format!("logits.{kind}.{n}")));
    }
    let difference = largest_difference(&flat(&decoder.logits(&batch, &[]).unwrap()), &expected);
    println!("{}, {kind}: logits differ by {difference:e} at most", golden.folder.display());
    assert!(difference <= TOLERANCE, "{kind} of {}: {difference}", golden.folder.display());
}

#[test]
fn logits_of_every_architecture_equal_those_of_transformers() {
    for golden in MODELS.map(golden) {
        check_logits(&golden, "f32");
    }
}

#[test]
fn logits_of_quantised_files_equal_those_of_the_weights_they_stand_for() {
    for kind in ["f16", "bf16", "q8_0", "q4_0"] {
        check_logits(&golden("gguf/llama"), kind);
    }
}

#[test]
fn every_kind_of_block_is_taken_apart_as_llama_cpps_own_reader_does() {
    check_logits(&golden("gguf/blocks"), "mixed");
    let stored: Vec<&str> =
        open(&golden("gguf/blocks"), "mixed").stored_bytes().into_keys().collect();
    let kinds = ["F32", "Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K"];
    assert_eq!(stored, kinds);
}

#[test]
fn greedy_texts_equal_those_of_llama_cpp() {
    for golden in MODELS.map(golden) {
        let (prompt, expected) = (golden.ids("greedy.prompt"), golden.ids("greedy.tokens"));
        let sampling = SamplingConfig {
            max_new_tokens: expected.len(),
            temperature: 0.0,
            ..SamplingConfig::default()
        };
        let prompt = Prompt { adapter: None, tokens: prompt, seed: 0 };
        let written =
            generate(&decoder(&golden, "f32"), &[], &[prompt], &sampling, &mut |_, _| {}).unwrap();
        assert_eq!(written[0].tokens, expected, "{}", golden.folder.display());
        assert!(expected.len() >= 48);
    }
}

#[test]
fn texts_become_the_tokens_of_the_models_own_tokenizer() {
    let cuts = ["cut-gpt-2", "cut-smollm", "cut-tekken"].map(|cut| format!("gguf/{cut}/q8_0.gguf"));
    let files = MODELS.map(|name| format!("{name}/f32.gguf")).into_iter().chain(cuts);
    for file in files.map(|file| golden_folder().join(file)) {
        let texts = fs::read(file.with_file_name("texts.json")).unwrap();
        let texts: Vec<(String, Vec<u32>)> = serde_json::from_slice(&texts).unwrap();
        let read = GgufFile::open(&file).unwrap().texts().unwrap();
        assert!(texts.len() >= 10);
        for (text, expected) in texts {
            let found = read.tokenizer().encode(&text).unwrap();
            assert_eq!(found, expected, "{text:?} by {}", file.display());
        }
    }
}

#[test]
fn what_stretches_or_bounds_attention_is_read_or_refused_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let with = |keys: &[(&str, Item)]| {
        let file = keys.iter().fold(sound(), |file, (key, item)| file.key(key, item.clone()));
        file.write(&path);
        GgufFile::open(&path)
    };
    let linear = [
        ("llama.rope.scaling.type", Item::Text("linear")),
        ("llama.rope.scaling.factor", Item::F32(4.0)),
    ];
    assert_eq!(with(&linear).unwrap().config().rope_scaling, RopeScaling::Linear { factor: 4.0 });
    let old = with(&[("llama.rope.scale_linear", Item::F32(2.0))]).unwrap();
    assert_eq!(old.config().rope_scaling, RopeScaling::Linear { factor: 2.0 });
    let window = with(&[("llama.attention.sliding_window", Item::U32(5))]).unwrap();
    assert_eq!((window.config().family, window.config().window(0)), (Family::Mistral, Some(5)));
    let whole = with(&[("llama.attention.sliding_window", Item::U32(4096))]).unwrap();
    assert_eq!((whole.config().family, whole.config().window(0)), (Family::Llama, None));
    for (key, item) in [
        ("llama.rope.scaling.type", Item::Text("longrope")),
        ("llama.rope.dimension_count", Item::U32(4)),
        ("llama.attention.value_length", Item::U32(16)),
        ("llama.attention.causal", Item::Raw(7, vec![0])),
        ("general.quantization_version", Item::U32(1)),
    ] {
        let error = with(&[(key, item)]).err().expect(key).to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    let yarn = [
        ("llama.rope.scaling.type", Item::Text("yarn")),
        ("llama.rope.scaling.factor", Item::F32(4.0)),
        ("llama.rope.scaling.original_context_length", Item::U32(8)),
        ("llama.rope.scaling.yarn_attn_factor", Item::F32(0.5)),
    ];
    assert!(with(&yarn[..3]).is_ok());
    let error = with(&yarn).err().unwrap().to_string();
    assert!(error.contains("yarn_attn_factor` = 0.5"), "{error}");
}

#[test]
fn a_tokenizer_that_is_not_made_from_metadata_is_refused_with_the_mend() {
    let llama = fs::read(golden_folder().join("gguf/llama/q4_0.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for (is, becomes) in [("llama-bpe", "llama-xyz"), ("gpt2", "bert")] {
        let at = llama.windows(is.len()).position(|bytes| bytes == is.as_bytes()).unwrap();
        let mut changed = llama.clone();
        changed[at..at + is.len()].copy_from_slice(becomes.as_bytes());
        fs::write(&path, changed).unwrap();
        let error = GgufFile::open(&path).unwrap().texts().err().expect(becomes).to_string();
        assert!(
            error.contains(becomes) && error.contains("`tokenizer` under [backend]"),
            "{error}"
        );
    }
}

#[test]
fn what_decides_the_numbers_stands_in_the_metadata() {
    let shape = |name| open(&golden(name), "f32").config().clone();
    let llama = shape("gguf/llama");
    assert_eq!((llama.family, llama.num_key_value_heads), (Family::Llama, 2));
    assert_eq!((llama.head_dim, llama.tie_word_embeddings), (8, false));
    assert!(llama.attention_bias && llama.mlp_bias);
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(llama.rope_scaling, scaling);
    let qwen = shape("gguf/qwen2");
    assert!(matches!(qwen.rope_scaling, RopeScaling::Yarn { factor: 4.0, .. }));
    assert!(qwen.tie_word_embeddings && qwen.family == Family::Qwen2);
    assert_eq!((shape("gguf/qwen3").head_dim, shape("gguf/qwen3").family), (16, Family::Qwen3));
}

#[test]
fn conversations_are_put_through_the_template_of_the_file() {
    let texts = open(&golden("gguf/qwen3"), "f32").texts().unwrap();
    let chat = texts.chat(ChatSettings::default()).unwrap();
    let tokens = chat.question(texts.tokenizer(), "Who built it?").unwrap();
    let text = texts.tokenizer().decode(&tokens);
    assert_eq!(text, "<|start|>user\nWho built it?<|end|>\n<|start|>assistant\n");
    let end = texts.tokenizer().token_id("<|end|>").unwrap();
    assert_eq!((chat.ends(), texts.ends()), ([end].as_slice(), [end].as_slice()));
}

#[test]
fn what_is_written_out_as_a_folder_is_the_same_model_with_the_same_texts() {
    let golden = golden("gguf/llama");
    let (file, folder) = (open(&golden, "q8_0"), tempfile::tempdir().unwrap());
    let read = file.decoder(&Device::Cpu).unwrap();
    read.save(folder.path()).unwrap();
    let texts = file.texts().unwrap();
    for (name, bytes) in texts.files() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let again = Decoder::load(folder.path(), &Device::Cpu).unwrap();
    assert_eq!(again.flat().unwrap(), read.flat().unwrap());
    assert_eq!(again.config(), read.config());
    assert!(ModelFolder::open(folder.path()).unwrap().unused_tensors().is_empty());
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let text = "The bridge of Arvel<|end|>";
    assert_eq!(tokenizer.encode(text).unwrap(), texts.tokenizer().encode(text).unwrap());
    assert_eq!(tokenizer.eos(), texts.ends().first().copied());
    // And as the tokenizer of a file whose own one is not to be taken.
    let given = TextFiles::of_folder(folder.path(), file.config()).unwrap();
    assert_eq!(given.ends(), texts.ends());
    assert!(given.has_template());
}

#[test]
fn an_adapter_over_quantised_weights_is_one_over_any_others() {
    let read = decoder(&golden("gguf/llama"), "q4_0");
    let adapter = Adapter::init(read.config(), &LoraSpec::all(2), 3).unwrap();
    let batch = || {
        let mut batch = Batch::default();
        batch.push(&[5, 6, 7], Some(0));
        batch
    };
    let beside = flat(&read.logits(&batch(), &[&adapter]).unwrap());
    let mut plain = Batch::default();
    plain.push(&[5, 6, 7], None);
    let merged = flat(&read.merged(&adapter).unwrap().logits(&plain, &[]).unwrap());
    assert!(largest_difference(&beside, &merged) <= TOLERANCE);
}

#[test]
fn a_file_is_named_by_its_bytes_and_those_of_the_tokenizer_that_is_given_with_it() {
    let golden = golden("gguf/llama");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("another-name.gguf");
    fs::copy(golden.folder.join("q4_0.gguf"), &copy).unwrap();
    let first = gguf_digest(&golden.folder.join("q4_0.gguf"), None).unwrap();
    assert_eq!(gguf_digest(&copy, None).unwrap(), first, "its name is no part of it");
    assert!(gguf_digest(&copy, Some(dir.path())).is_err(), "a tokenizer's folder without one");
    fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let with = gguf_digest(&copy, Some(dir.path())).unwrap();
    assert_ne!(with, first);
    fs::write(dir.path().join("tokenizer.json"), "{ }").unwrap();
    assert_ne!(gguf_digest(&copy, Some(dir.path())).unwrap(), with);
    let mut bytes = fs::read(&copy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&copy, bytes).unwrap();
    assert_ne!(gguf_digest(&copy, None).unwrap(), first);
}

/// Reads a file as a teacher does; whatever is in it, this ends in a model or an error.
fn read_all(path: &Path) -> bool {
    let Ok(file) = GgufFile::open(path) else { return false };
    let texts = file.texts().map(|texts| {
        let _ = texts.tokenizer().encode("The bridge of Arvel was built in 1742 <|end|> é🦙\n");
        let _ = texts.tokenizer().decode(&[0, 5, 300]);
        texts.chat(ChatSettings::default()).map(|chat| chat.question(texts.tokenizer(), "Who?"))
    });
    file.decoder(&Device::Cpu).is_ok() && texts.is_ok()
}

#[test]
fn no_damage_to_a_header_brings_the_reader_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    sound().write(&path);
    let bytes = fs::read(&path).unwrap();
    for at in (0..sound().header_bytes()).step_by(3) {
        for change in [0xff, 0x01, 0x80] {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= change;
            fs::write(&path, spoilt).unwrap();
            read_all(&path);
        }
        fs::write(&path, &bytes[..at]).unwrap();
        assert!(!read_all(&path), "cut at {at}");
    }
}

#[test]
fn no_damage_to_a_tokenizer_or_template_brings_the_reader_down() {
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut read = 0;
    for golden in ["gguf/llama/q4_0.gguf", "gguf/mistral/f32.gguf"] {
        let bytes = fs::read(golden_folder().join(golden)).unwrap();
        // The metadata comes first, most of it tokens; the weights take the rest.
        let header = bytes.len().min(14_000);
        for _ in 0..400 {
            let mut spoilt = bytes.clone();
            for _ in 0..dice.random_range(1..4) {
                let at = dice.random_range(0..header);
                spoilt[at] = dice.random();
            }
            fs::write(&path, spoilt).unwrap();
            read += u32::from(read_all(&path));
        }
    }
    println!("{read} of 800 damaged files were read all the same");
    assert!(read > 0, "some damage only changes a token's text or a number");
}
