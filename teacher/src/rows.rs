//! Training rows of the policy update: what the policy reads and which words count how much.
//!
//! `<bos> context <edit> reply <eos>` with loss on the reply alone. Plan and size words weigh more,
//! because one of them decides over all lines that follow. Loss parts: 0 replies, 1 replay lines.

use seal_training::{End, TrainSequence};

use crate::prompt::{PromptError, Prompter, WrittenPrompt};

/// Loss part of replies.
const REPLIES: usize = 0;
/// Loss part of replay lines.
pub(crate) const REPLAY: usize = 1;

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

/// The row of what a policy of texts read and wrote, with loss on what it wrote and on its end.
pub(crate) fn text_row(read: &[u32], written: &[u32], end: u32) -> TrainSequence {
    let ended = written.last() == Some(&end);
    let missing = if ended { None } else { Some(end) };
    let written: Vec<u32> = written.iter().copied().chain(missing).collect();
    // Nothing comes before the first token, so nothing can be learned about it.
    let unread = read.len().max(1);
    let weights = (0..read.len() + written.len()).map(|at| f32::from(u8::from(at >= unread)));
    TrainSequence {
        weights: weights.collect(),
        tokens: [read, &written].concat(),
        part: REPLIES,
        end: End::Token(end),
    }
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
