//! What the configs of a run folder say about its data: rounds, and which files they name.
//!
//! Read leniently: a folder without configs, or with broken ones, says nothing here; whoever starts the
//! run tells what is wrong with them.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

/// Files with data, by config and key.
const DATA: [(&str, &[&str]); 4] = [
    ("teacher.toml", &["contexts"]),
    ("auditor.toml", &["vault", "tau"]),
    ("auditor.toml", &["vault", "retention"]),
    ("auditor.toml", &["vault", "refusals"]),
];

/// `rounds` of its `run.toml`.
pub(crate) fn rounds(folder: &Path) -> Option<u32> {
    let rounds = said(&folder.join("run.toml"), &["run", "rounds"])?.as_integer()?;
    u32::try_from(rounds).ok().filter(|&rounds| rounds > 0)
}

/// How far a folder is from a run that can start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Every file with data that the configs name is there.
    Yes,
    /// This one is named and missing.
    Missing(PathBuf),
    /// These files were written and no config names them.
    Unnamed,
}

/// Holds the configs against the files of an import.
pub(crate) fn ready(folder: &Path, written: &[PathBuf]) -> Ready {
    let named: Vec<PathBuf> =
        DATA.iter().filter_map(|(config, key)| named(folder, config, key)).collect();
    let is_named = |what: &str| {
        let mut data = written.iter().filter(|file| file.ends_with(what));
        data.all(|file| named.contains(file))
    };
    if named.is_empty() || !is_named("contexts.jsonl") || !is_named("tau.jsonl") {
        return Ready::Unnamed;
    }
    named.into_iter().find(|file| !file.exists()).map_or(Ready::Yes, Ready::Missing)
}

fn named(folder: &Path, config: &str, key: &[&str]) -> Option<PathBuf> {
    Some(folder.join(said(&folder.join(config), key)?.as_str()?))
}

fn said(file: &Path, keys: &[&str]) -> Option<Item> {
    let document: DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    let mut item = document.as_item();
    for key in keys {
        item = item.get(key)?;
    }
    Some(item.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn configs_say_how_many_rounds_and_what_is_still_missing() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let written =
            [put("teacher/contexts.jsonl", ""), put("auditor/tau.jsonl", ""), put("x.json", "")];
        assert_eq!((rounds(folder), ready(folder, &written)), (None, Ready::Unnamed));
        put("run.toml", "[run]\nrounds = 3\n");
        put("teacher.toml", "contexts = \"teacher/contexts.jsonl\"\n");
        assert_eq!((rounds(folder), ready(folder, &written)), (Some(3), Ready::Unnamed));
        put("auditor.toml", "[vault]\ntau = \"auditor/tau.jsonl\"\nrefusals = \"r.jsonl\"\n");
        let missing = Ready::Missing(folder.join("r.jsonl"));
        assert_eq!(ready(folder, &written), missing);
        put("r.jsonl", "");
        assert_eq!(ready(folder, &written), Ready::Yes);
        put("run.toml", "[run]\nrounds = 0\n");
        assert_eq!(rounds(folder), None);
    }
}
