//! Stops asking a service that does not answer, so that an outage costs one
//! caller a timeout now and then and not every caller one (D42).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Opens after this many failures in a row.
const FAILURES: u32 = 5;

/// When open, lets one caller through this often.
const REST: Duration = Duration::from_secs(1);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When open: the next probe's moment.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// Whether the service may be asked now. To be followed by [`Breaker::report`];
    /// a probe that never reports is replaced by the next.
    pub(super) fn admits(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        match state.probe_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                state.probe_at = Some(now + REST);
                true
            }
        }
    }

    /// Says how it went.
    pub(super) fn report(&self, success: bool) {
        let mut state = self.state();
        if success {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.probe_at = Some(Instant::now() + REST);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Two numbers are consistent wherever a panic may have left them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.admits());
            breaker.report(false);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row() {
        assert!(!opened().admits());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_keeps_it_closed() {
        let breaker = Breaker::default();
        for round in 0..3 * FAILURES {
            assert!(breaker.admits());
            breaker.report(round % FAILURES == 0);
        }
        assert!(breaker.admits());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_through_per_rest() {
        let breaker = opened();
        advance(REST).await;
        assert!(breaker.admits());
        assert!(!breaker.admits());
        advance(REST).await;
        assert!(breaker.admits(), "a probe that never reported is replaced");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_works_closes_it_and_one_that_fails_does_not() {
        let breaker = opened();
        advance(REST).await;
        assert!(breaker.admits());
        breaker.report(false);
        assert!(!breaker.admits());
        advance(REST).await;
        assert!(breaker.admits());
        breaker.report(true);
        assert!(breaker.admits() && breaker.admits());
    }
}
