//! A clock that stands still until it is told otherwise.

use cloakroom_domain::ports::Clock;
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Starts at the real time, because identity providers and services have their own
/// clocks, and stands still. Clones are one clock.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl Default for TestClock {
    fn default() -> Self {
        let now = cloakroom_aws::world().clock.now();
        Self(Arc::new(AtomicU64::new(now.0)))
    }
}

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, SeqCst);
    }

    /// Moves it back.
    pub fn rewind(&self, seconds: u64) {
        self.0.fetch_sub(seconds, SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(SeqCst))
    }
}
