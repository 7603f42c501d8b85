//! The work that must fit into memory before the base model's weights are read.
//!
//! Of each kind the least that the config stands for: how many lines an edit has, and how long they
//! are, is known only when it comes.

use seal_model::fit::Work;
use seal_recipe::training_works;

use crate::config::StudentConfig;

/// Texts of one question: the served version's and the base's.
const COMPARED: usize = 2;

/// A batch of inner updates, a consolidation, an answer.
#[must_use]
pub fn works(config: &StudentConfig) -> Vec<Work> {
    let serving = &config.serving;
    // A token of a question has a character or more.
    let answer = serving.max_question_chars.saturating_add(serving.max_new_tokens as usize);
    let batch = (config.candidates_per_batch, config.gradient_checkpointing);
    let (inner_update, consolidation) = (&config.inner_update, &config.consolidation);
    let mut works = training_works(inner_update, consolidation, config.max_sequence_tokens, batch);
    works.push(Work::Serve { texts: COMPARED, tokens: answer });
    works
}
