use super::*;
use crate::authorize::{Authorizer, Scheme, Verdict};
use crate::client::ClientCredentials;
use crate::config::Config;
use crate::family::{FamilyKind, FamilyState};
use crate::grant::{self, Grant, TokenMeta, new_family};
use crate::introspect::{Answer, IntrospectError, Introspector, Question};
use crate::issue::{IssueError, Revocation, TokenRequest, TokenService};
use crate::login::{LoginService, SessionError};
use crate::testing::{
    MemoryStore, SECRET, SequenceEntropy, TestClock, TestProviders, TestRoots, TestSigner,
    grant_of, meta, root, system, world,
};
use crate::token::{OpaqueToken, TokenKind};
use std::sync::Arc;

const NOW: UnixTime = UnixTime(1_100);

fn sealed_by(key: &RootKey) -> (FamilyRecord, OpaqueToken) {
    let entropy = SequenceEntropy::default();
    new_family(&grant_of("alice"), &meta(), key, &entropy).unwrap()
}

fn fault(record: &FamilyRecord, token: &OpaqueToken, roots: &RootKeys) -> Option<TokenFault> {
    grant::open(record, token, roots, UnixTime(0), NOW).err()
}

#[test]
fn a_key_that_is_listed_opens_and_one_that_no_longer_is_does_not() {
    let (record, token) = sealed_by(&root(1));
    let rotation: [(&[u8], _); 5] = [
        (&[1], None),
        (&[1, 2], None),
        (&[2, 1], None),
        (&[2], Some(TokenFault::Retired)),
        (&[2, 3], Some(TokenFault::Retired)),
    ];
    for (listed, expected) in rotation {
        let others = listed[1..].iter().copied().map(root).collect();
        let roots = RootKeys::new(root(listed[0]), others);
        assert_eq!(fault(&record, &token, &roots), expected, "{listed:?}");
    }
}

#[test]
fn a_key_that_can_be_newer_than_the_list_is_unavailable() {
    let (record, token) = sealed_by(&root(2));
    let at = |seconds| RootKeys::new(root(1), vec![]).loaded_at(UnixTime(seconds));
    let began = record.created_at.0;
    for (loaded_at, expected) in [
        (began - 1, TokenFault::Unreadable),
        (began, TokenFault::Retired),
        (began + 1, TokenFault::Retired),
    ] {
        assert_eq!(fault(&record, &token, &at(loaded_at)), Some(expected));
    }
    // The time makes no unlisted key a listed one, and no listed one unlisted.
    let (record, token) = sealed_by(&root(1));
    assert_eq!(fault(&record, &token, &at(began - 1)), None);
}

/// One deployed version: all that it can do, with its list of MAC keys.
struct Deployed {
    authorizer: Authorizer<MemoryStore, TestSigner, TestRoots>,
    introspector: Introspector<MemoryStore, TestSigner, TestRoots>,
    tokens: TokenService<MemoryStore, TestRoots>,
    login: LoginService<MemoryStore, TestRoots, TestProviders>,
    config: Arc<Config>,
    store: MemoryStore,
}

impl Deployed {
    fn with(roots: RootKeys) -> Self {
        let mut config = system();
        for client in &mut config.clients {
            if client.id == "server" {
                client.audience = Some("orders".into());
            }
        }
        let (config, store) = (Arc::new(config), MemoryStore::default());
        let (roots, signer) = (TestRoots::of(roots), TestSigner::new());
        let clock = TestClock::at(NOW.0);
        Self {
            authorizer: Authorizer::new(
                Arc::clone(&config),
                UnixTime(0),
                store.clone(),
                signer.clone(),
                roots.clone(),
                world(&clock),
            ),
            introspector: Introspector::new(
                Arc::clone(&config),
                UnixTime(0),
                store.clone(),
                signer,
                roots.clone(),
                world(&clock),
            ),
            tokens: TokenService::new(
                Arc::clone(&config),
                UnixTime(0),
                store.clone(),
                roots.clone(),
                world(&clock),
            ),
            login: LoginService::new(
                Arc::clone(&config),
                UnixTime(0),
                store.clone(),
                roots,
                TestProviders::default(),
                world(&clock),
            ),
            config,
            store,
        }
    }

    /// A token that an earlier version sealed with key 1.
    fn stored(&self, kind: TokenKind, client: Option<&str>) -> OpaqueToken {
        let grant = Grant {
            kind: client.map_or(FamilyKind::Session, |_| FamilyKind::Grant),
            client: client.map(Into::into),
            ..grant_of("alice")
        };
        let meta = TokenMeta {
            kind,
            client: client.map(Into::into),
            audiences: Vec::new(),
            expires_at: grant.absolute_expires_at,
            idle_expires_at: client.is_none().then_some(UnixTime(NOW.0 + 500)),
            ..meta()
        };
        let entropy = SequenceEntropy::starting_at(7);
        let (record, token) = new_family(&grant, &meta, &root(1), &entropy).unwrap();
        self.store.insert(record);
        token
    }

    /// What every endpoint says to such a token, in one word each.
    async fn says(&self) -> [&'static str; 6] {
        let app = ClientCredentials::Public { id: "app" };
        [
            self.authorizes(Scheme::Bearer, &self.stored(TokenKind::Access, Some("app")))
                .await,
            self.authorizes(Scheme::Session, &self.stored(TokenKind::Session, None))
                .await,
            self.introspects(&self.stored(TokenKind::Access, Some("app")))
                .await,
            {
                let token = self.stored(TokenKind::Refresh, Some("app"));
                let token = token.expose();
                let request = TokenRequest::RefreshToken { token, scope: None };
                match self.tokens.issue(&app, &request).await {
                    Ok(_) => "yes",
                    Err(IssueError::InvalidGrant(_)) => "no",
                    Err(IssueError::Unavailable(_)) => "unavailable",
                    Err(other) => panic!("{other:?}"),
                }
            },
            {
                let token = self.stored(TokenKind::Session, None);
                match self.login.session(token.expose(), false).await {
                    Ok(_) => "yes",
                    Err(SessionError::NoSession) => "no",
                    Err(SessionError::Unavailable(_)) => "unavailable",
                    Err(other) => panic!("{other:?}"),
                }
            },
            {
                let token = self.stored(TokenKind::Session, None);
                match self.login.ticket(token.expose()).await {
                    Ok(_) => "yes",
                    Err(SessionError::NoSession) => "no",
                    Err(SessionError::Unavailable(_)) => "unavailable",
                    Err(other) => panic!("{other:?}"),
                }
            },
        ]
    }

    async fn authorizes(&self, scheme: Scheme<'_>, token: &OpaqueToken) -> &'static str {
        let asked = self
            .authorizer
            .authorize(scheme, token.expose(), "GET", "/api/orders");
        match asked.await.0 {
            Verdict::Allow(_) => "yes",
            Verdict::Unauthorized(_) => "no",
            Verdict::Unavailable(_) => "unavailable",
            Verdict::Forbidden(why) => panic!("{why:?}"),
        }
    }

    async fn introspects(&self, token: &OpaqueToken) -> &'static str {
        let caller = self.config.client("server").unwrap();
        let question = Question {
            token: token.expose(),
            resource: None,
        };
        match self.introspector.describe(caller, &question).await.0 {
            Ok(Answer::Active(_)) => "yes",
            Ok(Answer::Inactive(_)) => "no",
            Err(IntrospectError::Unavailable(_)) => "unavailable",
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_endpoint_refuses_a_token_whose_mac_key_is_no_longer_listed() {
    for (roots, expected) in [
        (RootKeys::new(root(1), vec![]), "yes"),
        (RootKeys::new(root(1), vec![root(2)]), "yes"),
        (RootKeys::new(root(2), vec![root(1)]), "yes"),
        (RootKeys::new(root(2), vec![]), "no"),
        // A function that was not given the key yet, or a version that an alias went back to.
        (
            RootKeys::new(root(2), vec![]).loaded_at(UnixTime(1)),
            "unavailable",
        ),
    ] {
        let told = format!("{roots:?}");
        let says = Deployed::with(roots).says().await;
        assert_eq!(says, [expected; 6], "{told}");
    }
}

#[tokio::test]
async fn its_own_client_revokes_such_a_token_for_good_and_another_does_not() {
    let server = ClientCredentials::Secret {
        id: "server",
        secret: SECRET,
    };
    for (credentials, expected, state) in [
        (
            ClientCredentials::Public { id: "app" },
            Revocation::Done,
            FamilyState::Revoked,
        ),
        (server, Revocation::Nothing, FamilyState::Active),
    ] {
        let deployed = Deployed::with(RootKeys::new(root(2), vec![]));
        let token = deployed.stored(TokenKind::Refresh, Some("app"));
        let revoked = deployed.tokens.revoke(&credentials, token.expose()).await;
        assert_eq!(revoked.unwrap(), expected);
        assert_eq!(deployed.store.record(token.family()).state, state);
    }
}
