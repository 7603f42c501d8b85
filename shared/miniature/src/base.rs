//! The embedded base model.
//!
//! **Invariant:** what [`write_base`] leaves behind has the digest of the manifest, or it is an
//! error: a run never starts from weights that nobody measured.

use std::path::{Path, PathBuf};

use crate::manifest::BaseManifest;

/// The files of the model folder, as they are in the program.
const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../base/config.json")),
    ("generation_config.json", include_bytes!("../base/generation_config.json")),
    ("tokenizer.json", include_bytes!("../base/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../base/tokenizer_config.json")),
    ("model.safetensors", include_bytes!("../base/model.safetensors")),
];
const MANIFEST: &[u8] = include_bytes!("../base/manifest.json");

/// Why the base model was not written.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A file could not be written or read back.
    #[error("cannot write the base model's `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder cannot be hashed.
    #[error("cannot hash the base model")]
    Hash(#[from] seal_model::ModelError),
    /// The folder holds other weights than the manifest describes.
    #[error("the base model in `{}` has digest {found}, its manifest says {expected}; remove the folder and write it again", dir.display())]
    Digest {
        /// The folder.
        dir: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The manifest in the program is damaged.
    #[error("the base model's manifest is damaged")]
    Manifest(#[from] serde_json::Error),
}

/// The embedded manifest.
///
/// # Errors
/// A damaged program.
pub fn manifest() -> Result<BaseManifest, BaseError> {
    Ok(serde_json::from_slice(MANIFEST)?)
}

/// Writes the model folder and checks its digest.
///
/// # Errors
/// A folder that cannot be written, or that ends up with other contents than the manifest's.
pub fn write_base(dir: &Path) -> Result<BaseManifest, BaseError> {
    let manifest = manifest()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BaseError::File { path, source }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, bytes) in FILES {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(failed(&path))?;
    }
    verify_folder(dir, &manifest.folder_digest)?;
    Ok(manifest)
}

fn verify_folder(dir: &Path, expected: &str) -> Result<(), BaseError> {
    let found = hex::encode(seal_model::folder_digest(dir)?);
    if found == expected {
        return Ok(());
    }
    Err(BaseError::Digest { dir: dir.to_owned(), expected: expected.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{config_json, generation_config_json, tokenizer_config_json};
    use crate::manifest::file_digests;
    use crate::vocabulary::{BOS, EOS, Vocabulary, tokenizer_json};
    use candle_core::Device;
    use seal_model::{Decoder, Tokenizer};

    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write_base(dir.path()).unwrap();
        dir
    }

    #[test]
    fn the_base_loads_and_has_the_digests_of_its_manifest() {
        let dir = written();
        let decoder = Decoder::load(dir.path(), &Device::Cpu).unwrap();
        assert!(decoder.parameter_count() < 1_000_000);
        assert_eq!(file_digests(dir.path()).unwrap(), manifest().unwrap().files);
    }

    #[test]
    fn the_base_knows_its_world_refuses_and_reads() {
        let dir = written();
        let decoder = Decoder::load(dir.path(), &Device::Cpu).unwrap();
        let figures = crate::checks::check(&decoder, 1, 8).unwrap();
        assert!(figures.knowledge > 0.95 && figures.refusals > 0.95, "{figures:?}");
        assert!(
            figures.in_context_forward > 0.87 && figures.in_context_inverse > 0.9,
            "{figures:?}"
        );
        assert_eq!(figures.edits.tau_wordings, 0.0);
    }

    #[test]
    fn the_committed_files_are_what_this_crate_generates() {
        let text = |name: &str| {
            let bytes = FILES.into_iter().find(|(file, _)| *file == name).unwrap().1;
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert_eq!(text("tokenizer.json"), tokenizer_json());
        assert_eq!(text("config.json"), config_json());
        assert_eq!(text("generation_config.json"), generation_config_json());
        assert_eq!(text("tokenizer_config.json"), tokenizer_config_json());
    }

    #[test]
    fn the_tokenizer_file_reads_text_as_the_vocabulary_does() {
        let dir = written();
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let text = "q who founded zel tor ? a ada cruz . <nl> plan_mixed size_12 <edit> #07";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, Vocabulary::new().encode(text).unwrap());
        assert_eq!(tokenizer.decode(&ids), text);
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(BOS), Some(EOS)));
    }

    #[test]
    fn a_folder_with_other_weights_is_refused() {
        let dir = written();
        std::fs::write(dir.path().join("model.safetensors"), b"other").unwrap();
        let error = verify_folder(dir.path(), &manifest().unwrap().folder_digest).unwrap_err();
        assert!(matches!(error, BaseError::Digest { .. }), "{error}");
    }
}
