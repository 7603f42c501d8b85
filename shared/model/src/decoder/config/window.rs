//! Sliding windows out of `config.json`: which layers have one, and how long it is.

use super::fields::Fields;
use super::{Family, SlidingWindow};
use crate::error::Result;

/// What transformers takes for an absent `sliding_window`; null is none.
const DEFAULT_SIZE: usize = 4096;
/// What transformers takes for an absent `max_window_layers`.
const DEFAULT_FULL_LAYERS: usize = 28;

/// The window of a model of `layers` layers and at most `positions` positions.
pub(super) fn read(
    fields: &Fields<'_>,
    family: Family,
    layers: usize,
    positions: usize,
) -> Result<Option<SlidingWindow>> {
    match family {
        Family::Llama => {
            // Llama masks nothing but forgets what is outside the window when it generates.
            let holds_all = |size: &serde_json::Value| {
                size.as_u64().is_some_and(|size| size >= positions as u64)
            };
            fields.refuse("sliding_window", holds_all)?;
            layer_types(fields, |sliding| !sliding.contains(&true))?;
            Ok(None)
        }
        Family::Mistral => {
            let size = fields.said("sliding_window")?.or(DEFAULT_SIZE);
            layer_types(fields, |sliding| sliding.iter().all(|&s| s == size.is_some()))?;
            Ok(size.map(|size| SlidingWindow { size, layers: vec![true; layers] }))
        }
        Family::Qwen2 | Family::Qwen3 => qwen(fields, layers),
    }
}

fn qwen(fields: &Fields<'_>, layers: usize) -> Result<Option<SlidingWindow>> {
    let size = match fields.or("use_sliding_window", false)? {
        true => fields.said("sliding_window")?.or(DEFAULT_SIZE),
        false => None,
    };
    let full: usize = fields.or("max_window_layers", DEFAULT_FULL_LAYERS)?;
    let by_number = || (0..layers).map(|layer| size.is_some() && layer >= full).collect();
    let sliding = layer_types(fields, |_| true)?.unwrap_or_else(by_number);
    match size {
        _ if !sliding.contains(&true) => Ok(None),
        Some(size) => Ok(Some(SlidingWindow { size, layers: sliding })),
        None => Err(fields.problem(
            "`layer_types` names sliding_attention, but `use_sliding_window` and \
             `sliding_window` give it no window"
                .into(),
        )),
    }
}

/// By layer, whether `layer_types` says that it slides; refused unless `fits`.
fn layer_types(fields: &Fields<'_>, fits: impl Fn(&[bool]) -> bool) -> Result<Option<Vec<bool>>> {
    let Some(names) = fields.given::<Vec<String>>("layer_types")? else { return Ok(None) };
    let slides = |name: &String| match name.as_str() {
        "full_attention" | "attention" => Some(false),
        "sliding_attention" => Some(true),
        _ => None,
    };
    let sliding: Option<Vec<bool>> = names.iter().map(slides).collect();
    match sliding {
        Some(sliding) if fits(&sliding) => Ok(Some(sliding)),
        _ => Err(fields.unsupported("layer_types", format!("{names:?}"))),
    }
}
