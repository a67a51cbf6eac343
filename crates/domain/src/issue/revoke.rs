//! Revocation (RFC 7009).

use super::{IssueError, TokenService};
use crate::client::ClientCredentials;
use crate::family::{Change, Condition, FamilyRecord, FamilyState, Transition};
use crate::grant::{self, TokenFault};
use crate::ports::{
    CreateFamily, FindFamily, ReadEpoch, Roots, UpdateError, UpdateFamily, UseOnce,
};
use crate::token::{OpaqueToken, TokenKind};

impl<S, R> TokenService<S, R>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
{
    /// Revokes the family of an access or refresh token (RFC 7009 §2.1). A token that is
    /// unknown, or another client's, is nothing to tell the caller about (§2.2).
    ///
    /// # Errors
    ///
    /// [`IssueError::InvalidClient`], or [`IssueError::Unavailable`] when the
    /// family may still be alive.
    pub async fn revoke(
        &self,
        credentials: &ClientCredentials<'_>,
        text: &str,
    ) -> Result<Revocation, IssueError> {
        let client = self.authenticate(credentials)?;
        let Ok(token) = OpaqueToken::parse(text) else {
            return Ok(Revocation::Nothing);
        };
        if !matches!(token.kind(), TokenKind::Access | TokenKind::Refresh) {
            return Ok(Revocation::Nothing);
        }
        // An item that we cannot read may belong to a living family.
        let Some(record) = self.store.find_family(&token.family()).await? else {
            return Ok(Revocation::Nothing);
        };
        let roots = self.roots().await?;
        let owner = match grant::open_whatever_its_state(&record, &token, &roots) {
            Ok(opened) => opened.meta.client,
            Err(TokenFault::Unreadable) => return Err(TokenFault::Unreadable.into()),
            // The MAC key may be listed again. And a used refresh token of an older
            // generation has no entry any more, but whoever holds it was its client.
            Err(fault)
                if fault == TokenFault::Retired || record.spent.contains(&token.digest()) =>
            {
                Some(record.client.clone())
            }
            // Somebody wrote to the table. The client holds a token of a login that is its
            // own, by all that can still be read: what it asks for is done.
            Err(TokenFault::Broken) if record.client == client.id => {
                self.end_family(&record).await?;
                return Ok(Revocation::Broken);
            }
            Err(TokenFault::Broken) => return Ok(Revocation::Broken),
            Err(_) => return Ok(Revocation::Nothing),
        };
        if owner.as_deref() != Some(client.id.as_str()) {
            return Ok(Revocation::Nothing);
        }
        if client.id == record.client {
            self.end_family(&record).await?;
        } else {
            // It was got by exchange: the rest of the family is the subject's.
            self.forget(&record, &token).await?;
        }
        Ok(Revocation::Done)
    }

    /// Takes one token back.
    async fn forget(&self, record: &FamilyRecord, token: &OpaqueToken) -> Result<(), IssueError> {
        let transition = Transition {
            family: record.id,
            conditions: vec![Condition::State(FamilyState::Active)],
            changes: vec![Change::RemoveToken(token.digest())],
        };
        match self.store.update_family(&transition).await {
            // Refused: the whole family is over.
            Ok(()) | Err(UpdateError::Refused(_)) => Ok(()),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }
}

/// What came of a revocation; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revocation {
    /// There was something to revoke.
    Done,
    /// There was not.
    Nothing,
    /// A seal is broken: somebody wrote to the table who should not have. If the login
    /// is the client's, it is over.
    Broken,
}

impl Revocation {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "revoked",
            Self::Nothing => "nothing_to_revoke",
            Self::Broken => "broken_seal",
        }
    }
}
