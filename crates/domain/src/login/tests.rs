use super::native::*;
use super::request::*;
use super::*;
use crate::ended::Reach;
use crate::family::{FamilyRecord, FamilyState, IndexKey, Transition};
use crate::grant::{Opened, TokenFault};
use crate::ports::SubjectIndex;
use crate::testing::{
    Calls, Fault, ISSUER, MemoryStore, TestClock, TestProviders, TestRoots, Verb, root, roots,
    system, world,
};

mod authorize;
mod backchannel;
mod par;
mod providers;
mod renewal;
mod return_to;
mod tombstones;

const NOW: u64 = 1_100;
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT: &str = "http://127.0.0.1:5000/callback";

/// A login service, and every hand that can reach into its world.
struct Porch {
    service: LoginService<MemoryStore, TestRoots, TestProviders>,
    store: MemoryStore,
    roots: TestRoots,
    providers: TestProviders,
    clock: TestClock,
}

impl Porch {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = system();
        edit(&mut config);
        let (store, roots) = (MemoryStore::default(), TestRoots::new());
        let (providers, clock) = (TestProviders::default(), TestClock::at(NOW));
        Self {
            service: LoginService::new(
                Arc::new(config),
                UnixTime(0),
                store.clone(),
                roots.clone(),
                providers.clone(),
                world(&clock),
            ),
            store,
            roots,
            providers,
            clock,
        }
    }

    async fn start(&self) -> StartedLogin {
        self.service.start(&LoginRequest::default()).await.unwrap()
    }

    async fn finish(
        &self,
        login: &StartedLogin,
        code: &str,
        old_session: Option<&str>,
    ) -> Result<SignedIn, LoginError> {
        self.service
            .callback(&Callback {
                old_session,
                ..callback(login, Ok(code))
            })
            .await
    }

    /// Signs a user in, in a browser.
    async fn sign_in(&self, user: &str) -> OpaqueToken {
        let login = self.start().await;
        let result = self.finish(&login, &format!("code-of-{user}"), None).await;
        session_of(result.unwrap())
    }

    /// Begins a login for a client, in a browser without a session.
    async fn authorize(
        &self,
        params: &AuthorizationParams<'_>,
    ) -> Result<StartedLogin, AuthorizeError> {
        match self.service.authorize(params, Presence::Absent).await? {
            Authorized::Login(login) => Ok(login),
            other => panic!("{other:?}"),
        }
    }

    /// Signs alice in for a native client, up to the confirmation.
    async fn ask(&self, params: &AuthorizationParams<'_>) -> (StartedLogin, SignedIn) {
        let login = self.authorize(params).await.unwrap();
        let signed_in = self.finish(&login, "code-of-alice", None).await.unwrap();
        (login, signed_in)
    }

    /// The user's word, from the browser of this login.
    async fn confirm(
        &self,
        ticket: &str,
        login: &StartedLogin,
        decision: Decision,
    ) -> Result<Confirmed, LoginError> {
        let browser = ConfirmingBrowser {
            logins: &[login.cookie.as_str()],
            session: None,
        };
        self.service.confirm(ticket, &browser, decision).await
    }

    fn opened(&self, token: &OpaqueToken) -> Result<Opened, TokenFault> {
        let record = self.store.record(token.family());
        grant::open(&record, token, &roots(), UnixTime(0), self.clock.now())
    }

    fn state(&self, token: &OpaqueToken) -> FamilyState {
        self.store.record(token.family()).state
    }

    fn only_family(&self) -> FamilyRecord {
        let mut families = self.store.families();
        assert_eq!(families.len(), 1);
        families.remove(0)
    }
}

fn callback<'a>(login: &'a StartedLogin, result: Result<&'a str, &'a str>) -> Callback<'a> {
    Callback {
        state: &login.state,
        cookie: &login.cookie,
        result,
        iss: Some(ISSUER),
        at: None,
        old_session: None,
    }
}

fn session_of(signed_in: SignedIn) -> OpaqueToken {
    match signed_in {
        SignedIn::Browser { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

fn error<T>(result: Result<T, LoginError>) -> LoginError {
    result.map(|_| ()).unwrap_err()
}

fn native() -> AuthorizationParams<'static> {
    AuthorizationParams {
        client_id: Some("app"),
        redirect_uri: Some(REDIRECT),
        response_type: Some("code"),
        scope: Some("openid orders:read offline_access"),
        state: Some("s & t"),
        code_challenge: Some(CHALLENGE),
        code_challenge_method: Some("S256"),
        ..AuthorizationParams::default()
    }
}

/// The parameters of an answer, after checking where it goes.
fn params_of(answer: &Answer, redirect_uri: &str) -> Vec<(String, String)> {
    let query = answer.location.strip_prefix(redirect_uri).unwrap();
    form_urlencoded::parse(&query.as_bytes()[1..])
        .into_owned()
        .collect()
}

fn param<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = params.iter().filter(|(each, _)| each == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

// A browser's login.

#[tokio::test]
async fn a_login_starts_without_a_write_and_ends_with_a_session() {
    let porch = Porch::new();
    let login = porch
        .service
        .start(&LoginRequest {
            return_to: Some("/orders?page=2"),
            prompt_login: true,
            max_age: Some(60),
            ..LoginRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(porch.store.take_calls(), Calls::default(), "D72");
    let asked = porch.providers.last_asked();
    assert_eq!(
        (asked.idp.as_str(), asked.prompt_login, asked.max_age),
        ("demo", true, Some(60))
    );
    assert_eq!(asked.state, login.state);
    assert!(login.location.contains(&login.state));
    assert_eq!(cookie_suffix(&login.state), login.state.get(..12));

    let result = porch.finish(&login, "code-of-alice", None).await.unwrap();
    let SignedIn::Browser {
        session,
        lifetime,
        return_to,
        subject_tag,
    } = result
    else {
        panic!("{result:?}");
    };
    assert_eq!((lifetime, return_to.as_str()), (43_200, "/orders?page=2"));
    let opened = porch.opened(&session).unwrap();
    assert_eq!(opened.subject_tag, subject_tag);
    assert_eq!(opened.grant.user.unwrap().sub, "demo|alice");
    assert_eq!(
        opened.grant.upstream_id_token.unwrap().as_str(),
        "id-token-of-alice"
    );
    assert_eq!(opened.meta.scope.to_string(), "orders:read");
    assert_eq!(opened.meta.idle_expires_at, Some(UnixTime(NOW + 3_600)));
    let keys: Vec<_> = porch
        .store
        .index()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert!(matches!(
        keys.as_slice(),
        [IndexKey::Subject(_), IndexKey::IdpSession(_)]
    ));
}

#[tokio::test]
async fn the_provider_is_named_or_the_only_one() {
    let porch = Porch::new();
    let named = |idp| LoginRequest {
        idp: Some(idp),
        ..LoginRequest::default()
    };
    assert!(porch.service.start(&named("demo")).await.is_ok());
    for unknown in ["", "Demo", "other"] {
        assert_eq!(
            error(porch.service.start(&named(unknown)).await),
            LoginError::UnknownProvider
        );
    }
}

#[tokio::test]
async fn a_callback_without_the_cookie_of_its_login_never_reaches_the_provider() {
    let porch = Porch::new();
    let (mine, other) = (porch.start().await, porch.start().await);
    let changed = {
        let mut text = mine.cookie.to_string();
        let last = if text.pop() == Some('A') { 'B' } else { 'A' };
        text.push(last);
        text
    };
    let changed_state = pending::state_of(&changed);
    let forged = {
        let sealed = root(9)
            .pending_login_key()
            .seal_with_aad(
                b"{}",
                b"cloakroom/pending-login/v1",
                &crate::testing::SequenceEntropy::default(),
            )
            .unwrap();
        BASE64URL.encode(sealed.as_bytes())
    };
    let forged_state = pending::state_of(&forged);
    for (what, cookie, state) in [
        ("no cookie", "", mine.state.as_str()),
        ("no state", &mine.cookie, ""),
        ("another login's cookie", &other.cookie, &mine.state),
        ("another login's state", &mine.cookie, &other.state),
        ("a changed cookie", &changed, &mine.state),
        ("a changed cookie with its digest", &changed, &changed_state),
        ("a cookie of one's own making", &forged, &forged_state),
        ("not even base64", "ä=", &pending::state_of("ä=")),
    ] {
        let callback = Callback {
            state,
            cookie,
            ..callback(&mine, Ok("code-of-alice"))
        };
        assert_eq!(
            error(porch.service.callback(&callback).await),
            LoginError::NotPending,
            "D2, D15: {what}"
        );
    }
    assert_eq!(porch.providers.take_redeemed(), 0, "D2");
    assert_eq!(porch.store.take_calls(), Calls::default(), "D72");
    assert!(porch.finish(&mine, "code-of-alice", None).await.is_ok());
    assert!(
        porch.finish(&other, "code-of-bob", None).await.is_ok(),
        "D14: two logins in two tabs both end"
    );
}

#[tokio::test]
async fn a_login_that_took_too_long_is_over() {
    for (later, is_good) in [(599, true), (600, false)] {
        let porch = Porch::new();
        let login = porch.start().await;
        porch.clock.advance(later);
        let result = porch.finish(&login, "code-of-alice", None).await;
        assert_eq!(result.is_ok(), is_good, "{later}");
        if !is_good {
            assert_eq!(error(result), LoginError::NotPending);
            assert_eq!(porch.providers.take_redeemed(), 0);
        }
    }
}

#[tokio::test]
async fn a_login_from_before_the_epoch_is_over() {
    for (epoch, is_good) in [(NOW, true), (NOW + 1, false)] {
        let porch = Porch::new();
        let login = porch.start().await;
        porch.store.set_epoch(epoch);
        let result = porch.finish(&login, "code-of-alice", None).await;
        assert_eq!(result.is_ok(), is_good, "D68");
    }
}

#[tokio::test]
async fn of_several_callbacks_with_one_state_one_goes_on() {
    let porch = Porch::new();
    let login = porch.start().await;
    let (a, b) = tokio::join!(
        porch.finish(&login, "code-of-alice", None),
        porch.finish(&login, "code-of-bob", None),
    );
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "D3");
    let lost = if a.is_ok() { b } else { a };
    assert_eq!(error(lost), LoginError::Replayed, "D3");
    assert_eq!(
        error(porch.finish(&login, "code-of-alice", None).await),
        LoginError::Replayed,
        "D3"
    );
    porch.only_family();
}

#[tokio::test]
async fn a_code_that_the_provider_refuses_burns_nothing() {
    let porch = Porch::new();
    let login = porch.start().await;
    assert_eq!(
        error(porch.finish(&login, "stolen", None).await),
        LoginError::Refused("code"),
        "D1"
    );
    for iss in [None, Some("https://evil.example")] {
        let callback = Callback {
            iss,
            ..callback(&login, Ok("code-of-alice"))
        };
        assert_eq!(
            error(porch.service.callback(&callback).await),
            LoginError::Refused("issuer"),
            "D5"
        );
    }
    let calls = porch.store.take_calls();
    assert_eq!((calls.once, calls.create), (0, 0), "invariant 10");
    assert!(porch.finish(&login, "code-of-alice", None).await.is_ok());
}

#[tokio::test]
async fn an_error_is_believed_only_from_the_right_issuer() {
    let porch = Porch::new();
    let login = porch.start().await;
    let from = |iss| Callback {
        iss,
        ..callback(&login, Err("access_denied"))
    };
    for iss in [None, Some("https://evil.example")] {
        assert_eq!(
            error(porch.service.callback(&from(iss)).await),
            LoginError::Refused("issuer"),
            "D5"
        );
    }
    assert_eq!(
        error(porch.service.callback(&from(Some(ISSUER))).await),
        LoginError::Denied
    );

    let login = porch.authorize(&native()).await.unwrap();
    let signed_in = porch
        .service
        .callback(&callback(&login, Err("<script>")))
        .await
        .unwrap();
    let SignedIn::Answer(answer) = signed_in else {
        panic!("{signed_in:?}");
    };
    let params = params_of(&answer, REDIRECT);
    assert_eq!(param(&params, "error"), Some("access_denied"), "D8");
    assert_eq!(param(&params, "state"), Some("s & t"));
}

#[tokio::test]
async fn a_foreign_return_to_lands_at_home() {
    let porch = Porch::new();
    let request = LoginRequest {
        return_to: Some("//evil"),
        ..LoginRequest::default()
    };
    let login = porch.service.start(&request).await.unwrap();
    let signed_in = porch.finish(&login, "code-of-alice", None).await.unwrap();
    assert!(
        matches!(signed_in, SignedIn::Browser { return_to, .. } if return_to == "/"),
        "D6"
    );
}

#[tokio::test]
async fn a_session_from_before_is_ended_and_never_adopted() {
    let porch = Porch::new();
    let old = porch.sign_in("bob").await;
    let login = porch.start().await;
    let signed_in = porch
        .finish(&login, "code-of-alice", Some(old.expose()))
        .await;
    let new = session_of(signed_in.unwrap());
    assert_ne!(new.expose(), old.expose(), "D4");
    assert_ne!(new.family(), old.family(), "D4");
    assert_eq!(porch.state(&old), FamilyState::Ended, "D4");
    assert_eq!(porch.state(&new), FamilyState::Active);
}

#[tokio::test]
async fn a_handle_that_opens_nothing_ends_nothing() {
    let porch = Porch::new();
    let victim = porch.sign_in("bob").await;
    let guess = OpaqueToken::generate(
        TokenKind::Session,
        victim.family(),
        &crate::testing::SequenceEntropy::starting_at(3),
    )
    .unwrap();
    for old in ["", "x", guess.expose()] {
        let login = porch.start().await;
        let signed_in = porch.finish(&login, "code-of-alice", Some(old)).await;
        assert!(signed_in.is_ok(), "D4: {old:?}");
    }
    assert_eq!(porch.state(&victim), FamilyState::Active, "D4");
}

#[tokio::test]
async fn a_session_that_cannot_be_ended_does_not_stop_the_new_one() {
    let porch = Porch::new();
    let old = porch.sign_in("bob").await;
    let login = porch.start().await;
    porch.store.fail_next(Verb::Update, Fault::Throttled);
    let signed_in = porch
        .finish(&login, "code-of-alice", Some(old.expose()))
        .await;
    assert!(signed_in.is_ok());
}

#[tokio::test]
async fn a_subject_who_was_signed_out_meanwhile_does_not_come_in() {
    let porch = Porch::new();
    let first = porch.sign_in("alice").await;
    let opened = porch.opened(&first).unwrap();
    for key in subject_keys(&roots(), &system(), &opened.grant) {
        let porch = Porch::new();
        let login = porch.start().await;
        let native = porch.authorize(&native()).await.unwrap();
        let later = UnixTime(NOW + 1);
        porch
            .store
            .end_subject(&key, Reach::All, later, UnixTime(u64::MAX))
            .await
            .unwrap();
        assert_eq!(
            error(porch.finish(&login, "code-of-alice", None).await),
            LoginError::SignedOut
        );
        assert!(porch.store.families().is_empty());
        let asked = porch.finish(&native, "code-of-alice", None).await.unwrap();
        let SignedIn::Confirm { ticket, .. } = asked else {
            panic!("{asked:?}");
        };
        let confirmed = porch.confirm(&ticket, &native, Decision::Allow);
        assert_eq!(error(confirmed.await), LoginError::SignedOut);
        if key.is_listed() {
            porch.sign_in("bob").await;
        }
        porch.clock.advance(1);
        porch.sign_in("alice").await;
    }
}

#[tokio::test]
async fn whatever_fails_a_login_is_unavailable() {
    for verb in [Verb::Epoch, Verb::Once, Verb::Create] {
        for fault in [Fault::Throttled, Fault::Unavailable] {
            let porch = Porch::new();
            let login = porch.start().await;
            porch.store.fail_next(verb, fault);
            assert!(
                matches!(
                    error(porch.finish(&login, "code-of-alice", None).await),
                    LoginError::Unavailable(_)
                ),
                "{verb:?} {fault:?}"
            );
            assert!(porch.store.families().is_empty());
        }
    }
    let porch = Porch::new();
    let login = porch.start().await;
    for set_down in [
        (|porch, down| porch.roots.set_down(down)) as fn(&Porch, bool),
        |porch, down| porch.providers.set_down(down),
    ] {
        set_down(&porch, true);
        let started = porch.service.start(&LoginRequest::default()).await;
        assert!(matches!(error(started), LoginError::Unavailable(_)));
        let finished = porch.finish(&login, "code-of-alice", None).await;
        assert!(matches!(error(finished), LoginError::Unavailable(_)));
        set_down(&porch, false);
    }
    assert!(porch.finish(&login, "code-of-alice", None).await.is_ok());
}

#[test]
fn a_cookie_is_named_after_a_state_and_nothing_else() {
    let state = pending::state_of("x");
    assert_eq!(cookie_suffix(&state).unwrap().len(), COOKIE_SUFFIX_LEN);
    for odd in [
        "",
        "short",
        &state[1..],
        &format!("{state}x"),
        &state.replace(&state[..1], ";"),
        &format!("{}ä", &state[..41]),
    ] {
        assert_eq!(cookie_suffix(odd), None, "{odd:?}");
    }
}

// A browser's session.

#[tokio::test]
async fn a_session_tells_its_browser_who_and_how_long() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(30);
    let view = porch.service.session(session.expose(), true).await.unwrap();
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "subject": "demo|alice",
            "claims": {
                "name": "alice",
                "email": "alice@example.com",
                "roles": ["admin", "user"]
            },
            "expires_in": 43_170,
            "idle_expires_in": 3_570
        })
    );
    assert!(!format!("{view:?}").contains("alice"), "D64");
}

#[tokio::test]
async fn a_session_slides_at_most_once_per_interval_and_not_past_its_end() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.store.take_calls();
    for (at, slide, idle_left, writes) in [
        (59, true, 3_541, 0),
        (60, false, 3_540, 0),
        (60, true, 3_600, 1),
        (61, true, 3_599, 0),
        (120, true, 3_600, 1),
    ] {
        porch.clock.set(NOW + at);
        let view = porch
            .service
            .session(session.expose(), slide)
            .await
            .unwrap();
        assert_eq!(view.idle_expires_in, idle_left, "{at}");
        assert_eq!(porch.store.take_calls().update, writes, "{at}");
    }
    assert_eq!(
        porch.only_family().idle_expires_at,
        UnixTime(NOW + 120 + 3_600),
        "the clear copy moves along"
    );
    for at in (1..=12).map(|n| n * 3_500) {
        porch.clock.set(NOW + at);
        let view = porch.service.session(session.expose(), true).await.unwrap();
        assert_eq!(view.expires_in, 43_200 - at);
        assert!(view.idle_expires_in <= view.expires_in);
    }
    porch.clock.set(NOW + 43_199);
    assert!(porch.service.session(session.expose(), true).await.is_ok());
    porch.clock.set(NOW + 43_200);
    assert_eq!(
        porch
            .service
            .session(session.expose(), true)
            .await
            .unwrap_err(),
        SessionError::NoSession,
        "the absolute limit never moves"
    );
}

#[tokio::test]
async fn an_idle_session_is_over_at_its_limit() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.clock.set(NOW + 3_600);
    assert_eq!(
        porch
            .service
            .session(session.expose(), true)
            .await
            .unwrap_err(),
        SessionError::NoSession
    );
}

#[tokio::test]
async fn two_slides_at_once_leave_a_session_that_opens() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(100);
    let (a, b) = tokio::join!(
        porch.service.session(session.expose(), true),
        porch.service.session(session.expose(), true),
    );
    assert_eq!(a.unwrap().idle_expires_in, 3_600);
    assert_eq!(b.unwrap().idle_expires_in, 3_600);
    assert!(porch.opened(&session).is_ok());
}

#[tokio::test]
async fn a_session_that_ends_during_the_slide_is_over() {
    for finish in [Transition::end, Transition::revoke] {
        let porch = Porch::new();
        let session = porch.sign_in("alice").await;
        porch.clock.advance(100);
        porch.store.before_next_update(finish(session.family()));
        for _ in 0..2 {
            assert_eq!(
                porch
                    .service
                    .session(session.expose(), true)
                    .await
                    .unwrap_err(),
                SessionError::NoSession
            );
        }
    }
}

#[tokio::test]
async fn a_session_gets_tickets_that_end_no_later_than_itself() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.store.take_calls();
    let ticket = porch.service.ticket(session.expose()).await.unwrap();
    assert_eq!(ticket.token.kind(), TokenKind::WebSocketTicket);
    assert_eq!(ticket.token.family(), session.family());
    assert_eq!(ticket.expires_in, 30);
    let calls = porch.store.take_calls();
    assert_eq!((calls.find, calls.update), (1, 1));
    let opened = porch.opened(&ticket.token).unwrap();
    assert_eq!(opened.meta.scope.to_string(), "orders:read");
    assert_eq!(opened.meta.expires_at, UnixTime(NOW + 30));
    assert_eq!(opened.meta.idle_expires_at, None);
    porch.clock.set(NOW + 3_590);
    let late = porch.service.ticket(session.expose()).await.unwrap();
    assert_eq!(late.expires_in, 10, "the idle limit of the session");
    assert_eq!(
        porch.only_family().tokens.len(),
        2,
        "a ticket that is over makes room for the next"
    );
}

#[tokio::test]
async fn a_session_has_a_bounded_number_of_tickets_at_a_time() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    for _ in 0..crate::family::MAX_TOKENS {
        porch.service.ticket(session.expose()).await.unwrap();
    }
    assert_eq!(
        porch.service.ticket(session.expose()).await.unwrap_err(),
        SessionError::TooManyTickets
    );
    porch.clock.advance(30);
    assert!(porch.service.ticket(session.expose()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_session_gets_no_ticket() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.service.ticket(session.expose()).await.unwrap();
    porch.store.take_calls();
    for text in ["", "x", ticket.token.expose()] {
        assert_eq!(
            porch.service.ticket(text).await.unwrap_err(),
            SessionError::NoSession
        );
    }
    assert_eq!(porch.store.take_calls(), Calls::default(), "D30");
    porch
        .store
        .before_next_update(Transition::end(session.family()));
    for _ in 0..2 {
        assert_eq!(
            porch.service.ticket(session.expose()).await.unwrap_err(),
            SessionError::NoSession
        );
    }
}

#[tokio::test]
async fn what_is_no_session_shows_nothing() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let entropy = crate::testing::SequenceEntropy::starting_at(3);
    let guess = |kind| OpaqueToken::generate(kind, session.family(), &entropy).unwrap();
    porch.store.take_calls();
    for text in [
        "",
        "x",
        guess(TokenKind::Access).expose(),
        guess(TokenKind::Refresh).expose(),
    ] {
        assert_eq!(
            porch.service.session(text, true).await.unwrap_err(),
            SessionError::NoSession
        );
    }
    assert_eq!(porch.store.take_calls(), Calls::default(), "D18, D30");
    assert_eq!(
        porch
            .service
            .session(guess(TokenKind::Session).expose(), true)
            .await
            .unwrap_err(),
        SessionError::NoSession
    );
    porch
        .store
        .tamper(session.family(), |record| record.idle_expires_at.0 += 1);
    assert_eq!(
        porch
            .service
            .session(session.expose(), true)
            .await
            .unwrap_err(),
        SessionError::Broken,
        "D75"
    );
}

#[tokio::test]
async fn a_session_is_killed_by_the_epoch_and_spared_by_an_outage() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(100);
    for verb in [Verb::Epoch, Verb::Find, Verb::Update] {
        porch.store.fail_next(verb, Fault::Throttled);
        assert!(matches!(
            porch
                .service
                .session(session.expose(), true)
                .await
                .unwrap_err(),
            SessionError::Unavailable(_)
        ));
    }
    assert!(porch.service.session(session.expose(), true).await.is_ok());
    porch.store.set_epoch(NOW + 1);
    assert_eq!(
        porch
            .service
            .session(session.expose(), true)
            .await
            .unwrap_err(),
        SessionError::NoSession,
        "D68"
    );
}

#[tokio::test]
async fn a_logout_ends_the_session_and_may_be_repeated() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let out = porch.service.log_out(session.expose()).await.unwrap();
    assert_eq!(
        out.logout_url.as_deref(),
        Some(
            "https://idp.example/logout?id_token_hint=id-token-of-alice&post_logout_redirect_uri=https://app.example.com/"
        )
    );
    assert_eq!(porch.state(&session), FamilyState::Ended, "D24");
    assert_eq!(
        porch
            .service
            .session(session.expose(), true)
            .await
            .unwrap_err(),
        SessionError::NoSession,
        "D24"
    );
    for text in [session.expose(), "", "x"] {
        let again = porch.service.log_out(text).await.unwrap();
        assert!(again.logout_url.is_none() && again.subject_tag.is_none());
    }
}

#[tokio::test]
async fn a_logout_needs_no_provider_but_it_needs_the_store() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    for verb in [Verb::Find, Verb::Update] {
        porch.store.fail_next(verb, Fault::Unavailable);
        assert!(matches!(
            porch.service.log_out(session.expose()).await.unwrap_err(),
            SessionError::Unavailable(_)
        ));
        assert_eq!(porch.state(&session), FamilyState::Active);
    }
    porch.providers.set_down(true);
    let out = porch.service.log_out(session.expose()).await.unwrap();
    assert_eq!(out.logout_url, None);
    assert_eq!(porch.state(&session), FamilyState::Ended);
}

// Native clients.

#[tokio::test]
async fn a_request_of_an_unknown_client_or_redirect_uri_is_shown_and_never_redirected() {
    let porch = Porch::new();
    let from = |client| AuthorizationParams {
        client_id: client,
        ..native()
    };
    let to = |uri| AuthorizationParams {
        redirect_uri: uri,
        ..native()
    };
    let cases = [
        from(None),
        from(Some("")),
        from(Some("stranger")),
        // A client, but not one that users sign in for.
        from(Some("machine")),
        to(None),
        to(Some("")),
        to(Some("https://evil.example/callback")),
        to(Some("https://app.example.com/cb/")),
        to(Some("https://app.example.com/cb?x=1")),
        to(Some("https://app.example.com:443/cb")),
        to(Some("https://app.example.com.evil/cb")),
        to(Some("http://app.example.com/cb")),
        to(Some("http://127.0.0.1.evil/callback")),
        to(Some("http://127.0.0.1:80@evil/callback")),
        to(Some("http://127.0.0.1@evil/callback")),
        to(Some("http://127.0.0.1:evil/callback")),
        to(Some("http://127.0.0.1:65536/callback")),
        to(Some("http://127.0.0.1:080/callback")),
        to(Some("http://127.0.0.1:+80/callback")),
        to(Some("http://127.0.0.1:/callback")),
        to(Some("http://127.0.0.1:5000")),
        to(Some("http://127.0.0.1:5000/")),
        to(Some("http://127.0.0.1:5000/callback/x")),
        to(Some("http://127.0.0.1:5000/callback?x=1")),
        to(Some("http://127.0.0.1:5000/callback#x")),
        to(Some("http://127.0.0.1:5000/other/../callback")),
        to(Some("http://127.0.0.2:5000/callback")),
        to(Some("http://localhost:5000/callback")),
        to(Some("http://[::1]:5000/callback")),
        to(Some("https://127.0.0.1:5000/callback")),
        to(Some("HTTP://127.0.0.1:5000/callback")),
        to(Some("com.example.app:/cb2")),
        // Another client's.
        to(Some("https://server.example.com/cb?tenant=1")),
    ];
    for params in &cases {
        let result = porch.authorize(params).await;
        assert!(
            matches!(result, Err(AuthorizeError::Shown(_))),
            "RFC 6749 §4.1.2.1: {:?} {:?}",
            params.client_id,
            params.redirect_uri
        );
    }
    for good in [
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/callback",
        "http://127.0.0.1:65535/callback",
        "com.example.app:/cb",
        "https://app.example.com/cb",
    ] {
        assert!(porch.authorize(&to(Some(good))).await.is_ok(), "{good}");
    }
}

#[tokio::test]
async fn other_faults_are_told_to_the_client_with_state_and_issuer() {
    type Edit = fn(&mut AuthorizationParams<'static>);
    let porch = Porch::new();
    let cases: [(Edit, &str); 27] = [
        (|p| p.response_type = None, "invalid_request"),
        (
            |p| p.response_type = Some("token"),
            "unsupported_response_type",
        ),
        (
            |p| p.response_type = Some("code id_token"),
            "unsupported_response_type",
        ),
        (|p| p.response_mode = Some("fragment"), "invalid_request"),
        (|p| p.response_mode = Some("form_post"), "invalid_request"),
        (|p| p.code_challenge = None, "invalid_request"),
        (|p| p.code_challenge = Some(""), "invalid_request"),
        (|p| p.code_challenge = Some("short"), "invalid_request"),
        (
            |p| p.code_challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
            "invalid_request",
        ),
        (|p| p.code_challenge_method = None, "invalid_request"),
        (
            |p| p.code_challenge_method = Some("plain"),
            "invalid_request",
        ),
        (|p| p.prompt = Some("none"), "login_required"),
        (|p| p.prompt = Some("none login"), "invalid_request"),
        (|p| p.prompt = Some("consent none"), "invalid_request"),
        (|p| p.prompt = Some("create"), "invalid_request"),
        (|p| p.prompt = Some("login  consent"), "invalid_request"),
        (|p| p.max_age = Some("-1"), "invalid_request"),
        (|p| p.max_age = Some("+1"), "invalid_request"),
        (|p| p.max_age = Some("1.5"), "invalid_request"),
        (
            |p| p.max_age = Some("99999999999999999999"),
            "invalid_request",
        ),
        (|p| p.request = Some("e30.e30."), "request_not_supported"),
        (|p| p.scope = Some(""), "invalid_scope"),
        (|p| p.scope = Some("admin"), "invalid_scope"),
        (|p| p.scope = Some("orders:read admin"), "invalid_scope"),
        (
            |p| p.scope = Some("orders:read orders:read"),
            "invalid_scope",
        ),
        (|p| p.scope = Some("orders:read  openid"), "invalid_scope"),
        (|p| p.scope = Some("orders:read\0"), "invalid_scope"),
    ];
    for (i, (edit, expected)) in cases.into_iter().enumerate() {
        let mut params = native();
        edit(&mut params);
        let result = porch.authorize(&params).await;
        let Err(AuthorizeError::Answered(answer)) = result else {
            panic!("{i}: {result:?}");
        };
        let params = params_of(&answer, REDIRECT);
        assert_eq!(param(&params, "error"), Some(expected), "D52: {i}");
        assert_eq!(param(&params, "state"), Some("s & t"));
        assert_eq!(
            param(&params, "iss"),
            Some("https://app.example.com"),
            "RFC 9207"
        );
        assert_eq!(param(&params, "code"), None);
    }
    assert_eq!(porch.store.take_calls(), Calls::default(), "D72");
    let long = "s".repeat(1_025);
    let params = AuthorizationParams {
        state: Some(&long),
        ..native()
    };
    assert!(matches!(
        porch.authorize(&params).await,
        Err(AuthorizeError::Answered(_))
    ));
}

#[tokio::test]
async fn without_a_scope_a_client_gets_all_but_long_lived_access() {
    let porch = Porch::new();
    let params = AuthorizationParams {
        scope: None,
        state: None,
        ..native()
    };
    let (_, asked) = porch.ask(&params).await;
    let SignedIn::Confirm { scope, .. } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(scope, "openid orders:read orders:write");
}

#[tokio::test]
async fn a_fresh_sign_in_is_demanded_only_where_it_was_asked_for() {
    let porch = Porch::new();
    for (prompt, demands) in [
        (None, false),
        (Some("consent"), false),
        (Some("login"), true),
        (Some("consent login"), true),
        (Some("select_account"), true),
    ] {
        let params = AuthorizationParams { prompt, ..native() };
        porch.authorize(&params).await.unwrap();
        assert_eq!(porch.providers.last_asked().prompt_login, demands);
    }
}

#[tokio::test]
async fn a_public_client_gets_a_code_once_the_user_has_said_yes() {
    let porch = Porch::new();
    let (login, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm {
        ticket,
        client,
        scope,
        user,
    } = asked
    else {
        panic!("{asked:?}");
    };
    assert_eq!(
        [&client, &scope, &user],
        ["The App", "offline_access openid orders:read", "alice"]
    );
    assert!(porch.store.families().is_empty(), "nothing before the yes");

    let cookies = ["", "junk", login.cookie.as_str()];
    let browser = ConfirmingBrowser {
        logins: &cookies,
        session: None,
    };
    let Confirmed {
        answer,
        login: state,
    } = porch
        .service
        .confirm(&ticket, &browser, Decision::Allow)
        .await
        .unwrap();
    assert_eq!(state, Some(login.state));
    let params = params_of(&answer, REDIRECT);
    assert_eq!(param(&params, "state"), Some("s & t"));
    assert_eq!(param(&params, "iss"), Some("https://app.example.com"));
    assert_eq!(param(&params, "error"), None);
    let code = OpaqueToken::parse(param(&params, "code").unwrap()).unwrap();
    assert_eq!(code.kind(), TokenKind::Code);
    let opened = porch.opened(&code).unwrap();
    let binding = opened.meta.code.unwrap();
    assert_eq!(
        [binding.redirect_uri.as_str(), &binding.challenge],
        [REDIRECT, CHALLENGE]
    );
    assert_eq!(opened.meta.expires_at, UnixTime(NOW + 60));
    assert_eq!(opened.grant.client.as_deref(), Some("app"));
    assert_eq!(
        opened.grant.absolute_expires_at,
        UnixTime(NOW + 90 * 86_400)
    );
    assert!(opened.grant.upstream_id_token.is_none());

    assert_eq!(
        error(
            porch
                .service
                .confirm(&ticket, &browser, Decision::Allow)
                .await
        ),
        LoginError::Replayed,
        "one use"
    );
    porch.only_family();
}

#[tokio::test]
async fn a_confirmation_belongs_to_the_browser_that_signed_in() {
    let porch = Porch::new();
    let (mine, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    let (others, _) = porch.ask(&native()).await;
    let confirm = async |ticket: &str, cookies: &[&str]| {
        let browser = ConfirmingBrowser {
            logins: cookies,
            session: None,
        };
        porch
            .service
            .confirm(ticket, &browser, Decision::Allow)
            .await
            .map(|_| ())
    };
    for cookies in [&[][..], &[""], &[others.cookie.as_str()], &[&mine.state]] {
        assert_eq!(
            confirm(&ticket, cookies).await,
            Err(LoginError::NotPending),
            "D2"
        );
    }
    // A login cookie is no ticket, though the same key seals both.
    for ticket in ["", "x", mine.cookie.as_str()] {
        assert_eq!(
            confirm(ticket, &[mine.cookie.as_str()]).await,
            Err(LoginError::NotPending)
        );
    }
    assert!(porch.store.families().is_empty());
    porch.clock.advance(600);
    assert_eq!(
        confirm(&ticket, &[mine.cookie.as_str()]).await,
        Err(LoginError::NotPending),
        "too late"
    );
}

#[tokio::test]
async fn a_ticket_is_no_login_cookie() {
    let porch = Porch::new();
    let (_, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    let state = pending::state_of(&ticket);
    let callback = Callback {
        state: &state,
        cookie: &ticket,
        result: Ok("code-of-alice"),
        iss: Some(ISSUER),
        at: None,
        old_session: None,
    };
    assert_eq!(
        error(porch.service.callback(&callback).await),
        LoginError::NotPending,
        "D15"
    );
}

#[tokio::test]
async fn a_user_who_says_no_gives_nothing() {
    let porch = Porch::new();
    let (login, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    let confirmed = porch.confirm(&ticket, &login, Decision::Deny);
    let Confirmed {
        answer,
        login: state,
    } = confirmed.await.unwrap();
    assert_eq!(state, Some(login.state));
    let params = params_of(&answer, REDIRECT);
    assert_eq!(param(&params, "error"), Some("access_denied"));
    assert_eq!(param(&params, "code"), None);
    assert_eq!(param(&params, "state"), Some("s & t"));
    assert!(porch.store.families().is_empty());
}

#[tokio::test]
async fn an_epoch_that_moved_before_the_yes_ends_the_question() {
    let porch = Porch::new();
    let (login, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    porch.clock.advance(10);
    porch.store.set_epoch(NOW + 5);
    let confirmed = porch.confirm(&ticket, &login, Decision::Allow);
    assert_eq!(error(confirmed.await), LoginError::NotPending, "D68");
    assert!(porch.store.families().is_empty());
}

#[tokio::test]
async fn a_confidential_client_with_an_https_address_is_answered_at_once() {
    let porch = Porch::new();
    let server = |uri| AuthorizationParams {
        client_id: Some("server"),
        redirect_uri: Some(uri),
        scope: Some("orders:read"),
        ..native()
    };
    let uri = "https://server.example.com/cb?tenant=1";
    let (_, answered) = porch.ask(&server(uri)).await;
    let SignedIn::Answer(answer) = answered else {
        panic!("{answered:?}");
    };
    assert!(answer.location.starts_with(&format!("{uri}&code=cr_ac_")));
    let grant = porch.only_family();
    assert_eq!(
        grant.absolute_expires_at,
        UnixTime(NOW + 60 + 600),
        "no refresh token, no long grant"
    );
    let (_, asked) = porch.ask(&server("http://127.0.0.1:9/server")).await;
    assert!(
        matches!(asked, SignedIn::Confirm { .. }),
        "on a loopback address anybody may listen"
    );
    let https = AuthorizationParams {
        redirect_uri: Some("https://app.example.com/cb"),
        ..native()
    };
    let (_, asked) = porch.ask(&https).await;
    assert!(
        matches!(asked, SignedIn::Confirm { .. }),
        "anybody can use a public client's id"
    );
}

#[tokio::test]
async fn a_client_that_is_taken_away_meanwhile_gets_no_code() {
    let porch = Porch::new();
    let (login, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    for edit in [
        (|config: &mut Config| config.clients.retain(|client| client.id != "app"))
            as fn(&mut Config),
        |config| config.clients[0].redirect_uris.clear(),
    ] {
        let later = Porch::with(edit);
        let confirmed = later.confirm(&ticket, &login, Decision::Allow);
        assert_eq!(
            error(confirmed.await),
            LoginError::Refused("the client is gone")
        );
    }
}

#[tokio::test]
async fn nothing_secret_is_shown_by_debug() {
    let porch = Porch::new();
    let params = native();
    let (login, asked) = porch.ask(&params).await;
    let callback = callback(&login, Ok("code-of-alice"));
    let mut texts = vec![format!("{login:?} {asked:?} {callback:?} {params:?}")];
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    let confirmed = porch.confirm(&ticket, &login, Decision::Allow).await;
    let answer = confirmed.unwrap().answer;
    texts.push(format!("{answer:?}"));
    texts.push(format!("{:?}", SignedIn::Answer(answer)));
    let start = porch.start().await;
    let signed_in = porch.finish(&start, "code-of-alice", None).await.unwrap();
    texts.push(format!("{signed_in:?}"));
    let out = porch.service.log_out(session_of(signed_in).expose()).await;
    texts.push(format!("{out:?}"));
    let text = texts.join(" ");
    for secret in [
        "cr_",
        "code-of",
        "alice",
        "s & t",
        "s+%26+t",
        CHALLENGE,
        &login.state,
        &login.cookie,
        &ticket,
    ] {
        assert!(!text.contains(secret), "D64: {text}");
    }
}
