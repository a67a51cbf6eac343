//! What the rules need of the world, each in one verb.
//!
//! A function is given only the verbs that its IAM role can carry out, so a rule
//! that needs more does not compile. The laws written here are tested for every
//! adapter by the contract suite in `tests/`.

use crate::claims::{Profile, UserClaims};
use crate::delegation::MayAct;
pub use crate::ended::{ReadTombstones, SubjectIndex};
use crate::family::{FamilyId, FamilyRecord, IndexKey, Transition};
use crate::jwt::Algorithm;
use crate::keyset::{KeySetFault, StoredKeySet};
use crate::time::UnixTime;
use std::future::Future;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The wall clock.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> UnixTime;
}

/// A cryptographically secure source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with randomness.
    ///
    /// # Errors
    ///
    /// When the operating system has none to give; the caller must then refuse.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The system's random generator failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no entropy")]
pub struct EntropyError;

/// Time and entropy, as a service holds them.
#[derive(Clone)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}

impl Clock for World {
    fn now(&self) -> UnixTime {
        self.clock.now()
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.entropy.fill(bytes)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// The store could not answer. Says nothing about what it holds.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It asked us to slow down.
    #[error("the store throttled the request")]
    Throttled(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Unreachable, too slow, or refusing.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// It holds an item that this release cannot read.
    #[error("an item in the store is malformed: {0}")]
    Malformed(&'static str),
}

impl StoreError {
    /// How [`StoreError::Malformed`] is logged, by which telemetry counts it.
    pub const MALFORMED: &str = "an item is malformed";
}

/// Finds a family. IAM: `dynamodb:GetItem`.
pub trait FindFamily: Send + Sync {
    /// Reads a family by one strongly consistent read.
    ///
    /// `None` if there is none with this id. Expired and revoked families are
    /// returned as they are: judging them is the rules' business, since DynamoDB
    /// deletes expired items days late.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn find_family(
        &self,
        id: &FamilyId,
    ) -> impl Future<Output = Result<Option<FamilyRecord>, StoreError>> + Send;
}

/// Changes a family. IAM: `dynamodb:UpdateItem`.
pub trait UpdateFamily: Send + Sync {
    /// Applies all changes of `transition` at once, if all its conditions hold at
    /// that moment; else changes nothing and returns the record as it was then.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Refused`] if a condition did not hold, with the family as it
    /// then was (`None`: it does not exist; an update never creates one).
    fn update_family(
        &self,
        transition: &Transition,
    ) -> impl Future<Output = Result<(), UpdateError>> + Send;
}

/// Why a transition did not take place.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A condition did not hold.
    #[error("the family has changed")]
    Refused(Option<Box<FamilyRecord>>),
    /// The store could not answer; the change may or may not have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Starts a family, and so must be able to ask for tombstones. IAM: `dynamodb:PutItem`,
/// `dynamodb:ConditionCheckItem`.
pub trait CreateFamily: ReadTombstones {
    /// Writes the family and its index entries in one transaction. Of `index`, names that
    /// are [not listed](IndexKey::is_listed) are only noted in the family.
    ///
    /// Families that [follow no sign-in](crate::family::FamilyKind::follows_a_sign_in) of
    /// one subject share no item: however many a machine starts at once, none waits for
    /// another.
    ///
    /// # Errors
    ///
    /// [`CreateError::Ended`] if the family follows a sign-in, and a tombstone of a listed
    /// name forbids anything authenticated at `authenticated_at`: the subject
    /// was signed out everywhere while this login was in flight.
    fn create_family(
        &self,
        family: &FamilyRecord,
        index: &[IndexKey],
        authenticated_at: UnixTime,
    ) -> impl Future<Output = Result<(), CreateError>> + Send;
}

/// Why a family was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The subject (or its session at the identity provider) was ended meanwhile.
    #[error("the subject was signed out everywhere")]
    Ended,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Uses something once. IAM: `dynamodb:PutItem` on `used#*` and `jti#*`.
pub trait UseOnce: Send + Sync {
    /// Returns `true` to exactly one caller per `name`, however many ask at once,
    /// until `forget_after`.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer; nobody may then go on.
    fn use_once(
        &self,
        name: &OnceName,
        forget_after: UnixTime,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Whether `name` was used already. Only spares everybody a vain login: who goes
    /// on is decided by [`UseOnce::use_once`]. IAM: `dynamodb:GetItem` on `used#*`.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn was_used(&self, name: &OnceName) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The name of something that may be used once: a namespace and a digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnceName {
    /// `used` or `jti`.
    pub namespace: &'static str,
    /// Digest of the thing.
    pub digest: String,
}

/// Reads the epoch. IAM: `dynamodb:GetItem` on `epoch`.
pub trait ReadEpoch: Send + Sync {
    /// The moment before which everything issued is dead; 0 if none was ever set.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn epoch(&self) -> impl Future<Output = Result<UnixTime, StoreError>> + Send;
}

/// A key that signs: what a JWT's header says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningKey {
    /// Its name.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
}

/// Signs a JWS signing input. IAM: `kms:Sign`, or `kms:Decrypt` for data keys.
pub trait Signer: Send + Sync {
    /// Whether each signature is a call over the network: paid for, and worth
    /// sharing with others.
    fn is_remote(&self) -> bool {
        true
    }

    /// How often KMS was asked so far: what is answered from memory, or not at all, takes
    /// none of its time. `None` if every answer is one of KMS.
    fn kms_calls(&self) -> Option<u64> {
        None
    }

    /// Data-key mode: whole days until the last key of the key set stops signing, as of
    /// the last time that the set was asked for. `None` if nothing ends.
    fn days_left(&self) -> Option<u64> {
        None
    }

    /// The key that signs at `now`, fixed before signing.
    ///
    /// # Errors
    ///
    /// When it is not known which key that is.
    fn signing_key(
        &self,
        now: UnixTime,
    ) -> impl Future<Output = Result<SigningKey, SignError>> + Send;

    /// Signs `input` with `key`; the result is in JOSE form (ECDSA: r‖s).
    ///
    /// # Errors
    ///
    /// When no signature by exactly this key could be had.
    fn sign(
        &self,
        key: &SigningKey,
        input: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send;
}

/// No signature could be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignError {
    /// It asked us to slow down.
    #[error("the signer throttled the request")]
    Throttled(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Unreachable, too slow, or refusing.
    #[error("the signer is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// It answered with something that is not a signature by our key.
    #[error("the signer's answer is not acceptable: {0}")]
    Unacceptable(&'static str),
    /// Data-key mode: there is no key set to sign by.
    #[error(transparent)]
    KeySet(#[from] KeySetFault),
}

/// Reads the key set of data-key mode. IAM: `dynamodb:GetItem` on `keys`.
pub trait ReadKeySet: Send + Sync {
    /// Reads the record by one strongly consistent read; `None` if there is none.
    /// It may be anybody's: what it is worth is decided by
    /// [`Trust`](crate::keyset::Trust).
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn key_set(&self) -> impl Future<Output = Result<Option<StoredKeySet>, StoreError>> + Send;
}

/// Services of one function share an adapter.
impl<T: ReadKeySet> ReadKeySet for Arc<T> {
    async fn key_set(&self) -> Result<Option<StoredKeySet>, StoreError> {
        T::key_set(self).await
    }
}

impl From<StoreError> for SignError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Throttled(cause) => Self::Throttled(cause),
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            StoreError::Malformed(_) => Self::KeySet(KeySetFault::Malformed),
        }
    }
}

/// Reads public keys. IAM: `kms:GetPublicKey`.
pub trait PublicKeys: Send + Sync {
    /// As [`Signer::kms_calls`].
    fn kms_calls(&self) -> Option<u64> {
        None
    }

    /// As [`Signer::days_left`].
    fn days_left(&self) -> Option<u64> {
        None
    }

    /// The public JWKs to publish, first the one that signs.
    ///
    /// # Errors
    ///
    /// When one of them could not be had: half a key set would make services
    /// refuse good tokens.
    fn public_keys(
        &self,
    ) -> impl Future<Output = Result<Vec<crate::jwk::PublicJwk>, SignError>> + Send;
}

/// Fetches the root keys. IAM: `kms:GenerateMac`.
pub trait Roots: Send + Sync {
    /// The root keys, the current one first. Cached by the adapter once it worked.
    ///
    /// # Errors
    ///
    /// When they could not be had; the next call tries again.
    fn roots(&self) -> impl Future<Output = Result<Arc<crate::seal::RootKeys>, SignError>> + Send;
}

/// Services of one function share what was fetched.
impl<T: Roots> Roots for Arc<T> {
    async fn roots(&self) -> Result<Arc<crate::seal::RootKeys>, SignError> {
        T::roots(self).await
    }
}

/// What is asked of an identity provider at the start of a login.
pub struct AuthorizationRequest<'a> {
    /// Our callback.
    pub redirect_uri: &'a str,
    /// Opaque to the provider, bound to the browser.
    pub state: &'a str,
    /// Comes back inside the ID token.
    pub nonce: &'a str,
    /// S256 of the PKCE verifier.
    pub code_challenge: &'a str,
    /// Whether a fresh sign-in is demanded (`prompt=login`).
    pub prompt_login: bool,
    /// The oldest acceptable authentication, in seconds.
    pub max_age: Option<u64>,
    /// The authentication context asked for.
    pub acr_values: Option<&'a str>,
    /// Who is expected to sign in.
    pub login_hint: Option<&'a str>,
}

impl std::fmt::Debug for AuthorizationRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizationRequest([redacted])")
    }
}

/// What came back on the callback, with what was remembered for it.
pub struct CallbackCode<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// RFC 9207 issuer parameter, if it came.
    pub iss: Option<&'a str>,
    /// As in the request.
    pub redirect_uri: &'a str,
    /// The PKCE verifier of the request.
    pub code_verifier: &'a str,
    /// The nonce of the request.
    pub nonce: &'a str,
    /// As in the request; then `auth_time` is demanded and judged.
    pub max_age: Option<u64>,
    /// As in the request; then `acr` must be one of them.
    pub acr_values: Option<&'a str>,
    /// If a fresh sign-in was asked for: when. An `auth_time`, if there is one, must not be
    /// before that.
    pub fresh_since: Option<UnixTime>,
    /// The current time.
    pub now: UnixTime,
}

impl std::fmt::Debug for CallbackCode<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallbackCode([redacted])")
    }
}

/// A user whom an identity provider vouches for.
pub struct Authenticated {
    /// Whom, mapped into our claims.
    pub claims: UserClaims,
    /// For `id_token_hint` at logout.
    pub id_token: Zeroizing<String>,
    /// For refreshing claims and for revocation at logout.
    pub refresh_token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticated([redacted])")
    }
}

/// A provider is asked what it says of a user now.
pub struct Renewal<'a> {
    /// The provider's refresh token.
    pub refresh_token: &'a str,
    /// The ID token of the sign-in.
    pub id_token: &'a str,
    /// The current time.
    pub now: UnixTime,
}

impl std::fmt::Debug for Renewal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewal([redacted])")
    }
}

/// What a provider says of a user now.
pub struct Renewed {
    /// Mapped into our claims; or, in our own literal, for the log, why that cannot be
    /// told although the refresh token was used.
    pub profile: Result<Profile, &'static str>,
    /// The refresh token that replaces the one that was used, if there is a new one.
    pub refresh_token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Renewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewed([redacted])")
    }
}

/// A user's claims were not renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RenewalError {
    /// The provider says that what it granted is over.
    #[error("the identity provider has ended the grant")]
    Over,
    /// It could not be asked, or its answer is not acceptable, so that nothing of it is
    /// kept. The text is our own literal, for the log.
    #[error("the claims could not be renewed: {0}")]
    Failed(&'static str),
}

/// The company's identity providers.
pub trait IdentityProviders: Send + Sync {
    /// The URL that starts a login at provider `idp`.
    ///
    /// # Errors
    ///
    /// [`IdpError`] when the provider is not configured or cannot be reached.
    fn authorization_url(
        &self,
        idp: &str,
        request: &AuthorizationRequest<'_>,
    ) -> impl Future<Output = Result<String, IdpError>> + Send;

    /// Redeems a code and verifies the ID token. Every check of OpenID Connect
    /// Core §3.1.3.7 has passed when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// [`IdpError::Refused`] when anything at all is wrong with the answer.
    fn redeem(
        &self,
        idp: &str,
        callback: &CallbackCode<'_>,
    ) -> impl Future<Output = Result<Authenticated, IdpError>> + Send;

    /// Judges the RFC 9207 `iss` of an answer that is an error, so that a mix-up
    /// attacker's error is not believed.
    ///
    /// # Errors
    ///
    /// [`IdpError::Refused`] when it is another's.
    fn check_issuer(
        &self,
        idp: &str,
        iss: Option<&str>,
    ) -> impl Future<Output = Result<(), IdpError>> + Send;

    /// The URL to which a browser goes to sign out at the provider, if it has one.
    ///
    /// # Errors
    ///
    /// [`IdpError`] when the provider cannot be reached.
    fn logout_url(
        &self,
        idp: &str,
        id_token_hint: &str,
        post_logout_redirect_uri: &str,
    ) -> impl Future<Output = Result<Option<String>, IdpError>> + Send;

    /// Asks with a refresh token what the provider says of a user now. Every check of
    /// OpenID Connect Core §12.2 has passed when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// [`RenewalError::Over`] only if the provider has said so itself.
    fn renew(
        &self,
        idp: &str,
        renewal: &Renewal<'_>,
    ) -> impl Future<Output = Result<Renewed, RenewalError>> + Send;

    /// Gives a refresh token back (RFC 7009), if the provider takes it back.
    ///
    /// # Errors
    ///
    /// [`IdpError`] when it may still be good.
    fn revoke(
        &self,
        idp: &str,
        refresh_token: &str,
    ) -> impl Future<Output = Result<(), IdpError>> + Send;
}

/// Believes logout tokens.
pub trait VerifyLogoutToken: Send + Sync {
    /// Verifies a logout token of OpenID Connect Back-Channel Logout 1.0 §2.6, from
    /// whichever provider it is. Whether its `jti` was seen before is the rules'
    /// business.
    ///
    /// # Errors
    ///
    /// [`IdpError::Unavailable`] only if the provider's keys could not be had.
    fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<LogoutToken, IdpError>> + Send;
}

/// A provider's word that a user, or one session of theirs, has ended.
#[derive(Clone, Eq, PartialEq)]
pub struct LogoutToken {
    /// The provider's id in our configuration.
    pub idp: String,
    /// The provider's issuer.
    pub iss: String,
    /// Whom it is about, as in our `sub`: `<idp>|<upstream sub>`. Without `sid`
    /// all of the user's sessions are meant.
    pub sub: Option<String>,
    /// The session at the provider that has ended.
    pub sid: Option<String>,
    /// Its name, to be used once.
    pub jti: String,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it need not be remembered any more.
    pub expires_at: UnixTime,
}

impl std::fmt::Debug for LogoutToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogoutToken([redacted])")
    }
}

/// A login at an identity provider did not work.
#[derive(Debug, thiserror::Error)]
pub enum IdpError {
    /// No such provider.
    #[error("unknown identity provider")]
    Unknown,
    /// The provider could not be reached, or does not work.
    #[error("the identity provider is unavailable: {0}")]
    Unavailable(&'static str),
    /// The provider said no, or its answer failed a check. The text is our own
    /// literal, for the log.
    #[error("the identity provider's answer was refused: {0}")]
    Refused(&'static str),
}

/// Finds out who signed a client's assertion.
pub trait VerifyAssertion: Send + Sync {
    /// Verifies the form, the header and the signature of an assertion, by the
    /// registered keys of the client that it names, with asymmetric algorithms
    /// alone. What the claims mean is the rules' business.
    ///
    /// # Errors
    ///
    /// [`AssertionFault::Unavailable`] only if the client's keys could not be had.
    fn verify_assertion(
        &self,
        jwt: &str,
    ) -> impl Future<Output = Result<AssertionClaims, AssertionFault>> + Send;
}

/// What an assertion says that its client has signed (RFC 7523 §3).
#[derive(Clone, Eq, PartialEq)]
pub struct AssertionClaims {
    /// `iss`
    pub iss: String,
    /// `sub`
    pub sub: String,
    /// `aud`, which is one string and no list.
    pub aud: String,
    /// `jti`
    pub jti: String,
    /// `exp`
    pub exp: UnixTime,
    /// `iat`
    pub iat: Option<UnixTime>,
    /// `nbf`
    pub nbf: Option<UnixTime>,
}

impl std::fmt::Debug for AssertionClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssertionClaims([redacted])")
    }
}

/// An assertion was not verified. The text is our own literal, for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AssertionFault {
    /// It is not the client's.
    #[error("the assertion was refused: {0}")]
    Refused(&'static str),
    /// The client's keys could not be had.
    #[error("the client's keys are unavailable: {0}")]
    Unavailable(&'static str),
}

/// Believes ID tokens that come as subject tokens (RFC 8693 §2.1).
pub trait VerifySubjectToken: Send + Sync {
    /// Verifies an ID token of one of the providers `trusted`. Every check of
    /// OpenID Connect Core §3.1.3.7 that needs no login has passed when this
    /// returns `Ok`.
    ///
    /// # Errors
    ///
    /// [`IdpError::Unknown`] when it is of another issuer, before any fetch.
    fn verify_subject_token(
        &self,
        trusted: &[String],
        token: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Vouched, IdpError>> + Send;
}

/// A user for whom an ID token vouches.
pub struct Vouched {
    /// Whom, mapped into our claims.
    pub claims: UserClaims,
    /// When the token was issued.
    pub issued_at: UnixTime,
    /// When it ends.
    pub expires_at: UnixTime,
    /// Who may act for the user, if the token says.
    pub may_act: Option<MayAct>,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vouched([redacted])")
    }
}
