//! From logits to a token.

use super::constraint::TokenMask;
use super::filters::{keeps_all, kept};
use super::settings::SamplingConfig;
use crate::ops::cross_entropy::argmax;
use crate::ops::lanes::softmax_row;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Draws the tokens of one text.
pub(super) struct Sampler {
    config: Arc<SamplingConfig>,
    rng: ChaCha8Rng,
    history: History,
}

/// What the penalties look at. Empty where no penalty is set.
#[derive(Default)]
struct History {
    /// Tokens of prompt and text.
    present: BTreeSet<u32>,
    /// How often each token is in the text.
    text: BTreeMap<u32, u32>,
}

impl Sampler {
    pub(super) fn new(config: Arc<SamplingConfig>, prompt: &[u32], seed: u64) -> Self {
        let mut history = History::default();
        if config.repetition_penalty != 1.0 {
            history.present.extend(prompt);
        }
        Self { config, rng: ChaCha8Rng::seed_from_u64(seed), history }
    }

    pub(super) fn config(&self) -> &SamplingConfig {
        &self.config
    }

    /// Takes note of a token of the text.
    pub(super) fn push(&mut self, token: u32) {
        let config = &self.config;
        if config.repetition_penalty != 1.0 {
            self.history.present.insert(token);
        }
        if config.presence_penalty != 0.0 || config.frequency_penalty != 0.0 {
            *self.history.text.entry(token).or_default() += 1;
        }
    }

    /// Passes over one draw, so that a token without a choice shifts no later one.
    pub(super) fn skip(&mut self) {
        if self.config.temperature != 0.0 {
            self.rng.random::<f64>();
        }
    }

    /// Draws one token among `allowed` that is none of `forbidden`; `None` if the logits are not
    /// numbers or no token is possible.
    pub(super) fn draw(
        &mut self,
        logits: &mut [f32],
        allowed: Option<&TokenMask>,
        forbidden: &[u32],
    ) -> Option<u32> {
        if logits.iter().any(|x| x.is_nan()) {
            return None;
        }
        self.process(logits, allowed, forbidden);
        if self.config.temperature == 0.0 {
            let best = argmax(logits);
            return (logits[best as usize] > f32::NEG_INFINITY).then_some(best);
        }
        temper(logits, self.config.temperature);
        softmax_row(logits);
        if keeps_all(&self.config) {
            let all = || logits.iter().copied().zip(0..);
            return pick(all, &mut self.rng);
        }
        let kept = kept(logits, &self.config);
        pick(|| kept.iter().copied(), &mut self.rng)
    }

    /// Everything before the temperature.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn process(&self, logits: &mut [f32], allowed: Option<&TokenMask>, forbidden: &[u32]) {
        let config = &self.config;
        for (&token, bias) in &config.logit_bias {
            logits[token as usize] += bias;
        }
        let penalty = config.repetition_penalty as f32;
        for &token in &self.history.present {
            let logit = &mut logits[token as usize];
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
        for (&token, &times) in &self.history.text {
            logits[token as usize] -= config.frequency_penalty as f32 * times as f32;
            logits[token as usize] -= config.presence_penalty as f32;
        }
        for &token in forbidden {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        if let Some(allowed) = allowed {
            allowed.apply(logits);
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn temper(logits: &mut [f32], temperature: f64) {
    let inverse = (1.0 / temperature) as f32;
    logits.iter_mut().for_each(|x| *x *= inverse);
}

/// One of `weighted`, each as likely as its weight says.
fn pick<I: Iterator<Item = (f32, u32)>>(
    weighted: impl Fn() -> I,
    rng: &mut ChaCha8Rng,
) -> Option<u32> {
    let total: f64 = weighted().map(|(p, _)| f64::from(p)).sum();
    if !total.is_finite() {
        return None;
    }
    let mut left = rng.random::<f64>() * total;
    let mut last = None;
    for (p, token) in weighted().filter(|&(p, _)| p > 0.0) {
        left -= f64::from(p);
        if left < 0.0 {
            return Some(token);
        }
        last = Some(token);
    }
    last
}

#[cfg(test)]
mod tests;
