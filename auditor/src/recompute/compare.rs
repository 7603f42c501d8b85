//! Whether two adapters are one. Pure.

use seal_model::{Adapter, LoraSpec, ModelError};

/// How an adapter may be compared with the one trained here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    /// The digest of the tensors.
    Digest,
    /// The factors, up to this distance.
    Tolerance(f64),
}

/// How to compare what the `claimed` arithmetic made with what `own` makes; `None`: not at all.
pub(super) fn method(
    own: &str,
    own_is_exact: bool,
    claimed: &str,
    tolerance: Option<f64>,
) -> Option<Method> {
    match own_is_exact && own == claimed {
        true => Some(Method::Digest),
        false => tolerance.map(Method::Tolerance),
    }
}

/// Whether both mean the same by their factors. How A began and what training left out do not matter
/// to an adapter that exists.
pub(super) fn same_settings(a: &LoraSpec, b: &LoraSpec) -> bool {
    let meaning = |spec: &LoraSpec| {
        let mut targets = spec.targets.clone();
        targets.sort_unstable();
        (spec.r, spec.alpha.to_bits(), spec.use_rslora, targets)
    };
    meaning(a) == meaning(b)
}

/// Distance of `theirs` from `ours` as a share of the way from `start` to `ours`; `None` if it is no
/// number. 0 is the same adapter; what was trained on something else from the same start lies about
/// 1 away.
///
/// # Errors
/// Factors that are not f32.
pub(super) fn distance(
    start: &Adapter,
    ours: &Adapter,
    theirs: &Adapter,
) -> Result<Option<f64>, ModelError> {
    let (start, ours, theirs) = (start.flat()?, ours.flat()?, theirs.flat()?);
    if start.len() != ours.len() || theirs.len() != ours.len() {
        return Ok(None);
    }
    let way = length(&start, &ours);
    let share = length(&theirs, &ours) / way;
    Ok((way > 0.0 && share.is_finite()).then_some(share))
}

fn length(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use seal_model::Projection;

    use super::*;

    #[test]
    fn the_digest_speaks_only_where_both_sides_compute_exactly_and_alike() {
        assert_eq!(method("avx2", true, "avx2", Some(0.1)), Some(Method::Digest));
        assert_eq!(method("avx2", true, "neon", Some(0.1)), Some(Method::Tolerance(0.1)));
        assert_eq!(
            method("cuda, bf16", false, "cuda, bf16", Some(0.1)),
            Some(Method::Tolerance(0.1))
        );
        assert_eq!(method("avx2", true, "cuda, bf16", None), None);
        assert_eq!(method("cuda, bf16", false, "cuda, bf16", None), None);
    }

    #[test]
    fn rank_scale_and_targets_are_part_of_what_an_adapter_means() {
        let spec = LoraSpec::all(4);
        let turned =
            LoraSpec { targets: spec.targets.iter().rev().copied().collect(), ..spec.clone() };
        assert!(same_settings(&spec, &LoraSpec { dropout: 0.1, ..turned }));
        for other in [
            LoraSpec { alpha: spec.alpha * 2.0, ..spec.clone() },
            LoraSpec { r: 8, ..spec.clone() },
            LoraSpec { use_rslora: true, ..spec.clone() },
            LoraSpec { targets: vec![Projection::Q], ..spec.clone() },
        ] {
            assert!(!same_settings(&spec, &other), "{other:?}");
        }
    }
}
