//! Answers for which nobody was asked.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Asks KMS for every other answer, if it can tell.
struct Remembering {
    answers: AtomicU64,
    tells: bool,
}

impl PublicKeys for Remembering {
    fn kms_calls(&self) -> Option<u64> {
        let answers = self.answers.load(Ordering::SeqCst);
        self.tells.then_some(answers.div_ceil(2))
    }

    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        self.answers.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn an_answer_for_which_kms_was_not_asked_counts_no_time_of_kms() {
    for (tells, expected) in [(true, [1, 0, 1, 0]), (false, [1, 1, 1, 1])] {
        let meter = Meter::default();
        let answers = AtomicU64::new(0);
        let keys = Metered::new(Remembering { answers, tells }, meter.clone());
        for count in expected {
            keys.public_keys().await.unwrap();
            assert_eq!(meter.take().count(Call::PublicKeys), count, "{tells}");
        }
    }
}
