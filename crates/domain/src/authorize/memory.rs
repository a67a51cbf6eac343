//! What the authorizer remembers between invocations, bounded.

use crate::time::UnixTime;
use crate::token::TokenDigest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Two generations of entries: when the young one is full, or as old as an entry may
/// become, it becomes the old one and the old one is dropped. So there are never more
/// than twice [`MAX_ENTRIES`] entries or [`MAX_BYTES`] bytes, what nobody asks for any
/// more does not stay, and there is nothing to sweep.
///
/// The key is the digest of the whole token, so nothing is ever found under another
/// token (D45). What is found there is one version of the claims, and its JWTs go by
/// audience and key, whose policy is this process's own.
#[derive(Debug)]
pub(super) struct Memory<T> {
    /// For how many seconds an entry is good.
    ttl: u64,
    generations: Mutex<Generations<T>>,
}

/// Entries of one generation.
const MAX_ENTRIES: usize = 2_000;

/// Bytes of one generation: two fit into the smallest function, whatever the claims.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Something remembered, and the moment before it was read: the promise of
/// `revocation.max_latency` counts from there.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) read_at: UnixTime,
    pub(super) value: Arc<T>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self {
            read_at: self.read_at,
            value: Arc::clone(&self.value),
        }
    }
}

#[derive(Debug)]
struct Generations<T> {
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    since: UnixTime,
    bytes: usize,
    entries: HashMap<TokenDigest, (usize, Held<T>)>,
}

impl<T> Generation<T> {
    fn starting(since: UnixTime) -> Self {
        Self {
            since,
            bytes: 0,
            entries: HashMap::new(),
        }
    }

    fn forget(&mut self, digest: TokenDigest) {
        if let Some((weight, _)) = self.entries.remove(&digest) {
            self.bytes = self.bytes.saturating_sub(weight);
        }
    }

    fn keep(&mut self, digest: TokenDigest, held: Held<T>, weight: usize) {
        self.forget(digest);
        self.bytes = self.bytes.saturating_add(weight);
        self.entries.insert(digest, (weight, held));
    }

    /// A clock that went backwards makes nothing younger.
    fn is_over(&self, now: UnixTime, ttl: u64) -> bool {
        now < self.since || now.since(self.since) >= ttl
    }
}

impl<T> Memory<T> {
    pub(super) fn new(ttl: u64) -> Self {
        Self {
            ttl,
            generations: Mutex::new(Generations {
                young: Generation::starting(UnixTime(0)),
                old: Generation::starting(UnixTime(0)),
            }),
        }
    }

    /// What was kept under `digest`, if it is still good.
    pub(super) fn recall(&self, digest: TokenDigest, now: UnixTime) -> Option<Held<T>> {
        let generations = self.lock();
        let (_, held) = generations
            .young
            .entries
            .get(&digest)
            .or_else(|| generations.old.entries.get(&digest))?;
        // A clock that went backwards makes nothing fresher.
        (now >= held.read_at && now.since(held.read_at) < self.ttl).then(|| held.clone())
    }

    /// Keeps what weighs `weight` bytes, instead of what was kept before.
    pub(super) fn keep(&self, digest: TokenDigest, held: Held<T>, weight: usize, now: UnixTime) {
        if self.ttl == 0 || weight > MAX_BYTES {
            return;
        }
        let mut generations = self.lock();
        generations.old.forget(digest);
        let young = &generations.young;
        let is_full =
            young.entries.len() >= MAX_ENTRIES || young.bytes.saturating_add(weight) > MAX_BYTES;
        if is_full || young.is_over(now, self.ttl) {
            let young = std::mem::replace(&mut generations.young, Generation::starting(now));
            generations.old = young;
        }
        generations.young.keep(digest, held, weight);
    }

    pub(super) fn forget(&self, digest: TokenDigest) {
        let mut generations = self.lock();
        generations.young.forget(digest);
        generations.old.forget(digest);
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
    const TTL: u64 = 30;

    fn keep(memory: &Memory<u32>, digest: TokenDigest, weight: usize, now: u64) {
        let (now, value) = (UnixTime(now), Arc::new(7));
        memory.keep(
            digest,
            Held {
                read_at: now,
                value,
            },
            weight,
            now,
        );
    }

    fn recalls(memory: &Memory<u32>, digest: TokenDigest, now: u64) -> bool {
        memory.recall(digest, UnixTime(now)).is_some()
    }

    fn digest(n: u32) -> TokenDigest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        TokenDigest(digest)
    }

    fn size(memory: &Memory<u32>) -> (usize, usize) {
        let generations = memory.lock();
        let (young, old) = (&generations.young, &generations.old);
        for generation in [young, old] {
            let weights = generation.entries.values().map(|(weight, _)| weight);
            assert_eq!(weights.sum::<usize>(), generation.bytes, "counted right");
        }
        (
            young.entries.len() + old.entries.len(),
            young.bytes + old.bytes,
        )
    }

    #[test]
    fn an_entry_is_recalled_until_its_time_is_over_and_by_its_own_digest() {
        let memory = Memory::new(TTL);
        keep(&memory, DIGEST, 1, 100);
        let mut other = [1; 32];
        other[31] = 2;
        assert!(recalls(&memory, DIGEST, 129));
        assert!(!recalls(&memory, DIGEST, 130));
        assert!(!recalls(&memory, DIGEST, 99));
        assert!(!recalls(&memory, TokenDigest(other), 100), "D45");
        memory.forget(DIGEST);
        assert!(!recalls(&memory, DIGEST, 100));
    }

    #[test]
    fn without_a_ttl_nothing_is_kept() {
        let memory = Memory::new(0);
        keep(&memory, DIGEST, 1, 100);
        assert_eq!(size(&memory), (0, 0));
    }

    #[test]
    fn it_never_holds_more_entries_than_two_generations() {
        let memory = Memory::new(TTL);
        for n in 0..10_000 {
            keep(&memory, digest(n), 1, 100);
            assert!(size(&memory).0 <= 2 * MAX_ENTRIES);
        }
        assert!(size(&memory).0 > MAX_ENTRIES);
        assert!(recalls(&memory, digest(9_999), 100));
        assert!(!recalls(&memory, digest(0), 100));
    }

    #[test]
    fn it_never_holds_more_bytes_than_two_generations() {
        let memory = Memory::new(TTL);
        for n in 0..200 {
            keep(&memory, digest(n), MAX_BYTES / 10, 100);
            assert!(size(&memory).1 <= 2 * MAX_BYTES);
        }
        assert!(recalls(&memory, digest(199), 100));
        assert!(!recalls(&memory, digest(0), 100));
        keep(&memory, DIGEST, MAX_BYTES + 1, 100);
        assert!(!recalls(&memory, DIGEST, 100), "too large for a generation");
        keep(&memory, DIGEST, MAX_BYTES, 100);
        assert!(recalls(&memory, DIGEST, 100));
    }

    #[test]
    fn an_entry_that_is_kept_anew_is_counted_once() {
        let memory = Memory::new(TTL);
        for weight in [10, 30, 20] {
            keep(&memory, DIGEST, weight, 100);
        }
        assert_eq!(size(&memory), (1, 20));
        keep(&memory, digest(1), 5, 130);
        keep(&memory, DIGEST, 40, 131);
        assert_eq!(size(&memory), (2, 45), "and not in the old generation too");
    }

    #[test]
    fn what_nobody_asks_for_leaves_with_its_generation() {
        let memory = Memory::new(TTL);
        keep(&memory, DIGEST, 1, 100);
        keep(&memory, digest(1), 1, 129);
        assert_eq!(size(&memory).0, 2);
        keep(&memory, digest(2), 1, 130);
        assert_eq!(size(&memory).0, 3, "a generation is as old as its entries");
        keep(&memory, digest(3), 1, 160);
        assert_eq!(size(&memory).0, 2, "the first generation is gone");
        assert!(!recalls(&memory, DIGEST, 100));
    }
}
