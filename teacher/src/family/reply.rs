//! From a reply to what an edit holds.

use seal_protocol::{Directives, LossPart, TrainingExample};

use super::structured::{Structured, StructuredError};
use super::{ContextUse, ReplySettings, TextFamily};
use crate::python_text::strip;
use crate::sequences::{SequenceBuilder, context_sequence, titled};

/// The part of an edit that a reply decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditBody {
    /// What to train on.
    pub examples: Vec<TrainingExample>,
    /// How to train.
    pub directives: Directives,
    /// Why.
    pub rationale: String,
}

/// Why a reply yields no edit. Its text is kept beside this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyUnread {
    /// Nothing was written.
    #[error("the reply is empty")]
    Empty,
    /// The rule left nothing of it.
    #[error("the reply has no text to train on")]
    NoSequence,
    /// Not the JSON that was asked for.
    #[error("the reply is no structured edit: {0}")]
    Structured(#[from] StructuredError),
}

impl TextFamily {
    /// Reads a reply about a passage; `proposal` is its number among those for the passage.
    ///
    /// # Errors
    /// Why it yields no edit.
    pub fn read(
        &self,
        title: &str,
        context: &str,
        proposal: u32,
        reply: &str,
    ) -> Result<EditBody, ReplyUnread> {
        if strip(reply).is_empty() {
            return Err(ReplyUnread::Empty);
        }
        let (mut body, context_use) = match &self.reply {
            ReplySettings::Text { rule, split_newlines, context } => {
                let builder = SequenceBuilder::new(*rule, *split_newlines);
                (from_pieces(title, &builder.pieces(reply)), *context)
            }
            ReplySettings::Structured { context, directives, train_rationale } => {
                let read = Structured::parse(reply, directives)?;
                (read.into_body(title, *train_rationale), *context)
            }
        };
        if body.examples.is_empty() {
            return Err(ReplyUnread::NoSequence);
        }
        body.examples.extend(own_sequence(context_use, title, context, proposal));
        Ok(body)
    }
}

fn from_pieces(title: &str, pieces: &[String]) -> EditBody {
    let example = |piece: &String| text(titled(title, piece), LossPart::Edit);
    EditBody { examples: pieces.iter().map(example).collect(), ..EditBody::default() }
}

fn own_sequence(
    context_use: ContextUse,
    title: &str,
    context: &str,
    proposal: u32,
) -> Option<TrainingExample> {
    context_use.of(proposal).then(|| text(context_sequence(title, context), LossPart::Context))
}

pub(super) fn text(text: String, part: LossPart) -> TrainingExample {
    TrainingExample::Text { text, part }
}
