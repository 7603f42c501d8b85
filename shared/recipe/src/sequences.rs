//! From an edit to the token sequences that the inner update trains on.
//!
//! Every line is a sequence of its own, `<bos> line <eos>`. Where the student chats, a prompt with its
//! completion is a question with its answer in the model's chat format, as τ and users ask. Loss parts:
//! 0 holds edit and replay lines, 1 the contexts, so that a long context does not drown a short edit.
//!
//! **Invariant:** a line that an edit gives twice is trained once.

use std::collections::HashSet;

use seal_model::Tokenizer;
use seal_model::chat::{ChatFormat, Json, Learned, Message};
use seal_protocol::{ChatMessage, LossPart, SelfEdit, TrainingExample};
use seal_training::{End, TrainSequence};

/// Loss part of edit and replay lines.
pub const LINES: usize = 0;
/// Loss part of contexts.
const CONTEXTS: usize = 1;

/// An edit that cannot be trained on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// There is nothing to learn.
    #[error("it has no example with a token to learn")]
    Empty,
    /// Longer than the student takes.
    #[error(
        "example {example} has {tokens} tokens, more than the {limit} of `max_sequence_tokens`"
    )]
    TooLong {
        /// Number of the example, from 0.
        example: usize,
        /// Its length.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// Turns, and no format to write them in.
    #[error(
        "example {example} is a conversation, and this student does not chat; give student.toml a \
         `[chat]` table and a base model with a chat template, or write the example as text"
    )]
    NoChat {
        /// Number of the example, from 0.
        example: usize,
    },
    /// A conversation that the template or the mask refuses.
    #[error("example {example}: {reason}")]
    Chat {
        /// Number of the example, from 0.
        example: usize,
        /// Why.
        reason: String,
    },
    /// The tokenizer does not know it.
    #[error("example {example} cannot be read by the tokenizer: {reason}")]
    Text {
        /// Number of the example, from 0.
        example: usize,
        /// Why.
        reason: String,
    },
}

/// Builds sequences with one tokenizer and one length limit.
#[derive(Clone, Copy)]
pub struct Sequencer<'a> {
    /// The base model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Begins every sequence, where the model has such a token.
    pub start: Option<u32>,
    /// Ends every sequence.
    pub end: u32,
    /// Longest sequence, in tokens.
    pub max_tokens: usize,
    /// The model's chat format, where the student chats.
    pub chat: Option<&'a ChatFormat>,
}

impl Sequencer<'_> {
    /// The sequences of one edit, each distinct one once.
    ///
    /// # Errors
    /// No example, an example that is too long, or a text the tokenizer refuses.
    pub fn edit(&self, edit: &SelfEdit) -> Result<Vec<TrainSequence>, SequenceError> {
        let examples = edit.examples.iter().enumerate();
        let sequences: Vec<Vec<TrainSequence>> = examples
            .map(|(number, example)| self.example(number, example))
            .collect::<Result<_, _>>()?;
        let distinct = distinct(sequences.into_iter().flatten().collect());
        match distinct.iter().any(|sequence| sequence.weights.iter().any(|w| *w > 0.0)) {
            true => Ok(distinct),
            false => Err(SequenceError::Empty),
        }
    }

    /// The sequence of one replay line.
    ///
    /// # Errors
    /// As [`Self::edit`].
    pub fn replay(&self, line: &str) -> Result<TrainSequence, SequenceError> {
        self.sequence(0, "", line, LINES).map(|[sequence]| sequence)
    }

    fn example(
        &self,
        number: usize,
        example: &TrainingExample,
    ) -> Result<Vec<TrainSequence>, SequenceError> {
        match example {
            TrainingExample::Text { text, part } => {
                let part = match part {
                    LossPart::Edit => LINES,
                    LossPart::Context => CONTEXTS,
                };
                self.sequence(number, "", text, part).map(Vec::from)
            }
            TrainingExample::PromptCompletion { prompt, completion } => match self.chat {
                Some(chat) => {
                    let turns =
                        vec![Message::new("user", prompt), Message::new("assistant", completion)];
                    self.conversation(number, chat, turns)
                }
                None => self.sequence(number, prompt, completion, LINES).map(Vec::from),
            },
            TrainingExample::Messages { messages } => {
                let chat = self.chat.ok_or(SequenceError::NoChat { example: number })?;
                let turns = messages.iter().map(|turn| message(number, turn));
                self.conversation(number, chat, turns.collect::<Result<_, _>>()?)
            }
        }
    }

    /// Loss on the assistant's turns and their ends.
    fn conversation(
        &self,
        example: usize,
        chat: &ChatFormat,
        turns: Vec<Message>,
    ) -> Result<Vec<TrainSequence>, SequenceError> {
        let learned = chat.learned(self.tokenizer, turns);
        let learned =
            learned.map_err(|error| SequenceError::Chat { example, reason: error.to_string() })?;
        learned.into_iter().map(|learned| self.weighted(example, learned)).collect()
    }

    fn weighted(&self, example: usize, learned: Learned) -> Result<TrainSequence, SequenceError> {
        let Learned { tokens, learned, end } = learned;
        self.check_length(example, tokens.len())?;
        let weights = learned.into_iter().map(|learned| f32::from(u8::from(learned))).collect();
        Ok(TrainSequence { tokens, weights, part: LINES, end: End::Token(end) })
    }

    fn check_length(&self, example: usize, tokens: usize) -> Result<(), SequenceError> {
        let limit = self.max_tokens;
        match tokens > limit {
            true => Err(SequenceError::TooLong { example, tokens, limit }),
            false => Ok(()),
        }
    }

    /// `<bos> prompt learned <eos>` with loss on `learned <eos>`.
    fn sequence(
        &self,
        number: usize,
        prompt: &str,
        learned: &str,
        part: usize,
    ) -> Result<[TrainSequence; 1], SequenceError> {
        let mut tokens = Vec::from_iter(self.start);
        tokens.extend(self.encode(number, prompt)?);
        let read = tokens.len();
        let learned = self.encode(number, learned)?;
        if learned.is_empty() {
            return Err(SequenceError::Empty);
        }
        tokens.extend(learned);
        tokens.push(self.end);
        self.check_length(number, tokens.len())?;
        let weights = (0..tokens.len()).map(|at| f32::from(u8::from(at >= read))).collect();
        Ok([TrainSequence { tokens, weights, part, end: End::Token(self.end) }])
    }

    fn encode(&self, example: usize, text: &str) -> Result<Vec<u32>, SequenceError> {
        let unreadable = |reason: String| SequenceError::Text { example, reason };
        self.tokenizer.encode(text).map_err(|error| unreadable(error.to_string()))
    }
}

/// A turn as chat templates read it.
fn message(example: usize, turn: &ChatMessage) -> Result<Message, SequenceError> {
    let mut message = Message::new(turn.role.as_str(), &turn.content);
    if let Some(reasoning) = &turn.reasoning {
        message = message.with("reasoning_content", Json::from(reasoning.as_str()));
    }
    if let Some(id) = &turn.tool_call_id {
        message = message.with("tool_call_id", Json::from(id.as_str()));
    }
    if turn.tool_calls.is_empty() {
        return Ok(message);
    }
    let call = |call: &seal_protocol::ToolCall| {
        let arguments: Json = serde_json::from_str(&call.arguments).map_err(|error| {
            let reason = format!("the arguments of the call `{}` are no JSON: {error}", call.name);
            SequenceError::Chat { example, reason }
        })?;
        let function =
            Json::from_iter([("name", Json::from(call.name.as_str())), ("arguments", arguments)]);
        let id = Json::from(call.id.as_str());
        Ok(Json::from_iter([("id", id), ("type", Json::from("function")), ("function", function)]))
    };
    let calls: Vec<Json> = turn.tool_calls.iter().map(call).collect::<Result<_, _>>()?;
    Ok(message.with("tool_calls", Json::from(calls)))
}

fn distinct(sequences: Vec<TrainSequence>) -> Vec<TrainSequence> {
    let mut seen = HashSet::new();
    let mut kept = sequences;
    kept.retain(|sequence| seen.insert((sequence.part, sequence.tokens.clone())));
    kept
}
