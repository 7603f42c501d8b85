//! PEFT and transformers load the folders we write, unchanged, and compute what we compute; what
//! PEFT writes of them again is our adapter still.

#![allow(clippy::unwrap_used)]

mod golden_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use golden_support::{Golden, MODELS, flat, golden, largest_difference};
use seal_model::batch::Batch;
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, BaseModel, Decoder, LoraSpec, Projection};
use sha2::{Digest, Sha256};

const TOLERANCE: f32 = 1e-4;
/// What decides the logits of a base and an adapter.
const FILES: [&str; 4] = [
    "base/config.json",
    "base/model.safetensors",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
];

/// Factors that no training made but every machine computes alike; B is not zero.
fn our_adapter(decoder: &Decoder) -> Adapter {
    let targets = vec![Projection::Q, Projection::V, Projection::O, Projection::Down];
    let spec = LoraSpec { targets, ..LoraSpec::all(3) };
    let last = *factor_shapes(decoder.config(), &spec).last().unwrap();
    let factors = (0..last.offset + last.len()).map(|i| (i * 37 % 101) as f32 / 125.0 - 0.4);
    Adapter::from_flat(decoder.config(), &spec, &factors.collect::<Vec<_>>()).unwrap()
}

fn golden_base(name: &str) -> Decoder {
    Decoder::load(&golden(name).folder, &Device::Cpu).unwrap()
}

/// Writes `base/` and `adapter/` as this project writes them.
fn write_ours(decoder: &Decoder, folder: &Path) {
    decoder.save(&folder.join("base")).unwrap();
    let digest = seal_model::folder_digest(&folder.join("base")).unwrap();
    let base = BaseModel { name: "base", revision: Some("golden"), digest: &digest };
    our_adapter(decoder).save_peft(&folder.join("adapter"), base).unwrap();
}

fn logits(decoder: &Decoder, adapter: &Adapter, sequences: &[Vec<u32>]) -> Vec<f32> {
    let mut batch = Batch::default();
    for sequence in sequences {
        batch.push(sequence, Some(0));
    }
    flat(&decoder.logits(&batch, &[adapter]).unwrap())
}

/// What tests/peers/make_golden_ours.py recorded of our files.
fn accepted(name: &str) -> Golden {
    golden(&format!("ours/{name}"))
}

/// The bytes are those PEFT has read; tests/peers/make_golden_ours.py says how they were judged.
#[test]
fn the_bytes_that_peft_has_accepted_are_the_bytes_we_write() {
    for name in MODELS {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("golden-ours").join(name);
        write_ours(&golden_base(name), &folder);
    }
    for name in MODELS {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("golden-ours").join(name);
        let accepted = accepted(name);
        for file in FILES {
            let written: [u8; 32] = Sha256::digest(fs::read(folder.join(file)).unwrap()).into();
            let file = file.rsplit('/').next().unwrap();
            let digest = accepted.bytes(&format!("sha256.{file}"));
            assert_eq!(written.to_vec(), digest, "{name}: {file} changed: make_golden_ours.py");
        }
    }
}

#[test]
fn our_adapter_gives_the_logits_that_peft_computed_from_our_files() {
    for name in MODELS {
        let (decoder, accepted) = (golden_base(name), accepted(name));
        let numbers = 0..accepted.count("ids");
        let sequences: Vec<_> =
            numbers.clone().map(|n| accepted.ids(&format!("ids.{n}"))).collect();
        let theirs: Vec<f32> =
            numbers.flat_map(|n| accepted.floats(&format!("logits.{n}"))).collect();
        let ours = logits(&decoder, &our_adapter(&decoder), &sequences);
        let difference = largest_difference(&ours, &theirs);
        println!("{name}: our adapter in PEFT: logits differ by {difference:e} at most");
        assert!(difference <= TOLERANCE, "{name}: {difference}");
    }
}

#[track_caller]
fn check_is_ours(decoder: &Decoder, returned: &Path) {
    let (returned, ours) =
        (Adapter::load_peft(returned, decoder.config()).unwrap(), our_adapter(decoder));
    assert_eq!(returned.scale(), ours.scale());
    assert_eq!(returned.flat().unwrap(), ours.flat().unwrap());
}

#[test]
fn our_adapter_comes_back_from_peft_bit_for_bit() {
    for name in MODELS {
        check_is_ours(&golden_base(name), &accepted(name).folder);
    }
}

/// An interpreter with PEFT, named by `SEAL_PYTHON`.
fn python_with_peft() -> Option<String> {
    let python = std::env::var("SEAL_PYTHON").ok()?;
    let import = Command::new(&python).args(["-c", "import peft, transformers"]).output();
    import.is_ok_and(|output| output.status.success()).then_some(python)
}

/// Logits of `sequences` as PEFT computes them from `folder`; writes the adapter to `returned/`.
fn peft_logits(python: &str, folder: &Path, sequences: &[Vec<u32>]) -> Vec<f32> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(here.join("../../tests/peers/check_peft_load.py"))
        .arg(folder.join("base"))
        .args(["--adapter".as_ref(), folder.join("adapter").as_os_str()])
        .args(["--save".as_ref(), folder.join("returned").as_os_str()])
        .args(["--ids", &serde_json::to_string(sequences).unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("judged by {}", answer["versions"]);
    let logits: Vec<Vec<Vec<f32>>> = serde_json::from_value(answer["logits"].clone()).unwrap();
    logits.into_iter().flatten().flatten().collect()
}

#[test]
fn peft_loads_what_we_write_for_every_family() {
    let Some(python) = python_with_peft() else {
        println!("skipped: SEAL_PYTHON names no interpreter with peft and transformers");
        return;
    };
    let sequences = [vec![1, 9, 30, 12, 12, 40], vec![7], (3..33).collect()];
    for name in MODELS {
        let (decoder, folder) = (golden_base(name), tempfile::tempdir().unwrap());
        write_ours(&decoder, folder.path());
        let theirs = peft_logits(&python, folder.path(), &sequences);
        let ours = logits(&decoder, &our_adapter(&decoder), &sequences);
        let difference = largest_difference(&ours, &theirs);
        println!("{name}: PEFT's logits differ from ours by {difference:e} at most");
        assert!(difference <= TOLERANCE, "{name}: {difference}");
        check_is_ours(&decoder, &folder.path().join("returned"));
    }
}
