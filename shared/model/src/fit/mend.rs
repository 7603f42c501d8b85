//! What would make a piece of work fit, the mildest first.

use super::{Engine, Work, counted, estimate};
use crate::decoder::DecoderConfig;
use crate::lora::LoraSpec;

/// Settings of `work` with which it fits into `available` bytes; if none does, what else to do.
pub(super) fn mends(
    config: &DecoderConfig,
    engine: Engine,
    work: &Work,
    available: u64,
) -> Vec<String> {
    let fits = |work: &Work| estimate(config, engine, work).total() <= available;
    let mut mends = Vec::new();
    match work {
        Work::Serve { texts, tokens } => {
            let fewer = most(*texts, |texts| fits(&Work::Serve { texts, tokens: *tokens }));
            mends.extend(fewer.map(|n| format!("write at most {} at once", counted(n, "text"))));
            let shorter = most(*tokens, |tokens| fits(&Work::Serve { texts: *texts, tokens }));
            mends.extend(shorter.map(|n| format!("limit texts to {n} tokens with their prompts")));
        }
        Work::Score { tokens, adapters, lora } => {
            let with = |tokens, adapters| Work::Score { tokens, adapters, lora: lora.clone() };
            let fewer = most(*adapters, |adapters| fits(&with(*tokens, adapters)));
            mends
                .extend(fewer.map(|n| format!("score at most {} together", counted(n, "adapter"))));
        }
        Work::InnerUpdate { candidates, step_tokens, lora, checkpointing } => {
            let with = |candidates, step_tokens, r, checkpointing| Work::InnerUpdate {
                candidates,
                step_tokens,
                lora: LoraSpec { r, ..lora.clone() },
                checkpointing,
            };
            if !checkpointing && fits(&with(*candidates, *step_tokens, lora.r, true)) {
                mends.push("set `gradient_checkpointing = true`".into());
            }
            let fewer = most(*candidates, |n| fits(&with(n, *step_tokens, lora.r, *checkpointing)));
            mends.extend(fewer.map(|n| format!("set `candidates_per_batch = {n}`")));
            let shorter =
                most(*step_tokens, |n| fits(&with(*candidates, n, lora.r, *checkpointing)));
            mends.extend(shorter.map(|n| format!("set `max_sequence_tokens = {n}`")));
            let smaller =
                most(lora.r, |r| fits(&with(*candidates, *step_tokens, r, *checkpointing)));
            mends.extend(smaller.map(|r| format!("set the rank `r = {r}`")));
        }
        Work::FineTune { step_tokens, checkpointing } => {
            let with = |step_tokens, checkpointing| Work::FineTune { step_tokens, checkpointing };
            if !checkpointing && fits(&with(*step_tokens, true)) {
                mends.push("set `gradient_checkpointing = true`".into());
            }
            let fewer = most(*step_tokens, |n| fits(&with(n, *checkpointing)));
            mends.extend(fewer.map(|n| format!("train on at most {n} tokens a step")));
        }
        // The same settings, with less room.
        Work::Merged { work: inner, .. } => {
            let total = |work| estimate(config, engine, work).total();
            let copies = total(work).saturating_sub(total(inner));
            return self::mends(config, engine, inner, available.saturating_sub(copies));
        }
    }
    if let Engine::Cpu { threads } = engine {
        let with = |threads| estimate(config, Engine::Cpu { threads }, work).total() <= available;
        mends.extend(most(threads, with).map(|n| format!("set RAYON_NUM_THREADS={n}")));
    }
    if mends.is_empty() {
        mends.push(elsewhere(engine));
    }
    mends
}

fn elsewhere(engine: Engine) -> String {
    match engine {
        Engine::Cpu { .. } => {
            "take a smaller model, free memory, or compute in bf16 on a GPU (`device = \"cuda\"`)"
                .into()
        }
        Engine::Cuda => "take a smaller model or a GPU with more memory".into(),
    }
}

/// The largest number from 1 to below `limit` that fits, if one does. Less never takes more.
fn most(limit: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, limit);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    (low > 0).then_some(low)
}
