//! Where the hub and its cache are, by the variables that Python's `huggingface_hub` reads.
//!
//! Source: the environment variables of huggingface_hub. `hf-hub` reads most of them and not
//! `HF_HUB_OFFLINE`, so all are read here and handed to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::HubError;
use crate::token::Token;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Longest wait for the next bytes, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const STALL: Duration = Duration::from_secs(60);

/// Where from, where to, and whether at all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The folder of `models--…` folders.
    pub cache: PathBuf,
    /// Who asks.
    pub token: Option<Token>,
    /// Who forbids connections, if somebody does.
    pub offline: Option<OfflineBy>,
    /// Longest wait for an answer, or for the next bytes of one.
    pub stall: Duration,
    /// How often what broke off is tried again.
    pub retries: usize,
}

/// What forbids connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineBy {
    /// This environment variable.
    Variable(&'static str),
    /// `offline = true` in this file.
    Config(PathBuf),
    /// The command's own `--offline`.
    Option,
}

impl fmt::Display for OfflineBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Config(file) => write!(f, "`offline = true` in `{}`", file.display()),
            Self::Option => f.write_str("--offline"),
        }
    }
}

impl Settings {
    /// By the variables of this process.
    ///
    /// # Errors
    /// A variable that is set to nonsense, a token file that cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var(name).ok())
    }

    /// By variables that `get` knows; empty ones count as absent.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let home = get("HOME").unwrap_or_else(|| "/tmp".to_owned());
        let folder = |name: &str| get(name).map(|path| expand(&path, &home));
        let hf_home = folder("HF_HOME").unwrap_or_else(|| {
            let caches = folder("XDG_CACHE_HOME");
            caches.unwrap_or_else(|| Path::new(&home).join(".cache")).join("huggingface")
        });
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let forbids = |name: &&str| get(name).is_some_and(|value| is_true(&value));
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(forbids);
        let token = match is_true(&get("HF_HUB_DISABLE_IMPLICIT_TOKEN").unwrap_or_default()) {
            true => None,
            false => token(&get, folder("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token")))?,
        };
        Ok(Self {
            endpoint: endpoint(get("HF_ENDPOINT"))?,
            cache: cache.unwrap_or_else(|| hf_home.join("hub")),
            token,
            offline: offline.map(OfflineBy::Variable),
            stall: stall(get("HF_HUB_DOWNLOAD_TIMEOUT"))?,
            retries: 5,
        })
    }

    /// `text` as it may be shown: no token in it, no control characters, not endless.
    pub(crate) fn shown(&self, text: &str) -> String {
        const LONGEST: usize = 300;
        let text = self.token.as_ref().map_or_else(|| text.to_owned(), |token| token.scrub(text));
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        clean.take(LONGEST).collect::<String>().trim().to_owned()
    }
}

fn token(get: &dyn Fn(&str) -> Option<String>, file: PathBuf) -> Result<Option<Token>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(text) = get(name) {
            let problem = "it is no token: it has blanks or other characters inside";
            let bad = || HubError::Variable { name, problem: problem.to_owned() };
            return Token::new(&text).ok_or_else(bad).map(Some);
        }
    }
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Token::new(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubError::File { path: file, source }),
    }
}

fn endpoint(given: Option<String>) -> Result<String, HubError> {
    let text = given.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let bad = |problem: &str| HubError::Variable {
        name: "HF_ENDPOINT",
        problem: format!("{problem}; it reads like `{DEFAULT_ENDPOINT}`"),
    };
    let url = reqwest::Url::parse(&text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad("it is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user or password, which belong into HF_TOKEN"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn stall(given: Option<String>) -> Result<Duration, HubError> {
    let Some(text) = given else { return Ok(STALL) };
    let seconds = text.trim().parse().ok().filter(|&seconds: &u64| seconds > 0);
    let problem = || format!("`{text}` is no number of seconds from 1");
    let bad = || HubError::Variable { name: "HF_HUB_DOWNLOAD_TIMEOUT", problem: problem() };
    seconds.map(Duration::from_secs).ok_or_else(bad)
}

/// What Python's `huggingface_hub` takes for true.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn expand(path: &str, home: &str) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => PathBuf::from(home),
        Some(rest) if rest.starts_with('/') => Path::new(home).join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;
