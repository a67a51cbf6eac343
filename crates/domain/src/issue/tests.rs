mod boundaries;
mod dpop;
mod tombstones;

use super::*;
use crate::client::SecretHash;
use crate::ended::Reach;
use crate::family::FamilyId;
use crate::grant::CodeBinding;
use crate::ports::SubjectIndex;
use crate::testing::{
    Calls, Fault, MemoryStore, SECRET, SequenceEntropy, TestClock, TestRoots, Verb, grant_of, meta,
    root, roots, system, world,
};
use std::collections::BTreeSet;

const NOW: u64 = 1_100;
const REDIRECT: &str = "http://127.0.0.1:5000/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const APP: ClientCredentials<'static> = ClientCredentials::Public { id: "app" };
const SERVER: ClientCredentials<'static> = secret_of("server");
const MACHINE: ClientCredentials<'static> = secret_of("machine");

const fn secret_of(id: &str) -> ClientCredentials<'_> {
    ClientCredentials::Secret { id, secret: SECRET }
}

/// A token service, and every hand that can reach into its world.
struct Desk {
    service: TokenService<MemoryStore, TestRoots>,
    store: MemoryStore,
    roots: TestRoots,
    clock: TestClock,
    entropy: SequenceEntropy,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = system();
        edit(&mut config);
        let (store, roots, clock) = (MemoryStore::default(), TestRoots::new(), TestClock::at(NOW));
        Self {
            service: TokenService::new(
                Arc::new(config),
                UnixTime(0),
                store.clone(),
                roots.clone(),
                world(&clock),
            ),
            store,
            roots,
            clock,
            entropy: SequenceEntropy::starting_at(5),
        }
    }

    /// A code as the authorization endpoint leaves it, issued now.
    fn code(&self, edit: impl FnOnce(&mut Grant, &mut TokenMeta)) -> OpaqueToken {
        let now = self.clock.now();
        let mut grant = Grant {
            created_at: now,
            absolute_expires_at: now.plus(10_000_000),
            ..grant_of("alice")
        };
        let mut meta = TokenMeta {
            kind: TokenKind::Code,
            scope: scope("offline_access orders:read orders:write"),
            audiences: Vec::new(),
            issued_at: now,
            expires_at: now.plus(60),
            code: Some(CodeBinding {
                redirect_uri: REDIRECT.into(),
                challenge: BASE64URL.encode(sha256(VERIFIER.as_bytes())),
                jkt: None,
            }),
            ..meta()
        };
        edit(&mut grant, &mut meta);
        let (record, code) = new_family(&grant, &meta, &root(1), &self.entropy).unwrap();
        self.store.insert(record);
        code
    }

    async fn redeem(&self, code: &OpaqueToken) -> Result<Issued, IssueError> {
        let request = redemption(code.expose(), REDIRECT, VERIFIER);
        self.service.issue(&APP, &request).await
    }

    /// A family that has just been started by a code.
    async fn pair(&self) -> Issued {
        self.redeem(&self.code(|_, _| {})).await.unwrap()
    }

    async fn refresh(&self, token: &OpaqueToken) -> Result<Issued, IssueError> {
        self.refresh_as(&APP, token.expose(), None).await
    }

    async fn refresh_as(
        &self,
        client: &ClientCredentials<'_>,
        token: &str,
        scope: Option<&str>,
    ) -> Result<Issued, IssueError> {
        let request = TokenRequest::RefreshToken { token, scope };
        self.service.issue(client, &request).await
    }

    async fn machine(&self, scope: Option<&str>) -> Result<Issued, IssueError> {
        let request = TokenRequest::ClientCredentials { scope };
        self.service.issue(&MACHINE, &request).await
    }

    /// What the authorizer does when it first accepts an access token.
    fn use_access(&self, issued: &Issued) {
        let digest = issued.pair.access.digest();
        assert!(self.store.carry_out(&Transition {
            family: issued.pair.access.family(),
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::TokenExists(digest),
            ],
            changes: vec![Change::FirstUse(digest, self.clock.now())],
        }));
    }

    fn opens(&self, token: &OpaqueToken) -> Result<Opened, TokenFault> {
        let record = self.store.record(token.family());
        grant::open(&record, token, &roots(), UnixTime(0), self.clock.now())
    }

    fn state(&self, issued: &Issued) -> FamilyState {
        self.store.record(issued.pair.access.family()).state
    }
}

fn redemption<'a>(code: &'a str, redirect_uri: &'a str, verifier: &'a str) -> TokenRequest<'a> {
    TokenRequest::AuthorizationCode {
        code,
        redirect_uri,
        code_verifier: verifier,
    }
}

fn scope(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn refresh_of(issued: &Issued) -> &OpaqueToken {
    issued.pair.refresh.as_ref().unwrap()
}

/// Both texts of a pair.
fn texts(issued: &Issued) -> (String, String) {
    (
        issued.pair.access.expose().to_owned(),
        refresh_of(issued).expose().to_owned(),
    )
}

fn fault<T>(result: Result<T, IssueError>) -> GrantFault {
    match result.map(|_| ()) {
        Err(IssueError::InvalidGrant(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn error<T>(result: Result<T, IssueError>) -> IssueError {
    result.map(|_| ()).unwrap_err()
}

/// What an operator takes from a client it has no more with its next token, whatever it
/// was granted; a client from which nothing was taken notices nothing.
#[tokio::test]
async fn what_is_taken_from_a_client_its_next_tokens_lack_d52() {
    let desk = Desk::new();
    let (first, other) = (desk.pair().await, desk.pair().await);
    let code = desk.code(|_, _| {});
    let mut config = system();
    let app = config.clients.iter_mut().find(|client| client.id == "app");
    app.unwrap()
        .scopes
        .0
        .retain(|scope| scope != "orders:write");
    let less = Desk {
        service: TokenService::new(
            Arc::new(config),
            UnixTime(0),
            desk.store.clone(),
            desk.roots.clone(),
            world(&desk.clock),
        ),
        entropy: SequenceEntropy::starting_at(6),
        ..Desk::new()
    };
    let asked = less.refresh_as(&APP, refresh_of(&first).expose(), Some("orders:write"));
    assert_eq!(error(asked.await), IssueError::InvalidScope);
    for issued in [
        less.refresh(refresh_of(&first)).await.unwrap(),
        less.redeem(&code).await.unwrap(),
    ] {
        assert_eq!(issued.scope, scope("offline_access orders:read"));
    }
    let same = desk.refresh(refresh_of(&other)).await.unwrap();
    assert_eq!(same.scope, scope("offline_access orders:read orders:write"));
}

// Clients.

#[tokio::test]
async fn a_client_is_who_it_proves_to_be() {
    let desk = Desk::new();
    let public = |id| ClientCredentials::Public { id };
    let refused = [
        public("stranger"),
        public(""),
        public("machine"),
        secret_of("stranger"),
        secret_of("app"),
        ClientCredentials::Secret {
            id: "machine",
            secret: "",
        },
        ClientCredentials::Secret {
            id: "machine",
            secret: "a-secret-of-256-bit",
        },
        ClientCredentials::Secret {
            id: "MACHINE",
            secret: SECRET,
        },
    ];
    for credentials in &refused {
        let request = TokenRequest::ClientCredentials { scope: None };
        assert_eq!(
            error(desk.service.issue(credentials, &request).await),
            IssueError::InvalidClient,
            "D54"
        );
        assert_eq!(
            error(desk.service.revoke(credentials, "x").await),
            IssueError::InvalidClient,
            "D54"
        );
    }
    assert_eq!(desk.store.take_calls(), Calls::default());
    desk.machine(None).await.unwrap();
}

#[tokio::test]
async fn the_secret_of_another_client_is_no_secret() {
    let desk = Desk::with(|config| {
        config.clients[1].secrets = vec![SecretHash::of_generated("of the server")];
    });
    let request = TokenRequest::ClientCredentials { scope: None };
    for (id, secret) in [("machine", "of the server"), ("server", SECRET)] {
        let credentials = ClientCredentials::Secret { id, secret };
        assert_eq!(
            error(desk.service.issue(&credentials, &request).await),
            IssueError::InvalidClient,
            "D54"
        );
    }
}

#[tokio::test]
async fn a_client_uses_only_the_grants_it_was_given() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    let credentials = TokenRequest::ClientCredentials { scope: None };
    let redeem = redemption(code.expose(), REDIRECT, VERIFIER);
    let refresh = TokenRequest::RefreshToken {
        token: "x",
        scope: None,
    };
    for (client, request) in [
        (&APP, &credentials),
        (&SERVER, &credentials),
        (&MACHINE, &redeem),
        (&MACHINE, &refresh),
    ] {
        assert_eq!(
            error(desk.service.issue(client, request).await),
            IssueError::UnauthorizedClient
        );
    }
    assert_eq!(desk.store.take_calls(), Calls::default());
}

#[tokio::test]
async fn a_machine_gets_what_it_asks_for_within_what_it_may_have() {
    let desk = Desk::new();
    for (asked, got) in [
        (None, "orders:read orders:write"),
        (Some("orders:read"), "orders:read"),
        (Some("orders:write orders:read"), "orders:read orders:write"),
    ] {
        let issued = desk.machine(asked).await.unwrap();
        assert_eq!(issued.scope.to_string(), got);
        assert_eq!(issued.expires_in, 120);
        assert!(issued.pair.refresh.is_none(), "RFC 6749 §4.4.3");
        let opened = desk.opens(&issued.pair.access).unwrap();
        assert_eq!(opened.meta.scope, issued.scope);
        assert_eq!(opened.meta.audiences, ["orders"]);
        assert_eq!(opened.meta.client.as_deref(), Some("machine"));
        assert!(opened.grant.user.is_none());
        assert_eq!(opened.meta.expires_at, UnixTime(NOW + 120));
        assert_eq!(opened.subject_tag, issued.subject_tag);
    }
    for asked in [
        "orders:delete",
        "orders:read orders:delete",
        "openid",
        "offline_access",
        "profile",
        "orders:read email",
    ] {
        assert_eq!(
            error(desk.machine(Some(asked)).await),
            IssueError::InvalidScope,
            "D57: {asked}"
        );
    }
    for asked in ["", " ", "orders:read orders:read", "orders:read\0"] {
        assert_eq!(
            error(desk.machine(Some(asked)).await),
            IssueError::InvalidScope,
            "D52: {asked:?}"
        );
    }
    assert_eq!(desk.store.families().len(), 3, "a refusal writes nothing");
}

// Codes.

#[tokio::test]
async fn a_code_is_redeemed_for_a_pair_of_its_scope() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    assert_eq!(issued.expires_in, 600);
    assert!(!issued.healed);
    assert_eq!(
        issued.scope.to_string(),
        "offline_access orders:read orders:write"
    );
    let access = desk.opens(&issued.pair.access).unwrap();
    assert!(access.meta.notes_first_use);
    assert_eq!(access.grant.user.unwrap().sub, "demo|alice");
    let refresh = desk.opens(refresh_of(&issued)).unwrap();
    assert_eq!(refresh.meta.expires_at, UnixTime(NOW + 14 * 86_400));
}

#[tokio::test]
async fn only_who_asked_for_offline_access_gets_a_refresh_token() {
    let desk = Desk::new();
    let code = desk.code(|_, meta| meta.scope = scope("orders:read"));
    let issued = desk.redeem(&code).await.unwrap();
    assert!(issued.pair.refresh.is_none());
    assert!(
        !desk
            .opens(&issued.pair.access)
            .unwrap()
            .meta
            .notes_first_use
    );
    let desk = Desk::with(|config| config.clients[0].grants.truncate(1));
    let issued = desk.redeem(&desk.code(|_, _| {})).await.unwrap();
    assert!(issued.pair.refresh.is_none());
}

#[tokio::test]
async fn a_wrong_redemption_burns_nothing() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    let text = code.expose();
    let altered = VERIFIER.replace('d', "e");
    let long = "a".repeat(129);
    let challenge = BASE64URL.encode(sha256(VERIFIER.as_bytes()));
    let cases = [
        (&APP, redemption(text, "", VERIFIER), GrantFault::Binding),
        (
            &APP,
            redemption(text, "http://127.0.0.1:5001/callback", VERIFIER),
            GrantFault::Binding,
        ),
        (&APP, redemption(text, REDIRECT, ""), GrantFault::Binding),
        (
            &APP,
            redemption(text, REDIRECT, &altered),
            GrantFault::Binding,
        ),
        (
            &APP,
            redemption(text, REDIRECT, &challenge),
            GrantFault::Binding,
        ),
        (&APP, redemption(text, REDIRECT, &long), GrantFault::Binding),
        (
            &SERVER,
            redemption(text, REDIRECT, VERIFIER),
            GrantFault::OtherClient,
        ),
    ];
    for (i, (client, request, expected)) in cases.iter().enumerate() {
        assert_eq!(
            fault(desk.service.issue(client, request).await),
            *expected,
            "D1: {i}"
        );
    }
    assert_eq!(desk.store.take_calls().update, 0);
    desk.redeem(&code).await.unwrap();
}

#[tokio::test]
async fn a_short_verifier_is_refused_even_if_its_hash_fits() {
    let desk = Desk::new();
    let code = desk.code(|_, meta| {
        meta.code.as_mut().unwrap().challenge = BASE64URL.encode(sha256(b"guess"));
    });
    let request = redemption(code.expose(), REDIRECT, "guess");
    assert_eq!(
        fault(desk.service.issue(&APP, &request).await),
        GrantFault::Binding,
        "RFC 7636 §4.1"
    );
}

#[tokio::test]
async fn only_a_code_is_redeemed_and_only_a_refresh_token_refreshes() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    let code = desk.code(|_, _| {});
    for text in [
        "",
        "x",
        issued.pair.access.expose(),
        refresh_of(&issued).expose(),
    ] {
        let request = redemption(text, REDIRECT, VERIFIER);
        assert_eq!(
            fault(desk.service.issue(&APP, &request).await),
            GrantFault::Unknown,
            "D30"
        );
    }
    for text in ["", "x", issued.pair.access.expose(), code.expose()] {
        assert_eq!(
            fault(desk.refresh_as(&APP, text, None).await),
            GrantFault::Unknown,
            "D30"
        );
    }
    assert_eq!(desk.state(&issued), FamilyState::Active);
}

#[tokio::test]
async fn a_code_that_is_presented_twice_takes_back_what_it_gave() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    let issued = desk.redeem(&code).await.unwrap();
    assert_eq!(
        fault(desk.redeem(&code).await),
        GrantFault::CodeReplayed,
        "RFC 6749 §4.1.2"
    );
    assert_eq!(desk.state(&issued), FamilyState::Revoked);
    assert_eq!(
        desk.opens(&issued.pair.access).unwrap_err(),
        TokenFault::Revoked
    );
    assert_eq!(fault(desk.redeem(&code).await), GrantFault::Revoked);
}

#[tokio::test]
async fn a_thief_without_the_verifier_takes_nothing_back() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    let issued = desk.redeem(&code).await.unwrap();
    let stolen = redemption(code.expose(), REDIRECT, REDIRECT);
    assert_eq!(
        fault(desk.service.issue(&APP, &stolen).await),
        GrantFault::Binding
    );
    assert_eq!(desk.state(&issued), FamilyState::Active);
}

#[tokio::test]
async fn of_two_redemptions_at_once_none_keeps_its_tokens() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    let (a, b) = tokio::join!(desk.redeem(&code), desk.redeem(&code));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(fault(lost), GrantFault::CodeReplayed);
    assert_eq!(desk.state(&won.unwrap()), FamilyState::Revoked);
}

#[tokio::test]
async fn a_code_is_dead_at_its_expiry() {
    for (later, is_good) in [(59, true), (60, false)] {
        let desk = Desk::new();
        let code = desk.code(|_, _| {});
        desk.clock.advance(later);
        let result = desk.redeem(&code).await;
        assert_eq!(result.is_ok(), is_good, "{later}");
        if !is_good {
            assert_eq!(fault(result), GrantFault::Expired);
        }
    }
}

#[tokio::test]
async fn a_code_of_a_revoked_family_or_before_the_epoch_gives_nothing() {
    let desk = Desk::new();
    let code = desk.code(|_, _| {});
    desk.store.set_epoch(NOW + 1);
    assert_eq!(fault(desk.redeem(&code).await), GrantFault::Expired, "D68");
    desk.store.set_epoch(0);
    desk.store
        .before_next_update(Transition::revoke(code.family()));
    assert_eq!(fault(desk.redeem(&code).await), GrantFault::Revoked);
    assert_eq!(fault(desk.redeem(&code).await), GrantFault::Revoked);
}

#[tokio::test]
async fn a_planted_code_is_refused() {
    let desk = Desk::new();
    let (alice, bob) = (desk.code(|_, _| {}), desk.code(|_, _| {}));
    let good = desk.store.record(bob.family());
    desk.store.tamper(alice.family(), |record| {
        record.grant = good.grant.clone();
    });
    assert_eq!(fault(desk.redeem(&alice).await), GrantFault::Broken, "D75");
    assert!(desk.redeem(&bob).await.is_ok());
    desk.store.fail_next(Verb::Find, Fault::Malformed);
    assert_eq!(fault(desk.redeem(&bob).await), GrantFault::Broken, "D32");
}

// Rotation.

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_the_old_access_token_lives_on() {
    let desk = Desk::new();
    let first = desk.pair().await;
    desk.clock.advance(100);
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    assert!(!second.healed);
    assert_ne!(texts(&first), texts(&second));
    assert!(desk.opens(&first.pair.access).is_ok());
    assert!(desk.opens(&second.pair.access).is_ok());
    let record = desk.store.record(first.pair.access.family());
    assert_eq!(record.generation, 1);
    desk.clock.advance(500);
    assert_eq!(
        desk.opens(&first.pair.access).unwrap_err(),
        TokenFault::Expired
    );
    assert!(desk.opens(&second.pair.access).is_ok());
}

#[tokio::test]
async fn a_lost_answer_is_healed_while_the_successor_is_unused_however_late() {
    let desk = Desk::new();
    let first = desk.pair().await;
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    for later in [0, 1, 10, 500, 100_000] {
        desk.clock.advance(later);
        let again = desk.refresh(refresh_of(&first)).await.unwrap();
        assert!(again.healed);
        assert_eq!(texts(&again), texts(&second), "D50: {later}");
    }
    assert_eq!(desk.store.record(second.pair.access.family()).generation, 1);
    desk.refresh(refresh_of(&second)).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_healed_within_ten_seconds_though_the_successor_is_used() {
    for (later, heals) in [(0, true), (9, true), (10, false), (11, false)] {
        let desk = Desk::new();
        let first = desk.pair().await;
        let second = desk.refresh(refresh_of(&first)).await.unwrap();
        desk.use_access(&second);
        desk.clock.advance(later);
        let again = desk.refresh(refresh_of(&first)).await;
        if heals {
            assert_eq!(texts(&again.unwrap()), texts(&second), "D48: {later}");
            assert_eq!(desk.state(&first), FamilyState::Active);
        } else {
            assert_eq!(fault(again), GrantFault::Reused, "D47: {later}");
            assert_eq!(desk.state(&first), FamilyState::Revoked, "D47");
            assert_eq!(
                fault(desk.refresh(refresh_of(&second)).await),
                GrantFault::Revoked,
                "D47: the whole family"
            );
        }
    }
}

#[tokio::test]
async fn an_older_generation_ends_the_family_at_once() {
    let desk = Desk::new();
    let first = desk.pair().await;
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    let third = desk.refresh(refresh_of(&second)).await.unwrap();
    assert_eq!(
        fault(desk.refresh(refresh_of(&first)).await),
        GrantFault::Reused,
        "D47"
    );
    assert_eq!(desk.state(&third), FamilyState::Revoked, "D47");
    assert!(desk.opens(&third.pair.access).is_err());
}

#[tokio::test]
async fn a_replay_is_one_even_after_the_token_would_have_expired() {
    let desk = Desk::with(|config| config.lifetimes.refresh_token_idle = 1_000);
    let first = desk.pair().await;
    desk.clock.advance(900);
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    desk.clock.advance(100);
    assert_eq!(
        fault(desk.refresh(refresh_of(&first)).await),
        GrantFault::Expired,
        "unused: an expired token heals nothing, and accuses nobody"
    );
    desk.use_access(&second);
    assert_eq!(
        fault(desk.refresh(refresh_of(&first)).await),
        GrantFault::Reused,
        "D47"
    );
    assert_eq!(desk.state(&second), FamilyState::Revoked, "D47");
}

#[tokio::test]
async fn knowing_a_family_id_revokes_nothing() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    let family = issued.pair.access.family();
    for kind in [TokenKind::Refresh, TokenKind::Code] {
        let guess = OpaqueToken::generate(kind, family, &desk.entropy).unwrap();
        let result = match kind {
            TokenKind::Code => desk.redeem(&guess).await,
            _ => desk.refresh(&guess).await,
        };
        assert_eq!(fault(result), GrantFault::Unknown);
    }
    let guess = OpaqueToken::generate(TokenKind::Access, family, &desk.entropy).unwrap();
    assert_eq!(
        desk.service.revoke(&APP, guess.expose()).await.unwrap(),
        Revocation::Nothing
    );
    let nowhere =
        OpaqueToken::generate(TokenKind::Refresh, FamilyId([9; 16]), &desk.entropy).unwrap();
    assert_eq!(fault(desk.refresh(&nowhere).await), GrantFault::Unknown);
    assert_eq!(desk.state(&issued), FamilyState::Active);
    assert_eq!(desk.store.take_calls().update, 1, "the redemption");
}

#[tokio::test]
async fn a_refresh_token_in_another_clients_hands_ends_its_family() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    let text = refresh_of(&issued).expose();
    assert_eq!(
        fault(desk.refresh_as(&SERVER, text, None).await),
        GrantFault::Reused,
        "D51"
    );
    assert_eq!(desk.state(&issued), FamilyState::Revoked, "D51");
}

#[tokio::test]
async fn a_refresh_narrows_the_scope_and_never_widens_it() {
    let desk = Desk::new();
    let code = desk.code(|_, meta| meta.scope = scope("offline_access orders:read"));
    let first = desk.redeem(&code).await.unwrap();
    let text = refresh_of(&first).expose();
    for asked in ["orders:write", "orders:read orders:write", "", "a\0"] {
        assert_eq!(
            error(desk.refresh_as(&APP, text, Some(asked)).await),
            IssueError::InvalidScope,
            "D52: {asked:?}"
        );
    }
    let second = desk
        .refresh_as(&APP, text, Some("orders:read"))
        .await
        .unwrap();
    assert_eq!(second.scope.to_string(), "orders:read");
    let opened = desk.opens(&second.pair.access).unwrap();
    assert_eq!(opened.meta.scope.to_string(), "orders:read");
    let third = desk.refresh(refresh_of(&second)).await.unwrap();
    assert_eq!(
        third.scope.to_string(),
        "offline_access orders:read",
        "RFC 6749 §6: the refresh token keeps its own scope"
    );
}

#[tokio::test]
async fn the_absolute_limit_never_moves_and_the_idle_limit_does() {
    let desk = Desk::with(|config| config.lifetimes.refresh_token_idle = 1_000);
    let code = desk.code(|grant, _| grant.absolute_expires_at = UnixTime(NOW + 2_500));
    let first = desk.redeem(&code).await.unwrap();
    desk.clock.advance(999);
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    desk.clock.advance(999);
    let third = desk.refresh(refresh_of(&second)).await.unwrap();
    for token in [&third.pair.access, refresh_of(&third)] {
        let opened = desk.opens(token).unwrap();
        assert_eq!(opened.grant.absolute_expires_at, UnixTime(NOW + 2_500));
        assert_eq!(opened.meta.expires_at, UnixTime(NOW + 2_500), "capped");
    }
    assert_eq!(third.expires_in, 502);
    desk.clock.set(NOW + 2_500);
    assert_eq!(
        fault(desk.refresh(refresh_of(&third)).await),
        GrantFault::Expired
    );

    let desk = Desk::with(|config| config.lifetimes.refresh_token_idle = 1_000);
    let issued = desk.pair().await;
    desk.clock.advance(1_000);
    assert_eq!(
        fault(desk.refresh(refresh_of(&issued)).await),
        GrantFault::Expired,
        "dead at its expiry"
    );
    assert_eq!(desk.state(&issued), FamilyState::Active);
}

#[tokio::test]
async fn what_was_issued_before_the_epoch_is_not_refreshed() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    desk.clock.advance(100);
    desk.store.set_epoch(NOW + 1);
    assert_eq!(
        fault(desk.refresh(refresh_of(&issued)).await),
        GrantFault::Expired,
        "D68"
    );
    desk.store.set_epoch(NOW);
    desk.refresh(refresh_of(&issued)).await.unwrap();
}

#[tokio::test]
async fn a_revocation_that_comes_in_between_always_wins() {
    for finish in [Transition::revoke, Transition::end] {
        let desk = Desk::new();
        let issued = desk.pair().await;
        desk.store
            .before_next_update(finish(issued.pair.access.family()));
        assert_eq!(
            fault(desk.refresh(refresh_of(&issued)).await),
            GrantFault::Revoked,
            "D59"
        );
        let record = desk.store.record(issued.pair.access.family());
        assert_eq!(record.generation, 0, "D59: nothing was added");
        assert_eq!(record.tokens.len(), 3);
    }
}

#[tokio::test]
async fn after_a_revocation_has_returned_nothing_of_the_family_works() {
    for _ in 0..20 {
        let desk = Desk::new();
        let issued = desk.pair().await;
        let (revoked, refreshed) = tokio::join!(
            desk.service.revoke(&APP, issued.pair.access.expose()),
            desk.refresh(refresh_of(&issued)),
        );
        assert_eq!(revoked.unwrap(), Revocation::Done);
        if let Ok(refreshed) = refreshed {
            assert!(desk.opens(&refreshed.pair.access).is_err(), "D59");
            assert_eq!(
                fault(desk.refresh(refresh_of(&refreshed)).await),
                GrantFault::Revoked,
                "D59"
            );
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_answered_with_the_same_pair() {
    let desk = Desk::new();
    let first = desk.pair().await;
    desk.store.fail_next(Verb::Update, Fault::AnswerLost);
    assert!(matches!(
        error(desk.refresh(refresh_of(&first)).await),
        IssueError::Unavailable(_)
    ));
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    assert!(second.healed, "D50");
    let third = desk.refresh(refresh_of(&first)).await.unwrap();
    assert_eq!(texts(&second), texts(&third), "D50");
    assert_eq!(desk.store.record(first.pair.access.family()).generation, 1);
}

#[tokio::test]
async fn a_rotation_by_another_environment_in_between_is_healed() {
    let desk = Desk::new();
    let first = desk.pair().await;
    // What another environment would write: taken from a rotation of a copy.
    let family = first.pair.access.family();
    let before = desk.store.record(family);
    let theirs = desk.refresh(refresh_of(&first)).await.unwrap();
    let after = desk.store.record(family);
    desk.store.insert(before.clone());
    let redeemed = &after.tokens[&refresh_of(&first).digest()];
    let mut changes = vec![
        Change::Redeem {
            token: refresh_of(&first).digest(),
            at: redeemed.redeemed_at.unwrap(),
            successor: redeemed.successor.clone(),
        },
        Change::Generation(1),
    ];
    changes.extend(
        after
            .tokens
            .iter()
            .filter(|(digest, _)| !before.tokens.contains_key(digest))
            .map(|(digest, entry)| Change::AddToken(*digest, Box::new(entry.clone()))),
    );
    desk.store.before_next_update(Transition {
        family,
        conditions: vec![],
        changes,
    });
    let ours = desk.refresh(refresh_of(&first)).await.unwrap();
    assert!(ours.healed, "D48");
    assert_eq!(texts(&ours), texts(&theirs), "D48");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_refreshes_at_once_end_with_one_pair() {
    for _ in 0..5 {
        let desk = Arc::new(Desk::new());
        let first = desk.pair().await;
        let text = refresh_of(&first).expose().to_owned();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (desk, text) = (Arc::clone(&desk), text.clone());
                tokio::spawn(async move {
                    let issued = desk.refresh_as(&APP, &text, None).await.unwrap();
                    texts(&issued)
                })
            })
            .collect();
        let mut pairs = BTreeSet::new();
        for task in tasks {
            pairs.insert(task.await.unwrap());
        }
        assert_eq!(pairs.len(), 1, "D48");
        let record = desk.store.record(first.pair.access.family());
        assert_eq!(record.generation, 1, "D48: one live branch");
        let live = record
            .tokens
            .values()
            .filter(|entry| entry.kind == TokenKind::Refresh && entry.state == TokenState::Live);
        assert_eq!(live.count(), 1, "D48");
    }
}

#[tokio::test]
async fn a_family_remembers_its_last_used_tokens_and_stays_small() {
    let desk = Desk::new();
    let mut current = desk.pair().await;
    let mut old = Vec::new();
    for _ in 0..40 {
        desk.clock.advance(700);
        let next = desk.refresh(refresh_of(&current)).await.unwrap();
        old.push(std::mem::replace(&mut current, next));
    }
    let record = desk.store.record(current.pair.access.family());
    assert_eq!(record.spent.len(), MAX_SPENT);
    // The live pair, its predecessor for healing, and that one's access token.
    assert!(record.tokens.len() <= 4, "{}", record.tokens.len());
    let sealed = record
        .tokens
        .values()
        .filter(|entry| entry.successor.is_some());
    assert_eq!(sealed.count(), 1, "invariant 1: one pair is kept, sealed");

    // 39 is the predecessor; 7 to 38 are remembered; 6 is forgotten.
    assert_eq!(
        fault(desk.refresh(refresh_of(&old[6])).await),
        GrantFault::Unknown
    );
    assert_eq!(desk.state(&current), FamilyState::Active);
    assert_eq!(
        fault(desk.refresh(refresh_of(&old[7])).await),
        GrantFault::Reused,
        "D47"
    );
    assert_eq!(desk.state(&current), FamilyState::Revoked);
}

/// It proves itself in the very request, so nothing of it was there before.
#[tokio::test]
async fn a_machine_is_not_held_up_by_what_was_ended_before() {
    let desk = Desk::new();
    let key = ended::subject_key(&root(1), &system().issuer, "client|machine");
    let (soon, long) = (UnixTime(NOW + 1), UnixTime(u64::MAX));
    desk.store
        .end_subject(&key, Reach::All, soon, long)
        .await
        .unwrap();
    let issued = desk.machine(None).await.unwrap();
    let listed = desk.store.families_of(&key).await.families;
    assert_eq!(listed, [issued.pair.access.family()], "and can be found");
}

#[tokio::test]
async fn a_family_that_is_full_empties_itself_with_time() {
    let desk = Desk::new();
    let mut current = desk.pair().await;
    let refused = loop {
        match desk.refresh(refresh_of(&current)).await {
            Ok(next) => current = next,
            Err(error) => break error,
        }
    };
    assert_eq!(
        refused,
        IssueError::TooManyTokens,
        "429: the client's own doing"
    );
    assert!(desk.store.record(current.pair.access.family()).tokens.len() <= 2 * MAX_TOKENS + 2);
    desk.clock.advance(600);
    desk.refresh(refresh_of(&current)).await.unwrap();
}

#[tokio::test]
async fn swapped_seals_refresh_nothing() {
    let desk = Desk::new();
    let (alice, bob) = (desk.pair().await, desk.pair().await);
    let stolen = desk.store.record(bob.pair.access.family());
    desk.store.tamper(alice.pair.access.family(), |record| {
        let entry = record.tokens.get_mut(&refresh_of(&alice).digest()).unwrap();
        entry.meta = stolen.tokens[&refresh_of(&bob).digest()].meta.clone();
    });
    assert_eq!(
        fault(desk.refresh(refresh_of(&alice)).await),
        GrantFault::Broken,
        "D75"
    );
    let second = desk.refresh(refresh_of(&bob)).await.unwrap();
    desk.store.tamper(bob.pair.access.family(), |record| {
        let meta = record.tokens[&refresh_of(&bob).digest()].meta.clone();
        let entry = record.tokens.get_mut(&refresh_of(&bob).digest()).unwrap();
        entry.successor = Some(meta);
    });
    assert_eq!(
        fault(desk.refresh(refresh_of(&bob)).await),
        GrantFault::Broken,
        "D75"
    );
    assert_eq!(desk.state(&second), FamilyState::Active);
}

// When we cannot tell.

#[tokio::test]
async fn whatever_fails_it_is_never_the_clients_fault() {
    let faults = [Fault::Throttled, Fault::Unavailable];
    for fault in faults {
        for verb in [Verb::Find, Verb::Epoch, Verb::Update] {
            let desk = Desk::new();
            let code = desk.code(|_, _| {});
            desk.store.fail_next(verb, fault);
            assert!(
                matches!(error(desk.redeem(&code).await), IssueError::Unavailable(_)),
                "invariant 3: {verb:?} {fault:?}"
            );
            let issued = desk.redeem(&code).await.unwrap();
            desk.store.fail_next(verb, fault);
            assert!(
                matches!(
                    error(desk.refresh(refresh_of(&issued)).await),
                    IssueError::Unavailable(_)
                ),
                "invariant 3: {verb:?} {fault:?}"
            );
            let second = desk.refresh(refresh_of(&issued)).await.unwrap();
            assert!(!second.healed);
            if verb != Verb::Epoch {
                desk.store.fail_next(verb, fault);
                assert!(matches!(
                    error(desk.service.revoke(&APP, second.pair.access.expose()).await),
                    IssueError::Unavailable(_)
                ));
                assert_eq!(desk.state(&second), FamilyState::Active);
            }
        }
        let desk = Desk::new();
        desk.store.fail_next(Verb::Create, fault);
        assert!(matches!(
            error(desk.machine(None).await),
            IssueError::Unavailable(_)
        ));
    }
    let desk = Desk::new();
    let issued = desk.pair().await;
    desk.roots.set_down(true);
    for result in [
        desk.machine(None).await,
        desk.refresh(refresh_of(&issued)).await,
        desk.redeem(&issued_code(&desk)).await,
    ] {
        assert!(matches!(error(result), IssueError::Unavailable(_)));
    }
}

fn issued_code(desk: &Desk) -> OpaqueToken {
    desk.code(|_, _| {})
}

#[tokio::test]
async fn a_replay_that_could_not_be_punished_is_not_called_invalid() {
    let desk = Desk::new();
    let first = desk.pair().await;
    let second = desk.refresh(refresh_of(&first)).await.unwrap();
    desk.use_access(&second);
    desk.clock.advance(60);
    desk.store.fail_next(Verb::Update, Fault::Throttled);
    assert!(matches!(
        error(desk.refresh(refresh_of(&first)).await),
        IssueError::Unavailable(_)
    ));
    assert_eq!(
        fault(desk.refresh(refresh_of(&first)).await),
        GrantFault::Reused
    );
}

// Revocation.

#[tokio::test]
async fn the_owner_revokes_by_either_token_of_any_age() {
    for nth in 0..4 {
        let desk = Desk::new();
        let first = desk.pair().await;
        let second = desk.refresh(refresh_of(&first)).await.unwrap();
        let third = desk.refresh(refresh_of(&second)).await.unwrap();
        let token = [
            &third.pair.access,
            refresh_of(&third),
            // Used, and with an entry; used, and of an older generation.
            refresh_of(&second),
            refresh_of(&first),
        ][nth];
        assert_eq!(
            desk.service.revoke(&APP, token.expose()).await.unwrap(),
            Revocation::Done
        );
        assert_eq!(desk.state(&third), FamilyState::Revoked, "{nth}");
        assert_eq!(
            fault(desk.refresh(refresh_of(&third)).await),
            GrantFault::Revoked
        );
        desk.service.revoke(&APP, token.expose()).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_else_revokes_and_nobody_is_told() {
    let desk = Desk::new();
    let first = desk.pair().await;
    let issued = desk.refresh(refresh_of(&first)).await.unwrap();
    let latest = desk.refresh(refresh_of(&issued)).await.unwrap();
    let code = desk.code(|_, _| {});
    for token in [
        &latest.pair.access,
        refresh_of(&latest),
        refresh_of(&issued),
        refresh_of(&first),
    ] {
        for other in [&SERVER, &MACHINE] {
            assert_eq!(
                desk.service.revoke(other, token.expose()).await.unwrap(),
                Revocation::Nothing,
                "D59"
            );
        }
    }
    for text in ["", "x", code.expose(), &"x".repeat(10_000)] {
        assert_eq!(
            desk.service.revoke(&APP, text).await.unwrap(),
            Revocation::Nothing,
            "D59"
        );
    }
    assert_eq!(desk.state(&latest), FamilyState::Active, "D59");
}

#[tokio::test]
async fn a_machine_revokes_its_own_token() {
    let desk = Desk::new();
    let issued = desk.machine(None).await.unwrap();
    let text = issued.pair.access.expose();
    assert_eq!(
        desk.service.revoke(&SERVER, text).await.unwrap(),
        Revocation::Nothing,
        "D59"
    );
    assert_eq!(
        desk.service.revoke(&MACHINE, text).await.unwrap(),
        Revocation::Done
    );
    assert_eq!(
        desk.opens(&issued.pair.access).unwrap_err(),
        TokenFault::Revoked
    );
}

#[tokio::test]
async fn a_family_that_cannot_be_read_is_not_said_to_be_revoked() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    desk.store.fail_next(Verb::Find, Fault::Malformed);
    assert!(matches!(
        error(desk.service.revoke(&APP, issued.pair.access.expose()).await),
        IssueError::Unavailable(_)
    ));
}

#[tokio::test]
async fn nothing_secret_is_shown_by_debug() {
    let desk = Desk::new();
    let issued = desk.pair().await;
    let request = redemption(issued.pair.access.expose(), REDIRECT, VERIFIER);
    let text = format!("{issued:?} {SERVER:?} {request:?}");
    for secret in ["cr_", SECRET, VERIFIER, "alice"] {
        assert!(!text.contains(secret), "D64");
    }
}
