//! Why a session ends before its orders do.

use crate::egress::EgressRefusal;
use crate::fault::Fault;

/// Why a session ended before its orders did. What was paid for is kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stop {
    /// The next request at its highest price would pass the budget.
    #[error("the budget of this run is used up ({} tokens, cost {:.6}); raise it under [backend.budget]", tokens(paid), *cost_micro as f64 / 1e6)]
    Budget {
        /// Tokens read and written until now.
        paid: (u64, u64),
        /// In millionths of the config's currency.
        cost_micro: u64,
    },
    /// The circuit breaker opened too often.
    #[error("the endpoint only fails ({code}); look at it and at `seal egress`")]
    Failing {
        /// The last failure.
        code: &'static str,
    },
    /// `offline = true`.
    #[error("{0}; replies that are stored can still be used")]
    Offline(#[from] EgressRefusal),
    /// No request would be answered.
    #[error("{message}")]
    Refused {
        /// Name of the fault.
        code: &'static str,
        /// In words.
        message: String,
    },
}

fn tokens((input, output): &(u64, u64)) -> u64 {
    input + output
}

impl Stop {
    /// What a fault means that no further request would escape.
    pub(crate) fn refused(fault: &Fault) -> Self {
        Self::Refused { code: fault.code(), message: fault.to_string() }
    }

    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Budget { .. } => "budget_reached",
            Self::Failing { .. } => "endpoint_failing",
            Self::Offline(_) => "offline",
            Self::Refused { code: "unrecorded", .. } => "storage_failed",
            Self::Refused { .. } => "endpoint_refused",
        }
    }
}
