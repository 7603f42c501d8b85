//! `seal miniature`: the embedded base model, written out or trained again from nothing.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use seal_miniature::architecture::{config_json, generation_config_json, tokenizer_config_json};
use seal_miniature::base;
use seal_miniature::pretrain::{Progress, pretrain};
use seal_miniature::vocabulary::tokenizer_json;
use seal_model::Decoder;

use super::hint;
use crate::cli::Global;
use crate::exit::{Ended, Failure};
use crate::text::duration;

/// Steps between two lines of progress.
const TOLD_EVERY: u64 = 50;

/// Writes the embedded model folder.
pub(crate) fn export(global: &Global, out: &Path) -> Result<Option<Ended>, Failure> {
    base::write_base(out).map_err(anyhow::Error::from)?;
    out!("{}", out.display());
    hint(global, "transformers.AutoModelForCausalLM.from_pretrained(FOLDER) loads it");
    Ok(None)
}

/// Trains the base again by the recipe in its manifest and says whether the weights are the same.
pub(crate) fn again(global: &Global, out: &Path) -> Result<Option<Ended>, Failure> {
    let manifest = base::manifest().map_err(anyhow::Error::from)?;
    let steps = manifest.recipe.steps;
    let begun = Instant::now();
    let mut tell = |progress: Progress<'_>| {
        if !global.quiet && progress.step.is_multiple_of(TOLD_EVERY) {
            let left = begun.elapsed().as_secs() * (steps - progress.step) / progress.step;
            eprintln!(
                "step {} of {steps}, loss {:.3} nats, {} left",
                progress.step,
                progress.loss,
                duration(left)
            );
        }
    };
    let (decoder, _) = pretrain(&manifest.recipe, &mut tell).map_err(anyhow::Error::from)?;
    write_model(out, &decoder)?;
    let made = seal_model::folder_digest(out).map_err(anyhow::Error::from)?;
    let made = seal_protocol::Digest::from_bytes(made).to_string();
    out!("{made}");
    if made != manifest.folder_digest {
        eprintln!(
            "differs from the embedded base {}; that one was made with {}, this machine has {}",
            manifest.folder_digest,
            manifest.instruction_set,
            seal_model::instruction_set()
        );
        return Ok(Some(Ended::Failed));
    }
    hint(global, "these are the embedded weights, bit for bit");
    Ok(None)
}

fn write_model(out: &Path, decoder: &Decoder) -> Result<()> {
    decoder.save(out).with_context(|| format!("cannot write `{}`", out.display()))?;
    for (name, text) in [
        ("config.json", config_json()),
        ("generation_config.json", generation_config_json()),
        ("tokenizer.json", tokenizer_json()),
        ("tokenizer_config.json", tokenizer_config_json()),
    ] {
        std::fs::write(out.join(name), text)
            .with_context(|| format!("cannot write `{}`", out.join(name).display()))?;
    }
    Ok(())
}
