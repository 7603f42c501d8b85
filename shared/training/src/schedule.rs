//! How the learning rate changes over a run.

use serde::{Deserialize, Serialize};

/// Shape of the learning rate after warm-up, as in Hugging Face's schedulers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Falls evenly; step t of T has `1 − t/T`.
    #[default]
    Linear,
    /// Falls as half a cosine.
    Cosine,
    /// Stays; with warm-up it is Hugging Face's `constant_with_warmup`.
    #[serde(alias = "constant_with_warmup")]
    Constant,
}

/// Factor on the learning rate at `step` of `steps`, both from 0.
///
/// During warm-up the factor is `step / warmup_steps`, so the first step of a run with warm-up has
/// rate 0, as in Hugging Face's schedulers. Afterwards it falls from 1 towards `floor`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn factor(schedule: Schedule, step: u64, steps: u64, warmup_steps: u64, floor: f64) -> f64 {
    if step < warmup_steps {
        return step as f64 / warmup_steps as f64;
    }
    let progress = (step - warmup_steps) as f64 / steps.saturating_sub(warmup_steps).max(1) as f64;
    let falling = match schedule {
        Schedule::Linear => (1.0 - progress).max(0.0),
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
        Schedule::Constant => 1.0,
    };
    floor + (1.0 - floor) * falling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule, warmup: u64, floor: f64, expected: [f64; 5]) {
        for (step, expected) in expected.into_iter().enumerate() {
            let found = factor(schedule, step as u64, 4, warmup, floor);
            assert!((found - expected).abs() < 1e-12, "step {step}: {found}, expected {expected}");
        }
    }

    #[test]
    fn schedules_follow_hugging_face() {
        check(Schedule::Linear, 0, 0.0, [1.0, 0.75, 0.5, 0.25, 0.0]);
        check(Schedule::Linear, 2, 0.0, [0.0, 0.5, 1.0, 0.5, 0.0]);
        check(Schedule::Constant, 2, 0.0, [0.0, 0.5, 1.0, 1.0, 1.0]);
        check(
            Schedule::Cosine,
            0,
            0.0,
            [1.0, 0.853_553_390_593_273_8, 0.5, 0.146_446_609_406_726_2, 0.0],
        );
        check(
            Schedule::Cosine,
            0,
            0.02,
            [1.0, 0.856_482_322_781_408_4, 0.51, 0.163_517_677_218_591_7, 0.02],
        );
    }
}
