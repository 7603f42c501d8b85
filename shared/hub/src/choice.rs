//! Which files of a repository make a model folder. Nothing else is ever fetched.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::HubError;
use crate::name::RepoName;

/// Without it there is no model.
pub(crate) const CONFIG: &str = "config.json";
/// The whole model in one file.
const SINGLE: &str = "model.safetensors";
/// The list of shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Small files that a model may have, beside its config.
const COMPANIONS: [&str; 11] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.txt",
];
/// Most shards, as the model folder's reader has it.
const MAX_SHARDS: usize = 512;

/// What is to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Config, tokenizer and templates; the index too, if the weights are sharded.
    pub(crate) small: Vec<String>,
    /// The weights, unless the index has to be read first.
    pub(crate) weights: Option<String>,
}

/// Chooses among the file names of a repository.
///
/// # Errors
/// [`HubError::NoConfig`]; [`HubError::NoSafetensors`] with what there is instead.
pub(crate) fn choose(name: &RepoName, files: &[String]) -> Result<Choice, HubError> {
    let has = |file: &str| files.iter().any(|own| own == file);
    if !has(CONFIG) {
        return Err(HubError::NoConfig { name: name.to_string() });
    }
    // One file goes before shards, as in transformers.
    let weights = has(SINGLE).then(|| SINGLE.to_owned());
    if weights.is_none() && !has(INDEX) {
        return Err(HubError::NoSafetensors { name: name.to_string(), found: instead(files) });
    }
    let index = weights.is_none().then_some(INDEX);
    let small = [CONFIG].into_iter().chain(COMPANIONS).filter(|file| has(file)).chain(index);
    Ok(Choice { small: small.map(str::to_owned).collect(), weights })
}

/// The shards that an index names, each a file of the repository.
///
/// # Errors
/// [`HubError::Index`].
pub(crate) fn shards(
    name: &RepoName,
    index: &[u8],
    files: &[String],
) -> Result<Vec<String>, HubError> {
    let shards = named(name, index)?;
    if let Some(shard) = shards.iter().find(|shard| !files.contains(shard)) {
        return Err(bad(name, format!("names the shard `{shard}`, which the repository lacks")));
    }
    Ok(shards)
}

/// The shards that an index names.
///
/// # Errors
/// [`HubError::Index`].
pub(crate) fn named(name: &RepoName, index: &[u8]) -> Result<Vec<String>, HubError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| bad(name, format!("does not read ({error})")))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if shards.is_empty() || shards.len() > MAX_SHARDS {
        return Err(bad(name, format!("names {} shards, not 1 to {MAX_SHARDS}", shards.len())));
    }
    if let Some(shard) = shards.iter().find(|shard| !is_shard(shard)) {
        let shard = shown(shard);
        let problem = format!("names the shard `{shard}`, which is no plain safetensors file");
        return Err(bad(name, problem));
    }
    Ok(shards.into_iter().collect())
}

fn bad(name: &RepoName, problem: String) -> HubError {
    HubError::Index { name: name.to_string(), problem }
}

/// A file of the snapshot itself: no index may lead out of it.
fn is_shard(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(plain)
}

/// What lies there in the place of weights, in words.
fn instead(files: &[String]) -> String {
    let kinds = [
        (".bin", "pickles"),
        (".pt", "pickles"),
        (".pth", "pickles"),
        (".gguf", "GGUF, which cannot be trained"),
        (".safetensors", "safetensors under other names"),
    ];
    let of = |ending: &str| files.iter().find(|file| file.ends_with(ending));
    let found = kinds.iter().find_map(|(ending, kind)| Some((of(ending)?, kind)));
    found.map_or_else(String::new, |(file, kind)| format!(", only {kind} (`{}`)", shown(file)))
}

/// A name that a hub sent, for a message.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(ToString::to_string).collect()
    }

    fn repo() -> RepoName {
        "org/m".parse().unwrap()
    }

    #[test]
    fn only_what_a_decoder_needs_is_chosen() {
        let files = names(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "configuration_x.py",
            "consolidated.safetensors",
            "generation_config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "../tokenizer.json",
        ]);
        let choice = choose(&repo(), &files).unwrap();
        assert_eq!(choice.small, ["config.json", "generation_config.json", "tokenizer.json"]);
        assert_eq!(choice.weights.as_deref(), Some("model.safetensors"));
        let sharded = choose(&repo(), &names(&["config.json", INDEX])).unwrap();
        assert_eq!((sharded.small, sharded.weights), (names(&["config.json", INDEX]), None));
    }

    #[test]
    fn a_repository_of_another_kind_is_refused_by_what_it_has() {
        for (files, expected) in [
            (vec!["config.json", "pytorch_model.bin"], "pickles (`pytorch_model.bin`)"),
            (vec!["config.json", "model.pt"], "pickles (`model.pt`)"),
            (vec!["config.json", "m-q4.gguf"], "GGUF"),
            (vec!["config.json", "adapter_model.safetensors"], "other names (`adapter_model"),
            (vec!["config.json", "README.md"], "no safetensors; take"),
            (vec!["model.safetensors"], "no `config.json`"),
        ] {
            let error = choose(&repo(), &names(&files)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("`org/m`"), "{error}");
        }
    }

    #[test]
    fn shards_are_those_of_the_index_and_of_the_repository() {
        let files = names(&["a.safetensors", "b.safetensors", "c.safetensors"]);
        let of = |map: &str| {
            let index = format!("{{\"weight_map\": {map}}}");
            shards(&repo(), index.as_bytes(), &files).map_err(|error| error.to_string())
        };
        let map = r#"{"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}"#;
        assert_eq!(of(map).unwrap(), ["a.safetensors", "b.safetensors"]);
        for (map, expected) in [
            ("{}", "names 0 shards"),
            (r#"{"x": "../a.safetensors"}"#, "no plain"),
            (r#"{"x": "a.bin"}"#, "no plain"),
            (r#"{"x": "d.safetensors"}"#, "which the repository lacks"),
            ("[]", "does not read"),
        ] {
            let error = of(map).unwrap_err();
            assert!(error.contains(expected), "{map}: {error}");
        }
    }
}
