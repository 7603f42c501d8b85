//! Why an endpoint cannot be asked. Every refusal has a stable code.

use crate::egress::{ClientError, EgressRefusal, KeyReadError, RecordError, RedactionError};
use crate::paid::PaidError;
use crate::stop::Stop;

/// An endpoint that is not asked at all.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// What may not leave.
    #[error(transparent)]
    Egress(#[from] EgressRefusal),
    /// The API key.
    #[error(transparent)]
    ApiKey(#[from] KeyReadError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A redaction rule.
    #[error(transparent)]
    Redaction(#[from] RedactionError),
    /// The egress record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The paid replies.
    #[error(transparent)]
    Paid(#[from] PaidError),
    /// The config contradicts itself.
    #[error("{0}")]
    Config(String),
}

impl EndpointError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Egress(EgressRefusal::Offline) => "offline",
            Self::Egress(_) => "egress_refused",
            Self::ApiKey(_) | Self::Client(_) | Self::Redaction(_) | Self::Config(_) => {
                "config_unusable"
            }
            Self::Record(_) | Self::Paid(_) => "storage_failed",
        }
    }
}

/// The endpoint ended before its asks did.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{done} of {} replies are there, {left} are left: {}; ask again to go on from there", done + left, reason(stop.as_ref()))]
pub struct Unanswered {
    /// Asks with an answer.
    pub done: usize,
    /// Asks without one.
    pub left: usize,
    /// Why.
    pub stop: Option<Stop>,
}

impl Unanswered {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        self.stop.as_ref().map_or("endpoint_stopped", Stop::code)
    }
}

fn reason(stop: Option<&Stop>) -> String {
    stop.map_or_else(|| "the endpoint stopped".to_owned(), Stop::to_string)
}
