//! Time that stands still, randomness that repeats, keys that can be taken away.

use crate::jwt::Algorithm;
use crate::ports::{Clock, Entropy, EntropyError, Roots, SignError, Signer, SigningKey, World};
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::sha256;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Never the same bytes twice within a stream.
#[derive(Debug, Default)]
pub(crate) struct SequenceEntropy {
    stream: u64,
    block: AtomicU64,
}

impl SequenceEntropy {
    /// Another number is another stream.
    pub(crate) fn starting_at(stream: u8) -> Self {
        Self {
            stream: stream.into(),
            ..Self::default()
        }
    }
}

impl Entropy for SequenceEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(32) {
            let block = self.block.fetch_add(1, SeqCst);
            let made = sha256(format!("{} {block}", self.stream).as_bytes());
            chunk.copy_from_slice(&made[..chunk.len()]);
        }
        Ok(())
    }
}

/// Moves only when told to. Clones are one clock.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn at(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, SeqCst);
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(SeqCst))
    }
}

/// Each call is another environment, with randomness of its own.
pub(crate) fn world(clock: &TestClock) -> World {
    static ENVIRONMENTS: AtomicU64 = AtomicU64::new(1_000);
    World {
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SequenceEntropy {
            stream: ENVIRONMENTS.fetch_add(1, SeqCst),
            ..SequenceEntropy::default()
        }),
    }
}

/// The root keys, unless they are out of reach. Clones share that.
#[derive(Clone, Debug)]
pub(crate) struct TestRoots {
    keys: Arc<RootKeys>,
    down: Arc<AtomicBool>,
}

impl TestRoots {
    pub(crate) fn new() -> Self {
        Self::of(super::roots())
    }

    pub(crate) fn of(keys: RootKeys) -> Self {
        Self {
            keys: Arc::new(keys),
            down: Arc::default(),
        }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, SeqCst);
    }
}

impl Roots for TestRoots {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        if self.down.load(SeqCst) {
            return Err(SignError::Unavailable(super::cause()));
        }
        Ok(Arc::clone(&self.keys))
    }
}

/// "Signs" with a hash; what matters here is how often and what. Clones share all.
#[derive(Clone, Debug)]
pub(crate) struct TestSigner {
    kid: Arc<Mutex<String>>,
    local: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    fault: Arc<Mutex<Option<SignError>>>,
}

impl TestSigner {
    pub(crate) fn new() -> Self {
        Self::named("k1")
    }

    pub(crate) fn named(kid: &str) -> Self {
        Self {
            kid: Arc::new(Mutex::new(kid.into())),
            local: Arc::default(),
            calls: Arc::default(),
            fault: Arc::default(),
        }
    }

    /// Another key signs from now on.
    pub(crate) fn rotate_to(&self, kid: &str) {
        kid.clone_into(&mut self.kid.lock().unwrap());
    }

    /// Signatures are made in the process from now on.
    pub(crate) fn sign_here(&self) {
        self.local.store(true, SeqCst);
    }

    /// Every signature from now on ends like this.
    pub(crate) fn fail(&self, fault: Option<SignError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How many signatures were asked for since this was last asked.
    pub(crate) fn take_calls(&self) -> usize {
        self.calls.swap(0, SeqCst)
    }
}

impl Signer for TestSigner {
    fn is_remote(&self) -> bool {
        !self.local.load(SeqCst)
    }

    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: self.kid.lock().unwrap().clone(),
            algorithm: Algorithm::RS256,
        })
    }

    async fn sign(&self, _: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        self.calls.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        match self.fault.lock().unwrap().clone() {
            Some(fault) => Err(fault),
            None => Ok(sha256(input).to_vec()),
        }
    }
}
