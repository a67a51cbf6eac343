//! What a client asks for in an exchange (RFC 8693 §2.1), and why it is refused.

use crate::family::FamilyId;
use crate::issue::GrantFault;
use crate::token::OpaqueToken;

/// The `grant_type`.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The names of token types that we know (RFC 8693 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenType {
    /// An access token of ours.
    AccessToken,
    /// An ID token of a provider of ours.
    IdToken,
}

impl TokenType {
    /// What we issue.
    pub const ISSUED: &'static str = "urn:ietf:params:oauth:token-type:access_token";

    /// Reads a type's URI. The only JWT that anybody outside has is an ID token.
    pub fn parse(uri: &str) -> Option<Self> {
        match uri {
            Self::ISSUED => Some(Self::AccessToken),
            "urn:ietf:params:oauth:token-type:id_token"
            | "urn:ietf:params:oauth:token-type:jwt" => Some(Self::IdToken),
            _ => None,
        }
    }
}

/// What a client asks for (RFC 8693 §2.1), once its form is in order.
#[derive(Clone, Copy)]
pub struct ExchangeRequest<'a> {
    /// About whom.
    pub subject_token: &'a str,
    /// What that is.
    pub subject_token_type: TokenType,
    /// Who will act, if it is not simply the client in the subject's place: an
    /// access token of ours.
    pub actor_token: Option<&'a str>,
    /// Less than the subject token may do, if present.
    pub scope: Option<&'a str>,
}

impl std::fmt::Debug for ExchangeRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeRequest({:?})", self.subject_token_type)
    }
}

impl ExchangeRequest<'_> {
    /// The family that the subject token claims, for logs.
    pub fn family(&self) -> Option<FamilyId> {
        OpaqueToken::parse(self.subject_token)
            .ok()
            .map(|token| token.family())
    }
}

/// What is wrong with a subject or actor token; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubjectFault {
    /// As for a code or refresh token.
    Token(GrantFault),
    /// The client may not exchange tokens of the one to whom it was issued.
    NotForThisClient,
    /// No provider of ours vouches for it, or not for us. The text is ours.
    NotVouchedFor(&'static str),
    /// The subject was signed out everywhere since.
    SignedOut,
    /// The ID token was issued so long ago that a sign-out since then may be forgotten.
    TooOld,
    /// The actor token is another client's, or itself delegated.
    Actor,
    /// The subject token names somebody else who may act.
    MayNotAct,
    /// The chain of actors would be too long.
    TooManyActors,
}

impl SubjectFault {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token(fault) => fault.name(),
            Self::NotForThisClient => "not_for_this_client",
            Self::NotVouchedFor(_) => "not_vouched_for",
            Self::SignedOut => "signed_out",
            Self::TooOld => "too_old",
            Self::Actor => "actor",
            Self::MayNotAct => "may_not_act",
            Self::TooManyActors => "too_many_actors",
        }
    }
}
