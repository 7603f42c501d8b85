//! Everything that can be wrong with an answer, and what follows from it.
//!
//! **Invariant:** no variant holds a free text of the endpoint: what it says may be made up to be
//! shown. Its own words are in the egress record, cut and without the key.

use std::time::Duration;

use crate::egress::JournalError;

/// Why an attempt gave no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No connection.
    #[error("the endpoint could not be reached")]
    Unreachable,
    /// Nothing came for too long, or the whole took too long.
    #[error("the endpoint did not answer in time")]
    TimeOut,
    /// 429.
    #[error("the endpoint's rate limit was reached")]
    RateLimited(Option<Duration>),
    /// 5xx, or an error event in a stream.
    #[error("the endpoint failed (status {0})")]
    Server(u16, Option<Duration>),
    /// 400, 413, 422 and the like: this request, as it is, will not be answered.
    #[error("the endpoint refused the request (status {0})")]
    BadRequest(u16),
    /// The same for a request with a schema, which may be what is refused.
    #[error("the endpoint refused the request with its schema (status {0})")]
    SchemaRefused(u16),
    /// 401, 402, 403, 404, 405: no request will be answered.
    #[error("the endpoint refused this client (status {0}); check key, model and `base_url`")]
    Denied(u16),
    /// 3xx.
    #[error(
        "the endpoint wants to send us elsewhere (status {0}); set `base_url` to the final address"
    )]
    Redirected(u16),
    /// Neither JSON nor a stream of events.
    #[error("the endpoint answered with another content type than asked for")]
    WrongContentType,
    /// JSON of another shape, or none.
    #[error("the endpoint's answer does not read")]
    Malformed,
    /// The connection or stream ended before the reply did.
    #[error("the answer was cut off")]
    CutOff,
    /// The cap on bytes was reached.
    #[error("the answer is longer than `reply_bytes` allows")]
    TooLong,
    /// A refusal by the model or a filter.
    #[error("the model declined to answer")]
    Declined,
    /// No text.
    #[error("the reply is empty")]
    Empty,
    /// Our own disk.
    #[error(transparent)]
    Unrecorded(#[from] JournalError),
}

/// What a fault means for its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Ask again, after this long if the endpoint said so.
    Repeat(Option<Duration>),
    /// Give up this order; others go on.
    Skip,
    /// Give up all.
    Stop,
}

impl Fault {
    /// Stable name in snake case.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimeOut => "time_out",
            Self::RateLimited(_) => "rate_limited",
            Self::Server(..) => "server_error",
            Self::BadRequest(_) => "bad_request",
            Self::SchemaRefused(_) => "schema_refused",
            Self::Denied(_) => "denied",
            Self::Redirected(_) => "redirected",
            Self::WrongContentType => "wrong_content_type",
            Self::Malformed => "malformed",
            Self::CutOff => "cut_off",
            Self::TooLong => "too_long",
            Self::Declined => "declined",
            Self::Empty => "empty",
            Self::Unrecorded(_) => "unrecorded",
        }
    }

    /// What follows.
    pub(crate) fn consequence(&self) -> Consequence {
        match self {
            Self::Unreachable | Self::TimeOut => Consequence::Repeat(None),
            Self::RateLimited(after) | Self::Server(_, after) => Consequence::Repeat(*after),
            Self::WrongContentType | Self::Malformed | Self::CutOff => Consequence::Repeat(None),
            // What was paid for and is no use would be paid for again.
            Self::TooLong | Self::Declined | Self::Empty => Consequence::Skip,
            Self::BadRequest(_) | Self::SchemaRefused(_) => Consequence::Skip,
            Self::Denied(_) | Self::Redirected(_) | Self::Unrecorded(_) => Consequence::Stop,
        }
    }

    /// Whether the endpoint may charge for what came of it.
    pub(crate) fn may_cost(&self) -> bool {
        matches!(
            self,
            Self::TimeOut
                | Self::WrongContentType
                | Self::Malformed
                | Self::CutOff
                | Self::TooLong
                | Self::Declined
                | Self::Empty
        )
    }

    /// Whether it speaks against the endpoint, and not for its being busy or the model's judgement.
    pub(crate) fn is_failure(&self) -> bool {
        use Fault::{Declined, Empty, RateLimited, SchemaRefused};
        !matches!(self, RateLimited(_) | Declined | Empty | SchemaRefused(_))
    }

    /// The fault that a status other than success is.
    pub(crate) fn of_status(status: u16, after: Option<Duration>) -> Self {
        match status {
            429 => Self::RateLimited(after),
            300..400 => Self::Redirected(status),
            401..=405 => Self::Denied(status),
            400..500 => Self::BadRequest(status),
            _ => Self::Server(status, after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_consequence() {
        let after = Some(Duration::from_secs(2));
        let of = |status| Fault::of_status(status, after).consequence();
        assert_eq!(of(429), Consequence::Repeat(after));
        assert_eq!(of(503), Consequence::Repeat(after));
        assert_eq!(of(500), Consequence::Repeat(after));
        assert_eq!(of(400), Consequence::Skip);
        assert_eq!(of(422), Consequence::Skip);
        for status in [301, 302, 307, 308, 401, 402, 403, 404] {
            assert_eq!(of(status), Consequence::Stop, "{status}");
        }
    }
}
