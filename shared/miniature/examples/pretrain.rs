//! Trains the base model: `cargo run --release -p seal-miniature --example pretrain -- --out DIR`
//!
//! Flags: `--out --steps --seed --lr --documents --lines --warmup --check-every`, each with a
//! value. Writes the model folder with its `manifest.json`, first at every check, and prints the
//! figures. `RAYON_NUM_THREADS` sets the number of threads; it changes no bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use seal_miniature::architecture::{config_json, generation_config_json, tokenizer_config_json};
use seal_miniature::checks::{Figures, check};
use seal_miniature::manifest::{BaseManifest, describe};
use seal_miniature::pretrain::{PretrainRecipe, Progress, pretrain};
use seal_miniature::vocabulary::tokenizer_json;
use seal_model::Decoder;

/// Passages and known entities that a check on the way looks at, and the last one.
const QUICK: usize = 40;
const THOROUGH: usize = 100;
const CHECK_SEED: u64 = 5;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut report = Report::new(&options);
    let (decoder, tokens) = pretrain(&options.recipe, &mut |progress| report.step(progress))?;
    let figures = check(&decoder, CHECK_SEED, THOROUGH)?;
    write_model(&options, &decoder, tokens, figures.clone())?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

struct Options {
    out: PathBuf,
    check_every: u64,
    recipe: PretrainRecipe,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut flags = BTreeMap::new();
        while let Some(flag) = words.next() {
            let value = words.next().with_context(|| format!("`{flag}` needs a value"))?;
            flags.insert(flag, value);
        }
        let defaults = PretrainRecipe::default();
        let recipe = PretrainRecipe {
            seed: take(&mut flags, "--seed", defaults.seed)?,
            steps: take(&mut flags, "--steps", defaults.steps)?,
            documents: take(&mut flags, "--documents", defaults.documents)?,
            lines: take(&mut flags, "--lines", defaults.lines)?,
            learning_rate: take(&mut flags, "--lr", defaults.learning_rate)?,
            warmup_steps: take(&mut flags, "--warmup", defaults.warmup_steps)?,
            ..defaults
        };
        let check_every = take(&mut flags, "--check-every", 1000)?;
        let out = take(&mut flags, "--out", PathBuf::from("miniature-base"))?;
        match flags.keys().next() {
            Some(unknown) => bail!("unknown flag `{unknown}`"),
            None => Ok(Self { out, check_every, recipe }),
        }
    }
}

fn take<T>(flags: &mut BTreeMap<String, String>, flag: &str, default: T) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match flags.remove(flag) {
        Some(value) => value.parse().with_context(|| format!("`{flag} {value}` is no number")),
        None => Ok(default),
    }
}

struct Report<'a> {
    options: &'a Options,
    started: Instant,
    loss: f64,
}

impl<'a> Report<'a> {
    fn new(options: &'a Options) -> Self {
        Self { options, started: Instant::now(), loss: 0.0 }
    }

    fn step(&mut self, progress: Progress<'_>) {
        self.loss += progress.loss;
        if progress.step.is_multiple_of(100) {
            let rate = progress.tokens as f64 / self.started.elapsed().as_secs_f64();
            let (step, tokens, loss) = (progress.step, progress.tokens, self.loss / 100.0);
            println!("step {step}, {tokens} tokens, loss {loss:.3} nats, {rate:.0} tokens/s");
            self.loss = 0.0;
        }
        if progress.step.is_multiple_of(self.options.check_every) {
            self.check(progress);
        }
    }

    fn check(&self, progress: Progress<'_>) {
        let written = check(progress.decoder, CHECK_SEED, QUICK).map_err(anyhow::Error::from);
        let written = written.and_then(|figures| {
            println!("{}", serde_json::to_string(&figures)?);
            write_model(self.options, progress.decoder, progress.tokens, figures)
        });
        if let Err(error) = written {
            println!("check failed: {error:#}");
        }
    }
}

fn write_model(options: &Options, decoder: &Decoder, tokens: u64, figures: Figures) -> Result<()> {
    let dir: &Path = &options.out;
    decoder.save(dir)?;
    let files = [
        ("config.json", config_json()),
        ("generation_config.json", generation_config_json()),
        ("tokenizer.json", tokenizer_json()),
        ("tokenizer_config.json", tokenizer_config_json()),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).with_context(|| format!("cannot write `{name}`"))?;
    }
    let manifest: BaseManifest = describe(dir, &options.recipe, tokens, figures)?;
    std::fs::write(
        dir.join("manifest.json"),
        format!("{}\n", serde_json::to_string_pretty(&manifest)?),
    )?;
    Ok(())
}
