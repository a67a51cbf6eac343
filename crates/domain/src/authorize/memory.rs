//! What the authorizer remembers between invocations, bounded.

use crate::time::UnixTime;
use crate::token::TokenDigest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Two generations of entries: when the young one is full it becomes the old one
/// and the old one is dropped. Never more than twice [`Memory::GENERATION`]
/// entries, and nothing to sweep.
///
/// The key is the digest of the whole token, so nothing is ever found under
/// another token (D45).
#[derive(Debug)]
pub(super) struct Memory<T> {
    generations: Mutex<Generations<T>>,
}

type Entries<T> = HashMap<TokenDigest, (UnixTime, Arc<T>)>;

#[derive(Debug)]
struct Generations<T> {
    young: Entries<T>,
    old: Entries<T>,
}

impl<T> Memory<T> {
    /// An identity with its JWTs is a few kilobytes; two generations of this size
    /// fit into the smallest function.
    const GENERATION: usize = 2_000;

    pub(super) fn new() -> Self {
        Self {
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// What was kept under `digest`, if it was read less than `ttl` seconds ago.
    pub(super) fn recall(&self, digest: TokenDigest, now: UnixTime, ttl: u64) -> Option<Arc<T>> {
        let generations = self.lock();
        let (read_at, value) = generations
            .young
            .get(&digest)
            .or_else(|| generations.old.get(&digest))?;
        // A clock that went backwards makes nothing fresher.
        (now >= *read_at && now.since(*read_at) < ttl).then(|| Arc::clone(value))
    }

    /// Keeps what was read at `read_at`: the moment before the read, so that the
    /// promise of `revocation.max_latency` counts from there.
    pub(super) fn keep(&self, digest: TokenDigest, value: Arc<T>, read_at: UnixTime) {
        let mut generations = self.lock();
        if generations.young.len() >= Self::GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(digest, (read_at, value));
    }

    pub(super) fn forget(&self, digest: TokenDigest) {
        let mut generations = self.lock();
        generations.young.remove(&digest);
        generations.old.remove(&digest);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<T>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: TokenDigest = TokenDigest([1; 32]);

    #[test]
    fn an_entry_is_recalled_until_its_time_is_over_and_by_its_own_digest() {
        let memory = Memory::new();
        memory.keep(DIGEST, Arc::new(7), UnixTime(100));
        let mut other = [1; 32];
        other[31] = 2;
        assert_eq!(
            memory.recall(DIGEST, UnixTime(129), 30).as_deref(),
            Some(&7)
        );
        assert_eq!(memory.recall(DIGEST, UnixTime(130), 30), None);
        assert_eq!(memory.recall(DIGEST, UnixTime(99), 30), None);
        assert_eq!(
            memory.recall(TokenDigest(other), UnixTime(100), 30),
            None,
            "D45"
        );
        memory.forget(DIGEST);
        assert_eq!(memory.recall(DIGEST, UnixTime(100), 30), None);
    }

    #[test]
    fn it_never_holds_more_than_two_generations() {
        let memory = Memory::new();
        for n in 0..10_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            memory.keep(TokenDigest(digest), Arc::new(()), UnixTime(100));
        }
        let generations = memory.lock();
        assert!(generations.young.len() + generations.old.len() <= 4_000);
    }
}
