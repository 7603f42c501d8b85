//! The digest that names a base model.

use crate::chat::ChatError;
use crate::chat::folder::deciding_files;
use crate::error::{ModelError, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that decide what a model computes, besides its weights.
const NAMED: [&str; 3] = ["config.json", "tokenizer.json", "generation_config.json"];

/// SHA-256 over the files that decide what the model in `dir` computes: `config.json`,
/// `*.safetensors`, `tokenizer.json` and `generation_config.json`, those that exist; and, where the
/// folder has a chat template, `chat_template.jinja`, `additional_chat_templates/*.jinja`,
/// `tokenizer_config.json` and `special_tokens_map.json`.
///
/// Hashed in name order as `name NUL length NUL sha256`, the length in decimal.
///
/// # Errors
/// A folder or file that cannot be read, or a folder without weights.
pub fn folder_digest(dir: &Path) -> Result<[u8; 32]> {
    let file = |source| ModelError::File { path: dir.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(file)? {
        if let Ok(name) = entry.map_err(file)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.retain(|name| NAMED.contains(&name.as_str()) || name.ends_with(".safetensors"));
    names.extend(deciding_files(dir).map_err(|error| unread(dir, error))?);
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        let problem = "no `.safetensors` file; is this a model folder?".into();
        return Err(ModelError::Weights { path: dir.to_path_buf(), problem });
    }
    named_digest(names.into_iter().map(|name| NamedFile { path: dir.join(&name), name }).collect())
}

/// A file under the name that it has in a digest.
pub(crate) struct NamedFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// SHA-256 over files in name order, each as `name NUL length NUL sha256`.
pub(crate) fn named_digest(mut files: Vec<NamedFile>) -> Result<[u8; 32]> {
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut whole = Sha256::new();
    for NamedFile { name, path } in files {
        let (len, digest) =
            file_digest(&path).map_err(|source| ModelError::File { path, source })?;
        whole.update(format!("{name}\0{len}\0"));
        whole.update(digest);
    }
    Ok(whole.finalize().into())
}

fn unread(dir: &Path, error: ChatError) -> ModelError {
    match error {
        ChatError::File { path, source } => ModelError::File { path, source },
        other => ModelError::Config { path: dir.to_path_buf(), problem: other.to_string() },
    }
}

fn file_digest(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let (mut hash, mut len, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((len, hash.finalize().into()));
        }
        hash.update(&buffer[..read]);
        len += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_the_weights_and_ignores_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(folder_digest(dir.path()).is_err(), "a folder without weights has no digest");
        write("model.safetensors", "a");
        write("config.json", "{}");
        let first = folder_digest(dir.path()).unwrap();
        write("README.md", "words");
        assert_eq!(folder_digest(dir.path()).unwrap(), first);
        write("model.safetensors", "b");
        assert_ne!(folder_digest(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_chat_template_and_what_it_is_given_belong_to_the_model() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let digest = || folder_digest(dir.path()).unwrap();
        write("model.safetensors", "a");
        write("config.json", "{}");
        let bare = digest();
        write("tokenizer_config.json", r#"{"bos_token": "<s>"}"#);
        assert_eq!(digest(), bare, "without a template its tokens decide nothing");
        let mut seen = vec![bare];
        let mut changes = |name: &str, text: &str| {
            write(name, text);
            assert!(!seen.contains(&digest()), "{name} must change the digest");
            seen.push(digest());
        };
        changes("chat_template.jinja", "{{ bos_token }}");
        changes("chat_template.jinja", "{{ eos_token }}");
        changes("tokenizer_config.json", r#"{"bos_token": "<t>"}"#);
        changes("special_tokens_map.json", r#"{"bos_token": "<u>"}"#);
        fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
        changes("additional_chat_templates/rag.jinja", "r");
        fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
        fs::remove_dir_all(dir.path().join("additional_chat_templates")).unwrap();
        changes("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#);
    }
}
