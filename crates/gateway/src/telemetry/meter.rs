//! Counts and times what goes over the network.
//!
//! [`Metered`] is put around an adapter, [`Meter::take`] tells what the invocation
//! cost. The design promises numbers (no call for a malformed token, one read for an
//! unknown one); tests hold it to them through here.

use super::Metric;
use cloakroom_domain::family::{FamilyId, FamilyRecord, IndexKey, Transition};
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::ports::{
    AssertionClaims, AssertionFault, Authenticated, AuthorizationRequest, CallbackCode,
    CreateError, CreateFamily, FindFamily, IdentityProviders, IdpError, LogoutToken, OnceName,
    PublicKeys, ReadEpoch, Renewal, RenewalError, Renewed, Roots, SignError, Signer, SigningKey,
    StoreError, SubjectIndex, UpdateError, UpdateFamily, UseOnce, VerifyAssertion,
    VerifyLogoutToken,
};
use cloakroom_domain::seal::RootKeys;
use cloakroom_domain::time::UnixTime;
use std::sync::{Arc, Mutex, PoisonError};
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
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn measure<T>(&self, call: Call, answer: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let answer = answer.await;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(call, start.elapsed());
        answer
    }
}

/// Calls and how long each took.
#[derive(Clone, Debug, Default)]
pub struct Tally(Vec<(Call, Duration)>);

impl Tally {
    /// Nobody may ever `take`; memory must not grow for that.
    const MAX: usize = 256;

    /// All calls, in the order in which they ended.
    pub fn calls(&self) -> &[(Call, Duration)] {
        &self.0
    }

    /// How many of one kind.
    pub fn count(&self, call: Call) -> usize {
        self.0.iter().filter(|(other, _)| *other == call).count()
    }

    pub(super) fn add(&mut self, call: Call, time: Duration) {
        if self.0.len() < Self::MAX {
            self.0.push((call, time));
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

impl<T: SubjectIndex> SubjectIndex for Metered<T> {
    async fn families_of(&self, key: &IndexKey) -> Result<Vec<FamilyId>, StoreError> {
        let answer = self.inner.families_of(key);
        self.meter.measure(Call::SubjectIndex, answer).await
    }

    async fn end_subject(
        &self,
        key: &IndexKey,
        not_before: UnixTime,
        forget_after: UnixTime,
    ) -> Result<(), StoreError> {
        let answer = self.inner.end_subject(key, not_before, forget_after);
        self.meter.measure(Call::SubjectIndex, answer).await
    }
}

impl<T: Signer> Signer for Metered<T> {
    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    /// Not counted: the adapter itself remembers what it needs for this.
    async fn signing_key(&self, now: UnixTime) -> Result<SigningKey, SignError> {
        self.inner.signing_key(now).await
    }

    /// A signature that is made in the process is no call.
    async fn sign(&self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.inner.sign(key, input);
        if self.inner.is_remote() {
            self.meter.measure(Call::Sign, signature).await
        } else {
            signature.await
        }
    }
}

impl<T: PublicKeys> PublicKeys for Metered<T> {
    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        let answer = self.inner.public_keys();
        self.meter.measure(Call::PublicKeys, answer).await
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
        self.inner.roots().await
    }
}

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

    #[test]
    fn a_tally_that_nobody_takes_does_not_grow_for_ever() {
        let mut tally = Tally::default();
        for _ in 0..1000 {
            tally.add(Call::Sign, Duration::ZERO);
        }
        assert_eq!(tally.calls().len(), Tally::MAX);
    }
}
