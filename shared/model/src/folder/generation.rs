//! generation_config.json: the tokens that end a text, and how the model's makers sample.
//!
//! Source: `GenerationConfig` of transformers; fields it gives a default for have that default.

use super::{is_lfs_pointer, read_small};
use crate::error::{ModelError, Result};
use crate::folder::Refusal;
use crate::generate::SamplingConfig;
use serde::Deserialize;
use std::path::Path;

/// Name of the file.
const FILE: &str = "generation_config.json";
/// Longest one, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// transformers' default where a model samples and names no `top_k`.
const TOP_K: usize = 50;

/// What generation_config.json says.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a text; `None` where the file does not name them.
    pub eos_token_ids: Option<Vec<u32>>,
    /// How texts are drawn where nothing else is asked. Greedy unless `do_sample` is true.
    pub sampling: SamplingConfig,
}

#[derive(Deserialize)]
struct Fields {
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    max_new_tokens: Option<usize>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl GenerationConfig {
    /// Reads a model folder's file; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON; a field of the wrong kind or outside its range.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_small(&path, MAX_BYTES)?;
        if is_lfs_pointer(&text) {
            return Err(ModelError::Refused { path, reason: Refusal::LfsPointer });
        }
        let wrong = |problem: String| ModelError::Config { path: path.clone(), problem };
        let fields: Fields =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let sampling = sampling(&fields);
        match sampling.problem() {
            Some(problem) => Err(wrong(problem.to_owned())),
            None => Ok(Some(Self { eos_token_ids: fields.eos_token_id.map(ids), sampling })),
        }
    }
}

fn ids(ids: OneOrMany) -> Vec<u32> {
    match ids {
        OneOrMany::One(id) => vec![id],
        OneOrMany::Many(ids) => ids,
    }
}

fn sampling(fields: &Fields) -> SamplingConfig {
    let plain = SamplingConfig::default();
    let plain = SamplingConfig {
        max_new_tokens: fields.max_new_tokens.unwrap_or(plain.max_new_tokens),
        repetition_penalty: fields.repetition_penalty.unwrap_or(plain.repetition_penalty),
        ..plain
    };
    if fields.do_sample != Some(true) {
        return SamplingConfig { temperature: 0.0, ..plain };
    }
    SamplingConfig {
        temperature: fields.temperature.unwrap_or(plain.temperature),
        top_k: fields.top_k.unwrap_or(TOP_K),
        top_p: fields.top_p.unwrap_or(plain.top_p),
        min_p: fields.min_p.unwrap_or(plain.min_p),
        typical_p: fields.typical_p.unwrap_or(plain.typical_p),
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Option<GenerationConfig>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        GenerationConfig::load(dir.path())
    }

    #[test]
    fn ends_are_one_token_or_many_or_not_named() {
        let ends = |text| load(text).unwrap().unwrap().eos_token_ids;
        assert_eq!(ends(r#"{"eos_token_id": 7}"#), Some(vec![7]));
        assert_eq!(ends(r#"{"eos_token_id": [7, 9]}"#), Some(vec![7, 9]));
        assert_eq!(ends(r#"{"eos_token_id": null}"#), None);
        assert_eq!(GenerationConfig::load(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }

    #[test]
    fn a_model_samples_only_if_its_makers_say_so_and_then_as_they_say() {
        let greedy = load(r#"{"temperature": 0.6, "top_p": 0.9}"#).unwrap().unwrap().sampling;
        assert_eq!(greedy, SamplingConfig { temperature: 0.0, ..SamplingConfig::default() });
        let qwen = r#"{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8,
                       "min_p": 0.05, "repetition_penalty": 1.05, "max_new_tokens": 9}"#;
        let expected = SamplingConfig {
            temperature: 0.7,
            top_k: 20,
            top_p: 0.8,
            min_p: 0.05,
            repetition_penalty: 1.05,
            max_new_tokens: 9,
            ..SamplingConfig::default()
        };
        assert_eq!(load(qwen).unwrap().unwrap().sampling, expected);
        let silent = load(r#"{"do_sample": true}"#).unwrap().unwrap().sampling;
        assert_eq!((silent.temperature, silent.top_k), (1.0, 50));
    }

    #[test]
    fn a_damaged_file_is_refused_by_its_name_and_field() {
        for (text, part) in [
            ("{", "EOF"),
            (r#"{"eos_token_id": "</s>"}"#, "OneOrMany"),
            (r#"{"do_sample": true, "top_p": 7}"#, "top_p"),
            (r#"{"do_sample": true, "temperature": -1}"#, "temperature"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains(part), "{error}");
        }
    }
}
