//! Configuration files: TOML into a typed value, or one error that names file, place, key and mend.
//!
//! **Invariant:** nothing is guessed. A key that the type does not know is an error, so types given
//! to [`load`] carry `deny_unknown_fields`.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

mod explain;

/// Why a config file gave no value. Every variant is the reader's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file.
    #[error("config file `{}` does not exist; name an existing file with --config or write one with `seal init`", path.display())]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// There, but not to be read.
    #[error("config file `{}` cannot be read; make it a text file that this user may read", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Read, but not what the type asks for.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Invalid {
        /// As given.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// Names the key and the mend.
        reason: String,
    },
}

/// Reads `path` as TOML.
///
/// # Errors
/// A file that is missing or unreadable, TOML that does not parse, an unknown or missing key, a
/// value of another type: each with its place and the mend.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse(path, &read(path)?)
}

/// Reads `text` as the TOML of `path`, which errors name.
///
/// # Errors
/// As [`load`], for a text that is there.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain::invalid(path, text, &error))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let path_of = || path.to_path_buf();
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing { path: path_of() },
        _ => ConfigError::Unreadable { path: path_of(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Config {
        seed: u64,
        inner_update: InnerUpdate,
        selection: Selection,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct InnerUpdate {
        learning_rate: f64,
        steps: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Selection {
        Strict,
        Paper,
    }

    const GOOD: &str =
        "seed = 1\nselection = \"strict\"\n\n[inner_update]\nlearning_rate = 5e-3\nsteps = 14\n";

    /// Loads `text` from a file named `run.toml` and returns the error without its folder.
    #[track_caller]
    fn error_of(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let error = load::<Config>(&path).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_correct_file_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, GOOD).unwrap();
        let config: Config = load(&path).unwrap();
        assert_eq!((config.seed, config.inner_update.steps), (1, 14));
        assert!(matches!(config.selection, Selection::Strict));
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_known_one() {
        assert_eq!(
            error_of(&GOOD.replace("learning_rate", "lerning_rate")),
            "run.toml:5:1: unknown key `lerning_rate`; did you mean `learning_rate`?"
        );
        assert_eq!(
            error_of(&format!("zzz = 1\n{GOOD}")),
            "run.toml:1:1: unknown key `zzz`; known here: `seed`, `inner_update`, `selection`"
        );
    }

    #[test]
    fn a_missing_key_says_what_to_add() {
        assert_eq!(
            error_of(&GOOD.replace("steps = 14\n", "")),
            "run.toml:4:1: key `steps` is missing; add `steps = …` under `[inner_update]`"
        );
        assert_eq!(
            error_of(&GOOD.replace("seed = 1\n", "")),
            "run.toml:1:1: key `seed` is missing; add `seed = …`"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_says_what_to_write() {
        assert_eq!(
            error_of(&GOOD.replace("steps = 14", "steps = \"ten\"")),
            "run.toml:6:9: key `steps` holds string \"ten\"; write a whole number, 0 or more, without quotes"
        );
        assert_eq!(
            error_of(&GOOD.replace("seed = 1", "seed = -1")),
            "run.toml:1:8: key `seed` holds integer `-1`; write a whole number, 0 or more, without quotes"
        );
    }

    #[test]
    fn an_unknown_choice_names_the_nearest_one() {
        assert_eq!(
            error_of(&GOOD.replace("\"strict\"", "\"strickt\"")),
            "run.toml:2:13: key `selection` holds `strickt`; did you mean `strict`?"
        );
    }

    #[test]
    fn broken_toml_names_its_place() {
        let error = error_of("seed = 1\nselection = \n");
        assert!(error.starts_with("run.toml:2:13: not valid TOML: "), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_get_one() {
        assert_eq!(
            load::<Config>(Path::new("no/such.toml")).unwrap_err().to_string(),
            "config file `no/such.toml` does not exist; name an existing file with --config or write one with `seal init`"
        );
    }
}
