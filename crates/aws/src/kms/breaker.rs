//! Stops asking a service that does not answer, so that an outage costs one
//! caller a timeout now and then and not every caller one (D42).
//!
//! A thousand environments open theirs within a second. Each probes at a moment of
//! its own, ever more rarely, and by one caller at a time, so that the service is not
//! run over by those who ask whether it is back.

use aws_lc_rs::rand;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Opens after this many failures in a row.
const FAILURES: u32 = 5;

/// When it has just opened, a caller is let through after at most this.
const REST: Duration = Duration::from_secs(1);

/// Each probe in vain doubles that, up to this.
const LONGEST_REST: Duration = Duration::from_secs(8);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
    asked: AtomicU64,
}

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
        if state.probe_at.is_some_and(|at| now < at) {
            return false;
        }
        if state.probe_at.is_some() {
            state.probe_at = Some(now + state.rest());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How often the service was asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
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
            state.probe_at = Some(Instant::now() + state.rest());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Two numbers are consistent wherever a panic may have left them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From half of it to all of it, at random.
    fn rest(&self) -> Duration {
        let probes = self.failures.saturating_sub(FAILURES).min(16);
        let longest = REST.saturating_mul(1 << probes).min(LONGEST_REST);
        let mut random = [0; 1];
        // Without entropy it is merely not random.
        let _ = rand::fill(&mut random);
        let [random] = random;
        longest / 2 + longest.mul_f64(f64::from(random) / 512.0)
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
    async fn probes_in_vain_become_rarer_up_to_a_limit() {
        let breaker = opened();
        let mut probes = 0;
        for _ in 0..600 {
            advance(Duration::from_millis(100)).await;
            if breaker.admits() {
                probes += 1;
                breaker.report(false);
            }
        }
        // In a minute: 1, 2, 4 s and then every 8 s, or twice as often.
        assert!((8..=18).contains(&probes), "{probes}");
    }

    #[tokio::test(start_paused = true)]
    async fn d42_a_thousand_environments_do_not_probe_at_once() {
        let breakers: Vec<_> = (0..1_000).map(|_| opened()).collect();
        let mut waiting: Vec<_> = breakers.iter().collect();
        let mut most = 0;
        for _ in 0..10 {
            advance(Duration::from_millis(100)).await;
            let before = waiting.len();
            waiting.retain(|breaker| !breaker.admits());
            most = most.max(before - waiting.len());
        }
        assert!(waiting.is_empty(), "within {REST:?} each has asked");
        assert!(most < 400, "{most} asked within a tenth of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_works_closes_it_and_one_that_fails_does_not() {
        let breaker = opened();
        advance(REST).await;
        assert!(breaker.admits());
        breaker.report(false);
        assert!(!breaker.admits());
        advance(2 * REST).await;
        assert!(breaker.admits());
        breaker.report(true);
        assert!(breaker.admits() && breaker.admits());
    }
}
