//! Where a base model comes from and what it can do: `manifest.json` beside the weights.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checks::Figures;
use crate::pretrain::PretrainRecipe;

/// The files of the model folder.
pub const MODEL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
];

/// Origin and figures of the base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseManifest {
    /// What the model is called.
    pub name: String,
    /// Licence of the weights.
    pub license: String,
    /// The command that makes the same weights again.
    pub command: String,
    /// The vector unit that made these weights.
    pub instruction_set: String,
    /// What was trained on, and how.
    pub recipe: PretrainRecipe,
    /// Tokens seen.
    pub tokens: u64,
    /// Digest of the model folder.
    pub folder_digest: String,
    /// sha256 of each file.
    pub files: BTreeMap<String, String>,
    /// What the model can do.
    pub figures: Figures,
}

/// Describes a finished model folder.
///
/// # Errors
/// A file that cannot be read.
pub fn describe(
    dir: &Path,
    recipe: &PretrainRecipe,
    tokens: u64,
    figures: Figures,
) -> std::io::Result<BaseManifest> {
    let folder = seal_model::folder_digest(dir).map_err(std::io::Error::other)?;
    Ok(BaseManifest {
        name: "seal-miniature-base".to_owned(),
        license: "MIT OR Apache-2.0".to_owned(),
        command: command(recipe),
        instruction_set: seal_model::instruction_set().to_owned(),
        recipe: recipe.clone(),
        tokens,
        folder_digest: hex::encode(folder),
        files: file_digests(dir)?,
        figures,
    })
}

fn command(recipe: &PretrainRecipe) -> String {
    let PretrainRecipe { seed, steps, documents, lines, learning_rate, warmup_steps, .. } = recipe;
    format!(
        "cargo run --release -p seal-miniature --example pretrain -- --out DIR --seed {seed} \
         --steps {steps} --documents {documents} --lines {lines} --lr {learning_rate} \
         --warmup {warmup_steps}"
    )
}

/// sha256 of every file of a model folder.
///
/// # Errors
/// A file that cannot be read.
pub fn file_digests(dir: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let digest = |name: &str| {
        let bytes = std::fs::read(dir.join(name))?;
        Ok((name.to_owned(), hex::encode(Sha256::digest(&bytes))))
    };
    MODEL_FILES.into_iter().map(digest).collect()
}
