//! The authorizer cache: answers by API, stage, authorizer and identity source
//! values, and by nothing else (specs B-cache-1). Whatever else an authorizer looks
//! at is forgotten here, which is what makes poisoning possible (D34, D35).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;
use cloakroom_domain::time::UnixTime;

use super::authorizer::Answer;

/// Far above what one process sees; only a flood of random tokens comes here.
const MOST_ENTRIES: usize = 10_000;

/// Answers that may be used again. Errors never come here.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<Key, Entry>>);

/// What an answer is found by: a digest, so that no token is kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key([u8; digest::SHA256_OUTPUT_LEN]);

#[derive(Debug)]
struct Entry {
    expires_at: UnixTime,
    answer: Arc<Answer>,
}

impl Cache {
    /// The answer under this key, if it still lives.
    pub(super) fn find(&self, key: Key, now: UnixTime) -> Option<Arc<Answer>> {
        let entries = self.entries();
        let entry = entries
            .get(&key)
            .filter(|entry| !entry.expires_at.has_passed(now))?;
        Some(Arc::clone(&entry.answer))
    }

    /// Keeps an answer, a refusal as well as an allowance (specs B-cache-6).
    pub(super) fn keep(&self, key: Key, answer: Arc<Answer>, ttl_seconds: u64, now: UnixTime) {
        let mut entries = self.entries();
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, entry| !entry.expires_at.has_passed(now));
        }
        if entries.len() >= MOST_ENTRIES {
            entries.clear();
        }
        entries.insert(
            key,
            Entry {
                expires_at: now.plus(ttl_seconds),
                answer,
            },
        );
    }

    /// Forgets everything, as FlushStageAuthorizersCache does.
    pub(super) fn flush(&self) {
        self.entries().clear();
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// Each part goes in with its length, so that `a` + `bc` is not `ab` + `c` (D31).
    pub(super) fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    const TTL: u64 = 300;

    fn allowance() -> Arc<Answer> {
        Arc::new(Answer::Simple {
            authorized: true,
            context: Map::new(),
        })
    }

    #[test]
    fn parts_do_not_run_into_each_other_d31() {
        assert_eq!(Key::new(["a", "bc"]), Key::new(["a", "bc"]));
        assert_ne!(Key::new(["a", "bc"]), Key::new(["ab", "c"]));
        assert_ne!(Key::new(["a", ""]), Key::new(["a"]));
        assert_ne!(Key::new(["a", "b"]), Key::new(["b", "a"]));
    }

    #[test]
    fn an_answer_is_dead_at_its_expiry() {
        let cache = Cache::default();
        let (key, now) = (Key::new(["token"]), UnixTime(1_000));
        cache.keep(key, allowance(), TTL, now);
        assert!(cache.find(key, now.plus(TTL - 1)).is_some());
        assert!(cache.find(key, now.plus(TTL)).is_none());
        assert!(cache.find(Key::new(["other"]), now).is_none());
    }

    #[test]
    fn a_flood_does_not_grow_it_without_end() {
        let cache = Cache::default();
        let now = UnixTime(1_000);
        for token in 0..=MOST_ENTRIES {
            cache.keep(
                Key::new([token.to_string().as_str()]),
                allowance(),
                TTL,
                now,
            );
        }
        assert!(cache.entries().len() <= MOST_ENTRIES);
        cache.flush();
        assert!(cache.entries().is_empty());
    }
}
