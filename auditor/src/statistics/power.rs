//! What a suite of n items can show at all.

use super::binomial_at_least;

/// Smallest true share of items lost that the exact sign test at level `alpha` finds with
/// probability `power`, when nothing is gained; `None` where n items can never show it.
pub fn detectable_drop(n: u64, alpha: f64, power: f64) -> Option<f64> {
    let needed = (1..=n).find(|&losses| 0.5_f64.powi(losses.min(1_000) as i32) <= alpha)?;
    let found = |drop: f64| binomial_at_least(needed, n, drop) >= power;
    if !found(1.0) {
        return None;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if found(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_items_show_smaller_drops_and_four_show_none() {
        let drops: Vec<f64> =
            [10, 40, 160, 640].map(|n| detectable_drop(n, 0.05, 0.8).unwrap()).to_vec();
        assert!(drops.windows(2).all(|pair| pair[1] < pair[0]), "{drops:?}");
        assert_eq!(detectable_drop(4, 0.05, 0.8), None);
        assert_eq!(detectable_drop(0, 0.05, 0.8), None);
    }

    #[test]
    fn the_stated_drop_is_found_with_the_stated_power() {
        let drop = detectable_drop(100, 0.05, 0.8).unwrap();
        assert!((binomial_at_least(5, 100, drop) - 0.8).abs() < 1e-6);
    }
}
