//! The token service: codes, credentials and refresh tokens go in, opaque tokens
//! come out (RFC 6749), and revocation (RFC 7009).
//!
//! The refresh rotation (`docs/rotation.md`): whoever presents a refresh token
//! again after a lost response gets the same pair; whoever presents one that is
//! really over ends the family.

pub mod exchange;
mod revoke;
pub mod target;

pub use revoke::Revocation;

use crate::client::assertion::{self, AssertionError, ProvenClient};
use crate::client::{ClientCredentials, ClientError, Clients};
use crate::config::{ClientConfig, ClientKind, Config, GrantKind};
use crate::delegation::Delegation;
use crate::dpop::{self, Confirmation, Proof, ProofError, ProofFault, Thumbprint};
use crate::ended;
use crate::family::{
    Change, Condition, FamilyId, FamilyKind, FamilyRecord, FamilyState, MAX_SPENT, MAX_TOKENS,
    TokenEntry, TokenState, Transition, is_within_grace,
};
use crate::grant::{self, Grant, Opened, Sealer, TokenFault, TokenMeta, TokenPair, new_family};
use crate::ports::{
    Clock, CreateError, CreateFamily, Entropy, EntropyError, FindFamily, ReadEpoch, Roots,
    SignError, StoreError, UpdateError, UpdateFamily, UseOnce, VerifyAssertion, World,
};
use crate::scope::ScopeSet;
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenDigest, TokenKind, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use exchange::SubjectFault;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use target::{InvalidTarget, Targets};

/// Scopes that ask for something about a user, which a machine has none of (D57).
const USER_SCOPES: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    OFFLINE_ACCESS,
];

/// The scope that gives a refresh token (OpenID Connect Core §11).
pub const OFFLINE_ACCESS: &str = "offline_access";

/// How often a decision is taken again when the family changed meanwhile.
const MAX_ATTEMPTS: usize = 4;

/// Tokens as the token endpoint hands them out (RFC 6749 §5.1).
#[derive(Debug)]
pub struct Issued {
    /// The tokens.
    pub pair: TokenPair,
    /// Seconds that the access token lives.
    pub expires_in: u64,
    /// What was granted.
    pub scope: ScopeSet,
    /// `token_type`
    pub token_type: &'static str,
    /// The subject's tag, for logs.
    pub subject_tag: String,
    /// The family's tag, for logs.
    pub family_tag: String,
    /// Whether it is a pair that was given before.
    pub healed: bool,
}

/// Why no token was issued (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// The client did not prove who it is.
    #[error("client authentication failed")]
    InvalidClient,
    /// Too many attempts to authenticate as this client failed; try again after these seconds.
    #[error("too many failed client authentications")]
    ClientLimited(u64),
    /// The client may not use this grant type.
    #[error("the client may not use this grant type")]
    UnauthorizedClient,
    /// The code or refresh token is no good.
    #[error("the grant is invalid: {0:?}")]
    InvalidGrant(GrantFault),
    /// There is no proof of possession, or it does not count (RFC 9449 §5).
    #[error("the proof of possession is refused: {0}")]
    InvalidProof(ProofFault),
    /// More was asked for than may be given.
    #[error("the scope is invalid or exceeds what may be granted")]
    InvalidScope,
    /// A `resource` or `audience` is unknown, or not for this client or token.
    #[error("the target is unknown or not allowed")]
    InvalidTarget,
    /// A subject or actor token is no good (RFC 8693 §2.2.2).
    #[error("the exchange is refused: {0:?}")]
    InvalidSubject(SubjectFault),
    /// The family has as many live tokens as it may have.
    #[error("there are too many live tokens")]
    TooManyTokens,
    /// We cannot tell: never said to be the client's fault.
    #[error("temporarily unavailable: {0}")]
    Unavailable(&'static str),
}

/// What is wrong with a code or refresh token; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantFault {
    /// Not one of ours, or not in its family (any more).
    Unknown,
    /// Revoked or ended.
    Revoked,
    /// Past a limit.
    Expired,
    /// Issued to another client.
    OtherClient,
    /// Redirect URI or PKCE verifier differ. Burns nothing.
    Binding,
    /// The sender does not hold the key that it is bound to. Burns nothing.
    Key,
    /// A code was presented twice: its family is revoked.
    CodeReplayed,
    /// A refresh token was reused: its family is revoked.
    Reused,
    /// A seal is broken: the item was tampered with.
    Broken,
}

impl GrantFault {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::OtherClient => "other_client",
            Self::Binding => "binding",
            Self::Key => "key",
            Self::CodeReplayed => "code_replayed",
            Self::Reused => "reused",
            Self::Broken => "broken_seal",
        }
    }
}

/// What a client asks of the token endpoint, once it has proved who it is.
pub enum TokenRequest<'a> {
    /// RFC 6749 §4.4.
    ClientCredentials {
        /// What it asks for; all it may have, if absent.
        scope: Option<&'a str>,
    },
    /// RFC 6749 §4.1.3, RFC 7636 §4.5.
    AuthorizationCode {
        /// The code.
        code: &'a str,
        /// As in the authorization request.
        redirect_uri: &'a str,
        /// Proves that whoever redeems is who asked.
        code_verifier: &'a str,
    },
    /// RFC 6749 §6.
    RefreshToken {
        /// The refresh token.
        token: &'a str,
        /// Less than was granted, if present.
        scope: Option<&'a str>,
    },
}

impl std::fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenRequest({:?})", self.grant_kind())
    }
}

impl TokenRequest<'_> {
    /// The family that a code or refresh token claims, for logs.
    pub fn family(&self) -> Option<FamilyId> {
        match self {
            Self::ClientCredentials { .. } => None,
            Self::AuthorizationCode { code: token, .. } | Self::RefreshToken { token, .. } => {
                OpaqueToken::parse(token).ok().map(|token| token.family())
            }
        }
    }

    fn grant_kind(&self) -> GrantKind {
        match self {
            Self::ClientCredentials { .. } => GrantKind::ClientCredentials,
            Self::AuthorizationCode { .. } => GrantKind::AuthorizationCode,
            Self::RefreshToken { .. } => GrantKind::RefreshToken,
        }
    }
}

/// Issues, refreshes and revokes tokens.
#[derive(Debug)]
pub struct TokenService<S, R> {
    config: Arc<Config>,
    clients: Arc<Clients>,
    not_before: UnixTime,
    store: S,
    roots: R,
    world: World,
}

impl<S, R> TokenService<S, R>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
{
    /// Puts together what the token service needs.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        roots: R,
        world: World,
    ) -> Self {
        Self {
            clients: Arc::new(Clients::new(Arc::clone(&config), world.clone())),
            config,
            not_before,
            store,
            roots,
            world,
        }
    }

    /// The clients, for other services of this process: attempts are counted once.
    pub fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    /// Judges the proof of possession that came with a request to the token endpoint.
    /// Before the client is judged, and before anything is written, since a client is
    /// told here which nonce to use.
    ///
    /// # Errors
    ///
    /// See [`ProofError`].
    pub async fn judge_proof(&self, proof: &str) -> Result<Proof, ProofError> {
        let now = self.world.now();
        dpop::judge_with_nonce(&self.config, &self.roots, proof, "/oauth/token", now).await
    }

    /// The nonce that proofs are to have from now on.
    pub async fn fresh_nonce(&self) -> Option<String> {
        dpop::fresh_nonce(&self.roots, self.world.now()).await
    }

    /// Answers a token request that names no target and brings no proof.
    ///
    /// # Errors
    ///
    /// See [`IssueError`].
    pub async fn issue(
        &self,
        credentials: &ClientCredentials<'_>,
        request: &TokenRequest<'_>,
    ) -> Result<Issued, IssueError> {
        self.issue_for(credentials, request, &Targets::default(), None)
            .await
    }

    /// Answers a token request; the access token is good for `targets` alone, if
    /// there are any (RFC 8707 §2.2), and bound to the key of `proof`, if there is one.
    ///
    /// # Errors
    ///
    /// See [`IssueError`].
    pub async fn issue_for(
        &self,
        credentials: &ClientCredentials<'_>,
        request: &TokenRequest<'_>,
        targets: &Targets<'_>,
        proof: Option<&Proof>,
    ) -> Result<Issued, IssueError> {
        let client = self.authenticate(credentials)?;
        if !client.grants.contains(&request.grant_kind()) {
            return Err(IssueError::UnauthorizedClient);
        }
        demand_proof(client, proof)?;
        let asked = Asked { targets, proof };
        match *request {
            TokenRequest::ClientCredentials { scope } => {
                self.client_credentials(client, scope, asked).await
            }
            TokenRequest::AuthorizationCode {
                code,
                redirect_uri,
                code_verifier,
            } => {
                let code = parse(code, TokenKind::Code)?;
                let binding = (redirect_uri, code_verifier);
                self.redeem(client, &code, binding, asked).await
            }
            TokenRequest::RefreshToken { token, scope } => {
                let token = parse(token, TokenKind::Refresh)?;
                let scope = scope.map(ScopeSet::parse).transpose();
                let scope = scope.map_err(|_| IssueError::InvalidScope)?;
                self.refresh(client, &token, scope.as_ref(), asked).await
            }
        }
    }

    fn authenticate(
        &self,
        credentials: &ClientCredentials<'_>,
    ) -> Result<&ClientConfig, IssueError> {
        Ok(self.clients.authenticate(credentials)?)
    }

    async fn client_credentials(
        &self,
        client: &ClientConfig,
        scope: Option<&str>,
        asked: Asked<'_>,
    ) -> Result<Issued, IssueError> {
        let allowed: ScopeSet = client
            .scopes
            .0
            .iter()
            .filter(|scope| !USER_SCOPES.contains(&scope.as_str()))
            .cloned()
            .collect();
        let scope = match scope {
            None => allowed,
            Some(text) => ScopeSet::parse(text)
                .ok()
                .filter(|asked| asked.is_subset(&allowed))
                .ok_or(IssueError::InvalidScope)?,
        };
        let now = self.world.now();
        let lifetime = self.access_lifetime(client);
        let grant = Grant {
            kind: FamilyKind::Client,
            client: Some(client.id.clone()),
            user: None,
            sid: self.random_name()?,
            created_at: now,
            absolute_expires_at: now.plus(lifetime),
            upstream_id_token: None,
            upstream_refresh_token: None,
            claims_at: None,
        };
        let meta = TokenMeta {
            kind: TokenKind::Access,
            client: Some(client.id.clone()),
            scope,
            audiences: asked.targets.narrow(&self.config, &client.audiences)?,
            issued_at: now,
            expires_at: now.plus(lifetime),
            idle_expires_at: None,
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation: Delegation::default(),
            cnf: asked.proof.map(Proof::confirmation),
        };
        self.use_up(asked.proof).await?;
        let roots = self.roots().await?;
        let (record, access) = new_family(&grant, &meta, roots.current(), &self.world)?;
        let index = ended::subject_keys(&roots, &self.config, &grant);
        self.store
            .create_family(&record, &index, now)
            .await
            .map_err(|error| match error {
                CreateError::Ended => IssueError::UnauthorizedClient,
                CreateError::Store(error) => error.into(),
            })?;
        let subject = crate::jwt::subject(&grant, &meta);
        Ok(Issued {
            pair: TokenPair {
                access,
                refresh: None,
            },
            expires_in: lifetime,
            token_type: meta.token_type(),
            scope: meta.scope,
            subject_tag: grant::subject_tag(roots.current(), &subject),
            family_tag: record.id.tag(),
            healed: false,
        })
    }

    async fn redeem(
        &self,
        client: &ClientConfig,
        code: &OpaqueToken,
        (redirect_uri, code_verifier): (&str, &str),
        asked: Asked<'_>,
    ) -> Result<Issued, IssueError> {
        let now = self.world.now();
        let roots = self.roots().await?;
        let record = self.find(code).await?.ok_or(GrantFault::Unknown)?;
        let opened = grant::open_whatever_its_state(&record, code, &roots)?;
        if opened.meta.client.as_deref() != Some(client.id.as_str()) {
            return Err(GrantFault::OtherClient.into());
        }
        let binding = opened.meta.code.as_ref().filter(|binding| {
            binding.redirect_uri == redirect_uri && verifies(code_verifier, &binding.challenge)
        });
        let binding = binding.ok_or(GrantFault::Binding)?;
        if binding.jkt.is_some() && binding.jkt.as_ref() != asked.key() {
            return Err(GrantFault::Key.into());
        }
        if record.state != FamilyState::Active {
            return Err(GrantFault::Revoked.into());
        }
        if is_used(&record, opened.digest) {
            return self.code_replayed(&record).await;
        }
        let epoch = self.epoch().await?;
        grant::check_limits(&opened.grant, &opened.meta, epoch, now)?;
        self.refuse_ended(&record, &opened, &roots).await?;

        let with_refresh = opened.meta.scope.contains(OFFLINE_ACCESS)
            && client.grants.contains(&GrantKind::RefreshToken);
        let reach = self.reach(client, &opened.meta, &Narrower { scope: None, asked })?;
        let minted = self.mint(client, &record, opened, reach, with_refresh, now, &roots)?;
        self.use_up(asked.proof).await?;
        let mut changes = vec![Change::Redeem {
            token: code.digest(),
            at: now,
            successor: None,
        }];
        changes.extend(minted.additions());
        let transition = Transition {
            family: record.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Token(code.digest(), TokenState::Live),
            ],
            changes,
        };
        match self.store.update_family(&transition).await {
            Ok(()) => Ok(minted.into_issued(now)),
            Err(UpdateError::Refused(Some(current))) => {
                let ours = current.tokens.contains_key(&minted.pair.access.digest());
                if current.state != FamilyState::Active {
                    Err(GrantFault::Revoked.into())
                } else if ours {
                    // A retry of our own write met its own effect.
                    Ok(minted.into_issued(now))
                } else if is_used(&current, code.digest()) {
                    self.code_replayed(&current).await
                } else {
                    Err(GrantFault::Unknown.into())
                }
            }
            Err(UpdateError::Refused(None)) => Err(GrantFault::Unknown.into()),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// RFC 6749 §4.1.2: a code that is presented twice takes back what it minted.
    async fn code_replayed(&self, record: &FamilyRecord) -> Result<Issued, IssueError> {
        self.end_family(record).await?;
        Err(GrantFault::CodeReplayed.into())
    }

    async fn refresh(
        &self,
        client: &ClientConfig,
        token: &OpaqueToken,
        scope: Option<&ScopeSet>,
        asked: Asked<'_>,
    ) -> Result<Issued, IssueError> {
        let narrower = Narrower { scope, asked };
        let roots = self.roots().await?;
        let epoch = self.epoch().await?;
        let mut record = self.find(token).await?.ok_or(GrantFault::Unknown)?;
        if let Ok(opened) = grant::open(&record, token, &roots, epoch, self.world.now()) {
            self.refuse_ended(&record, &opened, &roots).await?;
        }
        let mut proof = asked.proof;
        for _ in 0..MAX_ATTEMPTS {
            let now = self.world.now();
            let worth = self.decide(client, token, &narrower, &record, &roots, epoch, now)?;
            if !matches!(worth, Refresh::Reused) {
                // Once, however often the decision is taken again.
                self.use_up(proof.take()).await?;
            }
            let next = match worth {
                Refresh::Heal(issued) => return Ok(*issued),
                Refresh::Reused => {
                    self.end_family(&record).await?;
                    return Err(GrantFault::Reused.into());
                }
                Refresh::Rotate(minted, transition) => {
                    match self.store.update_family(&transition).await {
                        Ok(()) => return Ok(minted.into_issued(now)),
                        Err(UpdateError::Refused(current)) => current,
                        Err(UpdateError::Store(error)) => return Err(error.into()),
                    }
                }
            };
            // Somebody else was faster (or we ourselves, whose answer was lost):
            // what is there now decides.
            record = *next.ok_or(GrantFault::Unknown)?;
        }
        Err(IssueError::Unavailable("the family changes too fast"))
    }

    /// What a refresh token is worth, given the family as it is.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that the decision depends on, and nothing else"
    )]
    fn decide(
        &self,
        client: &ClientConfig,
        token: &OpaqueToken,
        narrower: &Narrower<'_>,
        record: &FamilyRecord,
        roots: &RootKeys,
        epoch: UnixTime,
        now: UnixTime,
    ) -> Result<Refresh, IssueError> {
        if record.state != FamilyState::Active {
            return Err(GrantFault::Revoked.into());
        }
        let key = narrower.asked.key();
        let is_spent = |key| {
            let name = grant::spent_name(token.digest(), key);
            record.spent.contains(&name)
        };
        let opened = match grant::open_whatever_its_state(record, token, roots) {
            Err(TokenFault::Unknown) if is_spent(None) || is_spent(key) => {
                // Of an older generation: its holder is behind by two rotations.
                return Ok(Refresh::Reused);
            }
            opened => opened?,
        };
        // Worth nothing without its key, so whoever found it cannot even end the family.
        if opened.meta.cnf.is_some() && opened.meta.key() != key {
            return Err(GrantFault::Key.into());
        }
        if opened.meta.client.as_deref() != Some(client.id.as_str()) {
            // Whoever sent it has another client's token (D51).
            return Ok(Refresh::Reused);
        }
        let entry = grant::find_entry(record, opened.digest).ok_or(GrantFault::Unknown)?;
        let within_limits = grant::check_limits(&opened.grant, &opened.meta, epoch, now);
        if entry.state == TokenState::Used {
            let worth = heal(record, token, entry, &opened, key, roots, now)?;
            // A replay is one, however late and whatever it asks for; only what is healed
            // must be alive, and asked for within what was granted.
            if matches!(worth, Refresh::Heal(_)) {
                within_limits?;
                self.reach(client, &opened.meta, narrower)?;
            }
            return Ok(worth);
        }
        within_limits?;
        let reach = self.reach(client, &opened.meta, narrower)?;
        self.rotate(client, token, record, opened, reach, roots, now)
    }

    /// What an access token may do: of what was granted, what its client may still have
    /// and asks for. What an operator takes from a client is gone with the next token; that
    /// it refreshes at all ends with `refresh_token` in its `grants`.
    fn reach(
        &self,
        client: &ClientConfig,
        granted: &TokenMeta,
        narrower: &Narrower<'_>,
    ) -> Result<Reach, IssueError> {
        let allowed = granted.scope.intersection(&client.scopes.to_set());
        let scope = match narrower.scope {
            Some(asked) if asked.is_subset(&allowed) => asked.clone(),
            None if !allowed.is_empty() || granted.scope.is_empty() => allowed,
            _ => return Err(IssueError::InvalidScope),
        };
        let audiences = target::common(&granted.audiences, &client.audiences)?;
        let Asked { targets, proof } = narrower.asked;
        Ok(Reach {
            scope,
            audiences: targets.narrow(&self.config, &audiences)?,
            cnf: proof.map(Proof::confirmation),
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all that the rotation depends on, and nothing else"
    )]
    fn rotate(
        &self,
        client: &ClientConfig,
        token: &OpaqueToken,
        record: &FamilyRecord,
        opened: Opened,
        reach: Reach,
        roots: &RootKeys,
        now: UnixTime,
    ) -> Result<Refresh, IssueError> {
        let digest = opened.digest;
        // Used tokens before this one, and what is past its time, make room.
        let over = |(each, entry): &(&TokenDigest, &TokenEntry)| {
            let used = entry.state == TokenState::Used;
            **each != digest && (used || entry.expires_at.has_passed(now))
        };
        let over: Vec<_> = record.tokens.iter().filter(over).collect();
        let mut spent = record.spent.clone();
        let used = over
            .iter()
            .filter(|(_, entry)| entry.kind == TokenKind::Refresh);
        spent.extend(used.map(|(each, entry)| {
            let meta = grant::open_meta_of(record, **each, entry, &opened.data_key);
            grant::spent_name(**each, meta.ok().as_ref().and_then(TokenMeta::key))
        }));
        let excess = spent.len().saturating_sub(MAX_SPENT);
        spent.drain(..excess);
        let minted = self.mint(client, record, opened, reach, true, now, roots)?;
        let mut changes = vec![
            Change::Redeem {
                token: digest,
                at: now,
                successor: Some(minted.sealed_under(token, record, roots, &self.world)?),
            },
            Change::Generation(record.generation + 1),
        ];
        changes.extend(minted.additions());
        // A used code stays as long as it could be presented again.
        let removed = over
            .iter()
            .filter(|(_, entry)| entry.kind != TokenKind::Code || entry.expires_at.has_passed(now));
        changes.extend(removed.map(|(each, _)| Change::RemoveToken(**each)));
        if spent != record.spent {
            changes.push(Change::Spent(spent));
        }
        // Counted after the clean-up, or a full family would stay full for ever; and twice
        // as many as exchange may fill it with, so that no service locks the client out.
        let removed = |change: &&Change| matches!(change, Change::RemoveToken(_));
        let kept = record.tokens.len() - changes.iter().filter(removed).count();
        if kept >= 2 * MAX_TOKENS {
            return Err(IssueError::TooManyTokens);
        }
        let transition = Transition {
            family: record.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Generation(record.generation),
                Condition::Token(digest, TokenState::Live),
            ],
            changes,
        };
        Ok(Refresh::Rotate(Box::new(minted), Box::new(transition)))
    }

    /// A new pair, not yet stored.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that a pair depends on, and nothing else"
    )]
    fn mint(
        &self,
        client: &ClientConfig,
        record: &FamilyRecord,
        opened: Opened,
        reach: Reach,
        with_refresh: bool,
        now: UnixTime,
        roots: &RootKeys,
    ) -> Result<Minted, IssueError> {
        let absolute = opened.grant.absolute_expires_at;
        let replaced = (opened.meta.kind == TokenKind::Refresh).then_some(opened.digest);
        let meta = |kind, reach: Reach, lifetime| TokenMeta {
            kind,
            client: Some(client.id.clone()),
            scope: reach.scope,
            audiences: reach.audiences,
            issued_at: now,
            expires_at: now.plus(lifetime).min(absolute),
            idle_expires_at: None,
            notes_first_use: with_refresh && kind == TokenKind::Access,
            successor_of: replaced.filter(|_| kind == TokenKind::Access),
            code: None,
            delegation: Delegation::default(),
            cnf: reach.cnf,
        };
        // A confidential client proves itself whenever it refreshes; the refresh token
        // of a public one is bound to the key of its access token (RFC 9449 §5).
        let public = client.kind == ClientKind::Public;
        let refresh_key = reach.cnf.clone().filter(|_| public);
        let sealer = Sealer {
            root: roots.of(record)?,
            family: record.id,
            data_key: opened.data_key,
            entropy: &self.world,
        };
        let access_meta = meta(TokenKind::Access, reach, self.access_lifetime(client));
        let access = sealer.token(&access_meta)?;
        let refresh = with_refresh
            .then(|| {
                // The refresh token keeps all that was granted (RFC 6749 §6, RFC 8707
                // §2.2).
                let granted = Reach {
                    scope: opened.meta.scope.clone(),
                    audiences: opened.meta.audiences.clone(),
                    cnf: refresh_key,
                };
                let idle = self.config.lifetimes.refresh_token_idle;
                sealer.token(&meta(TokenKind::Refresh, granted, idle))
            })
            .transpose()?;
        let (refresh, refresh_entry) = refresh.unzip();
        Ok(Minted {
            pair: TokenPair {
                access: access.0,
                refresh,
            },
            access_entry: access.1,
            refresh_entry,
            token_type: access_meta.token_type(),
            scope: access_meta.scope,
            expires_at: access_meta.expires_at,
            subject_tag: opened.subject_tag,
            family_tag: record.id.tag(),
        })
    }

    /// Sees to it that a proof counts once. The last thing before a grant is used: an
    /// unauthenticated request writes nothing (invariant 10).
    async fn use_up(&self, proof: Option<&Proof>) -> Result<(), IssueError> {
        let Some(proof) = proof else { return Ok(()) };
        if proof.use_up(&self.store).await? {
            Ok(())
        } else {
            Err(IssueError::InvalidProof(ProofFault::Replayed))
        }
    }

    /// Revokes, whatever happens meanwhile.
    async fn end_family(&self, record: &FamilyRecord) -> Result<(), IssueError> {
        match self
            .store
            .update_family(&Transition::revoke(record.id))
            .await
        {
            // Refused: it is over already.
            Ok(()) | Err(UpdateError::Refused(_)) => Ok(()),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// Ends the family and refuses if a tombstone says that it is over: it could not be
    /// found when its subject was signed out.
    async fn refuse_ended(
        &self,
        record: &FamilyRecord,
        opened: &Opened,
        roots: &RootKeys,
    ) -> Result<(), IssueError> {
        if ended::is_ended(&self.store, &self.config, roots, record, opened).await? {
            self.end_family(record).await?;
            return Err(GrantFault::Revoked.into());
        }
        Ok(())
    }

    async fn find(&self, token: &OpaqueToken) -> Result<Option<FamilyRecord>, IssueError> {
        match self.store.find_family(&token.family()).await {
            Ok(record) => Ok(record),
            Err(StoreError::Malformed(_)) => Err(GrantFault::Broken.into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn epoch(&self) -> Result<UnixTime, IssueError> {
        Ok(self.store.epoch().await?.max(self.not_before))
    }

    async fn roots(&self) -> Result<Arc<RootKeys>, IssueError> {
        Ok(self.roots.roots().await?)
    }

    fn access_lifetime(&self, client: &ClientConfig) -> u64 {
        client
            .access_token_lifetime
            .unwrap_or(self.config.lifetimes.access_token)
    }

    fn random_name(&self) -> Result<String, EntropyError> {
        let mut bytes = [0; 16];
        self.world.fill(&mut bytes)?;
        Ok(BASE64URL.encode(bytes))
    }
}

impl<S: UseOnce, R> TokenService<S, R> {
    /// Judges a client's assertion, and uses it up.
    ///
    /// # Errors
    ///
    /// See [`AssertionError`].
    pub async fn prove(
        &self,
        verifier: &impl VerifyAssertion,
        claimed_id: Option<&str>,
        jwt: &str,
    ) -> Result<ProvenClient, AssertionError> {
        let now = self.world.now();
        assertion::prove(&self.config, verifier, &self.store, claimed_id, jwt, now).await
    }
}

/// What a token may do, where, and in whose hand.
struct Reach {
    scope: ScopeSet,
    audiences: Vec<String>,
    cnf: Option<Confirmation>,
}

/// For whom a token shall be good, and to which key it shall be bound.
#[derive(Clone, Copy)]
struct Asked<'a> {
    targets: &'a Targets<'a>,
    proof: Option<&'a Proof>,
}

impl Asked<'_> {
    fn key(&self) -> Option<&Thumbprint> {
        self.proof.map(Proof::key)
    }
}

/// What a client asks for when it refreshes: no more than was granted.
struct Narrower<'a> {
    scope: Option<&'a ScopeSet>,
    asked: Asked<'a>,
}

/// What a refresh token is worth.
enum Refresh {
    /// A new pair, if this transition takes place.
    Rotate(Box<Minted>, Box<Transition>),
    /// The pair that it was redeemed for.
    Heal(Box<Issued>),
    /// The end of its family.
    Reused,
}

/// A new pair with its entries.
struct Minted {
    pair: TokenPair,
    access_entry: TokenEntry,
    refresh_entry: Option<TokenEntry>,
    scope: ScopeSet,
    token_type: &'static str,
    expires_at: UnixTime,
    subject_tag: String,
    family_tag: String,
}

impl Minted {
    fn additions(&self) -> Vec<Change> {
        let access = (&self.pair.access, &self.access_entry);
        let refresh = self.pair.refresh.as_ref().zip(self.refresh_entry.as_ref());
        std::iter::once(access)
            .chain(refresh)
            .map(|(token, entry)| Change::AddToken(token.digest(), Box::new(entry.clone())))
            .collect()
    }

    fn sealed_under(
        &self,
        token: &OpaqueToken,
        record: &FamilyRecord,
        roots: &RootKeys,
        entropy: &impl Entropy,
    ) -> Result<crate::seal::Sealed, IssueError> {
        let root = roots.of(record)?;
        Ok(grant::seal_successor(root, token, &self.pair, entropy)?)
    }

    fn into_issued(self, now: UnixTime) -> Issued {
        Issued {
            expires_in: self.expires_at.since(now),
            pair: self.pair,
            scope: self.scope,
            token_type: self.token_type,
            subject_tag: self.subject_tag,
            family_tag: self.family_tag,
            healed: false,
        }
    }
}

/// The same pair again, as long as that cannot make a second live branch.
fn heal(
    record: &FamilyRecord,
    token: &OpaqueToken,
    entry: &TokenEntry,
    opened: &Opened,
    key: Option<&Thumbprint>,
    roots: &RootKeys,
    now: UnixTime,
) -> Result<Refresh, IssueError> {
    let Some(sealed) = &entry.successor else {
        return Ok(Refresh::Reused);
    };
    let pair = grant::open_successor(record, token, sealed, roots)?;
    let access = record.tokens.get(&pair.access.digest());
    let refresh = pair
        .refresh
        .as_ref()
        .and_then(|token| record.tokens.get(&token.digest()));
    let unused = access.is_some_and(|entry| entry.used_at.is_none())
        && refresh.is_some_and(|entry| entry.state == TokenState::Live);
    let meta = match grant::open_meta(record, &pair.access, &opened.data_key) {
        Err(TokenFault::Unknown) => return Ok(Refresh::Reused),
        meta => meta?,
    };
    if !unused && !is_within_grace(meta.issued_at, now) {
        return Ok(Refresh::Reused);
    }
    // The same pair is bound to the same key, or to none.
    if meta.key() != key {
        return Err(GrantFault::Key.into());
    }
    Ok(Refresh::Heal(Box::new(Issued {
        expires_in: meta.expires_at.since(now),
        token_type: meta.token_type(),
        scope: meta.scope,
        pair,
        subject_tag: opened.subject_tag.clone(),
        family_tag: record.id.tag(),
        healed: true,
    })))
}

/// RFC 9449 §5.2.
fn demand_proof(client: &ClientConfig, proof: Option<&Proof>) -> Result<(), IssueError> {
    if client.dpop_bound_access_tokens && proof.is_none() {
        Err(IssueError::InvalidProof(ProofFault::Missing))
    } else {
        Ok(())
    }
}

fn is_used(record: &FamilyRecord, digest: TokenDigest) -> bool {
    grant::find_entry(record, digest).is_some_and(|entry| entry.state == TokenState::Used)
}

/// S256 (RFC 7636 §4.6). The verifier's own shape was demanded of the client
/// (§4.1): anything shorter could be guessed.
fn verifies(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let made = BASE64URL.encode(sha256(verifier.as_bytes()));
    well_formed && bool::from(made.as_bytes().ct_eq(challenge.as_bytes()))
}

fn parse(text: &str, kind: TokenKind) -> Result<OpaqueToken, GrantFault> {
    OpaqueToken::parse(text)
        .ok()
        .filter(|token| token.kind() == kind)
        .ok_or(GrantFault::Unknown)
}

impl From<GrantFault> for IssueError {
    fn from(fault: GrantFault) -> Self {
        Self::InvalidGrant(fault)
    }
}

impl From<ClientError> for IssueError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Invalid => Self::InvalidClient,
            ClientError::Limited { retry_after } => Self::ClientLimited(retry_after),
        }
    }
}

impl From<InvalidTarget> for IssueError {
    fn from(_: InvalidTarget) -> Self {
        Self::InvalidTarget
    }
}

impl From<TokenFault> for IssueError {
    fn from(fault: TokenFault) -> Self {
        Self::InvalidGrant(match fault {
            TokenFault::Unknown | TokenFault::Retired => GrantFault::Unknown,
            TokenFault::Revoked => GrantFault::Revoked,
            TokenFault::Expired => GrantFault::Expired,
            TokenFault::ClientGone => GrantFault::OtherClient,
            TokenFault::Broken => GrantFault::Broken,
            TokenFault::Unreadable => return Self::Unavailable(TokenFault::UNREADABLE),
        })
    }
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(match error {
            StoreError::Throttled(_) => "the store throttled",
            StoreError::Unavailable(_) => "the store is unavailable",
            StoreError::Malformed(_) => StoreError::MALFORMED,
        })
    }
}

impl From<SignError> for IssueError {
    fn from(_: SignError) -> Self {
        Self::Unavailable("the root keys are unavailable")
    }
}

impl From<EntropyError> for IssueError {
    fn from(_: EntropyError) -> Self {
        Self::Unavailable("no entropy")
    }
}

#[cfg(test)]
mod tests;
