//! Answers of the served model and, for comparison, of other versions.
//!
//! Unmerged, all versions in one batch, by default greedy. Every answer names the version and the
//! adapter.

use seal_model::{Adapter, GenerationConfig, Prompt, SamplingConfig, generate};
use seal_protocol::{Answer, Answers, AskRequest, Digest};

use crate::config::AnswerSampling;
use crate::error::StudentError;
use crate::history::history;
use crate::student::Student;

/// Most versions that one question may go to.
const MAX_VERSIONS: usize = 16;

impl Student {
    /// Answers a question with the active version or with those asked for.
    ///
    /// # Errors
    /// A question that is empty, too long or not in the model's vocabulary, an unknown version, or
    /// an adapter that is missing or damaged.
    pub fn answer(&self, request: &AskRequest) -> Result<Answers, StudentError> {
        let tokens = self.question_tokens(request)?;
        let versions = self.versions_asked(request)?;
        let loaded =
            versions.iter().map(|version| self.adapter(version)).collect::<Result<Vec<_>, _>>()?;
        let texts = self.generate_texts(&tokens, &loaded, request.max_new_tokens)?;
        let answers = versions
            .into_iter()
            .zip(&loaded)
            .zip(texts)
            .map(|((version, loaded), text)| Answer {
                version,
                adapter_digest: loaded.as_ref().map(|(digest, _)| *digest),
                text,
            })
            .collect();
        Ok(Answers { answers })
    }

    fn question_tokens(&self, request: &AskRequest) -> Result<Vec<u32>, StudentError> {
        let serving = &self.config.serving;
        let refuse = |why: String| Err(StudentError::Question(why));
        let question = request.question.trim();
        if question.is_empty() {
            return refuse("the question is empty".to_owned());
        }
        if question.chars().count() > serving.max_question_chars {
            return refuse(format!(
                "the question is longer than {} characters",
                serving.max_question_chars
            ));
        }
        let prompt = serving.prompt.replace("{question}", question);
        let unreadable = |error: &dyn std::fmt::Display| {
            StudentError::Question(format!("the model cannot read the question: {error}"))
        };
        match &self.chat {
            Some(chat) => {
                chat.question(&self.tokenizer, &prompt).map_err(|error| unreadable(&error))
            }
            None => {
                let encoded = self.tokenizer.encode(&prompt).map_err(|error| unreadable(&error))?;
                Ok(self.tokenizer.bos().into_iter().chain(encoded).collect())
            }
        }
    }

    fn versions_asked(&self, request: &AskRequest) -> Result<Vec<String>, StudentError> {
        match request.versions.len() {
            0 => Ok(vec![history(&self.state)?.0.active().to_owned()]),
            1..=MAX_VERSIONS => Ok(request.versions.clone()),
            _ => Err(StudentError::Question(format!(
                "a question goes to at most {MAX_VERSIONS} versions"
            ))),
        }
    }

    fn generate_texts(
        &self,
        tokens: &[u32],
        loaded: &[Option<(Digest, Adapter)>],
        max_new_tokens: u32,
    ) -> Result<Vec<String>, StudentError> {
        let adapters: Vec<&Adapter> = loaded.iter().flatten().map(|(_, adapter)| adapter).collect();
        let mut next = 0;
        let mut prompt = |loaded: &Option<(Digest, Adapter)>| {
            let adapter = loaded.as_ref().map(|_| {
                next += 1;
                next - 1
            });
            Prompt { adapter, tokens: tokens.to_vec(), seed: 0 }
        };
        let prompts: Vec<Prompt> = loaded.iter().map(&mut prompt).collect();
        let limit = max_new_tokens.clamp(1, self.config.serving.max_new_tokens);
        let sampling = self.sampling(limit as usize)?;
        let replies = generate(&self.base, &adapters, &prompts, &sampling, &mut |_, _| {})?;
        Ok(replies.iter().map(|reply| self.tokenizer.decode(reply.content())).collect())
    }

    /// A stop word outside the vocabulary would never stop anything.
    pub(crate) fn check_stop_words(&self) -> Result<(), StudentError> {
        let stop = &self.config.serving.stop;
        match stop.iter().find(|word| self.tokenizer.token_id(word).is_none()) {
            None => Ok(()),
            Some(word) => Err(StudentError::Config(format!(
                "`serving.stop` names `{word}`, which is no token of the base model; name one that is"
            ))),
        }
    }

    fn sampling(&self, max_new_tokens: usize) -> Result<SamplingConfig, StudentError> {
        let greedy = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
        let drawn = match self.config.serving.sampling {
            AnswerSampling::Greedy => greedy,
            AnswerSampling::Model => GenerationConfig::load(&self.config.base_model)?
                .map_or(greedy, |makers| makers.sampling),
        };
        let stop = self.config.serving.stop.iter();
        let turn_ends = self.chat.iter().flat_map(|chat| chat.ends());
        let stop = stop.filter_map(|word| self.tokenizer.token_id(word)).chain(turn_ends.copied());
        Ok(SamplingConfig { max_new_tokens, stop: stop.collect(), ..drawn })
    }
}
