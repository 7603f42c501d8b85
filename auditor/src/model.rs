//! The measurer over real weights: teacher-forced scores under base and adapters, and graded answers
//! where a suite wants them.
//!
//! **Invariant:** an adapter whose output is no number spoils its own outcomes and nobody else's.

use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use seal_model::chat::{ChatError, ChatFormat, ChatSettings};
use seal_model::fit::Work;
use seal_model::{
    Adapter, Decoder, ItemScore, ModelError, Products, ScoreItem, Tokenizer, folder_digest, score,
};
use seal_protocol::{Digest, Labels, Micro};
use seal_trust::sha256_file;

use crate::gate::Outcome;
use crate::grading::Grading;
use crate::items::Item;
use crate::measure::{MeasureError, Measurer, Wanted};
use crate::recompute::{Asked, Claim, Lesson, MeasuredBase, Recomputed, Trainer};

mod perturbed;
mod written;

/// Where the question goes in the prompt template.
pub const QUESTION: &str = "{question}";

/// How items are asked.
pub struct Asking {
    /// The prompt template; with a chat format it is the user's turn.
    pub prompt: String,
    /// The base model's own chat format, if it is asked in that.
    pub chat: Option<ChatSettings>,
}

/// The base model with its tokenizer and the prompt that asks an item.
pub struct ModelMeasurer {
    decoder: Decoder,
    tokenizer: Tokenizer,
    head: Head,
    prompt: String,
    base_model_digest: Digest,
    tokenizer_digest: Digest,
    trainer: Option<Trainer>,
}

/// What comes before an item's words.
enum Head {
    /// The token that begins a text.
    Begin(u32),
    /// All that the chat template writes.
    Chat(Box<ChatFormat>),
}

impl ModelMeasurer {
    /// Loads the model folder `base` onto `device`, if `works` fit there, and hashes what it loaded.
    ///
    /// # Errors
    /// A model that does not fit, of which no weight is read; a file that is missing or damaged; a
    /// tokenizer without a token that begins a text, or a folder without the chat template that it is
    /// to be asked with.
    pub fn load(
        base: &Path,
        asking: Asking,
        device: &Device,
        works: &[Work],
    ) -> Result<Self, ChatError> {
        let tokenizer_file = base.join("tokenizer.json");
        let unreadable = |source| ModelError::File { path: tokenizer_file.clone(), source };
        let tokenizer_digest = sha256_file(&tokenizer_file).map_err(unreadable)?;
        let tokenizer = Tokenizer::load(base)?;
        let head = match asking.chat {
            Some(settings) => Head::Chat(Box::new(ChatFormat::load(base, &tokenizer, settings)?)),
            None => Head::Begin(tokenizer.bos().ok_or_else(|| no_bos(base))?),
        };
        Ok(Self {
            decoder: Decoder::load_for(base, device, works)?,
            tokenizer,
            head,
            prompt: asking.prompt,
            base_model_digest: Digest::from_bytes(folder_digest(base)?),
            tokenizer_digest,
            trainer: None,
        })
    }

    /// The same with products computed this way.
    #[must_use]
    pub fn computing(self, products: Products) -> Self {
        Self { decoder: self.decoder.computing(products), ..self }
    }

    /// The same, ready to train adapters again over the model folder `base`. Returns the digest of all
    /// that decides there.
    pub(crate) fn train_again(&mut self, asked: Asked, base: &Path) -> anyhow::Result<Digest> {
        let trainer = asked.trainer(base, &self.decoder, &self.tokenizer)?;
        let digest = trainer.digest()?;
        self.trainer = Some(trainer);
        Ok(digest)
    }

    /// Refuses items that this model cannot be asked, or that have no answer where `labels` are gold.
    ///
    /// # Errors
    /// The first item, by id, whose question or answer has no tokens or too many.
    pub fn check<'a>(
        &self,
        items: impl IntoIterator<Item = &'a Item>,
        grading: &Grading,
        labels: Labels,
    ) -> Result<(), ModelError> {
        let longest = self.decoder.config().max_position_embeddings;
        for item in items {
            let mut asked = self.ask(None, item)?;
            if !labels.is_gold() {
                // Not asked for: the longest answer that may be written stands for it.
                asked.answer = vec![0];
            }
            let tokens = asked.prompt.len() + asked.answer.len().max(grading.written_tokens());
            if asked.answer.is_empty() || tokens > longest {
                let problem = format!(
                    "item `{}` has {tokens} tokens, its answer {}: give it an answer and at most {longest} tokens",
                    item.id,
                    asked.answer.len()
                );
                return Err(ModelError::Input(problem));
            }
        }
        Ok(())
    }

    fn ask(&self, adapter: Option<usize>, item: &Item) -> Result<ScoreItem, ModelError> {
        let question = self.prompt.replace(QUESTION, &item.asked());
        let prompt = match &self.head {
            Head::Begin(token) => [vec![*token], self.tokenizer.encode(&question)?].concat(),
            Head::Chat(chat) => chat.question(&self.tokenizer, &question).map_err(unasked)?,
        };
        let answer = self.tokenizer.encode(&item.answer)?;
        Ok(ScoreItem { adapter, prompt, answer })
    }

    /// Tokens that end an answer, besides the model's own end tokens.
    fn turn_ends(&self) -> Vec<u32> {
        match &self.head {
            Head::Begin(_) => Vec::new(),
            Head::Chat(chat) => chat.ends().to_vec(),
        }
    }

    /// Forced scores for all, then what is written for those that a grader reads.
    fn outcomes(
        &self,
        adapters: &[&Adapter],
        wanted: &[Wanted<'_>],
        until: Instant,
    ) -> Result<Vec<Outcome>, ModelError> {
        // Thousands of items take their time before the first forward, too.
        let ask = |wanted: &Wanted<'_>| match Instant::now() < until {
            true => self.ask(wanted.adapter, wanted.item),
            false => Err(ModelError::OutOfTime),
        };
        let asked = wanted.iter().map(ask).collect::<Result<Vec<ScoreItem>, ModelError>>()?;
        let mut outcomes = match score(&self.decoder, adapters, &asked) {
            Ok(scores) => scores.into_iter().map(outcome).collect(),
            Err(ModelError::NotFinite { .. }) => self.score_apart(adapters, &asked)?,
            Err(error) => return Err(error),
        };
        self.read_answers(adapters, wanted, &asked, &mut outcomes)?;
        Ok(outcomes)
    }

    /// What trains, and over what, until then.
    fn training(&mut self, until: Instant) -> Result<(&Trainer, MeasuredBase<'_>), MeasureError> {
        // Each audit sets a moment of its own.
        self.decoder = self.decoder.until(until);
        let trainer = self.trainer.as_ref();
        let trainer = trainer.ok_or_else(|| {
            MeasureError::Failed("nothing here trains an adapter again".to_owned())
        })?;
        let base = MeasuredBase {
            decoder: &self.decoder,
            tokenizer: &self.tokenizer,
            digest: self.base_model_digest,
        };
        Ok((trainer, base))
    }

    /// Each model by itself, so that the one that fails is known. The base must not.
    fn score_apart(
        &self,
        adapters: &[&Adapter],
        items: &[ScoreItem],
    ) -> Result<Vec<Outcome>, ModelError> {
        let mut outcomes = vec![NOT_MEASURED; items.len()];
        for adapter in std::iter::once(None).chain((0..adapters.len()).map(Some)) {
            let of_it = |(at, item): (usize, &ScoreItem)| {
                (item.adapter == adapter).then(|| (at, item.clone()))
            };
            let (at, items): (Vec<usize>, Vec<ScoreItem>) =
                items.iter().enumerate().filter_map(of_it).unzip();
            match score(&self.decoder, adapters, &items) {
                Ok(scores) => {
                    at.into_iter().zip(scores).for_each(|(at, score)| outcomes[at] = outcome(score))
                }
                Err(ModelError::NotFinite { .. }) if adapter.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }
}

/// An outcome that no stage of the gate passes.
const NOT_MEASURED: Outcome = Outcome { exact: false, empty: false, log_prob: None };

impl Measurer for ModelMeasurer {
    type Adapter = Adapter;

    fn base_model_digest(&self) -> Digest {
        self.base_model_digest
    }

    fn tokenizer_digest(&self) -> Digest {
        self.tokenizer_digest
    }

    fn load(&mut self, folder: &Path) -> Result<Adapter, String> {
        Adapter::load_peft_over(folder, self.decoder.config(), self.base_model_digest.as_bytes())
            .map_err(|error| error.to_string())
    }

    fn recompute(
        &mut self,
        claims: &[Claim<'_, Adapter>],
        until: Instant,
    ) -> Result<Vec<Recomputed>, MeasureError> {
        let (trainer, base) = self.training(until)?;
        trainer.judge(&base, claims)
    }

    fn train(
        &mut self,
        lessons: &[Lesson<'_>],
        until: Instant,
    ) -> Result<Vec<Option<Adapter>>, MeasureError> {
        let (trainer, base) = self.training(until)?;
        trainer.train(&base, lessons)
    }

    fn write(
        &mut self,
        adapters: &[Adapter],
        asked: &[(Option<usize>, &Item)],
        max_new_tokens: usize,
        until: Instant,
    ) -> Result<Vec<String>, MeasureError> {
        self.decoder = self.decoder.until(until);
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        Ok(self.said(&adapters, asked, max_new_tokens, until)?)
    }

    fn score(
        &mut self,
        adapters: &[Adapter],
        wanted: &[Wanted<'_>],
        until: Instant,
    ) -> Result<Vec<Outcome>, MeasureError> {
        self.decoder = self.decoder.until(until);
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        Ok(self.outcomes(&adapters, wanted, until)?)
    }
}

fn outcome(score: ItemScore) -> Outcome {
    let nats = score.log_prob_nats_per_token;
    Outcome {
        exact: score.exact,
        empty: score.empty,
        log_prob: nats.is_finite().then(|| Micro::from_f64(nats)),
    }
}

/// The template's own words may hold the item; they stay here.
fn unasked(error: ChatError) -> ModelError {
    match error {
        ChatError::Tokens(error) => *error,
        _ => ModelError::Input("the chat template refuses the question of an item".to_owned()),
    }
}

fn no_bos(base: &Path) -> ModelError {
    ModelError::Tokenizer {
        path: base.join("tokenizer.json"),
        problem:
            "there is no token that begins a text; set `bos_token_id` in generation_config.json"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests;
