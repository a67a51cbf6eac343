use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::jws::Algorithm;
use crate::testing::{NOW, TestClock, jwk_with};

/// Serves what the test says, counts, and takes its time.
#[derive(Clone, Default)]
struct Issuer(Arc<IssuerState>);

#[derive(Default)]
struct IssuerState {
    kids: StdMutex<Option<Vec<&'static str>>>,
    fetches: AtomicUsize,
    slow: StdMutex<Option<Duration>>,
}

impl Issuer {
    fn publish(&self, kids: &[&'static str]) {
        *self.0.kids.lock().unwrap() = Some(kids.to_vec());
    }

    fn fail(&self) {
        *self.0.kids.lock().unwrap() = None;
    }

    fn slow_down(&self, by: Duration) {
        *self.0.slow.lock().unwrap() = Some(by);
    }

    fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }
}

impl FetchJwks for Issuer {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let slow = *self.0.slow.lock().unwrap();
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        let kids = self.0.kids.lock().unwrap().clone();
        let kids = kids.ok_or_else(|| FetchError::new("down"))?;
        let keys: Vec<_> = kids
            .iter()
            .map(|kid| jwk_with(Algorithm::ES256, json!({"kid": kid})))
            .collect();
        Ok(json!({"keys": keys}).to_string().into_bytes())
    }
}

fn start(kids: &[&'static str]) -> (Issuer, TestClock, JwksCache<Issuer>) {
    let (issuer, clock) = (Issuer::default(), TestClock::at(NOW));
    issuer.publish(kids);
    let cache = JwksCache::with(issuer.clone(), CachePolicy::default(), clock.clone());
    (issuer, clock, cache)
}

async fn knows(cache: &JwksCache<Issuer>, kid: &str) -> bool {
    cache.keys_for(Some(kid)).await.unwrap().contains(kid)
}

#[tokio::test]
async fn a_set_is_fetched_once_until_its_time_is_over() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    clock.advance(299);
    assert!(knows(&cache, "a").await);
    assert_eq!(issuer.fetches(), 1);
    clock.advance(1);
    assert!(knows(&cache, "a").await);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_kids_makes_one_fetch_per_cool_down_d12() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    for round in 1..=2 {
        let flood: Vec<_> = (0..100)
            .map(|n| {
                let cache = cache.clone();
                tokio::spawn(async move { knows(&cache, &format!("invented-{n}")).await })
            })
            .collect();
        for one in flood {
            assert!(!one.await.unwrap());
        }
        assert_eq!(issuer.fetches(), 1 + round);
        clock.advance(60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_a_cold_cache_makes_one_fetch() {
    let (issuer, _, cache) = start(&["a"]);
    issuer.slow_down(Duration::from_millis(20));
    let burst: Vec<_> = (0..50)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { knows(&cache, "a").await })
        })
        .collect();
    for one in burst {
        assert!(one.await.unwrap());
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_the_old_one_stays_d63() {
    let (issuer, clock, cache) = start(&["old"]);
    assert!(knows(&cache, "old").await);
    issuer.publish(&["old", "new"]);
    clock.advance(1);
    assert!(knows(&cache, "new").await);
    assert!(knows(&cache, "old").await);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn stale_keys_serve_while_the_issuer_is_down_and_not_for_ever() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    issuer.fail();
    clock.advance(24 * 3600 - 1);
    assert!(knows(&cache, "a").await);
    clock.advance(1);
    assert!(cache.keys_for(Some("a")).await.is_err());
    issuer.publish(&["a"]);
    clock.advance(5);
    assert!(knows(&cache, "a").await);
}

#[tokio::test]
async fn a_failed_fetch_is_not_repeated_at_once() {
    let (issuer, clock, cache) = start(&[]);
    issuer.fail();
    for _ in 0..10 {
        assert!(cache.keys_for(None).await.is_err());
    }
    assert_eq!(issuer.fetches(), 1);
    clock.advance(5);
    assert!(cache.keys_for(None).await.is_err());
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_kid_that_could_not_be_asked_about_is_not_called_unknown() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    issuer.fail();
    for _ in 0..10 {
        assert!(cache.keys_for(Some("new")).await.is_err());
        assert!(knows(&cache, "a").await);
    }
    assert_eq!(issuer.fetches(), 2);
    issuer.publish(&["a", "new"]);
    clock.advance(60);
    assert!(knows(&cache, "new").await);
}

#[tokio::test]
async fn a_set_that_is_refused_does_not_replace_a_good_one() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    for bad in [&["b", "b"][..], &[]] {
        issuer.publish(bad);
        clock.advance(300);
        assert!(knows(&cache, "a").await);
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_with_a_known_key_waits_for_a_slow_fetch() {
    let (issuer, clock, cache) = start(&["a"]);
    assert!(knows(&cache, "a").await);
    issuer.slow_down(Duration::from_secs(3));

    let instant = Duration::from_millis(1);
    // While someone asks about an unknown kid, and while a stale set is renewed.
    for (kid, pass) in [("invented", 0), ("a", 300)] {
        clock.advance(pass);
        let asking = tokio::spawn({
            let cache = cache.clone();
            async move { cache.keys_for(Some(kid)).await.is_ok() }
        });
        tokio::time::sleep(instant).await;
        assert!(
            tokio::time::timeout(instant, knows(&cache, "a"))
                .await
                .unwrap()
        );
        assert!(asking.await.unwrap());
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_does_not_spoil_the_fetch() {
    let (issuer, _, cache) = start(&["a"]);
    issuer.slow_down(Duration::from_secs(1));
    let hasty = tokio::time::timeout(Duration::from_millis(10), cache.keys_for(None)).await;
    assert!(hasty.is_err());
    assert!(knows(&cache, "a").await);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_ends_is_given_up() {
    let (issuer, _, cache) = start(&["a"]);
    issuer.slow_down(Duration::from_hours(1));
    assert!(cache.keys_for(None).await.is_err());
}
