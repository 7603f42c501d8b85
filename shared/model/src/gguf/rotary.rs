//! How a file stretches its rotary frequencies.
//!
//! Llama 3's stretching stands in no key: converters work it out and store the divisors of the
//! frequencies as a tensor. [`llama3`] finds the numbers that it was made from, or the file is refused.

use super::error::GgufError;
use super::keys::unsupported;
use super::shape::Architecture;
use crate::ops::rope::{Rope, RopeScaling};

/// Tensor with a divisor for every frequency.
pub(super) const DIVISORS: &str = "rope_freqs.weight";
/// Largest share by which a divisor may differ from what Llama 3's stretching gives.
const EQUAL: f32 = 1e-4;
/// The first length of Llama 3, in tokens, and the turns over it that part low from high.
const LENGTH: usize = 8192;

/// θ and what the keys say of scaling.
pub(super) fn read(architecture: &Architecture<'_>) -> Result<(f64, RopeScaling), GgufError> {
    let (keys, key) = (architecture.keys, |below: &str| architecture.key(below));
    let theta = keys.number(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    let number = |below: &str| keys.number(&key(below));
    let factor = || keys.needed_number(&key("rope.scaling.factor"));
    let old = number("rope.scale_linear")?.filter(|&factor| factor != 0.0 && factor != 1.0);
    let scaling = match (keys.text(&key("rope.scaling.type"))?, old) {
        (None | Some("none"), None) => RopeScaling::None,
        (None, Some(factor)) => RopeScaling::Linear { factor },
        (Some("linear"), None) => RopeScaling::Linear { factor: factor()? },
        (Some("yarn"), None) => yarn(architecture, factor()?)?,
        (Some(other), None) => {
            return Err(unsupported(&key("rope.scaling.type"), super::shown(other)));
        }
        (Some(_), Some(factor)) => {
            return Err(unsupported(&key("rope.scale_linear"), factor.to_string()));
        }
    };
    Ok((theta, scaling))
}

/// YaRN with the numbers of its paper, and what the file says of others.
fn yarn(architecture: &Architecture<'_>, factor: f64) -> Result<RopeScaling, GgufError> {
    let (keys, key) = (architecture.keys, |below: &str| architecture.key(below));
    for (below, usual) in [
        ("rope.scaling.yarn_log_multiplier", 0.0),
        ("rope.scaling.attn_factor", 1.0),
        ("rope.scaling.yarn_attn_factor", 1.0),
        ("rope.scaling.yarn_ext_factor", 1.0),
    ] {
        let given = keys.number(&key(below))?;
        if let Some(other) = given.filter(|&other| other != usual) {
            return Err(unsupported(&key(below), other.to_string()));
        }
    }
    let turns = |below: &str, usual| Ok(keys.number(&key(below))?.unwrap_or(usual));
    let length = key("rope.scaling.original_context_length");
    Ok(RopeScaling::Yarn {
        factor,
        attention_factor: if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 },
        beta_fast: turns("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: turns("rope.scaling.yarn_beta_slow", 1.0)?,
        original_max_position_embeddings: keys.needed_size(&length)?,
        truncate: true,
    })
}

/// Llama 3's stretching by the divisors it left in the file; `None` if no frequency is divided.
///
/// # Errors
/// Divisors that it does not give.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn llama3(
    divisors: &[f32],
    head_dim: usize,
    theta: f64,
) -> Result<Option<RopeScaling>, GgufError> {
    let factor = divisors.iter().copied().fold(1.0f32, f32::max);
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(None);
    }
    let scaling = RopeScaling::Llama3 {
        factor: f64::from(factor),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: LENGTH,
    };
    let ours = Rope::new(head_dim, 1, theta, &scaling);
    let plain = Rope::new(head_dim, 1, theta, &RopeScaling::None);
    let expected = plain.frequencies().iter().zip(ours.frequencies()).map(|(all, ours)| all / ours);
    let close = |(found, expected): (&f32, f32)| (found / expected - 1.0).abs() <= EQUAL;
    if divisors.len() == head_dim / 2 && divisors.iter().zip(expected).all(close) {
        return Ok(Some(scaling));
    }
    Err(GgufError::Tensor {
        name: DIVISORS.to_owned(),
        problem: format!(
            "holds divisors of the rotary frequencies, up to {factor}, that are not those of Llama 3 \
             (over {LENGTH} tokens); take the safetensors of this model"
        ),
    })
}
