//! From logits to a token.

use crate::ops::cross_entropy::argmax;
use crate::ops::lanes::softmax_row;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How tokens are drawn. Filters apply in Hugging Face's order: temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// Divides the logits; 0: always the most likely token.
    pub temperature: f64,
    /// Keep only this many most likely tokens; 0: all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens whose probabilities reach this sum; 1: all.
    pub top_p: f64,
    /// Keep tokens at least this fraction as likely as the most likely one; 0: all.
    pub min_p: f64,
    /// Tokens that end a text, besides the model's own end tokens.
    pub stop: Vec<u32>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            stop: Vec::new(),
        }
    }
}

impl SamplingConfig {
    /// What is wrong with these settings, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        match self {
            s if !(s.temperature.is_finite() && s.temperature >= 0.0) => {
                Some("`temperature` must be 0 or more")
            }
            s if !(s.top_p > 0.0 && s.top_p <= 1.0) => {
                Some("`top_p` must be above 0 and at most 1")
            }
            s if !(0.0..=1.0).contains(&s.min_p) => Some("`min_p` must be 0 to 1"),
            _ => None,
        }
    }
}

/// Draws one token; `None` if the logits are not finite.
pub(super) fn sample(
    logits: &mut [f32],
    config: &SamplingConfig,
    rng: &mut ChaCha8Rng,
) -> Option<u32> {
    if logits.iter().any(|x| x.is_nan()) {
        return None;
    }
    if config.temperature == 0.0 {
        return Some(argmax(logits));
    }
    #[allow(clippy::cast_possible_truncation)]
    let inverse = (1.0 / config.temperature) as f32;
    logits.iter_mut().for_each(|x| *x *= inverse);
    softmax_row(logits);
    let kept = kept(logits, config);
    let total: f64 = kept.iter().map(|&(p, _)| f64::from(p)).sum();
    if !total.is_finite() {
        return None;
    }
    let mut left = rng.random::<f64>() * total;
    for &(p, token) in &kept {
        left -= f64::from(p);
        if left < 0.0 {
            return Some(token);
        }
    }
    kept.last().map(|&(_, token)| token)
}

/// The tokens that survive the filters with their probabilities.
#[allow(clippy::cast_possible_truncation)]
fn kept(probabilities: &[f32], config: &SamplingConfig) -> Vec<(f32, u32)> {
    let mut all: Vec<(f32, u32)> =
        probabilities.iter().zip(0..).map(|(&p, token)| (p, token)).collect();
    if config.top_k == 0 && config.top_p >= 1.0 && config.min_p == 0.0 {
        return all;
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    if config.top_k > 0 {
        all.truncate(config.top_k);
    }
    let total: f64 = all.iter().map(|&(p, _)| f64::from(p)).sum();
    let mut reached = 0.0;
    let enough = all.iter().position(|&(p, _)| {
        reached += f64::from(p) / total;
        reached >= config.top_p
    });
    all.truncate(enough.map_or(all.len(), |last| last + 1));
    let floor = all.first().map_or(0.0, |&(p, _)| f64::from(p) * config.min_p);
    all.retain(|&(p, _)| f64::from(p) >= floor);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: SamplingConfig, expected: &[u32]) {
        let tokens: Vec<u32> =
            kept(&[0.1, 0.4, 0.2, 0.3], &config).iter().map(|&(_, t)| t).collect();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn filters_keep_what_their_names_say() {
        let free = SamplingConfig::default();
        check(free.clone(), &[0, 1, 2, 3]);
        check(SamplingConfig { top_k: 2, ..free.clone() }, &[1, 3]);
        check(SamplingConfig { top_p: 0.65, ..free.clone() }, &[1, 3]);
        check(SamplingConfig { min_p: 0.5, ..free.clone() }, &[1, 3, 2]);
        check(SamplingConfig { top_k: 2, top_p: 0.5, ..free }, &[1]);
    }
}
