//! Counts and times what goes over the network.
//!
//! [`Metered`] is put around an adapter, [`Meter::take`] tells what the invocation
//! cost. The design promises numbers (no call for a malformed token, one read for an
//! unknown one); tests hold it to them through here.

use super::Metric;
use cloakroom_domain::ended::{Ending, Listed, Reach, Tombstone};
use cloakroom_domain::family::{FamilyId, FamilyRecord, FamilyState, IndexKey, Transition};
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::ports::{
    AssertionClaims, AssertionFault, Authenticated, AuthorizationRequest, CallbackCode,
    CreateError, CreateFamily, FindFamily, IdentityProviders, IdpError, LogoutToken, OnceName,
    PublicKeys, ReadEpoch, ReadTombstones, Renewal, RenewalError, Renewed, Roots, SignError,
    Signer, SigningKey, StoreError, SubjectIndex, UpdateError, UpdateFamily, UseOnce,
    VerifyAssertion, VerifyLogoutToken,
};
use cloakroom_domain::seal::RootKeys;
use cloakroom_domain::time::UnixTime;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A kind of network call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// Finds a family.
    ReadFamily,
    /// Changes a family.
    UpdateFamily,
    /// Starts a family.
    CreateFamily,
    /// Uses something once.
    UseOnce,
    /// Reads the epoch.
    ReadEpoch,
    /// Reads tombstones.
    ReadTombstones,
    /// Lists or ends the families of a subject.
    SubjectIndex,
    /// Signs.
    Sign,
    /// Reads public keys.
    PublicKeys,
    /// Asks an identity provider.
    Provider,
}

impl Call {
    /// Where its time counts.
    pub fn metric(self) -> Metric {
        match self {
            Self::Sign | Self::PublicKeys => Metric::KmsMillis,
            Self::Provider => Metric::ProviderMillis,
            Self::ReadFamily
            | Self::UpdateFamily
            | Self::CreateFamily
            | Self::UseOnce
            | Self::ReadEpoch
            | Self::ReadTombstones
            | Self::SubjectIndex => Metric::StoreMillis,
        }
    }
}

/// Where calls are noted. Clones share one list. A function of Lambda serves one
/// request at a time, so what was noted since the last `take` is one request's.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Tally>>);

impl Meter {
    /// What was noted since the last time, which is then forgotten.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.lock())
    }

    async fn measure<T, E: CallError>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let answer = answer.await;
        self.lock().add(call, start.elapsed());
        self.note_throttling(&answer);
        answer
    }

    /// The same for what may be answered without a call.
    async fn measure_if_asked<T, E: CallError>(
        &self,
        call: Call,
        asked: impl Fn() -> Option<u64>,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let (before, start) = (asked(), Instant::now());
        let answer = answer.await;
        if before.is_none() || asked() != before {
            self.lock().add(call, start.elapsed());
        }
        self.note_throttling(&answer);
        answer
    }

    fn note_throttling<T, E: CallError>(&self, answer: &Result<T, E>) {
        if answer.as_ref().is_err_and(E::is_throttling) {
            self.lock().throttled += 1;
        }
    }

    fn note_days_left(&self, days: Option<u64>) {
        if days.is_some() {
            self.lock().days_left = days;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a call failed, as far as it is counted.
trait CallError {
    /// Whether DynamoDB or KMS refused it because there were too many.
    fn is_throttling(&self) -> bool;
}

impl CallError for StoreError {
    fn is_throttling(&self) -> bool {
        matches!(self, Self::Throttled(_))
    }
}

impl CallError for UpdateError {
    fn is_throttling(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_throttling())
    }
}

impl CallError for CreateError {
    fn is_throttling(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_throttling())
    }
}

impl CallError for SignError {
    fn is_throttling(&self) -> bool {
        matches!(self, Self::Throttled(_))
    }
}

/// A provider that refuses is not one of ours to make larger.
impl CallError for IdpError {
    fn is_throttling(&self) -> bool {
        false
    }
}

impl CallError for RenewalError {
    fn is_throttling(&self) -> bool {
        false
    }
}

/// Calls, how long each took, and what they said that is worth a metric.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    calls: Vec<(Call, Duration)>,
    throttled: u64,
    days_left: Option<u64>,
}

impl Tally {
    /// Nobody may ever `take`; memory must not grow for that.
    const MAX: usize = 256;

    /// All calls, in the order in which they ended.
    pub fn calls(&self) -> &[(Call, Duration)] {
        &self.calls
    }

    /// How many calls DynamoDB or KMS refused because there were too many.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }

    /// Data-key mode: whole days until the last signing key ends, if a call has told.
    pub fn signing_key_days_left(&self) -> Option<u64> {
        self.days_left
    }

    /// How many of one kind.
    pub fn count(&self, call: Call) -> usize {
        self.calls
            .iter()
            .filter(|(other, _)| *other == call)
            .count()
    }

    pub(super) fn add(&mut self, call: Call, time: Duration) {
        if self.calls.len() < Self::MAX {
            self.calls.push((call, time));
        }
    }
}

/// An adapter whose calls are noted.
#[derive(Clone, Debug)]
pub struct Metered<T> {
    inner: T,
    meter: Meter,
}

impl<T> Metered<T> {
    /// Notes the calls of `inner` in `meter`.
    pub fn new(inner: T, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<T: FindFamily> FindFamily for Metered<T> {
    async fn find_family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        let answer = self.inner.find_family(id);
        self.meter.measure(Call::ReadFamily, answer).await
    }
}

impl<T: UpdateFamily> UpdateFamily for Metered<T> {
    async fn update_family(&self, transition: &Transition) -> Result<(), UpdateError> {
        let answer = self.inner.update_family(transition);
        self.meter.measure(Call::UpdateFamily, answer).await
    }
}

impl<T: CreateFamily> CreateFamily for Metered<T> {
    async fn create_family(
        &self,
        family: &FamilyRecord,
        index: &[IndexKey],
        authenticated_at: UnixTime,
    ) -> Result<(), CreateError> {
        let answer = self.inner.create_family(family, index, authenticated_at);
        self.meter.measure(Call::CreateFamily, answer).await
    }
}

impl<T: UseOnce> UseOnce for Metered<T> {
    async fn use_once(&self, name: &OnceName, forget_after: UnixTime) -> Result<bool, StoreError> {
        let answer = self.inner.use_once(name, forget_after);
        self.meter.measure(Call::UseOnce, answer).await
    }

    async fn was_used(&self, name: &OnceName) -> Result<bool, StoreError> {
        let answer = self.inner.was_used(name);
        self.meter.measure(Call::UseOnce, answer).await
    }
}

impl<T: ReadEpoch> ReadEpoch for Metered<T> {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        self.meter
            .measure(Call::ReadEpoch, self.inner.epoch())
            .await
    }
}

impl<T: ReadTombstones> ReadTombstones for Metered<T> {
    async fn tombstone(&self, names: &[IndexKey]) -> Result<Tombstone, StoreError> {
        let answer = self.inner.tombstone(names);
        self.meter.measure(Call::ReadTombstones, answer).await
    }
}

impl<T: SubjectIndex> SubjectIndex for Metered<T> {
    async fn families_of(&self, key: &IndexKey) -> Listed {
        let start = Instant::now();
        let listed = self.inner.families_of(key).await;
        let mut tally = self.meter.lock();
        tally.add(Call::SubjectIndex, start.elapsed());
        let is_throttled = listed.fault.as_ref().is_some_and(CallError::is_throttling);
        tally.throttled += u64::from(is_throttled);
        drop(tally);
        listed
    }

    async fn end_subject(
        &self,
        key: &IndexKey,
        reach: Reach,
        not_before: UnixTime,
        forget_after: UnixTime,
    ) -> Result<(), StoreError> {
        let answer = self.inner.end_subject(key, reach, not_before, forget_after);
        self.meter.measure(Call::SubjectIndex, answer).await
    }

    async fn end_unread(&self, id: FamilyId, state: FamilyState) -> Result<Ending, StoreError> {
        let answer = self.inner.end_unread(id, state);
        self.meter.measure(Call::UpdateFamily, answer).await
    }
}

impl<T: Signer> Signer for Metered<T> {
    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    /// Not counted: the adapter itself remembers what it needs for this.
    async fn signing_key(&self, now: UnixTime) -> Result<SigningKey, SignError> {
        let key = self.inner.signing_key(now).await;
        self.meter.note_throttling(&key);
        self.meter.note_days_left(self.inner.days_left());
        key
    }

    /// A signature that is made in the process is no call.
    async fn sign(&self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.inner.sign(key, input);
        if self.inner.is_remote() {
            let asked = || self.inner.kms_calls();
            (self.meter.measure_if_asked(Call::Sign, asked, signature)).await
        } else {
            let signature = signature.await;
            self.meter.note_throttling(&signature);
            signature
        }
    }
}

impl<T: PublicKeys> PublicKeys for Metered<T> {
    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        let asked = || self.inner.kms_calls();
        let answer = self.inner.public_keys();
        let keys = (self.meter).measure_if_asked(Call::PublicKeys, asked, answer);
        let keys = keys.await;
        self.meter.note_days_left(self.inner.days_left());
        keys
    }
}

/// What is known of a provider already counts as well: nearly nothing.
impl<T: IdentityProviders> IdentityProviders for Metered<T> {
    async fn authorization_url(
        &self,
        idp: &str,
        request: &AuthorizationRequest<'_>,
    ) -> Result<String, IdpError> {
        let answer = self.inner.authorization_url(idp, request);
        self.meter.measure(Call::Provider, answer).await
    }

    async fn redeem(
        &self,
        idp: &str,
        callback: &CallbackCode<'_>,
    ) -> Result<Authenticated, IdpError> {
        let answer = self.inner.redeem(idp, callback);
        self.meter.measure(Call::Provider, answer).await
    }

    async fn check_issuer(&self, idp: &str, iss: Option<&str>) -> Result<(), IdpError> {
        let answer = self.inner.check_issuer(idp, iss);
        self.meter.measure(Call::Provider, answer).await
    }

    async fn logout_url(
        &self,
        idp: &str,
        id_token_hint: &str,
        post_logout_redirect_uri: &str,
    ) -> Result<Option<String>, IdpError> {
        let answer = (self.inner).logout_url(idp, id_token_hint, post_logout_redirect_uri);
        self.meter.measure(Call::Provider, answer).await
    }

    async fn renew(&self, idp: &str, renewal: &Renewal<'_>) -> Result<Renewed, RenewalError> {
        let answer = self.inner.renew(idp, renewal);
        self.meter.measure(Call::Provider, answer).await
    }

    async fn revoke(&self, idp: &str, refresh_token: &str) -> Result<(), IdpError> {
        let answer = self.inner.revoke(idp, refresh_token);
        self.meter.measure(Call::Provider, answer).await
    }
}

impl<T: VerifyLogoutToken> VerifyLogoutToken for Metered<T> {
    async fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<LogoutToken, IdpError> {
        let answer = self.inner.verify_logout_token(token, now);
        self.meter.measure(Call::Provider, answer).await
    }
}

/// Not counted: those are a client's keys.
impl<T: VerifyAssertion> VerifyAssertion for Metered<T> {
    async fn verify_assertion(&self, jwt: &str) -> Result<AssertionClaims, AssertionFault> {
        self.inner.verify_assertion(jwt).await
    }
}

/// Not counted: the adapter itself remembers the roots, and asks once per start.
impl<T: Roots> Roots for Metered<T> {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        let roots = self.inner.roots().await;
        self.meter.note_throttling(&roots);
        roots
    }
}

#[cfg(test)]
mod remembered;

#[cfg(test)]
mod tests {
    use super::*;

    struct Store;

    impl FindFamily for Store {
        async fn find_family(&self, _: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
            Ok(None)
        }
    }

    impl ReadEpoch for Store {
        async fn epoch(&self) -> Result<UnixTime, StoreError> {
            Err(StoreError::Malformed("epoch"))
        }
    }

    #[tokio::test]
    async fn every_call_is_counted_once_whether_it_worked_or_not() {
        let meter = Meter::default();
        let store = Metered::new(Store, meter.clone());
        assert!(
            store
                .find_family(&FamilyId([0; 16]))
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            store
                .find_family(&FamilyId([1; 16]))
                .await
                .unwrap()
                .is_none()
        );
        assert!(store.epoch().await.is_err());

        let tally = meter.take();
        assert_eq!(tally.count(Call::ReadFamily), 2);
        assert_eq!(tally.count(Call::ReadEpoch), 1);
        assert_eq!(tally.count(Call::Sign), 0);
        assert!(meter.take().calls().is_empty(), "taking forgets");
    }

    struct Throttled;

    fn throttled() -> StoreError {
        StoreError::Throttled(Arc::new(std::fmt::Error))
    }

    impl FindFamily for Throttled {
        async fn find_family(&self, _: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
            Err(throttled())
        }
    }

    impl UpdateFamily for Throttled {
        async fn update_family(&self, _: &Transition) -> Result<(), UpdateError> {
            Err(throttled().into())
        }
    }

    impl Roots for Throttled {
        async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
            Err(throttled().into())
        }
    }

    /// Whatever the rules make of it afterwards.
    #[tokio::test]
    async fn every_call_that_was_throttled_is_counted_and_no_other() {
        let meter = Meter::default();
        let metered = Metered::new(Throttled, meter.clone());
        let family = FamilyId([0; 16]);
        assert!(metered.find_family(&family).await.is_err());
        assert!(
            metered
                .update_family(&Transition::end(family))
                .await
                .is_err()
        );
        assert!(metered.roots().await.is_err());
        assert_eq!(meter.take().throttled(), 3);
        assert_eq!(meter.take().throttled(), 0, "taking forgets");

        let metered = Metered::new(Store, meter.clone());
        assert!(metered.epoch().await.is_err());
        assert_eq!(meter.take().throttled(), 0);
    }

    #[test]
    fn a_tally_that_nobody_takes_does_not_grow_for_ever() {
        let mut tally = Tally::default();
        for _ in 0..1000 {
            tally.add(Call::Sign, Duration::ZERO);
        }
        assert_eq!(tally.calls().len(), Tally::MAX);
    }
}
