//! What came of training one adapter again.

use seal_protocol::{Micro, Recomputation};
use serde::{Deserialize, Serialize};

use crate::gate::{Stage, StageRecord};

/// Something else came of it: the adapter was not made from what it claims.
pub const DIFFERS: &str = "recomputation.differs";

/// The time of the audit was over before it was trained.
const OUT_OF_TIME: &str = "recomputation.out-of-time";

/// Longest distance that is written down.
const FAR: f64 = 1e6;

/// What came of one claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recomputed {
    /// In a word.
    pub outcome: Recomputation,
    /// The rule that speaks against the adapter, where it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far its factors lie from those trained here, as a share of the way that training moved
    /// them; absent if nothing was compared or it is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Micro>,
}

impl Recomputed {
    /// The draw did not fall on it.
    pub fn not_drawn() -> Self {
        Self { outcome: Recomputation::NotDrawn, reason: None, distance: None }
    }

    /// The same bytes came of it.
    pub fn equal() -> Self {
        Self { outcome: Recomputation::Equal, reason: None, distance: Some(Micro(0)) }
    }

    /// The factors lie close enough.
    pub fn within(distance: f64) -> Self {
        let distance = written(Some(distance));
        Self { outcome: Recomputation::WithinTolerance, reason: None, distance }
    }

    /// A rule speaks against it.
    pub fn refused(reason: &str, distance: Option<f64>) -> Self {
        let reason = Some(reason.to_owned());
        Self { outcome: Recomputation::Refused, reason, distance: written(distance) }
    }

    /// The time of the audit was over: refused, and nothing is known of it.
    pub fn out_of_time() -> Self {
        Self::refused(OUT_OF_TIME, None)
    }

    /// As a stage of the gate.
    pub fn stage(&self) -> StageRecord {
        if self.reason.as_deref() == Some(OUT_OF_TIME) {
            return StageRecord::out_of_time(Stage::Recomputation, OUT_OF_TIME);
        }
        match self.outcome {
            Recomputation::NotDrawn => StageRecord::not_drawn(),
            Recomputation::Equal | Recomputation::WithinTolerance | Recomputation::Refused => {
                StageRecord::of(Stage::Recomputation, self.reason.iter().cloned().collect())
            }
        }
    }
}

fn written(distance: Option<f64>) -> Option<Micro> {
    distance.filter(|distance| distance.is_finite()).map(|far| Micro::from_f64(far.min(FAR)))
}
