//! Keeps an issuer's key set at hand, whatever callers and network do.
//!
//! Tokens decide when keys are missed, and anybody can send tokens: a flood of
//! invented `kid`s must not become a flood of fetches (one per cool-down), a
//! burst must not become a stampede (single flight), and an outage of the issuer
//! must not become ours (stale keys serve for a while).

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock::{Clock, SystemClock};
use crate::jws::{KeySet, KeySetError};

/// Longer than any fetcher's own limit: a last resort, so that a fetch that never
/// ends cannot keep all later ones from starting.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Gets a key set document from wherever it is.
pub trait FetchJwks: Send + Sync + 'static {
    /// Returns the document's bytes.
    ///
    /// Bounds size and time itself; is called by one caller at a time.
    fn fetch(&self) -> impl Future<Output = Result<Vec<u8>, FetchError>> + Send;
}

/// The document was not to be had.
#[derive(Debug, thiserror::Error)]
#[error("the key set could not be fetched")]
pub struct FetchError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl FetchError {
    /// Keeps the cause for the log. It must contain no secret.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// There are no keys, or only keys too old to be believed, or none of the name
/// and no way to ask for newer ones.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("no key set is available")]
pub struct KeysUnavailable(#[source] Option<Arc<RefreshError>>);

/// Why the last refresh brought nothing.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("the fetch failed")]
    Fetch(#[source] FetchError),
    #[error("the fetch did not end")]
    Endless,
    #[error("the document was refused")]
    Document(#[source] KeySetError),
}

/// The times of a [`JwksCache`], in seconds. What HTTP says about caching is not
/// heeded: it is not signed.
#[derive(Clone, Copy, Debug)]
pub struct CachePolicy {
    /// For how long a set is used without asking again.
    pub ttl: u64,
    /// For how long a set is used when asking fails.
    pub max_stale: u64,
    /// The least time between two fetches because of an unknown `kid`.
    pub cool_down: u64,
    /// The least time between a failed fetch and the next.
    pub retry_delay: u64,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            ttl: 5 * 60,
            max_stale: 24 * 60 * 60,
            cool_down: 60,
            retry_delay: 5,
        }
    }
}

/// One issuer's key set, fetched when needed. Clones share it.
pub struct JwksCache<F> {
    inner: Arc<Inner<F>>,
}

struct Inner<F> {
    fetcher: F,
    policy: CachePolicy,
    clock: Arc<dyn Clock>,
    /// Held for an assignment, never across an await.
    state: RwLock<State>,
    /// Held by whoever fetches.
    flight: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The last refresh, if it failed.
    failure: Option<Failure>,
    /// The last refresh for the sake of an unknown `kid`.
    forced_at: Option<u64>,
}

struct Failure {
    at: u64,
    cause: Arc<RefreshError>,
}

struct Held {
    keys: Arc<KeySet>,
    fetched_at: u64,
}

/// What to do about one request for keys.
enum Next {
    Answer(Result<Arc<KeySet>, KeysUnavailable>),
    Fetch {
        /// The set is fresh and lacks the `kid`: count this against the cool-down.
        forced: bool,
        /// Stale keys that would do, should somebody else be fetching already.
        meanwhile: Option<Arc<KeySet>>,
    },
}

impl<F: FetchJwks> JwksCache<F> {
    /// Makes an empty cache; the first request for keys fetches them.
    pub fn new(fetcher: F) -> Self {
        Self::with(fetcher, CachePolicy::default(), SystemClock)
    }

    /// The same with other times and another clock.
    pub fn with(fetcher: F, policy: CachePolicy, clock: impl Clock + 'static) -> Self {
        let inner = Inner {
            fetcher,
            policy,
            clock: Arc::new(clock),
            state: RwLock::default(),
            flight: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The keys to verify a token with that names `kid`.
    ///
    /// The set may lack the `kid` even so: then it is unknown as far as anybody
    /// may ask.
    ///
    /// # Errors
    ///
    /// If there is no set, or only one staler than `max_stale`.
    pub async fn keys_for(&self, kid: Option<&str>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let flight = match self.inner.next(kid) {
            Next::Answer(answer) => return answer,
            Next::Fetch {
                meanwhile: Some(keys),
                ..
            } => match self.inner.flight.clone().try_lock_owned() {
                Ok(flight) => flight,
                Err(_) => return Ok(keys),
            },
            Next::Fetch {
                meanwhile: None, ..
            } => self.inner.flight.clone().lock_owned().await,
        };
        // Whoever held the flight before us may have answered our question.
        match self.inner.next(kid) {
            Next::Answer(answer) => return answer,
            Next::Fetch { forced, .. } => {
                // A task of its own: a caller who hangs up must neither waste the
                // fetch nor make it look failed.
                let fetch = Inner::fetch(Arc::clone(&self.inner), forced, flight);
                drop(tokio::spawn(fetch).await);
            }
        }
        self.inner.answer(kid)
    }
}

impl<F: FetchJwks> Inner<F> {
    fn next(&self, kid: Option<&str>) -> Next {
        let CachePolicy {
            ttl,
            max_stale,
            cool_down,
            retry_delay,
        } = self.policy;
        let now = self.clock.now();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);

        let known = state.usable(now, max_stale).filter(|held| held.knows(kid));
        let fresh = state.usable(now, ttl).is_some();
        let cooling = if fresh {
            state.forced_at.is_some_and(|at| age(now, at) < cool_down)
        } else {
            state
                .failure
                .as_ref()
                .is_some_and(|failure| age(now, failure.at) < retry_delay)
        };
        if cooling || (fresh && known.is_some()) {
            return Next::Answer(state.answer(kid, now, max_stale));
        }
        Next::Fetch {
            forced: fresh,
            meanwhile: known.map(|held| Arc::clone(&held.keys)),
        }
    }

    fn answer(&self, kid: Option<&str>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.answer(kid, self.clock.now(), self.policy.max_stale)
    }

    async fn fetch(self: Arc<Self>, forced: bool, flight: OwnedMutexGuard<()>) {
        let refreshed = match tokio::time::timeout(FETCH_LIMIT, self.fetcher.fetch()).await {
            Ok(Ok(document)) => KeySet::parse(&document).map_err(RefreshError::Document),
            Ok(Err(error)) => Err(RefreshError::Fetch(error)),
            Err(_) => Err(RefreshError::Endless),
        };

        let now = self.clock.now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if forced {
            state.forced_at = Some(now);
        }
        match refreshed {
            Ok(keys) => {
                state.held = Some(Held {
                    keys: Arc::new(keys),
                    fetched_at: now,
                });
                state.failure = None;
            }
            Err(cause) => {
                state.failure = Some(Failure {
                    at: now,
                    cause: Arc::new(cause),
                });
            }
        }
        drop(state);
        drop(flight);
    }
}

impl State {
    fn usable(&self, now: u64, limit: u64) -> Option<&Held> {
        self.held
            .as_ref()
            .filter(|held| age(now, held.fetched_at) < limit)
    }

    /// The best answer without another fetch. A missing `kid` is only "unknown" if
    /// the issuer could be asked: a failed refresh proves nothing about it.
    fn answer(
        &self,
        kid: Option<&str>,
        now: u64,
        max_stale: u64,
    ) -> Result<Arc<KeySet>, KeysUnavailable> {
        self.usable(now, max_stale)
            .filter(|held| held.knows(kid) || self.failure.is_none())
            .map(|held| Arc::clone(&held.keys))
            .ok_or_else(|| {
                KeysUnavailable(
                    self.failure
                        .as_ref()
                        .map(|failure| Arc::clone(&failure.cause)),
                )
            })
    }
}

impl Held {
    fn knows(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| self.keys.contains(kid))
    }
}

impl<F> Clone for JwksCache<F> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<F> fmt::Debug for JwksCache<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksCache")
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

/// A clock that was set back makes nothing younger than new.
fn age(now: u64, at: u64) -> u64 {
    now.saturating_sub(at)
}

#[cfg(test)]
mod tests;
