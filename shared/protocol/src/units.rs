//! Numbers that may be signed: integers with a fixed unit.

use serde::{Deserialize, Serialize};

/// Millionths. A share of 0.375 is `Micro(375_000)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micro(pub i64);

/// Thousand-millionths, for learning rates: 5e-3 is `Nano(5_000_000)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nano(pub i64);

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

impl Micro {
    /// Rounds to the nearest millionth; a NaN becomes 0 and infinities saturate, as `as` does.
    pub fn from_f64(value: f64) -> Self {
        Self((value * 1e6).round() as i64)
    }

    /// The value as a float, for arithmetic and display.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Nano {
    /// Rounds to the nearest thousand-millionth.
    pub fn from_f64(value: f64) -> Self {
        Self((value * 1e9).round() as i64)
    }

    /// The value as a float, for arithmetic and display.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}
