//! Radians per position of every pair of elements, as transformers stretches them for long texts.
//!
//! Computed in f32 in the order of transformers, whose checkpoints were trained with that rounding.
//!
//! Source: `modeling_rope_utils.py` of transformers 5; YaRN: Peng et al., arXiv:2309.00071.

use std::f64::consts::PI;

/// How the frequencies were stretched for texts longer than those of the first training.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All of them by the same factor.
    Linear {
        /// Divisor of every frequency.
        factor: f64,
    },
    /// Llama 3: low ones by the factor, high ones not, those between by a blend.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// A frequency is low if it turns less often than this over the first training's length.
        low_freq_factor: f64,
        /// A frequency is high if it turns more often than this over the first training's length.
        high_freq_factor: f64,
        /// Length of the first training, in tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN: a linear ramp between frequencies divided by the factor and frequencies kept.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Factor of every cos and sin.
        attention_factor: f64,
        /// Turns over the first training's length from which a frequency is kept.
        beta_fast: f64,
        /// Turns over the first training's length up to which a frequency is divided.
        beta_slow: f64,
        /// Length of the first training, in tokens.
        original_max_position_embeddings: usize,
        /// Whether the ends of the ramp are whole numbers.
        truncate: bool,
    },
}

impl RopeScaling {
    /// Refuses numbers that give no frequencies; `theta` is the base of the unscaled ones.
    pub(crate) fn check(&self, theta: f64) -> Result<(), String> {
        let (numbers, length) = match *self {
            Self::None => return Ok(()),
            Self::Linear { factor } => ([factor, 1.0, 1.0, 1.0], 1),
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => ([factor, low, high, (high - low).abs()], length),
            Self::Yarn { .. } if theta == 1.0 => {
                return Err("yarn cannot scale a `rope_theta` of 1".into());
            }
            Self::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings: length,
                ..
            } => ([factor, attention_factor, beta_fast, beta_slow], length),
        };
        if length == 0 || numbers.iter().any(|x| !x.is_finite() || *x <= 0.0) {
            return Err(format!("rope scaling needs positive numbers, not {self:?}"));
        }
        Ok(())
    }

    /// Factor of every cos and sin.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn magnitude(&self) -> f32 {
        match self {
            Self::Yarn { attention_factor, .. } => *attention_factor as f32,
            _ => 1.0,
        }
    }
}

/// Radians per position, `[head_dim / 2]`.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn frequencies(head_dim: usize, theta: f64, scaling: &RopeScaling) -> Vec<f32> {
    let wavelengths = wavelengths(head_dim, theta);
    let plain: Vec<f32> = wavelengths.iter().map(|w| 1.0 / w).collect();
    match *scaling {
        RopeScaling::None => plain,
        RopeScaling::Linear { factor } => plain.iter().map(|f| f / factor as f32).collect(),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: length,
        } => plain.iter().map(|&f| llama3(f, factor as f32, (low, high), length)).collect(),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings: length,
            truncate,
            ..
        } => {
            let turns = (beta_fast, beta_slow);
            let ramp = yarn_ramp(head_dim, theta, turns, length, truncate);
            let blend = |(w, ramp): (&f32, f32)| {
                let kept = 1.0 - ramp;
                1.0 / (factor as f32 * w) * (1.0 - kept) + 1.0 / w * kept
            };
            wavelengths.iter().zip(ramp).map(blend).collect()
        }
    }
}

/// Positions per radian of each pair: θ^(2i/d).
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn wavelengths(head_dim: usize, theta: f64) -> Vec<f32> {
    let power = |i| theta.powf((2 * i) as f64 / head_dim as f64) as f32;
    (0..head_dim / 2).map(power).collect()
}

/// One frequency, divided as far as it is low.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn llama3(frequency: f32, factor: f32, (low, high): (f64, f64), length: usize) -> f32 {
    let length = length as f64;
    let wavelength = (2.0 * PI) as f32 / frequency;
    if wavelength > (length / low) as f32 {
        frequency / factor
    } else if wavelength < (length / high) as f32 {
        frequency
    } else {
        let smooth = (length as f32 / wavelength - low as f32) / (high - low) as f32;
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// How far each frequency is divided: 0 for the high ones, 1 for the low ones.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn yarn_ramp(
    head_dim: usize,
    theta: f64,
    (fast, slow): (f64, f64),
    length: usize,
    truncate: bool,
) -> impl Iterator<Item = f32> {
    let dim = head_dim as f64;
    let pair_of = |turns: f64| dim * (length as f64 / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (first, last) = (pair_of(fast), pair_of(slow));
    let (first, last) = if truncate { (first.floor(), last.ceil()) } else { (first, last) };
    let (first, last) = (first.max(0.0), last.min(dim - 1.0));
    // Ends that meet would divide by zero; transformers moves them apart by as much.
    let last = if first == last { last + 0.001 } else { last };
    (0..head_dim / 2)
        .map(move |i| ((i as f32 - first as f32) / (last - first) as f32).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let plain = frequencies(128, 5e5, &RopeScaling::None);
        let scaled = frequencies(128, 5e5, &scaling);
        assert_eq!(scaled[..28], plain[..28]);
        for (scaled, plain) in scaled.iter().zip(&plain).skip(36) {
            assert_eq!(*scaled, plain / 8.0);
        }
        assert!(scaled[32] < plain[32] && scaled[32] > plain[32] / 8.0);
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let plain = frequencies(8, 1e4, &RopeScaling::None);
        let scaled = frequencies(8, 1e4, &RopeScaling::Linear { factor: 4.0 });
        assert!(scaled.iter().zip(&plain).all(|(s, p)| *s == p / 4.0));
    }
}
