//! What a folder is, from its file names and `config.json` alone.

use super::header::shown;
use super::refusal::Refusal;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The whole model in one file.
pub(super) const SINGLE: &str = "model.safetensors";
/// The list of shards.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Which weights a folder has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `model.safetensors`.
    Single,
    /// `model.safetensors.index.json`.
    Sharded,
}

/// Finds the weights among the file names of `dir`. One file goes before shards, as in
/// transformers; pickles beside safetensors are left unread.
pub(super) fn weights(dir: &Path, names: &[String]) -> Result<Kind, (PathBuf, Refusal)> {
    let has = |name: &str| names.iter().any(|n| n == name);
    if has(SINGLE) {
        return Ok(Kind::Single);
    }
    if has(INDEX) {
        return Ok(Kind::Sharded);
    }
    let of =
        |starts: &str| names.iter().find(|n| n.starts_with(starts) && n.ends_with(".safetensors"));
    if let Some(shard) = of("model-") {
        return Err((dir.to_path_buf(), Refusal::NoIndex(shard.clone())));
    }
    if let Some(name) = of("consolidated") {
        return Err((dir.join(name), Refusal::Consolidated));
    }
    Err(other_weights(dir, names).unwrap_or((dir.to_path_buf(), Refusal::NoWeights)))
}

/// Why a folder without `config.json` is no model folder.
pub(super) fn without_config(dir: &Path, names: &[String]) -> (PathBuf, Refusal) {
    let adapter = names.iter().any(|name| name == "adapter_config.json");
    let reason = if adapter { Refusal::IsAdapter } else { Refusal::NoConfig };
    match other_weights(dir, names) {
        Some(found) if !adapter => found,
        _ => (dir.to_path_buf(), reason),
    }
}

/// Why a path that is no folder is no model.
pub(super) fn of_file(path: &Path) -> Refusal {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match path.is_file().then(|| of_name(&name)).flatten() {
        Some(reason) => reason,
        None => Refusal::NoFolder,
    }
}

/// The first file of a format that is never read, weights by their usual name first.
fn other_weights(dir: &Path, names: &[String]) -> Option<(PathBuf, Refusal)> {
    let usual = |name: &&String| name.starts_with("pytorch_model");
    let first = names.iter().filter(usual).chain(names).find_map(|n| Some((n, of_name(n)?)));
    first.map(|(name, reason)| (dir.join(name), reason))
}

fn of_name(name: &str) -> Option<Refusal> {
    let name = name.strip_suffix(".index.json").unwrap_or(name);
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "bin" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" => Some(Refusal::Pickle),
        "gguf" | "ggml" => Some(Refusal::Gguf),
        _ => None,
    }
}

/// Refuses a config that asks for code, or that describes weights of a few bits.
pub(super) fn check_config(config: &Value) -> Result<(), Refusal> {
    if let Some(map) = config.get("auto_map").filter(|map| !map.is_null()) {
        return Err(Refusal::RemoteCode(first_text(map)));
    }
    // Multi-part models keep it beside their language model's own settings.
    let quantised = ["quantization_config", "compression_config"];
    if let Some(how) = quantised.iter().find_map(|key| config.get(key).filter(|v| !v.is_null())) {
        let method = how.get("quant_method").unwrap_or(how);
        return Err(Refusal::Quantised(first_text(method)));
    }
    Ok(())
}

/// The first text in a value: `configuration_x.XConfig` of an `auto_map`.
fn first_text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(items) => items.first().map(first_text).unwrap_or_default(),
        Value::Object(map) => map.values().next().map(first_text).unwrap_or_default(),
        other => shown(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(names: &[&str]) -> Result<Kind, String> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        weights(Path::new("m"), &names).map_err(|(path, r)| format!("{}: {r}", path.display()))
    }

    #[test]
    fn safetensors_are_taken_and_pickles_beside_them_left_alone() {
        assert_eq!(found(&["model.safetensors", "pytorch_model.bin"]), Ok(Kind::Single));
        assert_eq!(found(&[INDEX, "model-00001-of-00002.safetensors"]), Ok(Kind::Sharded));
        assert_eq!(found(&[INDEX, SINGLE]), Ok(Kind::Single));
    }

    #[test]
    fn weights_that_are_never_read_are_refused_by_file_and_kind() {
        for (name, kind) in [
            ("pytorch_model.bin", "pickle"),
            ("pytorch_model.bin.index.json", "pickle"),
            ("model.pt", "pickle"),
            ("weights.PTH", "pickle"),
            ("last.ckpt", "pickle"),
            ("m-q4_k_m.gguf", "GGUF"),
            ("consolidated.00.safetensors", "Mistral"),
            ("model-00001-of-00002.safetensors", "index.json"),
        ] {
            let error = found(&["README.md", name]).unwrap_err();
            assert!(error.contains(kind) && error.contains(name), "{error}");
        }
        assert!(found(&["training_args.bin", "pytorch_model.bin"]).unwrap_err().contains("m/pyto"));
        assert!(found(&["README.md"]).unwrap_err().contains("no weights"));
    }

    #[test]
    fn code_and_quantisation_are_refused_by_what_the_config_says() {
        let code = json!({"auto_map": {"AutoConfig": "configuration_x.XConfig"}});
        assert_eq!(check_config(&code), Err(Refusal::RemoteCode("configuration_x.XConfig".into())));
        let quantised = json!({"quantization_config": {"quant_method": "gptq", "bits": 4}});
        assert_eq!(check_config(&quantised), Err(Refusal::Quantised("gptq".into())));
        assert_eq!(check_config(&json!({"auto_map": null, "quantization_config": null})), Ok(()));
    }
}
