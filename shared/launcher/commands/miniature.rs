//! `seal miniature`: the embedded base model, written out or trained again from nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use seal_miniature::architecture::{config_json, generation_config_json, tokenizer_config_json};
use seal_miniature::base;
use seal_miniature::bytes::{BytesRecipe, pretrain_bytes};
use seal_miniature::pretrain::{Progress, pretrain};
use seal_miniature::vocabulary::tokenizer_json;
use seal_model::Decoder;

use super::hint;
use crate::cli::Global;
use crate::exit::{Ended, Failure, OrEnd};
use crate::import::{self, Passage};
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

/// Trains a byte-level model on passages, and on their questions as an auditor asks them.
pub(crate) fn bytes(
    global: &Global,
    passages: &[PathBuf],
    prompt: &str,
    recipe: &BytesRecipe,
    out: &Path,
) -> Result<Option<Ended>, Failure> {
    let source = import::read_jsonl(passages).or_end(Ended::BadConfig)?;
    let texts: Vec<String> =
        source.passages.iter().flat_map(|passage| texts(passage, prompt)).collect();
    if texts.is_empty() {
        let error = anyhow!("there is no passage to learn from; name a file that holds some");
        return Err(Failure { ended: Ended::BadConfig, error });
    }
    let begun = Instant::now();
    let mut tell = |step: u64, loss: f64| {
        if !global.quiet && step.is_multiple_of(TOLD_EVERY) {
            let left = begun.elapsed().as_secs() * (recipe.steps - step) / step;
            eprintln!(
                "step {step} of {}, loss {loss:.3} nats, {} left",
                recipe.steps,
                duration(left)
            );
        }
    };
    let decoder = pretrain_bytes(recipe, &texts, &mut tell).map_err(anyhow::Error::from)?;
    seal_miniature::bytes::write(&decoder, out)
        .with_context(|| format!("cannot write the model folder `{}`", out.display()))?;
    out!("{}", out.display());
    hint(global, "seal init RUN --from CONFIGS --base-model FOLDER");
    Ok(None)
}

/// The passage under its title, and each question with its answer.
fn texts(passage: &Passage, prompt: &str) -> Vec<String> {
    let titled = format!("{}\n{}", passage.title, passage.text);
    let asked = passage.questions.iter().map(|question| {
        let asked = format!("Topic: {}\n{}", passage.title, question.question);
        format!("{}{}", prompt.replace("{question}", &asked), question.answer)
    });
    std::iter::once(titled).chain(asked).collect()
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
