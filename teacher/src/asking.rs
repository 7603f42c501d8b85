//! How the policy is asked and its replies are read: in words of a local policy, or in texts that any
//! policy can continue.
//!
//! **Invariant:** pure; the same family, context and reply give the same edit.

use seal_endpoint::{Prompt as Words, Turn};
use seal_model::Tokenizer;
use seal_model::chat::{ChatFormat, Message};
use seal_protocol::{Digest, Directives, LossPart, TrainingExample};
use seal_training::TrainSequence;
use serde_json::Value;

use crate::backends::{Prompt, Written};
use crate::contexts::Context;
use crate::error::TeacherError;
use crate::exemplars::Exemplar;
use crate::family::{EditBody, Layout, Speaker, TextFamily, TextPrompt};
use crate::prompt::{PromptError, Prompter};
use crate::rows;
use crate::sequences::context_sequence;

/// A prompt family, ready for use.
pub(crate) enum Asking {
    /// Word by word, with directives as words of their own.
    Words(Box<Prompter>),
    /// Texts.
    Texts(Box<Texts>),
}

/// A text family in one layout.
pub(crate) struct Texts {
    pub(crate) family: TextFamily,
    pub(crate) layout: Layout,
    /// Of the local policy, where there is one.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// How that policy is talked to in turns, where the layout asks for it.
    pub(crate) chat: Option<ChatFormat>,
}

/// What a local policy makes of a prompt.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) tokenizer: Tokenizer,
    chat: Option<ChatFormat>,
}

impl Reader {
    /// The tokens of a prompt, or why there are none.
    pub(crate) fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, String> {
        match (prompt, &self.chat) {
            (Prompt::Tokens { tokens, .. }, _) => Ok(tokens.clone()),
            (Prompt::Words(Words::Text(text)), _) => {
                self.tokenizer.encode(text).map_err(|e| e.to_string())
            }
            (Prompt::Words(Words::Chat(turns)), Some(chat)) => {
                let message = |turn: &Turn| Message::new(&turn.role, &turn.content);
                let messages = turns.iter().map(message).collect();
                chat.answering(&self.tokenizer, messages).map_err(|error| error.to_string())
            }
            (Prompt::Words(Words::Chat(_)), None) => {
                Err("a policy without a chat template continues texts; set `layout = \"plain\"`"
                    .to_owned())
            }
        }
    }
}

impl Asking {
    /// The family's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Words(prompter) => prompter.family(),
            Self::Texts(texts) => &texts.family.name,
        }
    }

    /// Tokens that end a reply, besides the policy's own.
    pub(crate) fn stop(&self) -> Vec<u32> {
        match self {
            Self::Words(prompter) => vec![prompter.end()],
            Self::Texts(texts) => {
                texts.chat.as_ref().map_or_else(Vec::new, |chat| chat.ends().to_vec())
            }
        }
    }

    /// What makes tokens of prompts, for a local policy with this tokenizer.
    pub(crate) fn reader(&self, tokenizer: &Tokenizer) -> Reader {
        let chat = match self {
            Self::Words(_) => None,
            Self::Texts(texts) => texts.chat.clone(),
        };
        Reader { tokenizer: tokenizer.clone(), chat }
    }

    /// What a reply is to be held to while it is written, where the family has a schema.
    pub(crate) fn reply_schema(&self) -> Option<Value> {
        match self {
            Self::Words(_) => None,
            Self::Texts(texts) => texts.family.reply_schema(),
        }
    }

    /// The prompt for a context, after examples of other contexts, and its digest.
    ///
    /// # Errors
    /// A context that would steer the policy; words or examples that the family cannot carry.
    pub(crate) fn prompt(
        &self,
        context: &Context,
        forced: &[String],
        exemplars: &[(&Exemplar, &Context)],
    ) -> Result<(Prompt, Digest), PromptError> {
        match self {
            Self::Words(prompter) => {
                let written = prompter.write(&context.text, forced)?;
                let prompt = Prompt::Tokens { tokens: written.tokens, forced: written.forced };
                Ok((prompt, written.digest))
            }
            Self::Texts(_) if !forced.is_empty() => Err(PromptError::Forced),
            Self::Texts(texts) => {
                let prompt = texts.prompt(context, exemplars)?;
                let digest = prompt.digest();
                Ok((prompt, digest))
            }
        }
    }

    /// What a reply says.
    ///
    /// # Errors
    /// Why it yields no edit.
    pub(crate) fn read(
        &self,
        context: &Context,
        proposal: u32,
        reply: &Written,
    ) -> Result<EditBody, String> {
        match self {
            Self::Texts(texts) => texts
                .family
                .read(&context.title, &context.text, proposal, &reply.text)
                .map_err(|unread| unread.to_string()),
            Self::Words(prompter) => {
                let parsed = prompter.parse(&reply.tokens).map_err(|reason| reason.to_string())?;
                let lines = parsed.lines.into_iter().map(|text| (text, LossPart::Edit));
                let passage = (context.text.clone(), LossPart::Context);
                let example = |(text, part)| TrainingExample::Text { text, part };
                Ok(EditBody {
                    examples: lines.chain([passage]).map(example).collect(),
                    directives: Directives { labels: parsed.labels, ..Directives::default() },
                    rationale: String::new(),
                })
            }
        }
    }

    /// The untrained baseline: an edit whose only sequence is the context.
    pub(crate) fn context_alone(&self, context: &Context) -> EditBody {
        let text = match self {
            Self::Words(_) => context.text.clone(),
            Self::Texts(_) => context_sequence(&context.title, &context.text),
        };
        let examples = vec![TrainingExample::Text { text, part: LossPart::Context }];
        EditBody { examples, ..EditBody::default() }
    }

    /// The row of the policy update for a reply to this context.
    ///
    /// # Errors
    /// A context or reply that the policy's tokenizer does not read.
    pub(crate) fn lesson(
        &self,
        context: &Context,
        reply: &[u32],
        directive_weight: f32,
    ) -> Result<TrainSequence, TeacherError> {
        match self {
            Self::Words(prompter) => {
                let prompt = prompter.write(&context.text, &[])?;
                Ok(rows::reply_row(prompter, &prompt, reply, directive_weight))
            }
            Self::Texts(texts) => {
                let (tokenizer, end) = texts.local()?;
                let prompt = texts.prompt(context, &[])?;
                let read = self.reader(tokenizer).tokens(&prompt).map_err(TeacherError::Config)?;
                Ok(rows::text_row(&read, reply, end))
            }
        }
    }

    /// The row of the policy update for a replay line.
    ///
    /// # Errors
    /// A line that the policy's tokenizer does not read.
    pub(crate) fn replay(&self, line: &str) -> Result<TrainSequence, TeacherError> {
        match self {
            Self::Words(prompter) => Ok(rows::replay_row(prompter, line)?),
            Self::Texts(texts) => {
                let (tokenizer, end) = texts.local()?;
                let line = tokenizer.encode(line)?;
                Ok(TrainSequence { part: rows::REPLAY, ..rows::text_row(&[], &line, end) })
            }
        }
    }
}

impl Texts {
    /// Tokenizer and end token of the local policy.
    fn local(&self) -> Result<(&Tokenizer, u32), TeacherError> {
        let tokenizer = self.tokenizer.as_ref().ok_or(TeacherError::NoWeights)?;
        // A reply in turns ends as its turn does.
        let own = self.chat.as_ref().and_then(|chat| chat.ends().first().copied());
        let end = own.or_else(|| tokenizer.eos()).ok_or_else(|| {
            let reason = "the policy's tokenizer names no end token; set `eos_token_id` in its \
                          generation_config.json";
            TeacherError::Config(reason.to_owned())
        })?;
        Ok((tokenizer, end))
    }

    fn prompt(
        &self,
        context: &Context,
        exemplars: &[(&Exemplar, &Context)],
    ) -> Result<Prompt, PromptError> {
        let write = |context: &Context| {
            self.family
                .write(self.layout, &context.title, &context.text)
                .map_err(|markup| PromptError::ControlWord(markup.0))
        };
        let asked = write(context)?;
        let mut shown = Vec::with_capacity(exemplars.len());
        for (exemplar, context) in exemplars {
            shown.push((write(context)?, exemplar.reply.as_str()));
        }
        Ok(Prompt::Words(match asked {
            TextPrompt::Plain(text) => Words::Text(plain(&shown, text)),
            TextPrompt::Chat(turns) => Words::Chat(chat(&shown, &turns)),
        }))
    }
}

/// Each example as it would have been continued, one after another.
fn plain(shown: &[(TextPrompt, &str)], asked: String) -> String {
    let example = |(prompt, reply): &(TextPrompt, &str)| match prompt {
        TextPrompt::Plain(text) => format!("{text}{}\n\n", reply.trim()),
        TextPrompt::Chat(_) => String::new(),
    };
    shown.iter().map(example).chain([asked]).collect()
}

/// The instruction once, then each example as a turn and its answer.
fn chat(shown: &[(TextPrompt, &str)], asked: &[crate::family::Turn]) -> Vec<Turn> {
    let turn =
        |role: &str, content: &str| Turn { role: role.to_owned(), content: content.to_owned() };
    let mut turns: Vec<Turn> = Vec::new();
    let mut passages = Vec::new();
    for one in asked {
        match one.role {
            Speaker::System => turns.push(turn("system", &one.content)),
            Speaker::User => passages.push(turn("user", &one.content)),
        }
    }
    for (prompt, reply) in shown {
        let TextPrompt::Chat(example) = prompt else { continue };
        let own = example.iter().filter(|one| one.role == Speaker::User);
        turns.extend(own.map(|one| turn("user", &one.content)));
        turns.push(turn("assistant", reply.trim()));
    }
    turns.extend(passages);
    turns
}
