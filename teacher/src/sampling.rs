//! `[sampling]`: how replies are drawn.

use seal_model::SamplingConfig;
use serde::Deserialize;

/// `[sampling]`. The temperature comes with each request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingSettings {
    /// Longest reply.
    pub max_new_tokens: usize,
    /// Replies sampled side by side; bounds memory, changes no result.
    pub batch: usize,
    /// Most proposals per context that one request may ask for.
    pub max_proposals_per_context: u32,
    /// A local policy writes nothing but what follows the schema of a structured prompt family. Needs
    /// a byte-level or byte-fallback tokenizer.
    #[serde(default = "yes")]
    pub constrain: bool,
    /// A local policy draws from this many most likely tokens; 0: all.
    #[serde(default)]
    pub top_k: usize,
    /// From the fewest most likely tokens whose probabilities reach this sum; 1: all.
    #[serde(default = "one")]
    pub top_p: f64,
    /// From tokens at least this fraction as likely as the most likely one; 0: all.
    #[serde(default)]
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens that were read or written; 1: off.
    #[serde(default = "one")]
    pub repetition_penalty: f64,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

impl SamplingSettings {
    /// As our decoder takes it; `stop` ends a reply besides the model's own end tokens.
    pub(crate) fn drawn(&self, temperature: f64, stop: Vec<u32>) -> SamplingConfig {
        let Self { max_new_tokens, top_k, top_p, min_p, repetition_penalty, .. } = *self;
        SamplingConfig {
            max_new_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            stop,
            ..SamplingConfig::default()
        }
    }

    /// Refuses what no reply could be drawn by, and filters that nobody here would apply.
    pub(crate) fn check(&self, local: bool) -> Result<(), String> {
        if let Some(problem) = self.drawn(1.0, Vec::new()).problem() {
            return Err(format!("[sampling] {problem}"));
        }
        let plain = SamplingConfig::default();
        let filtered = self.top_k != plain.top_k
            || self.top_p != plain.top_p
            || self.min_p != plain.min_p
            || self.repetition_penalty != plain.repetition_penalty;
        match filtered && !local {
            true => Err("[sampling] `top_k`, `top_p`, `min_p` and `repetition_penalty` are for a local policy; an \
                         endpoint is told by `top_p` and `extra` under [backend], recorded replies are what they \
                         are"
            .to_owned()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(more: &str) -> SamplingSettings {
        let text = format!("max_new_tokens = 8\nbatch = 2\nmax_proposals_per_context = 3\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn filters_are_for_local_policies_and_within_their_bounds() {
        let plain = SamplingConfig { max_new_tokens: 8, ..SamplingConfig::default() };
        assert_eq!(settings("").drawn(1.0, Vec::new()), plain);
        assert_eq!((settings("").check(true), settings("").check(false)), (Ok(()), Ok(())));
        let filtered = settings("top_k = 4\ntop_p = 0.95\nmin_p = 0.1\nrepetition_penalty = 1.1");
        assert_eq!(filtered.check(true), Ok(()));
        let drawn = filtered.drawn(0.5, vec![7]);
        assert_eq!((drawn.top_k, drawn.top_p, drawn.min_p), (4, 0.95, 0.1));
        assert_eq!((drawn.repetition_penalty, drawn.temperature, drawn.stop), (1.1, 0.5, vec![7]));
        assert!(filtered.check(false).unwrap_err().contains("[backend]"));
        for (bad, named) in [
            ("top_p = 0.0", "`top_p`"),
            ("top_p = nan", "`top_p`"),
            ("min_p = 1.5", "`min_p`"),
            ("repetition_penalty = 0.0", "`repetition_penalty`"),
        ] {
            let told = settings(bad).check(true).unwrap_err();
            assert!(told.contains("[sampling]") && told.contains(named), "{told}");
        }
    }
}
