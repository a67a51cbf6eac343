//! Points in time, in whole seconds.
//!
//! Nothing here reads a clock: time comes in through the port
//! [`Clock`](crate::ports::Clock).

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, as JWTs and DynamoDB's TTL count them.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The moment `seconds` later; saturates instead of wrapping around.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The seconds from `earlier` until here, or 0 if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether a thing that ends here is over. Something is dead *at* its expiry,
    /// and our own expiry checks allow no skew.
    #[must_use]
    pub fn has_passed(self, now: Self) -> bool {
        now >= self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_passed_at_its_very_second() {
        assert!(!UnixTime(100).has_passed(UnixTime(99)));
        assert!(UnixTime(100).has_passed(UnixTime(100)));
    }
}
