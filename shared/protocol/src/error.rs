//! The error body of every daemon.

use serde::{Deserialize, Serialize};

/// Body of every 4xx and 5xx answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Machine-readable name in snake case, e.g. `verdict_expired`.
    pub code: String,
    /// One sentence for people that names the thing and the mend.
    pub message: String,
}
