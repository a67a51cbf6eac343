//! Ports whose answer is ready, so that none of the cost is theirs.

use cloakroom_domain::family::{FamilyId, FamilyRecord, Transition};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{
    Clock, Entropy, EntropyError, FindFamily, OnceName, ReadEpoch, Roots, SignError, Signer,
    SigningKey, StoreError, UpdateError, UpdateFamily, UseOnce, World,
};
use cloakroom_domain::seal::{RootKey, RootKeys};
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use zeroize::Zeroizing;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

/// Always the same moment, and randomness that is none.
struct Still(AtomicU8);

impl Clock for Still {
    fn now(&self) -> UnixTime {
        NOW
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

pub(crate) fn world() -> World {
    let still = Arc::new(Still(AtomicU8::new(1)));
    World {
        clock: Arc::clone(&still) as Arc<dyn Clock>,
        entropy: still,
    }
}

/// A table with one family.
#[derive(Debug)]
pub(crate) struct Table(pub(crate) FamilyRecord);

impl FindFamily for Table {
    async fn find_family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        Ok((*id == self.0.id).then(|| self.0.clone()))
    }
}

impl UpdateFamily for Table {
    async fn update_family(&self, _: &Transition) -> Result<(), UpdateError> {
        Ok(())
    }
}

impl UseOnce for Table {
    async fn use_once(&self, _: &OnceName, _: UnixTime) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn was_used(&self, _: &OnceName) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl ReadEpoch for Table {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        Ok(UnixTime(0))
    }
}

/// Signs as fast as memory can be copied.
#[derive(Debug)]
pub(crate) struct Stamp;

impl Signer for Stamp {
    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: "bench-key".to_owned(),
            algorithm: Algorithm::RS256,
        })
    }

    async fn sign(&self, _: &SigningKey, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(vec![7; 256])
    }
}

pub(crate) fn root_keys() -> RootKeys {
    RootKeys::new(RootKey::new(Zeroizing::new([1; 32])), Vec::new())
}

#[derive(Debug)]
pub(crate) struct Keys(pub(crate) Arc<RootKeys>);

impl Roots for Keys {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        Ok(Arc::clone(&self.0))
    }
}
