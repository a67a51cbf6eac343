//! Token exchange (RFC 8693): a client that serves a request calls on in the name of
//! whom it serves, with a token of its own.
//!
//! What comes out is never wider than what went in: not in scope, not in audience,
//! not in time. A token of ours gets a sibling in its own family and dies with it; a
//! user whose ID token is presented gets a family of one token.

mod request;

pub use request::{ExchangeRequest, GRANT_TYPE, SubjectFault, TokenType};

use super::target::{self, Targets};
use super::{
    Asked, GrantFault, IssueError, Issued, MAX_ATTEMPTS, OFFLINE_ACCESS, TokenService,
    demand_proof, parse,
};
use crate::claims::client_subject;
use crate::client::ClientCredentials;
use crate::config::{ClientConfig, GrantKind};
use crate::delegation::Delegation;
use crate::dpop::Proof;
use crate::ended::{self, MAX_SUBJECT_TOKEN_AGE};
use crate::family::{
    Change, Condition, FamilyId, FamilyKind, FamilyRecord, FamilyState, MAX_TOKENS, TokenEntry,
    TokenState, Transition,
};
use crate::grant::{self, Grant, Opened, Sealer, TokenMeta, TokenPair, new_family};
use crate::jwt;
use crate::ports::{
    Clock, CreateError, CreateFamily, FindFamily, IdpError, ReadEpoch, Roots, UpdateError,
    UpdateFamily, UseOnce, VerifySubjectToken,
};
use crate::scope::ScopeSet;
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenDigest, TokenKind};

/// Who acts, as the actor token says.
struct ActingParty {
    subject: String,
    expires_at: UnixTime,
}

/// All that an exchange of a token of ours depends on.
struct Exchange<'a> {
    client: &'a ClientConfig,
    token: &'a OpaqueToken,
    scope: Option<&'a ScopeSet>,
    asked: Asked<'a>,
    actor: Option<&'a ActingParty>,
    roots: &'a RootKeys,
    epoch: UnixTime,
    now: UnixTime,
}

/// A new token with its entry.
struct Sibling {
    token: OpaqueToken,
    entry: TokenEntry,
    meta: TokenMeta,
    subject_tag: String,
}

impl<S, R> TokenService<S, R>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
{
    /// Exchanges a token. What comes out is bound to the key of `proof`, if there is
    /// one; a token that is bound itself counts only beside a proof of its own key
    /// (RFC 9700 §4.10).
    ///
    /// # Errors
    ///
    /// [`IssueError::InvalidSubject`] for what is wrong with a token; for the rest
    /// see [`IssueError`].
    pub async fn exchange(
        &self,
        credentials: &ClientCredentials<'_>,
        request: &ExchangeRequest<'_>,
        targets: &Targets<'_>,
        proof: Option<&Proof>,
        providers: &impl VerifySubjectToken,
    ) -> Result<Issued, IssueError> {
        let client = self.authenticate(credentials)?;
        if !client.grants.contains(&GrantKind::TokenExchange) {
            return Err(IssueError::UnauthorizedClient);
        }
        demand_proof(client, proof)?;
        let asked = Asked { targets, proof };
        let scope = request.scope.map(ScopeSet::parse).transpose();
        let scope = scope.map_err(|_| IssueError::InvalidScope)?;
        let scope = scope.as_ref();
        match request.subject_token_type {
            TokenType::AccessToken => {
                let token =
                    parse(request.subject_token, TokenKind::Access).map_err(SubjectFault::Token)?;
                let actor = self.actor(client, request.actor_token, proof).await?;
                self.exchange_own(client, &token, scope, asked, actor.as_ref())
                    .await
            }
            TokenType::IdToken => {
                let trusted = &client.exchange_id_tokens;
                if trusted.is_empty() {
                    return Err(SubjectFault::NotForThisClient.into());
                }
                let now = self.world.now();
                let vouched = providers
                    .verify_subject_token(trusted, request.subject_token, now)
                    .await?;
                let actor = self.actor(client, request.actor_token, proof).await?;
                self.exchange_vouched(client, vouched, scope, asked, actor.as_ref())
                    .await
            }
        }
    }

    /// Adds a sibling to the subject token's family.
    async fn exchange_own(
        &self,
        client: &ClientConfig,
        token: &OpaqueToken,
        scope: Option<&ScopeSet>,
        asked: Asked<'_>,
        actor: Option<&ActingParty>,
    ) -> Result<Issued, IssueError> {
        let roots = self.roots().await?;
        let epoch = self.epoch().await?;
        let mut record = self
            .find(token)
            .await
            .map_err(as_subject)?
            .ok_or(SubjectFault::Token(GrantFault::Unknown))?;
        if let Ok(opened) = grant::open(&record, token, &roots, epoch, self.world.now()) {
            let ended = self.refuse_ended(&record, &opened, &roots).await;
            ended.map_err(as_subject)?;
        }
        let mut proof = asked.proof;
        for _ in 0..MAX_ATTEMPTS {
            let exchange = Exchange {
                client,
                token,
                scope,
                asked,
                actor,
                roots: &roots,
                epoch,
                now: self.world.now(),
            };
            let (sibling, transition) = self.sibling(&exchange, &record)?;
            self.use_up(proof.take()).await?;
            match self.store.update_family(&transition).await {
                Ok(()) => return Ok(sibling.into_issued(record.id, exchange.now)),
                Err(UpdateError::Refused(Some(current))) => {
                    // A retry of our own write met its own effect.
                    let ours = current.tokens.contains_key(&sibling.token.digest());
                    if ours && current.state == FamilyState::Active {
                        return Ok(sibling.into_issued(record.id, exchange.now));
                    }
                    record = *current;
                }
                Err(UpdateError::Refused(None)) => {
                    return Err(SubjectFault::Token(GrantFault::Unknown).into());
                }
                Err(UpdateError::Store(error)) => return Err(error.into()),
            }
        }
        Err(IssueError::Unavailable("the family changes too fast"))
    }

    /// The sibling, and how it gets into the family.
    fn sibling(
        &self,
        exchange: &Exchange<'_>,
        record: &FamilyRecord,
    ) -> Result<(Sibling, Transition), IssueError> {
        let &Exchange {
            client, token, now, ..
        } = exchange;
        let opened = grant::open(record, token, exchange.roots, exchange.epoch, now)
            .map_err(|fault| as_subject(fault.into()))?;
        let owner = opened.meta.client.as_deref().unwrap_or_default();
        // A client that is gone leaves no token that is worth anything.
        if self.config.client(owner).is_none() || !client.exchanges.iter().any(|id| id == owner) {
            return Err(SubjectFault::NotForThisClient.into());
        }
        prove_key(&opened, exchange.asked.proof)?;
        let meta = self.meta_of_sibling(exchange, &opened)?;
        let (first_use, dead) = housekeeping(record, &opened, now);
        let live = record
            .tokens
            .values()
            .filter(|entry| entry.state == TokenState::Live && !entry.expires_at.has_passed(now))
            .count();
        if live >= MAX_TOKENS {
            return Err(IssueError::TooManyTokens);
        }
        let sealer = Sealer {
            root: exchange.roots.of(record)?,
            family: record.id,
            data_key: opened.data_key,
            entropy: &self.world,
        };
        let (sibling, entry) = sealer.token(&meta)?;
        let mut changes = vec![Change::AddToken(sibling.digest(), Box::new(entry.clone()))];
        changes.extend(first_use.then_some(Change::FirstUse(opened.digest, now)));
        let outlived = grant::outlived_pair(record, &opened.meta, now);
        changes.extend(outlived.map(Change::DropSuccessor));
        changes.extend(dead.into_iter().map(Change::RemoveToken));
        let transition = Transition {
            family: record.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Token(opened.digest, TokenState::Live),
                // Others may be adding at the same time; none of them can add what
                // this count has not seen.
                Condition::FewerTokens(record.tokens.len() + MAX_TOKENS - live),
            ],
            changes,
        };
        let sibling = Sibling {
            token: sibling,
            entry,
            meta,
            subject_tag: opened.subject_tag,
        };
        Ok((sibling, transition))
    }

    /// Never wider than the subject token, nor than the client itself.
    fn meta_of_sibling(
        &self,
        exchange: &Exchange<'_>,
        opened: &Opened,
    ) -> Result<TokenMeta, IssueError> {
        let &Exchange { client, now, .. } = exchange;
        let delegation = self.delegation(
            client,
            opened.meta.delegation.clone(),
            exchange.actor.map(|actor| actor.subject.clone()),
        )?;
        let audiences = target::common(&opened.meta.audiences, &client.audiences)?;
        let expires_at = now
            .plus(self.access_lifetime(client))
            .min(opened.meta.expires_at)
            .min(opened.grant.absolute_expires_at);
        Ok(TokenMeta {
            kind: TokenKind::Access,
            client: Some(client.id.clone()),
            scope: narrow_scope(client, Some(&opened.meta.scope), exchange.scope)?,
            audiences: exchange.asked.targets.narrow(&self.config, &audiences)?,
            issued_at: now,
            expires_at: exchange
                .actor
                .map_or(expires_at, |actor| expires_at.min(actor.expires_at)),
            idle_expires_at: None,
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation,
            cnf: exchange.asked.proof.map(Proof::confirmation),
        })
    }

    /// Starts a family of one token for a user whom a provider vouches for.
    async fn exchange_vouched(
        &self,
        client: &ClientConfig,
        vouched: crate::ports::Vouched,
        scope: Option<&ScopeSet>,
        asked: Asked<'_>,
        actor: Option<&ActingParty>,
    ) -> Result<Issued, IssueError> {
        let now = self.world.now();
        let epoch = self.epoch().await?;
        if vouched.issued_at < epoch {
            return Err(SubjectFault::Token(GrantFault::Expired).into());
        }
        // A sign-out from before that is no longer remembered.
        if now.since(vouched.issued_at) > MAX_SUBJECT_TOKEN_AGE {
            return Err(SubjectFault::TooOld.into());
        }
        let delegation = Delegation {
            act: None,
            may_act: vouched.may_act,
        };
        let delegation =
            self.delegation(client, delegation, actor.map(|actor| actor.subject.clone()))?;
        // The ID token can be presented again and again; what it gives ends with it.
        let expires_at = now
            .plus(self.access_lifetime(client))
            .min(vouched.expires_at)
            .min(actor.map_or(UnixTime(u64::MAX), |actor| actor.expires_at));
        if expires_at.has_passed(now) {
            return Err(SubjectFault::Token(GrantFault::Expired).into());
        }
        let grant = Grant {
            kind: FamilyKind::Grant,
            client: Some(client.id.clone()),
            user: Some(vouched.claims),
            sid: self.random_name()?,
            created_at: now,
            absolute_expires_at: expires_at,
            upstream_id_token: None,
            upstream_refresh_token: None,
            claims_at: None,
        };
        let meta = TokenMeta {
            kind: TokenKind::Access,
            client: Some(client.id.clone()),
            scope: narrow_scope(client, None, scope)?,
            audiences: asked.targets.narrow(&self.config, &client.audiences)?,
            issued_at: now,
            expires_at,
            idle_expires_at: None,
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation,
            cnf: asked.proof.map(Proof::confirmation),
        };
        let roots = self.roots().await?;
        if ended::was_ended_since(&self.store, &self.config, &roots, &grant, vouched.issued_at)
            .await?
        {
            return Err(SubjectFault::SignedOut.into());
        }
        self.use_up(asked.proof).await?;
        let (record, token) = new_family(&grant, &meta, roots.current(), &self.world)?;
        let index = ended::subject_keys(&roots, &self.config, &grant);
        self.store
            .create_family(&record, &index, vouched.issued_at)
            .await
            .map_err(|error| match error {
                CreateError::Ended => SubjectFault::SignedOut.into(),
                CreateError::Store(error) => IssueError::from(error),
            })?;
        let subject = jwt::subject(&grant, &meta);
        Ok(Issued {
            expires_in: expires_at.since(now),
            pair: TokenPair {
                access: token,
                refresh: None,
            },
            token_type: meta.token_type(),
            scope: meta.scope,
            subject_tag: grant::subject_tag(roots.current(), &subject),
            family_tag: record.id.tag(),
            healed: false,
        })
    }

    /// Opens an actor token: the client's own, so that nobody acts as another by a
    /// token that went astray. Its first use is noted.
    async fn actor(
        &self,
        client: &ClientConfig,
        text: Option<&str>,
        proof: Option<&Proof>,
    ) -> Result<Option<ActingParty>, IssueError> {
        let Some(text) = text else { return Ok(None) };
        let token = parse(text, TokenKind::Access).map_err(SubjectFault::Token)?;
        let now = self.world.now();
        let roots = self.roots().await?;
        let epoch = self.epoch().await?;
        let record = self
            .find(&token)
            .await
            .map_err(as_subject)?
            .ok_or(SubjectFault::Token(GrantFault::Unknown))?;
        let opened = grant::open(&record, &token, &roots, epoch, now)
            .map_err(|fault| as_subject(fault.into()))?;
        let own = opened.meta.client.as_deref() == Some(client.id.as_str());
        if !own || opened.meta.delegation.act.is_some() {
            return Err(SubjectFault::Actor.into());
        }
        prove_key(&opened, proof)?;
        let ended = self.refuse_ended(&record, &opened, &roots).await;
        ended.map_err(as_subject)?;
        let (first_use, _) = housekeeping(&record, &opened, now);
        if first_use {
            let outlived = grant::outlived_pair(&record, &opened.meta, now);
            let first_use = Change::FirstUse(opened.digest, now);
            let transition = Transition {
                family: record.id,
                conditions: vec![
                    Condition::State(FamilyState::Active),
                    Condition::TokenExists(opened.digest),
                ],
                changes: std::iter::once(first_use)
                    .chain(outlived.map(Change::DropSuccessor))
                    .collect(),
            };
            self.store
                .update_family(&transition)
                .await
                .map_err(|error| match error {
                    UpdateError::Refused(_) => SubjectFault::Token(GrantFault::Revoked).into(),
                    UpdateError::Store(error) => IssueError::from(error),
                })?;
        }
        Ok(Some(ActingParty {
            subject: jwt::subject(&opened.grant, &opened.meta),
            expires_at: opened.meta.expires_at.min(opened.grant.absolute_expires_at),
        }))
    }

    /// Who acts from now on. Without an actor token the client takes the subject's
    /// place, and those who acted before stay on record.
    fn delegation(
        &self,
        client: &ClientConfig,
        before: Delegation,
        actor: Option<String>,
    ) -> Result<Delegation, SubjectFault> {
        let acting = actor.clone().unwrap_or_else(|| client_subject(&client.id));
        if before
            .may_act
            .as_ref()
            .is_some_and(|named| !named.permits(&acting, &self.config.issuer))
        {
            return Err(SubjectFault::MayNotAct);
        }
        match actor {
            None => Ok(before),
            Some(actor) => before.handed_on(actor).ok_or(SubjectFault::TooManyActors),
        }
    }
}

impl Sibling {
    fn into_issued(self, family: FamilyId, now: UnixTime) -> Issued {
        Issued {
            expires_in: self.entry.expires_at.since(now),
            pair: TokenPair {
                access: self.token,
                refresh: None,
            },
            token_type: self.meta.token_type(),
            scope: self.meta.scope,
            subject_tag: self.subject_tag,
            family_tag: family.tag(),
            healed: false,
        }
    }
}

/// A token that is bound to a key is worth nothing without it, to nobody.
fn prove_key(opened: &Opened, proof: Option<&Proof>) -> Result<(), SubjectFault> {
    if opened.meta.cnf.is_none() || opened.meta.key() == proof.map(Proof::key) {
        Ok(())
    } else {
        Err(SubjectFault::Token(GrantFault::Key))
    }
}

/// Whether this is the subject token's first use, and which siblings are dead.
///
/// An access token that came with a refresh token stays though it is dead: as
/// long as it is unused, the pair heals a lost answer.
fn housekeeping(record: &FamilyRecord, opened: &Opened, now: UnixTime) -> (bool, Vec<TokenDigest>) {
    let first_use = opened.meta.notes_first_use
        && grant::find_entry(record, opened.digest).is_some_and(|entry| entry.used_at.is_none());
    let is_dead_sibling = |digest: TokenDigest, entry: &TokenEntry| {
        entry.kind == TokenKind::Access
            && entry.expires_at.has_passed(now)
            && grant::open_meta_of(record, digest, entry, &opened.data_key)
                .is_ok_and(|meta| !meta.notes_first_use)
    };
    let dead = record
        .tokens
        .iter()
        .filter(|(digest, entry)| is_dead_sibling(**digest, entry))
        .map(|(digest, _)| *digest)
        .collect();
    (first_use, dead)
}

/// What is asked for, within what the client may have and what the subject token
/// has. Nobody gets a refresh token here.
fn narrow_scope(
    client: &ClientConfig,
    subject: Option<&ScopeSet>,
    asked: Option<&ScopeSet>,
) -> Result<ScopeSet, IssueError> {
    let own: ScopeSet = client
        .scopes
        .0
        .iter()
        .filter(|scope| *scope != OFFLINE_ACCESS)
        .cloned()
        .collect();
    let most = subject.map_or_else(|| own.clone(), |subject| own.intersection(subject));
    match asked {
        Some(asked) if asked.is_subset(&most) => Ok(asked.clone()),
        Some(_) => Err(IssueError::InvalidScope),
        // "Nothing" has no spelling in the answer (RFC 6749 §3.3), and would be no
        // more than a surprise.
        None if most.is_empty() && subject.is_some_and(|subject| !subject.is_empty()) => {
            Err(IssueError::InvalidScope)
        }
        None => Ok(most),
    }
}

/// A fault of the subject token is not called `invalid_grant` (RFC 8693 §2.2.2).
fn as_subject(error: IssueError) -> IssueError {
    match error {
        IssueError::InvalidGrant(fault) => SubjectFault::Token(fault).into(),
        other => other,
    }
}

impl From<SubjectFault> for IssueError {
    fn from(fault: SubjectFault) -> Self {
        Self::InvalidSubject(fault)
    }
}

impl From<IdpError> for IssueError {
    fn from(error: IdpError) -> Self {
        match error {
            IdpError::Unknown => SubjectFault::NotVouchedFor("of no provider").into(),
            IdpError::Refused(why) => SubjectFault::NotVouchedFor(why).into(),
            IdpError::Unavailable(_) => Self::Unavailable("the provider is unavailable"),
        }
    }
}

#[cfg(test)]
mod tests;
