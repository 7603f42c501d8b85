//! The work that must fit into memory before a policy's weights are read.
//!
//! Of each kind the least that the config stands for: prompts come on top, and share what they have
//! in common.

use seal_model::fit::Work;

use crate::config::TeacherConfig;

/// A batch of replies at their longest, and an M-step on one of them where weights learn.
#[must_use]
pub fn works(config: &TeacherConfig) -> Vec<Work> {
    let sampling = &config.sampling;
    let answers = Work::Serve { texts: sampling.batch, tokens: sampling.max_new_tokens };
    let step_tokens = sampling.max_new_tokens;
    let lesson = config.policy_update.as_ref().map(|update| {
        let checkpointing = update.gradient_checkpointing;
        match update.lora.clone() {
            None => Work::FineTune { step_tokens, checkpointing },
            // From the second update on over what the earlier ones taught.
            Some(lora) => Work::Merged {
                work: Box::new(Work::InnerUpdate {
                    candidates: 1,
                    step_tokens,
                    lora: lora.clone(),
                    checkpointing,
                }),
                lora,
            },
        }
    });
    std::iter::once(answers).chain(lesson).collect()
}
