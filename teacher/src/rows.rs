//! Training rows of the policy update: what the policy reads and which words count how much.
//!
//! `<bos> context <edit> reply <eos>` with loss on the reply alone. Plan and size words weigh more,
//! because one of them decides over all lines that follow. Loss parts: 0 replies, 1 replay lines.

use seal_training::{End, TrainSequence};

use crate::prompt::{PromptError, Prompter, WrittenPrompt};

/// Loss part of replies.
const REPLIES: usize = 0;
/// Loss part of replay lines.
const REPLAY: usize = 1;

/// The row of one accepted edit.
pub(crate) fn reply_row(
    prompter: &Prompter,
    prompt: &WrittenPrompt,
    reply: &[u32],
    directive_weight: f32,
) -> TrainSequence {
    // Words that were forced were not the policy's choice, yet it shall learn to choose them.
    let read = prompt.tokens.len() - prompt.forced.len();
    let tokens = [&prompt.tokens[..read], reply].concat();
    let weight = |token: &u32| match prompter.is_directive(*token) {
        true => directive_weight,
        false => 1.0,
    };
    let weights = std::iter::repeat_n(0.0, read).chain(reply.iter().map(weight)).collect();
    TrainSequence { tokens, weights, part: REPLIES, end: End::Token(prompter.end()) }
}

/// The row of one replay line.
///
/// # Errors
/// A line that the tokenizer does not read.
pub(crate) fn replay_row(prompter: &Prompter, line: &str) -> Result<TrainSequence, PromptError> {
    let tokens = prompter.line(line)?;
    let weights = (0..tokens.len()).map(|at| f32::from(u8::from(at > 0))).collect();
    Ok(TrainSequence { tokens, weights, part: REPLAY, end: End::Token(prompter.end()) })
}
