//! Folders that are damaged or hostile: each is refused by its own error, at once and in little
//! memory.

#![allow(clippy::unwrap_used)]

mod counting;
mod malformed_support;

use counting::{Counting, most_held};
use malformed_support::{DIGEST, Tampered, adapter, model};
use seal_model::{Adapter, Decoder, DecoderConfig};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(1);
const GIB: u64 = 1 << 30;

/// What a case spoils, and the file and the reason that its error must name.
type Case = (&'static str, fn(&Path), &'static str, &'static str);

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";

#[rustfmt::skip]
const MODELS: [Case; 28] = [
    ("a header that claims 100 GB", |m| Tampered::read(m, WEIGHTS).claim(100_000_000_000).write(), WEIGHTS, "claims a header of 100000000000 bytes"),
    ("8 GiB of a misshapen tensor", |m| Tampered::read(m, WEIGHTS).huge(EMBEDDING, 8 * GIB).write(), WEIGHTS, "its config asks for"),
    ("a header of a hundred thousand tensors", |m| Tampered::read(m, WEIGHTS).many(100_000).write(), WEIGHTS, "names more than 16384 tensors"),
    ("a header with one endless name", |m| Tampered::read(m, WEIGHTS).name(NORM, &"n".repeat(7 << 20)).write(), WEIGHTS, "nnn…` is not one of a model"),
    ("a tensor named twice", |m| Tampered::read(m, WEIGHTS).twice(NORM).write(), WEIGHTS, "names tensor `model.norm.weight` twice"),
    ("a tensor name that is a path", |m| Tampered::read(m, WEIGHTS).name(NORM, "../../etc/passwd").write(), WEIGHTS, "`../../etc/passwd` is not one of a model"),
    ("overlapping tensors", |m| Tampered::read(m, WEIGHTS).shift(NORM).write(), WEIGHTS, "tensor `model.norm.weight` overlaps another"),
    ("a truncated file", |m| Tampered::read(m, WEIGHTS).cut(10).write(), WEIGHTS, "its header promises"),
    ("bytes behind the last tensor", |m| Tampered::read(m, WEIGHTS).cut(-10).write(), WEIGHTS, "10 bytes that belong to no tensor"),
    ("a missing tensor", |m| Tampered::read(m, WEIGHTS).name(NORM, "model.other").write(), "m", "lacks tensor `model.norm.weight`"),
    ("8-bit weights", |m| Tampered::read(m, WEIGHTS).dtype(NORM, "F8_E4M3").write(), WEIGHTS, "dtype F8_E4M3, not F32, F16 or BF16: quantised"),
    ("NaN among the weights", |m| Tampered::read(m, WEIGHTS).plant(NORM, f32::NAN).write(), WEIGHTS, "tensor `model.norm.weight` holds a number that is not finite"),
    ("a zip under a safetensors name", |m| fs::write(m.join(WEIGHTS), b"PK\x03\x04\0\0\0\0\0\0 archive/data.pkl").unwrap(), WEIGHTS, "is a pickle"),
    ("a Git LFS pointer", |m| fs::write(m.join(WEIGHTS), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").unwrap(), WEIGHTS, "is a Git LFS pointer"),
    ("a pipe", |m| malformed_support::pipe(&m.join(WEIGHTS)), WEIGHTS, "is no regular file"),
    ("a link to itself", |m| malformed_support::link(&m.join(WEIGHTS), WEIGHTS), WEIGHTS, "levels of symbolic links"),
    ("pickles only", |m| fs::rename(m.join(WEIGHTS), m.join("pytorch_model.bin")).unwrap(), "pytorch_model.bin", "is a pickle"),
    ("GGUF only", |m| fs::rename(m.join(WEIGHTS), m.join("model-q4.gguf")).unwrap(), "model-q4.gguf", "is GGUF"),
    ("a missing shard", |m| malformed_support::shard(m, |map, _| map["model.ghost"] = json!("c.safetensors")), INDEX, "names the shard `c.safetensors`, which is missing (1 of 3 are)"),
    ("a shard outside the folder", |m| malformed_support::shard(m, |map, _| map[NORM] = json!("../a.safetensors")), INDEX, "`../a.safetensors`, which is no plain"),
    ("a tensor in two shards", |m| malformed_support::shard(m, |_, dir| { fs::copy(dir.join("a.safetensors"), dir.join("b.safetensors")).unwrap(); }), "b.safetensors", "which `a.safetensors` holds too"),
    ("an index that puts a tensor elsewhere", |m| malformed_support::shard(m, |map, _| map["model.ghost"] = json!("a.safetensors")), INDEX, "puts tensor `model.ghost` into `a.safetensors`"),
    ("remote code", |m| malformed_support::config(m, "auto_map", json!({"AutoModelForCausalLM": "modeling_x.X"})), "config.json", "`auto_map` names `modeling_x.X`"),
    ("a quantised model", |m| malformed_support::config(m, "quantization_config", json!({"quant_method": "awq"})), "config.json", "`quantization_config.quant_method` = awq"),
    ("an unsupported architecture", |m| malformed_support::config(m, "architectures", json!(["MambaForCausalLM"])), "config.json", "MambaForCausalLM"),
    ("sizes that no machine has", |m| malformed_support::config(m, "vocab_size", json!(1u64 << 60)), "config.json", "`vocab_size` = 1152921504606846976"),
    ("a config without an end", |m| malformed_support::sparse(&m.join("config.json"), 100 * GIB), "config.json", "longer than 1048576 bytes"),
    ("an adapter instead of a model", |m| { malformed_support::empty(m); adapter(m); }, "m", "is an adapter, not a model"),
];

const FACTORS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
const A: &str = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight";
const OTHER: &str = "base_model.model.lm_head.lora_A.weight";

#[rustfmt::skip]
const ADAPTERS: [Case; 18] = [
    ("a header that claims 100 GB", |a| Tampered::read(a, FACTORS).claim(100_000_000_000).write(), FACTORS, "claims a header of 100000000000 bytes, the most is 1048576"),
    ("8 GiB of a misshapen tensor", |a| Tampered::read(a, FACTORS).huge(A, 8 * GIB).write(), FACTORS, "the most is 4294967296"),
    ("3 GiB of a misshapen tensor", |a| Tampered::read(a, FACTORS).huge(A, 3 * GIB).write(), A, "is [1, 805306368], expected [2, 12]"),
    ("a tensor named twice", |a| Tampered::read(a, FACTORS).twice(A).write(), FACTORS, "lora_A.weight` twice"),
    ("a tensor name that is a path", |a| Tampered::read(a, FACTORS).name(A, "../x").write(), FACTORS, "`../x` is not one of a model"),
    ("a truncated file", |a| Tampered::read(a, FACTORS).cut(4).write(), FACTORS, "its header promises"),
    ("a missing factor", |a| Tampered::read(a, FACTORS).drop_last().write(), "q_proj.lora_B.weight", "is missing"),
    ("a factor of another layer kind", |a| Tampered::read(a, FACTORS).name(A, OTHER).write(), OTHER, "does not belong to the declared targets"),
    ("8-bit factors", |a| Tampered::read(a, FACTORS).dtype(A, "I8").write(), A, "dtype I8"),
    ("NaN among the factors", |a| Tampered::read(a, FACTORS).plant(A, f32::NAN).write(), A, "is not finite"),
    ("a factor that overflows", |a| Tampered::read(a, FACTORS).plant(A, 1e30).write(), A, "has norm"),
    ("another base", |a| malformed_support::adapter_over(a, &[9; 32]), "0909", "adapter_model.safetensors belongs to the base model"),
    ("a pickle", |a| fs::rename(a.join(FACTORS), a.join("adapter_model.bin")).unwrap(), "adapter_model.bin", "is a pickle"),
    ("another rank than declared", |a| malformed_support::setting(a, "r", json!(3)), A, "is [2, 12], expected [3, 12]"),
    ("DoRA", |a| malformed_support::setting(a, "use_dora", json!(true)), CONFIG, "`use_dora` = true"),
    ("a rank of its own for a layer", |a| malformed_support::setting(a, "alpha_pattern", json!({"q_proj": 64})), CONFIG, "`alpha_pattern` = {\"q_proj\":64}"),
    ("whole modules beside the factors", |a| malformed_support::setting(a, "modules_to_save", json!(["lm_head"])), CONFIG, "`modules_to_save` = [\"lm_head\"]"),
    ("an expression that would fill memory", |a| malformed_support::setting(a, "target_modules", json!("((q{999}){999}){999}")), CONFIG, "`target_modules` is no usable expression"),
];

/// The error with everything that caused it.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn load_model(folder: &Path) -> Result<(), String> {
    Decoder::load(folder, &candle_core::Device::Cpu).map(drop).map_err(|error| told(&error))
}

fn load_adapter(folder: &Path) -> Result<(), String> {
    let config: DecoderConfig = malformed_support::shape();
    Adapter::load_peft_over(folder, &config, &DIGEST).map(drop).map_err(|error| told(&error))
}

/// Refuses every case; returns their errors.
fn refuse_all(
    cases: &[Case],
    make: fn(&Path),
    load: fn(&Path) -> Result<(), String>,
) -> BTreeSet<String> {
    let mut errors = BTreeSet::new();
    for (what, spoil, file, reason) in cases {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("m");
        make(&folder);
        load(&folder).unwrap_or_else(|error| panic!("before it is spoilt: {error}"));
        spoil(&folder);
        let begun = Instant::now();
        let (result, held) = most_held(|| load(&folder));
        let took = begun.elapsed();
        let error = result.expect_err(what);
        println!("{what}: {took:?}, {held} bytes: {error}");
        let place = format!("{}", folder.display());
        let named = error.replace(&place, "m");
        assert!(named.contains(file) && named.contains(reason), "{what}: {error}");
        assert!(held < MOST_BYTES, "{what}: {held} bytes held");
        assert!(took < LONGEST, "{what}: {took:?}");
        assert!(errors.insert(named), "{what}: not an error of its own: {error}");
    }
    errors
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn every_malformed_folder_is_refused_by_its_own_error_at_once_in_little_memory() {
    let models = refuse_all(&MODELS, model, load_model);
    let adapters = refuse_all(&ADAPTERS, adapter, load_adapter);
    assert_eq!((models.len(), adapters.len()), (MODELS.len(), ADAPTERS.len()));
}
