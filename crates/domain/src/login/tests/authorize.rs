//! The authorization endpoint in a browser that is signed in already.

use super::*;

const SERVER: &str = "https://server.example.com/cb?tenant=1";

/// A confidential client's request: no question is put to the user.
fn server() -> AuthorizationParams<'static> {
    AuthorizationParams {
        client_id: Some("server"),
        redirect_uri: Some(SERVER),
        scope: Some("orders:read"),
        ..native()
    }
}

impl Porch {
    async fn with_session(
        &self,
        params: &AuthorizationParams<'_>,
        session: &OpaqueToken,
    ) -> Result<Authorized, AuthorizeError> {
        let presence = Presence::Cookie(session.expose());
        self.service.authorize(params, presence).await
    }

    /// The confirmation page of a public client, for a user who is signed in.
    async fn asked(&self, session: &OpaqueToken) -> Zeroizing<String> {
        match self.with_session(&native(), session).await {
            Ok(Authorized::SignedIn(SignedIn::Confirm { ticket, user, .. })) => {
                assert_eq!(user, "alice");
                ticket
            }
            other => panic!("{other:?}"),
        }
    }

    async fn say_yes(
        &self,
        ticket: &str,
        session: Option<&str>,
        logins: &[&str],
    ) -> Result<Confirmed, LoginError> {
        let browser = ConfirmingBrowser { logins, session };
        self.service
            .confirm(ticket, &browser, Decision::Allow)
            .await
    }

    fn code_of(&self, answer: &Answer, redirect_uri: &str) -> Opened {
        let params = params_of(answer, redirect_uri);
        let code = OpaqueToken::parse(param(&params, "code").unwrap()).unwrap();
        self.opened(&code).unwrap()
    }
}

fn told(result: &Result<Authorized, AuthorizeError>, redirect_uri: &str) -> String {
    let Err(AuthorizeError::Answered(answer)) = result else {
        panic!("{result:?}");
    };
    let params = params_of(answer, redirect_uri);
    assert_eq!(param(&params, "state"), Some("s & t"));
    assert_eq!(param(&params, "code"), None);
    param(&params, "error").unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_whose_cookie_stayed_at_home_is_asked_to_come_again() {
    let porch = Porch::new();
    for params in [native(), server()] {
        let first = porch.service.authorize(&params, Presence::Unseen).await;
        assert!(matches!(first, Ok(Authorized::LookAgain)), "{first:?}");
        let second = porch.service.authorize(&params, Presence::Absent).await;
        assert!(matches!(second, Ok(Authorized::Login(_))), "{second:?}");
    }
    // What is not in order is refused at once, and a fresh sign-in needs no session.
    let stranger = AuthorizationParams {
        client_id: Some("stranger"),
        ..native()
    };
    let shown = porch.service.authorize(&stranger, Presence::Unseen).await;
    assert!(matches!(shown, Err(AuthorizeError::Shown(_))));
    let greedy = AuthorizationParams {
        scope: Some("admin"),
        ..native()
    };
    let result = porch.service.authorize(&greedy, Presence::Unseen).await;
    assert_eq!(told(&result, REDIRECT), "invalid_scope");
    let afresh = AuthorizationParams {
        prompt: Some("login"),
        ..native()
    };
    let result = porch.service.authorize(&afresh, Presence::Unseen).await;
    assert!(matches!(result, Ok(Authorized::Login(_))), "{result:?}");
    assert_eq!(porch.store.take_calls(), Calls::default(), "D72");
}

#[tokio::test]
async fn a_session_answers_a_proven_client_at_once() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(100);
    let result = porch.with_session(&server(), &session).await;
    let Ok(Authorized::SignedIn(SignedIn::Answer(answer))) = result else {
        panic!("{result:?}");
    };
    let opened = porch.code_of(&answer, SERVER);
    let user = opened.grant.user.unwrap();
    let before = porch.opened(&session).unwrap().grant.user.unwrap();
    assert!(
        user == before,
        "claims, auth_time, acr and amr are the session's"
    );
    assert_eq!(
        user.auth_time,
        Some(UnixTime(NOW)),
        "of the sign-in, not of now"
    );
    assert_eq!(opened.grant.client.as_deref(), Some("server"));
    assert!(opened.grant.upstream_id_token.is_none());
    assert_eq!(opened.meta.kind, TokenKind::Code);
    assert_eq!(porch.state(&session), FamilyState::Active);
    assert_eq!(porch.providers.take_redeemed(), 1, "the session's own");
}

#[tokio::test]
async fn a_session_does_not_speak_for_its_user_to_a_public_client() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.asked(&session).await;
    assert_eq!(porch.store.families().len(), 1, "nothing before the yes");
    let confirmed = porch.say_yes(&ticket, Some(session.expose()), &[]).await;
    let Confirmed { answer, login } = confirmed.unwrap();
    assert_eq!(login, None, "there was no login");
    let user = porch.code_of(&answer, REDIRECT).grant.user.unwrap();
    assert_eq!(user.sub, "demo|alice");
    assert_eq!(
        error(porch.say_yes(&ticket, Some(session.expose()), &[]).await),
        LoginError::Replayed
    );

    let consent = AuthorizationParams {
        prompt: Some("consent"),
        ..server()
    };
    let result = porch.with_session(&consent, &session).await;
    assert!(
        matches!(result, Ok(Authorized::SignedIn(SignedIn::Confirm { .. }))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_question_put_to_a_session_is_answered_by_that_session_alone() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.asked(&session).await;
    let other = porch.sign_in("bob").await;
    let login = porch.start().await;
    let cases = [
        (None, ""),
        (Some(other.expose()), ""),
        (Some(""), session.expose()),
        (None, login.cookie.as_str()),
        (None, session.expose()),
    ];
    for (session, login) in cases {
        assert_eq!(
            error(porch.say_yes(&ticket, session, &[login]).await),
            LoginError::NotPending,
            "D2"
        );
    }
    // Nor does a session answer what a login was asked.
    let (_, asked) = porch.ask(&native()).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(
        error(porch.say_yes(&ticket, Some(session.expose()), &[]).await),
        LoginError::NotPending
    );
}

#[tokio::test]
async fn two_questions_at_once_are_answered_each_for_itself() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let (first, second) = (porch.asked(&session).await, porch.asked(&session).await);
    for ticket in [second, first] {
        let confirmed = porch.say_yes(&ticket, Some(session.expose()), &[]).await;
        assert!(confirmed.is_ok());
    }
    assert_eq!(porch.store.families().len(), 3);
}

#[tokio::test]
async fn a_session_that_is_over_says_no_more_yes() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.asked(&session).await;
    porch.service.log_out(session.expose()).await.unwrap();
    assert_eq!(
        error(porch.say_yes(&ticket, Some(session.expose()), &[]).await),
        LoginError::NotPending,
        "D24"
    );
    let after = porch.with_session(&server(), &session).await;
    assert!(matches!(after, Ok(Authorized::Login(_))), "{after:?}");
    assert_eq!(porch.store.families().len(), 1);
}

#[tokio::test]
async fn what_is_no_session_leads_to_the_provider() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let entropy = crate::testing::SequenceEntropy::starting_at(3);
    let guess = OpaqueToken::generate(TokenKind::Session, session.family(), &entropy).unwrap();
    let code = OpaqueToken::generate(TokenKind::Code, session.family(), &entropy).unwrap();
    for cookie in ["", "x", guess.expose(), code.expose()] {
        let result = porch
            .service
            .authorize(&server(), Presence::Cookie(cookie))
            .await;
        assert!(
            matches!(result, Ok(Authorized::Login(_))),
            "D18: {result:?}"
        );
    }
    porch
        .store
        .tamper(session.family(), |record| record.idle_expires_at.0 += 1);
    let tampered = porch.with_session(&server(), &session).await;
    assert!(matches!(tampered, Ok(Authorized::Login(_))), "D75");
    assert_eq!(porch.store.families().len(), 1);
}

#[tokio::test]
async fn a_session_past_a_limit_or_the_epoch_leads_to_the_provider() {
    type Edit = fn(&Porch);
    let edits: [Edit; 3] = [
        |porch| porch.clock.set(NOW + 3_600),
        |porch| porch.clock.set(NOW + 43_200),
        |porch| porch.store.set_epoch(NOW + 1),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let porch = Porch::new();
        let session = porch.sign_in("alice").await;
        edit(&porch);
        let result = porch.with_session(&server(), &session).await;
        assert!(
            matches!(result, Ok(Authorized::Login(_))),
            "{i}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_session_is_judged_by_what_the_client_demands() {
    type Edit = fn(&mut AuthorizationParams<'static>);
    // A hundred seconds after a sign-in of class "gold" at provider "demo".
    let cases: [(Edit, bool); 13] = [
        (|_| {}, true),
        (|p| p.prompt = Some("login"), false),
        (|p| p.prompt = Some("select_account"), false),
        (|p| p.max_age = Some("101"), true),
        (|p| p.max_age = Some("100"), false),
        (|p| p.max_age = Some("0"), false),
        (|p| p.acr_values = Some("gold"), true),
        (|p| p.acr_values = Some("silver gold"), true),
        (|p| p.acr_values = Some("silver"), false),
        (|p| p.acr_values = Some("goldx"), false),
        (|p| p.idp = Some("demo"), true),
        (|p| p.idp = Some("second"), false),
        (|p| p.prompt = Some("none"), true),
    ];
    for (i, (edit, is_enough)) in cases.into_iter().enumerate() {
        let porch = Porch::with(|config| {
            let mut second = config.identity_providers[0].clone();
            second.id = "second".into();
            config.identity_providers.push(second);
        });
        let demo = LoginRequest {
            idp: Some("demo"),
            ..LoginRequest::default()
        };
        let login = porch.service.start(&demo).await.unwrap();
        let signed_in = porch.finish(&login, "code-of-alice", None).await;
        let session = session_of(signed_in.unwrap());
        porch.clock.advance(100);
        let mut params = AuthorizationParams {
            idp: Some("demo"),
            ..server()
        };
        edit(&mut params);
        match porch.with_session(&params, &session).await.unwrap() {
            Authorized::SignedIn(SignedIn::Answer(_)) => assert!(is_enough, "{i}"),
            Authorized::Login(_) => {
                assert!(!is_enough, "{i}");
                let asked = porch.providers.last_asked();
                let fresh = matches!(params.prompt, Some("login" | "select_account"));
                assert_eq!(asked.prompt_login, fresh, "{i}");
                let max_age = params.max_age.map(|text| text.parse().unwrap());
                assert_eq!(asked.max_age, max_age, "{i}: the provider is told too");
            }
            other => panic!("{i}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn prompt_none_shows_nothing() {
    let porch = Porch::new();
    let quiet = |params: AuthorizationParams<'static>| AuthorizationParams {
        prompt: Some("none"),
        ..params
    };
    for (params, redirect) in [(quiet(native()), REDIRECT), (quiet(server()), SERVER)] {
        let result = porch.service.authorize(&params, Presence::Absent).await;
        assert_eq!(told(&result, redirect), "login_required");
    }
    let session = porch.sign_in("alice").await;
    let result = porch.with_session(&quiet(native()), &session).await;
    assert_eq!(told(&result, REDIRECT), "consent_required");
    let result = porch.with_session(&quiet(server()), &session).await;
    assert!(
        matches!(result, Ok(Authorized::SignedIn(SignedIn::Answer(_)))),
        "{result:?}"
    );
    porch.clock.advance(100);
    let stale = AuthorizationParams {
        max_age: Some("60"),
        ..quiet(server())
    };
    let result = porch.with_session(&stale, &session).await;
    assert_eq!(told(&result, SERVER), "login_required");
}

#[tokio::test]
async fn a_grant_from_the_session_of_an_ended_subject_does_not_start() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.asked(&session).await;
    porch.clock.advance(100);
    // Ended a moment after the sign-in; the session itself was missed.
    let opened = porch.opened(&session).unwrap();
    let keys = subject_keys(&roots(), &system(), &opened.grant);
    let end = |at| {
        porch
            .store
            .end_subject(&keys[0], Reach::All, UnixTime(at), UnixTime(u64::MAX))
    };
    end(NOW).await.unwrap();
    let result = porch.with_session(&server(), &session).await;
    assert!(result.is_ok(), "signed in at that moment or later");
    end(NOW + 1).await.unwrap();
    let result = porch.with_session(&server(), &session).await;
    assert!(
        matches!(result, Ok(Authorized::Login(_))),
        "the session is over, and the user signs in again: {result:?}"
    );
    assert_eq!(
        error(porch.say_yes(&ticket, Some(session.expose()), &[]).await),
        LoginError::NotPending
    );
    assert_eq!(porch.store.families().len(), 2, "the session and one grant");
}

#[tokio::test]
async fn a_session_of_which_we_cannot_tell_is_no_reason_to_guess() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let ticket = porch.asked(&session).await;
    for verb in [Verb::Epoch, Verb::Find, Verb::Create] {
        porch.store.fail_next(verb, Fault::Throttled);
        let result = porch.with_session(&server(), &session).await;
        assert!(
            matches!(
                result,
                Err(AuthorizeError::Login(LoginError::Unavailable(_)))
            ),
            "{verb:?}: {result:?}"
        );
    }
    for verb in [Verb::Epoch, Verb::Find, Verb::Once] {
        porch.store.fail_next(verb, Fault::Unavailable);
        let result = porch.say_yes(&ticket, Some(session.expose()), &[]).await;
        assert!(matches!(error(result), LoginError::Unavailable(_)));
    }
    let confirmed = porch.say_yes(&ticket, Some(session.expose()), &[]).await;
    assert!(confirmed.is_ok(), "nothing was lost");
}

#[tokio::test]
async fn a_consent_that_was_asked_for_is_asked_after_a_login_too() {
    let porch = Porch::new();
    let params = AuthorizationParams {
        prompt: Some("consent"),
        ..server()
    };
    let (_, asked) = porch.ask(&params).await;
    assert!(matches!(asked, SignedIn::Confirm { .. }), "{asked:?}");
}

#[tokio::test]
async fn a_resource_narrows_what_the_code_is_good_for() {
    const ORDERS: &str = "https://orders.example.com";
    let porch = Porch::with(|config| {
        config.audiences[0].resource = Some(ORDERS.into());
        config.audiences[1].resource = Some("https://profile.example.com".into());
        config.clients[1].audiences = vec!["orders".into()];
    });
    let session = porch.sign_in("alice").await;
    let asking = |resources: &[&'static str]| AuthorizationParams {
        resources: resources.to_vec(),
        ..native()
    };
    let result = porch.with_session(&asking(&[ORDERS]), &session).await;
    let Ok(Authorized::SignedIn(SignedIn::Confirm { ticket, .. })) = result else {
        panic!("{result:?}");
    };
    let confirmed = porch.say_yes(&ticket, Some(session.expose()), &[]).await;
    let opened = porch.code_of(&confirmed.unwrap().answer, REDIRECT);
    assert_eq!(opened.meta.audiences, ["orders"]);
    for resources in [
        &["https://evil.example"][..],
        &["orders"],
        &["https://orders.example.com#x"],
        &[ORDERS, "https://evil.example"],
    ] {
        let result = porch.with_session(&asking(resources), &session).await;
        assert_eq!(told(&result, REDIRECT), "invalid_target", "{resources:?}");
    }
    let forbidden = AuthorizationParams {
        resources: vec!["https://profile.example.com"],
        ..server()
    };
    let result = porch.with_session(&forbidden, &session).await;
    assert_eq!(
        told(&result, SERVER),
        "invalid_target",
        "another's audience"
    );
}
