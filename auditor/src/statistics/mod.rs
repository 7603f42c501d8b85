//! Statistics the gate decides with.
//!
//! **Invariant:** everything here is a pure function; a resampling takes its seed.
//! **Invariant:** a NaN or an empty input never yields evidence: the answer is `None` or p = 1.

mod bootstrap;
mod paired_t;
mod power;
mod proportion;
mod reliability;
mod sign_test;

pub(crate) use bootstrap::quantile;
pub use bootstrap::{RESAMPLES, bootstrap_mean, bootstrap_units};
pub use paired_t::PairedT;
pub use power::detectable_drop;
pub use proportion::{binomial_at_least, wilson};
pub use reliability::{Components, Seeds};
use serde::{Deserialize, Serialize};
pub use sign_test::{Discordant, PairedOutcome};

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Plain mean; `None` for nothing or a value that is not finite.
pub fn mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    (!values.is_empty() && sum.is_finite()).then(|| sum / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::mean;

    #[test]
    fn the_mean_of_nothing_or_of_a_nan_is_absent() {
        assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, f64::NAN]), None);
        assert_eq!(mean(&[f64::INFINITY]), None);
    }
}
