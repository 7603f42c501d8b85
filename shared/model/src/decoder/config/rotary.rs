//! Rotary embedding out of `config.json`, where either version of transformers puts it.
//!
//! transformers 4 wrote `rope_theta` beside `rope_scaling`, transformers 5 writes both into
//! `rope_parameters`. Where both objects are given transformers 5 follows `rope_scaling` alone.

use super::fields::{Fields, Said};
use crate::error::Result;
use crate::ops::rope::RopeScaling;

/// Fields of a rope object that transformers 5 knows, whichever type uses them.
const KNOWN: [&str; 16] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "short_factor",
    "long_factor",
    "low_freq_factor",
    "high_freq_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
];

/// θ and the scaling.
pub(super) fn read(fields: &Fields<'_>, positions: usize) -> Result<(f64, RopeScaling)> {
    refuse_partial_rotation(fields)?;
    let outer_theta = fields.or("rope_theta", 10_000.0)?;
    for name in ["rope_scaling", "rope_parameters"] {
        if let Some(rope) = fields.object(name)? {
            refuse_partial_rotation(&rope)?;
            if let Some(unknown) = rope.names().find(|field| !KNOWN.contains(field)) {
                return Err(fields.unsupported(name, format!("{{\"{unknown}\": …}}")));
            }
            let theta = rope.or("rope_theta", outer_theta)?;
            // Outside the object this field counts more than inside.
            let length = match fields.given("original_max_position_embeddings")? {
                Some(length) => length,
                None => rope.or("original_max_position_embeddings", positions)?,
            };
            let scaling = scaling(&rope, length, positions)?;
            let scaling = scaling.ok_or_else(|| fields.unsupported(name, rope.text()))?;
            return Ok((theta, scaling));
        }
    }
    Ok((outer_theta, RopeScaling::None))
}

/// Every element of a head is rotated, or the config is refused.
fn refuse_partial_rotation(fields: &Fields<'_>) -> Result<()> {
    fields.refuse("partial_rotary_factor", |share| share.as_f64() == Some(1.0))
}

/// The scaling of a rope object, or none if its type is unknown.
fn scaling(rope: &Fields<'_>, length: usize, positions: usize) -> Result<Option<RopeScaling>> {
    let kind: Option<String> = match rope.given("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.given("type")?,
    };
    Ok(Some(match kind.as_deref().unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: rope.needed("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: rope.needed("factor")?,
            low_freq_factor: rope.needed("low_freq_factor")?,
            high_freq_factor: rope.needed("high_freq_factor")?,
            original_max_position_embeddings: length,
        },
        "yarn" => yarn(rope, length, positions)?,
        _ => return Ok(None),
    }))
}

#[allow(clippy::cast_precision_loss)]
fn yarn(rope: &Fields<'_>, length: usize, positions: usize) -> Result<RopeScaling> {
    // A null asks for the ratio of the lengths; an absent factor is refused, as by transformers.
    let factor = match rope.said("factor")? {
        Said::Null => positions as f64 / length.max(1) as f64,
        Said::This(factor) => factor,
        Said::Nothing => rope.needed("factor")?,
    };
    let attention_factor = match rope.given("attention_factor")? {
        Some(factor) => factor,
        None => match (non_zero(rope, "mscale")?, non_zero(rope, "mscale_all_dim")?) {
            (Some(one), Some(all)) => magnitude(factor, one) / magnitude(factor, all),
            _ => magnitude(factor, 1.0),
        },
    };
    Ok(RopeScaling::Yarn {
        factor,
        attention_factor,
        beta_fast: non_zero(rope, "beta_fast")?.unwrap_or(32.0),
        beta_slow: non_zero(rope, "beta_slow")?.unwrap_or(1.0),
        original_max_position_embeddings: length,
        truncate: rope.or("truncate", true)?,
    })
}

/// A zero counts as an absent field, as Python's `or` has it.
fn non_zero(rope: &Fields<'_>, name: &str) -> Result<Option<f64>> {
    Ok(rope.given(name)?.filter(|&value| value != 0.0))
}

/// What YaRN multiplies cos and sin by, since softer attention is needed over longer texts.
fn magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}
