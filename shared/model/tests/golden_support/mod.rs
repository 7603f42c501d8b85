//! Reads the vectors that `tests/peers/make_golden.py` wrote.

// Each test binary uses its part.
#![allow(dead_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

/// Every family as plain as it comes, and with every option it has.
pub(crate) const MODELS: [&str; 8] = [
    "llama",
    "llama_full",
    "mistral",
    "mistral_full",
    "qwen2",
    "qwen2_full",
    "qwen3",
    "qwen3_full",
];

/// A tiny model folder with its `golden.safetensors`.
pub(crate) struct Golden {
    pub(crate) folder: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// The folder of all vectors.
pub(crate) fn golden_folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().join("model/tests/golden")
}

pub(crate) fn golden(name: &str) -> Golden {
    let folder = golden_folder().join(name);
    let tensors = read_tensors(&folder.join("golden.safetensors"));
    Golden { folder, tensors }
}

/// Vectors that lie beside the model folders.
pub(crate) fn golden_file(name: &str) -> Golden {
    let folder = golden_folder();
    let tensors = read_tensors(&folder.join(name));
    Golden { folder, tensors }
}

fn read_tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Golden {
    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        let ids = self.tensor(name).to_vec1::<i64>().unwrap();
        ids.into_iter().map(|id| id.try_into().unwrap()).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensor(name).to_vec1().unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        flat(self.tensor(name))
    }

    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no `{name}` in {}", self.folder.display()))
    }

    /// How many of `{prefix}.0`, `{prefix}.1`, … there are.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        (0..).take_while(|n| self.tensors.contains_key(&format!("{prefix}.{n}"))).count()
    }

    /// Every `{prefix}{rest}`, as (rest, values).
    pub(crate) fn group(&self, prefix: &str) -> HashMap<String, Vec<f32>> {
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), flat(tensor)))
            })
            .collect()
    }
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest |a - b|. Lengths that differ, and numbers that are none, are no match.
#[track_caller]
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "as many numbers on both sides");
    assert!(!a.is_empty(), "nothing to compare");
    assert!(a.iter().chain(b).all(|x| x.is_finite()), "all finite");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Largest |a - b| in units of the largest |b|.
#[track_caller]
pub(crate) fn relative_difference(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().map(|b| b.abs()).fold(0.0, f32::max);
    assert!(scale > 0.0, "the reference is all zero");
    largest_difference(a, b) / scale
}
