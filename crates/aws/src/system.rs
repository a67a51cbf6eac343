//! The real clock and the real random generator.

use cloakroom_domain::ports::{Clock, Entropy, EntropyError, World};
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this adapter is the one place that reads the clock"
    )]
    fn now(&self) -> UnixTime {
        // A clock before 1970 is broken; then everything has expired, not nothing.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(UnixTime(u64::MAX), |since| UnixTime(since.as_secs()))
    }
}

/// The random generator of AWS-LC, seeded by the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| EntropyError)
    }
}

/// The real time and real randomness, as services hold them.
pub fn world() -> World {
    World {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_does_not_repeat_itself() {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        SystemEntropy.fill(&mut first).unwrap();
        SystemEntropy.fill(&mut second).unwrap();
        assert_ne!(first, [0; 32]);
        assert_ne!(first, second);
    }

    #[test]
    fn the_clock_shows_a_time_of_this_century() {
        assert!((1_700_000_000..4_102_444_800).contains(&SystemClock.now().0));
    }
}
