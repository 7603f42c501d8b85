//! Where a model folder keeps its chat templates and the texts of its special tokens.
//!
//! As transformers looks: chat_template.jinja and additional_chat_templates/*.jinja, and only where
//! there are none the `chat_template` of tokenizer_config.json, one template or a list of named ones.

use super::error::ChatError;
use super::source::MAX_BYTES;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The default template.
pub(crate) const TEMPLATE: &str = "chat_template.jinja";
/// Folder of further templates.
pub(crate) const MORE_TEMPLATES: &str = "additional_chat_templates";
/// Special tokens and, in older folders, the templates.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Special tokens of older folders.
pub(crate) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Longest of the JSON files, in bytes.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// What the names of special tokens end with: `bos_token`, `eos_token`, `image_token`, ….
const TOKEN: &str = "_token";
/// Further special tokens by name.
const EXTRA: &str = "extra_special_tokens";

/// Templates by name; empty where the folder has none.
pub(super) fn templates(dir: &Path) -> Result<BTreeMap<String, String>, ChatError> {
    let mut found = BTreeMap::new();
    for (name, path) in template_files(dir)? {
        if let Some(source) = read_text(&path, MAX_BYTES as u64)? {
            found.insert(name, source);
        }
    }
    if found.is_empty() { named(dir) } else { Ok(found) }
}

/// The template files of a folder, by name.
pub(crate) fn template_files(dir: &Path) -> Result<BTreeMap<String, PathBuf>, ChatError> {
    let mut files = BTreeMap::new();
    let more = dir.join(MORE_TEMPLATES);
    if more.is_dir() {
        let unreadable = |source| ChatError::File { path: more.clone(), source };
        for entry in std::fs::read_dir(&more).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some(name), Some("jinja")) = (stem, path.extension().and_then(|e| e.to_str())) {
                files.insert(name.to_owned(), path.clone());
            }
        }
    }
    let default = dir.join(TEMPLATE);
    if default.is_file() {
        files.entry("default".to_owned()).or_insert(default);
    }
    Ok(files)
}

/// The files that decide what a conversation becomes, relative to the folder, sorted; none where it
/// has no template, for then the other files decide nothing either.
pub(crate) fn deciding_files(dir: &Path) -> Result<Vec<String>, ChatError> {
    let templates = template_files(dir)?;
    if templates.is_empty() && named(dir)?.is_empty() {
        return Ok(Vec::new());
    }
    let more = templates.into_values().filter_map(|path| {
        let file = path.file_name()?.to_str()?;
        Some(if file == TEMPLATE && path.parent() == Some(dir) {
            file.to_owned()
        } else {
            format!("{MORE_TEMPLATES}/{file}")
        })
    });
    let beside = [TOKENIZER_CONFIG, SPECIAL_TOKENS].map(str::to_owned);
    let beside = beside.into_iter().filter(|file| dir.join(file).is_file());
    let mut files: Vec<String> = more.chain(beside).collect();
    files.sort_unstable();
    Ok(files)
}

/// The `chat_template` of tokenizer_config.json.
fn named(dir: &Path) -> Result<BTreeMap<String, String>, ChatError> {
    let path = dir.join(TOKENIZER_CONFIG);
    let config = read_json(&path)?;
    let wrong = || ChatError::Folder {
        path: path.clone(),
        problem: "`chat_template` must be a text, or a list of objects with `name` and `template`"
            .to_owned(),
    };
    match config.as_ref().and_then(|config| config.get("chat_template")) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::String(source)) => Ok(BTreeMap::from([("default".to_owned(), source.clone())])),
        Some(Value::Array(list)) => {
            let one = |entry: &Value| {
                let text = |field| entry.get(field).and_then(Value::as_str).map(str::to_owned);
                text("name").zip(text("template")).ok_or_else(wrong)
            };
            list.iter().map(one).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// The texts of the special tokens by their names.
pub(super) fn special_tokens(dir: &Path) -> Result<BTreeMap<String, String>, ChatError> {
    let config = read_json(&dir.join(TOKENIZER_CONFIG))?.unwrap_or(Value::Null);
    let mut sources = vec![&config];
    let map;
    // Folders that list their added tokens in the config say everything there.
    if config.get("added_tokens_decoder").is_none() {
        map = read_json(&dir.join(SPECIAL_TOKENS))?.unwrap_or(Value::Null);
        sources.push(&map);
    }
    let extra = config.get(EXTRA);
    let fields = sources.into_iter().chain(extra).filter_map(Value::as_object).flatten();
    let named = fields.filter(|(name, _)| name.ends_with(TOKEN));
    let text = |token: &Value| token.get("content").unwrap_or(token).as_str().map(str::to_owned);
    Ok(named.filter_map(|(name, token)| Some((name.clone(), text(token)?))).collect())
}

fn read_json(path: &Path) -> Result<Option<Value>, ChatError> {
    let Some(text) = read_text(path, MAX_JSON_BYTES)? else { return Ok(None) };
    let read = serde_json::from_str(&text);
    read.map(Some).map_err(|error| ChatError::Folder {
        path: path.to_path_buf(),
        problem: format!("no JSON: {error}"),
    })
}

/// A file's text; `None` where there is none.
fn read_text(path: &Path, most: u64) -> Result<Option<String>, ChatError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ChatError::File { path: path.to_path_buf(), source }),
    };
    let mut text = String::new();
    let read = file.take(most + 1).read_to_string(&mut text);
    read.map_err(|source| ChatError::File { path: path.to_path_buf(), source })?;
    if text.len() as u64 > most {
        let problem = format!("longer than {most} bytes, the most that is read");
        return Err(ChatError::Folder { path: path.to_path_buf(), problem });
    }
    Ok(Some(text))
}
