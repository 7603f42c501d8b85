//! What of the level and the budget of a τ is left when a group comes. Pure: the auditor decides by it,
//! and offline it is derived again from the rows before.

use crate::gate::GateSettings;
use crate::ledger::Used;

/// The rule that speaks against a group for which nothing of the budget is left.
pub(crate) const BUDGET_SPENT: &str = "tau.budget-spent";

/// Of several contexts what is hardest counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// Earlier groups under the τ that has seen the most.
    pub(crate) earlier: u32,
    /// Level of a proof of gain.
    pub(crate) alpha: f64,
}

impl Level {
    /// `used` has one entry for each context that the group claims.
    pub(crate) fn of(settings: &GateSettings, used: impl IntoIterator<Item = Used>) -> Self {
        let fresh = Self { earlier: 0, alpha: settings.alpha_of_attempt(0, 0) };
        used.into_iter().fold(fresh, |level, Used { rank, earlier }| Self {
            earlier: level.earlier.max(earlier),
            alpha: level.alpha.min(settings.alpha_of_attempt(rank, earlier)),
        })
    }

    /// Whether a τ has been asked as often as the trust root allows.
    pub(crate) fn is_spent(self, budget: u64) -> bool {
        u64::from(self.earlier) >= budget
    }

    /// Whether both are the same but for what another machine's arithmetic makes of the level.
    pub(crate) fn is_about(self, earlier: u32, alpha: f64) -> bool {
        let apart = (self.alpha - alpha).abs();
        self.earlier == earlier && apart <= 1e-9 * self.alpha.max(alpha)
    }
}
