//! The work that must fit into memory before the base model's weights are read.
//!
//! Of each kind the least that the config stands for: how many lines an edit has, and how long they
//! are, is known only when it comes.

use seal_model::LoraSpec;
use seal_model::fit::Work;

use crate::config::StudentConfig;
use crate::student::ONE_EDIT;

/// Texts of one question: the served version's and the base's.
const COMPARED: usize = 2;

/// A batch of inner updates, a consolidation, an answer.
#[must_use]
pub fn works(config: &StudentConfig) -> Vec<Work> {
    let training = |candidates: usize, lora: LoraSpec| Work::InnerUpdate {
        candidates,
        step_tokens: config.max_sequence_tokens,
        lora,
        checkpointing: config.gradient_checkpointing,
    };
    let serving = &config.serving;
    // A token of a question has a character or more.
    let answer = serving.max_question_chars.saturating_add(serving.max_new_tokens as usize);
    vec![
        training(config.candidates_per_batch, config.inner_update.engine().lora),
        training(1, config.consolidation.recipe(ONE_EDIT).engine().lora),
        Work::Serve { texts: COMPARED, tokens: answer },
    ]
}
