//! What time it is: a port, so that expiry can be tested without waiting.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "the adapter of the port itself")]
        let now = SystemTime::now();
        // A clock before 1970 reads as the end of time: everything has expired.
        now.duration_since(UNIX_EPOCH)
            .map_or(u64::MAX, |since| since.as_secs())
    }
}
