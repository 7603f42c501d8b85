//! Times for people.

use seal_protocol::UnixSeconds;

/// The moment as RFC 3339 in UTC; the bare number where no calendar reaches.
pub(crate) fn when(at: UnixSeconds) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| at.0.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_form() {
        assert_eq!(when(UnixSeconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(when(UnixSeconds(u64::MAX)), u64::MAX.to_string());
    }
}
