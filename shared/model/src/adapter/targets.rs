//! `target_modules` of PEFT: which projections an adapter claims.
//!
//! PEFT takes a list of names or of ends of module paths, a regular expression over whole module
//! paths, or "all-linear". Ours are whole projections, so a choice that differs from layer to layer
//! is refused, and so is a name that matches nothing here (`lm_head`, `embed_tokens`, …).

use super::error::AdapterError;
use crate::lora::Projection;
use regex::RegexBuilder;
use serde_json::Value;

const FIELD: &str = "target_modules";
/// Every linear layer but the output: our seven.
const ALL_LINEAR: &str = "all-linear";
/// Most names in a list; more are no choice of projections.
const MAX_NAMES: usize = 8192;
/// Longest expression, in characters.
const MAX_EXPRESSION: usize = 1024;
/// Largest compiled expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The projections that `value` means in a decoder of `layers` layers, in flat order.
pub(super) fn projections(value: &Value, layers: usize) -> Result<Vec<Projection>, AdapterError> {
    match value {
        Value::String(all) if all == ALL_LINEAR => Ok(Projection::ALL.to_vec()),
        Value::String(expression) => matching(expression, value, layers),
        Value::Array(names) if names.len() <= MAX_NAMES => listed(names, value, layers),
        _ => Err(refused(value)),
    }
}

fn matching(
    expression: &str,
    value: &Value,
    layers: usize,
) -> Result<Vec<Projection>, AdapterError> {
    if expression.len() > MAX_EXPRESSION {
        return Err(AdapterError::Config(format!("`{FIELD}` is too long an expression")));
    }
    // PEFT asks for a match of the whole path.
    let whole = RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(MAX_COMPILED).build();
    let whole = whole
        .map_err(|e| AdapterError::Config(format!("`{FIELD}` is no usable expression: {e}")))?;
    in_every_layer(value, layers, |path| whole.is_match(path))
}

fn listed(names: &[Value], value: &Value, layers: usize) -> Result<Vec<Projection>, AdapterError> {
    let names: Vec<&str> = names
        .iter()
        .map(|name| name.as_str().ok_or_else(|| refused(value)))
        .collect::<Result<_, _>>()?;
    let is_end_of = |name: &str, path: &str| {
        path.strip_suffix(name).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let paths: Vec<String> =
        Projection::ALL.iter().flat_map(|p| (0..layers).map(|layer| p.module(layer))).collect();
    if let Some(stray) = names.iter().find(|name| !paths.iter().any(|path| is_end_of(name, path))) {
        return Err(refused(&Value::from(*stray)));
    }
    in_every_layer(value, layers, |path| names.iter().any(|name| is_end_of(name, path)))
}

/// The projections that `selects` picks, if it picks the same in every layer, and at least one.
fn in_every_layer(
    value: &Value,
    layers: usize,
    selects: impl Fn(&str) -> bool,
) -> Result<Vec<Projection>, AdapterError> {
    let mut chosen = Vec::new();
    for projection in Projection::ALL {
        match (0..layers).filter(|&layer| selects(&projection.module(layer))).count() {
            0 => {}
            count if count == layers => chosen.push(projection),
            _ => return Err(refused(value)),
        }
    }
    if chosen.is_empty() { Err(refused(value)) } else { Ok(chosen) }
}

fn refused(value: &Value) -> AdapterError {
    let value: String = value.to_string().chars().take(200).collect();
    AdapterError::Unsupported { field: FIELD.into(), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chosen(value: &Value) -> Vec<&'static str> {
        projections(value, 12).unwrap().into_iter().map(Projection::name).collect()
    }

    fn refuses(value: &Value) -> String {
        projections(value, 12).unwrap_err().to_string()
    }

    #[test]
    fn names_ends_of_paths_and_expressions_choose_as_in_peft() {
        assert_eq!(chosen(&json!(["v_proj", "q_proj"])), ["q_proj", "v_proj"]);
        assert_eq!(chosen(&json!(["mlp.up_proj"])), ["up_proj"]);
        assert_eq!(chosen(&json!("all-linear")).len(), 7);
        assert_eq!(chosen(&json!(r".*\.(q|k)_proj")), ["q_proj", "k_proj"]);
        assert_eq!(chosen(&json!(r"model\.layers\.\d+\.mlp\..*")).len(), 3);
        let whole: Vec<String> = (0..12).map(|layer| Projection::O.module(layer)).collect();
        assert_eq!(chosen(&json!(whole)), ["o_proj"]);
    }

    #[test]
    fn a_choice_that_is_not_whole_projections_is_refused_by_field() {
        for value in [
            json!(["q_proj", "lm_head"]),
            json!(["proj"]),
            json!(["model.layers.0.self_attn.q_proj"]),
            json!(r"model\.layers\.[0-5]\..*q_proj"),
            json!("q_proj"),
            json!([]),
            json!([1]),
            json!(null),
        ] {
            assert!(refuses(&value).contains("`target_modules`"), "{value}");
        }
    }

    #[test]
    fn a_hostile_expression_costs_nothing() {
        assert!(refuses(&json!("(((a{1000}){1000}){1000})")).contains("expression"));
        assert!(refuses(&json!("(")).contains("expression"));
        assert!(refuses(&json!("a".repeat(5000))).contains("too long"));
        assert!(refuses(&json!(r"(?=look).*")).contains("expression"));
    }
}
