//! Pushed authorization requests.

use super::*;
use crate::client::ClientCredentials;
use crate::testing::SECRET;

const SERVER: &str = "https://server.example.com/cb?tenant=1";
const APP: ClientCredentials<'_> = ClientCredentials::Public { id: "app" };

fn server(secret: &str) -> ClientCredentials<'_> {
    ClientCredentials::Secret {
        id: "server",
        secret,
    }
}

fn of_server() -> AuthorizationParams<'static> {
    AuthorizationParams {
        client_id: Some("server"),
        redirect_uri: Some(SERVER),
        scope: Some("orders:read"),
        ..native()
    }
}

/// What the browser brings along.
fn by_uri<'a>(client: &'a str, uri: &'a str) -> AuthorizationParams<'a> {
    AuthorizationParams {
        client_id: Some(client),
        request_uri: Some(uri),
        ..AuthorizationParams::default()
    }
}

async fn pushed(porch: &Porch, params: &AuthorizationParams<'_>) -> Zeroizing<String> {
    let pushed = porch.service.push(&APP, params, None).await.unwrap();
    assert_eq!(pushed.expires_in, 60);
    pushed.request_uri
}

#[tokio::test]
async fn a_pushed_request_is_stored_nowhere_and_leads_to_a_code() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    assert!(uri.starts_with("urn:ietf:params:oauth:request_uri:"));
    assert!(!uri.contains(CHALLENGE));
    assert_ne!(uri, pushed(&porch, &native()).await, "no two are alike");

    let (login, asked) = porch.ask(&by_uri("app", &uri)).await;
    let SignedIn::Confirm { ticket, scope, .. } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(scope, "offline_access openid orders:read");
    let calls = porch.store.take_calls();
    assert_eq!(
        (calls.create, calls.once),
        (0, 1),
        "the login's state alone"
    );
    let confirmed = porch.confirm(&ticket, &login, Decision::Allow).await;
    let params = params_of(&confirmed.unwrap().answer, REDIRECT);
    assert!(param(&params, "code").is_some());
    assert_eq!(param(&params, "state"), Some("s & t"));
}

#[tokio::test]
async fn only_the_client_itself_pushes_its_requests() {
    let porch = Porch::new();
    let push = async |credentials: &ClientCredentials<'_>, params: &AuthorizationParams<'_>| {
        porch
            .service
            .push(credentials, params, None)
            .await
            .map(|_| ())
            .unwrap_err()
    };
    for credentials in [
        ClientCredentials::Public { id: "" },
        ClientCredentials::Public { id: "stranger" },
        ClientCredentials::Public { id: "server" },
        server("wrong"),
        ClientCredentials::Secret {
            id: "app",
            secret: SECRET,
        },
    ] {
        let error = push(&credentials, &of_server()).await;
        assert_eq!(error, PushError::InvalidClient, "D54");
    }
    let machine = ClientCredentials::Secret {
        id: "machine",
        secret: SECRET,
    };
    assert_eq!(
        push(&machine, &native()).await,
        PushError::UnauthorizedClient
    );
    let another = push(&APP, &of_server()).await;
    assert!(matches!(another, PushError::Malformed(_)), "{another:?}");
    assert!(
        porch
            .service
            .push(&server(SECRET), &of_server(), None)
            .await
            .is_ok()
    );
    let unnamed = AuthorizationParams {
        client_id: None,
        ..of_server()
    };
    assert!(
        porch
            .service
            .push(&server(SECRET), &unnamed, None)
            .await
            .is_ok()
    );
    assert_eq!(porch.store.take_calls(), Calls::default());
}

#[tokio::test]
async fn a_pushed_request_is_judged_like_any_other() {
    type Edit = fn(&mut AuthorizationParams<'static>);
    let porch = Porch::new();
    let malformed = |error| matches!(error, PushError::Malformed(_));
    let foreign: [Edit; 4] = [
        |p| p.redirect_uri = None,
        |p| p.redirect_uri = Some("https://evil.example/cb"),
        |p| p.redirect_uri = Some(SERVER),
        |p| p.request_uri = Some("urn:ietf:params:oauth:request_uri:x"),
    ];
    for (i, edit) in foreign.into_iter().enumerate() {
        let mut params = native();
        edit(&mut params);
        let error = porch.service.push(&APP, &params, None).await.unwrap_err();
        assert!(malformed(error), "{i}: {error:?}");
    }
    let cases: [(Edit, &str); 6] = [
        (|p| p.response_type = None, "invalid_request"),
        (
            |p| p.response_type = Some("token"),
            "unsupported_response_type",
        ),
        (
            |p| p.code_challenge_method = Some("plain"),
            "invalid_request",
        ),
        (|p| p.scope = Some("admin"), "invalid_scope"),
        (|p| p.prompt = Some("none login"), "invalid_request"),
        (|p| p.request = Some("x"), "request_not_supported"),
    ];
    for (i, (edit, expected)) in cases.into_iter().enumerate() {
        let mut params = native();
        edit(&mut params);
        let error = porch.service.push(&APP, &params, None).await.unwrap_err();
        let PushError::Refused(error) = error else {
            panic!("{i}: {error:?}");
        };
        assert_eq!(error.code(), expected, "{i}");
    }
}

#[tokio::test]
async fn what_the_browser_says_beside_a_request_uri_does_not_count() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    let edited = AuthorizationParams {
        redirect_uri: Some("http://127.0.0.1:6000/callback"),
        scope: Some("orders:write"),
        state: Some("other"),
        code_challenge: Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        prompt: Some("none"),
        ..by_uri("app", &uri)
    };
    let (login, asked) = porch.ask(&edited).await;
    let SignedIn::Confirm { ticket, .. } = asked else {
        panic!("{asked:?}");
    };
    let confirmed = porch.confirm(&ticket, &login, Decision::Allow).await;
    let params = params_of(&confirmed.unwrap().answer, REDIRECT);
    assert_eq!(param(&params, "state"), Some("s & t"));
    let code = OpaqueToken::parse(param(&params, "code").unwrap()).unwrap();
    let opened = porch.opened(&code).unwrap();
    assert_eq!(
        opened.meta.scope.to_string(),
        native()
            .scope
            .map(|_| "offline_access openid orders:read")
            .unwrap()
    );
    assert_eq!(opened.meta.code.unwrap().challenge, CHALLENGE);
}

#[tokio::test]
async fn a_request_uri_that_is_not_ours_or_not_the_clients_is_shown() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    let login = porch.start().await;
    let with_cookie = format!("urn:ietf:params:oauth:request_uri:{}", &*login.cookie);
    let mut changed = uri.to_string();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    let cases = [
        ("server", uri.as_str()),
        ("", uri.as_str()),
        ("app", ""),
        ("app", "https://app.example.com/request.jwt"),
        ("app", "urn:ietf:params:oauth:request_uri:"),
        ("app", "urn:ietf:params:oauth:request_uri:x"),
        ("app", &changed),
        // A login cookie is sealed by the same key.
        ("app", &with_cookie),
    ];
    for (client, uri) in cases {
        let params = by_uri(client, uri);
        let result = porch.service.authorize(&params, Presence::Absent).await;
        assert!(
            matches!(result, Err(AuthorizeError::Shown(_))),
            "{client} {uri}: {result:?}"
        );
    }
    // Nor is a request URI a login cookie.
    let sealed = uri.rsplit(':').next().unwrap();
    let callback = Callback {
        state: &pending::state_of(sealed),
        cookie: sealed,
        ..callback(&login, Ok("code-of-alice"))
    };
    assert_eq!(
        error(porch.service.callback(&callback).await),
        LoginError::NotPending
    );
    assert!(porch.authorize(&by_uri("app", &uri)).await.is_ok());
}

#[tokio::test]
async fn a_request_uri_waits_for_a_minute() {
    for (later, is_good) in [(59, true), (60, false)] {
        let porch = Porch::new();
        let uri = pushed(&porch, &native()).await;
        porch.clock.advance(later);
        match porch.authorize(&by_uri("app", &uri)).await {
            Ok(_) => assert!(is_good),
            Err(AuthorizeError::Answered(answer)) => {
                assert!(!is_good);
                let params = params_of(&answer, REDIRECT);
                assert_eq!(param(&params, "error"), Some("invalid_request_uri"));
                assert_eq!(param(&params, "state"), Some("s & t"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_uri_is_good_for_one_code() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    let mut questions = Vec::new();
    for _ in 0..2 {
        let (login, asked) = porch.ask(&by_uri("app", &uri)).await;
        let SignedIn::Confirm { ticket, .. } = asked else {
            panic!("{asked:?}");
        };
        questions.push((login, ticket));
    }
    let outcomes = [
        porch.confirm(&questions[0].1, &questions[0].0, Decision::Allow),
        porch.confirm(&questions[1].1, &questions[1].0, Decision::Allow),
    ];
    let [first, second] = outcomes;
    let (first, second) = tokio::join!(first, second);
    let mut errors = Vec::new();
    for answer in [first.unwrap().answer, second.unwrap().answer] {
        let params = params_of(&answer, REDIRECT);
        errors.push(param(&params, "error").map(str::to_owned));
        assert!(param(&params, "error").is_some() != param(&params, "code").is_some());
    }
    errors.sort();
    assert_eq!(errors, [None, Some("invalid_request_uri".into())]);
    porch.only_family();

    let session = porch.sign_in("alice").await;
    let uri = porch
        .service
        .push(&server(SECRET), &of_server(), None)
        .await;
    let uri = uri.unwrap().request_uri;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let presence = Presence::Cookie(session.expose());
        let params = by_uri("server", &uri);
        match porch.service.authorize(&params, presence).await {
            Ok(Authorized::SignedIn(SignedIn::Answer(answer)))
            | Err(AuthorizeError::Answered(answer)) => answers.push(answer.location),
            other => panic!("{other:?}"),
        }
    }
    assert!(answers[0].contains("&code=cr_ac_"));
    assert!(answers[1].contains("&error=invalid_request_uri"));
    let by_another = porch
        .service
        .authorize(&by_uri("server", &uri), Presence::Unseen)
        .await;
    assert!(
        matches!(by_another, Err(AuthorizeError::Answered(_))),
        "on sight: {by_another:?}"
    );
}

#[tokio::test]
async fn nobody_can_make_us_write_by_request_uris_alone() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    for presence in [Presence::Unseen, Presence::Absent, Presence::Cookie("x")] {
        let params = by_uri("app", &uri);
        assert!(porch.service.authorize(&params, presence).await.is_ok());
    }
    let calls = porch.store.take_calls();
    assert_eq!((calls.once, calls.create, calls.update), (0, 0, 0), "D72");
}

#[tokio::test]
async fn a_client_that_must_push_is_not_taken_at_the_browsers_word() {
    let porch = Porch::with(|config| config.clients[0].require_par = true);
    let result = porch.service.authorize(&native(), Presence::Absent).await;
    let Err(AuthorizeError::Answered(answer)) = result else {
        panic!("{result:?}");
    };
    let params = params_of(&answer, REDIRECT);
    assert_eq!(param(&params, "error"), Some("invalid_request"));
    let uri = pushed(&porch, &native()).await;
    assert!(porch.authorize(&by_uri("app", &uri)).await.is_ok());
    assert!(
        porch.authorize(&of_server()).await.is_ok(),
        "another client"
    );
}

#[tokio::test]
async fn a_push_needs_the_root_keys() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    porch.roots.set_down(true);
    assert!(matches!(
        porch.service.push(&APP, &native(), None).await.unwrap_err(),
        PushError::Unavailable(_)
    ));
    assert!(matches!(
        porch.authorize(&by_uri("app", &uri)).await,
        Err(AuthorizeError::Login(LoginError::Unavailable(_)))
    ));
}

#[tokio::test]
async fn a_client_that_is_taken_away_after_its_push_is_not_answered() {
    let porch = Porch::new();
    let uri = pushed(&porch, &native()).await;
    for edit in [
        (|config: &mut Config| config.clients.retain(|client| client.id != "app"))
            as fn(&mut Config),
        |config| config.clients[0].redirect_uris.clear(),
        |config| config.clients[0].grants.clear(),
    ] {
        let later = Porch::with(edit);
        assert!(matches!(
            later.authorize(&by_uri("app", &uri)).await,
            Err(AuthorizeError::Shown(_))
        ));
    }
}

#[tokio::test]
async fn debug_shows_no_request_uri() {
    let porch = Porch::new();
    let pushed = porch.service.push(&APP, &native(), None).await.unwrap();
    let presence = Presence::Cookie("canary");
    let text = format!("{pushed:?} {presence:?} {:?}", ConfirmingBrowser::default());
    assert!(!text.contains("urn:") && !text.contains("canary"), "D64");
}

/// RFC 9126 §4: what was pushed counts, and what the browser carries beside it does not.
#[tokio::test]
async fn d96_the_hint_that_was_pushed_is_the_providers_and_the_browsers_is_nobodys() {
    fn hinted(login_hint: Option<&str>) -> AuthorizationParams<'_> {
        AuthorizationParams {
            login_hint,
            ..native()
        }
    }
    let porch = Porch::new();
    for (pushed_hint, expected) in [
        (Some("alice@example.com"), Some("alice@example.com")),
        (None, None),
    ] {
        let uri = pushed(&porch, &hinted(pushed_hint)).await;
        let browser = AuthorizationParams {
            login_hint: Some("mallory@evil.example"),
            prompt: Some("none"),
            max_age: Some("0"),
            acr_values: Some("none"),
            state: Some("another"),
            ..by_uri("app", &uri)
        };
        porch.authorize(&browser).await.unwrap();
        let asked = porch.providers.last_asked();
        assert_eq!(asked.login_hint.as_deref(), expected);
        assert_eq!((asked.max_age, asked.acr_values), (None, None));
        assert!(!asked.prompt_login);
    }
    // Without a pushed request the browser's is the client's own.
    porch
        .authorize(&hinted(Some("bob@example.com")))
        .await
        .unwrap();
    let asked = porch.providers.last_asked();
    assert_eq!(asked.login_hint.as_deref(), Some("bob@example.com"));
    for odd in ["x".repeat(257), "a\nb".into()] {
        let pushed = porch.service.push(&APP, &hinted(Some(&odd)), None).await;
        let invalid = matches!(
            pushed,
            Err(PushError::Refused(AnswerError::InvalidRequest(_)))
        );
        assert!(invalid, "{pushed:?}");
    }
}

/// Which provider it shall be is the client's to say, and where it did not, the user's.
#[tokio::test]
async fn d96_a_provider_that_was_pushed_by_name_or_by_address_stays() {
    let porch = Porch::with(|config| {
        let mut second = config.identity_providers[0].clone();
        config.identity_providers[0].callback = Some(crate::config::CallbackUri::Shared);
        config.identity_providers[0].email_domains = vec!["example.com".into()];
        second.id = "second".into();
        second.callback = Some(crate::config::CallbackUri::Own);
        second.email_domains = vec!["second.example".into()];
        config.identity_providers.push(second);
    });
    let (alice, mallory) = (Some("alice@example.com"), Some("m@second.example"));
    for (idp, hint, by_idp, by_hint, expected) in [
        (Some("demo"), None, Some("second"), mallory, Some("demo")),
        (None, alice, Some("second"), mallory, Some("demo")),
        (
            None,
            Some("a@unknown.example"),
            Some("second"),
            None,
            Some("second"),
        ),
        (None, None, Some("second"), None, Some("second")),
        (None, None, None, mallory, Some("second")),
        (None, None, None, None, None),
    ] {
        let request = AuthorizationParams {
            idp,
            login_hint: hint,
            ..native()
        };
        let uri = pushed(&porch, &request).await;
        let browser = AuthorizationParams {
            idp: by_idp,
            login_hint: by_hint,
            ..by_uri("app", &uri)
        };
        match (porch.authorize(&browser).await, expected) {
            (Ok(_), Some(expected)) => {
                let asked = porch.providers.last_asked();
                assert_eq!(
                    (asked.idp.as_str(), asked.login_hint.as_deref()),
                    (expected, hint)
                );
            }
            (Err(AuthorizeError::Login(LoginError::ChoiceNeeded)), None) => {}
            (other, _) => panic!("{idp:?} {hint:?} {by_idp:?} {by_hint:?}: {other:?}"),
        }
    }
}
