//! What serves: a pure state machine over the signed history of changes.
//!
//! **Invariant:** the state is the fold of the history; there is no other record of what is active.
//! **Invariant:** every version that was promoted can serve again, and so can the base.
//! **Absent:** verification of verdicts, signatures, storage.

use std::collections::BTreeMap;

use seal_protocol::{Digest, ServingAction, ServingChange, UnixSeconds};

/// Name of the unadapted model among the versions.
pub const BASE: &str = "base";

/// The state after some history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    active: Option<String>,
    versions: BTreeMap<String, Digest>,
    changes: u64,
    last_change: Option<Digest>,
}

/// A change that the state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServingError {
    /// No such version.
    #[error("there is no version `{wanted}`; known: {known}")]
    UnknownVersion {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// Nothing would change.
    #[error("version `{0}` is already active")]
    AlreadyActive(String),
    /// The history does not continue this state.
    #[error(
        "serving change {found} does not follow change {last}: the history is cut or out of order"
    )]
    BrokenHistory {
        /// Number of the change at hand.
        found: u64,
        /// Number of the last change applied.
        last: u64,
    },
}

impl ServingError {
    /// Machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownVersion { .. } => "unknown_version",
            Self::AlreadyActive(_) => "already_active",
            Self::BrokenHistory { .. } => "broken_history",
        }
    }
}

impl Serving {
    /// What answers: `base`, `v1`, ….
    pub fn active(&self) -> &str {
        self.active.as_deref().unwrap_or(BASE)
    }

    /// Every promoted version with the digest of its tensors.
    pub fn versions(&self) -> &BTreeMap<String, Digest> {
        &self.versions
    }

    /// The tensors of a version; `None` is the base.
    ///
    /// # Errors
    /// No such version.
    pub fn adapter_of(&self, version: &str) -> Result<Option<Digest>, ServingError> {
        if version == BASE {
            return Ok(None);
        }
        let adapter = self.versions.get(version).copied();
        adapter.map(Some).ok_or_else(|| self.unknown(version))
    }

    /// The change that makes an audited adapter the next version.
    pub fn promotion(
        &self,
        adapter_digest: Digest,
        verdict_digest: Digest,
        at: UnixSeconds,
    ) -> ServingChange {
        let version = format!("v{}", self.versions.len() + 1);
        self.next(ServingAction::Promote { version, adapter_digest, verdict_digest }, at)
    }

    /// The change that makes an earlier version serve again.
    ///
    /// # Errors
    /// No such version, or it is active already.
    pub fn roll_back(
        &self,
        version: &str,
        reason: &str,
        at: UnixSeconds,
    ) -> Result<ServingChange, ServingError> {
        let adapter_digest = self.adapter_of(version)?;
        if version == self.active() {
            return Err(ServingError::AlreadyActive(version.to_owned()));
        }
        let action = ServingAction::RollBack {
            version: version.to_owned(),
            adapter_digest,
            reason: reason.to_owned(),
        };
        Ok(self.next(action, at))
    }

    fn next(&self, action: ServingAction, at: UnixSeconds) -> ServingChange {
        ServingChange { number: self.changes + 1, prev_change_digest: self.last_change, action, at }
    }

    /// Takes one more change of the history.
    ///
    /// # Errors
    /// The change does not follow the last one, or names a version that is not there.
    pub fn apply(
        &mut self,
        change: &ServingChange,
        payload_digest: Digest,
    ) -> Result<(), ServingError> {
        if change.number != self.changes + 1 || change.prev_change_digest != self.last_change {
            return Err(ServingError::BrokenHistory { found: change.number, last: self.changes });
        }
        self.active = Some(self.take(&change.action)?);
        self.changes = change.number;
        self.last_change = Some(payload_digest);
        Ok(())
    }

    fn take(&mut self, action: &ServingAction) -> Result<String, ServingError> {
        match action {
            ServingAction::Promote { version, adapter_digest, .. } => {
                self.versions.insert(version.clone(), *adapter_digest);
                Ok(version.clone())
            }
            ServingAction::RollBack { version, .. } => {
                self.adapter_of(version)?;
                Ok(version.clone())
            }
        }
    }

    fn unknown(&self, wanted: &str) -> ServingError {
        let names = std::iter::once(BASE).chain(self.versions.keys().map(String::as_str));
        ServingError::UnknownVersion {
            wanted: wanted.chars().take(40).collect(),
            known: names.collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn after_two_promotions() -> Serving {
        let mut serving = Serving::default();
        for number in 1..=2 {
            let change = serving.promotion(digest(number), digest(100 + number), NOW);
            serving.apply(&change, digest(200 + number)).unwrap();
        }
        serving
    }

    #[test]
    fn the_base_serves_until_something_is_promoted() {
        let serving = Serving::default();
        assert_eq!(serving.active(), BASE);
        assert_eq!(serving.adapter_of(BASE), Ok(None));
    }

    #[test]
    fn promotions_count_up_and_the_last_one_serves() {
        let serving = after_two_promotions();
        assert_eq!(serving.active(), "v2");
        assert_eq!(serving.adapter_of("v1"), Ok(Some(digest(1))));
    }

    #[test]
    fn a_roll_back_reaches_the_base_and_every_version_and_renames_nothing() {
        let mut serving = after_two_promotions();
        for (number, version) in [(3, "v1"), (4, BASE), (5, "v2")] {
            let change = serving.roll_back(version, "a test", NOW).unwrap();
            serving.apply(&change, digest(200 + number)).unwrap();
            assert_eq!(serving.active(), version);
        }
        let change = serving.promotion(digest(9), digest(9), NOW);
        assert!(matches!(change.action, ServingAction::Promote { version, .. } if version == "v3"));
    }

    #[test]
    fn a_roll_back_to_nowhere_or_to_itself_is_refused() {
        let serving = after_two_promotions();
        let error = serving.roll_back("v3", "", NOW).unwrap_err();
        assert_eq!(error.code(), "unknown_version");
        let error = serving.roll_back("v2", "", NOW).unwrap_err();
        assert_eq!(error.code(), "already_active");
    }

    #[test]
    fn a_history_with_a_gap_or_a_swap_does_not_apply() {
        let mut serving = after_two_promotions();
        let mut change = serving.roll_back("v1", "", NOW).unwrap();
        change.number = 4;
        assert_eq!(serving.apply(&change, digest(0)).unwrap_err().code(), "broken_history");
        change.number = 3;
        change.prev_change_digest = Some(digest(0));
        assert_eq!(serving.apply(&change, digest(0)).unwrap_err().code(), "broken_history");
    }
}
