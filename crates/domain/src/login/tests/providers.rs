//! Several identity providers: which of them, and that none answers for another.

use super::*;
use crate::config::CallbackUri;

/// `demo` with the shared address, `second` with one of its own.
fn two() -> Porch {
    Porch::with(|config| {
        let mut second = config.identity_providers[0].clone();
        config.identity_providers[0].callback = Some(CallbackUri::Shared);
        config.identity_providers[0].email_domains = vec!["example.com".into()];
        second.id = "second".into();
        second.callback = Some(CallbackUri::Own);
        second.email_domains = vec!["Second.Example".into(), "2nd.example".into()];
        config.identity_providers.push(second);
    })
}

#[tokio::test]
async fn an_address_names_the_provider_of_its_domain_exactly() {
    let porch = two();
    for (address, idp) in [
        ("alice@example.com", Some("demo")),
        ("alice@EXAMPLE.com", Some("demo")),
        ("alice@second.example", Some("second")),
        ("a@example.com@2nd.example", Some("second")),
        ("alice@evil-example.com", None),
        ("alice@sub.example.com", None),
        ("alice@example.com.evil", None),
        ("example.com", None),
        ("@", None),
        ("", None),
    ] {
        let request = LoginRequest {
            login_hint: Some(address),
            ..LoginRequest::default()
        };
        match (porch.service.start(&request).await, idp) {
            (Ok(_), Some(idp)) => {
                let asked = porch.providers.last_asked();
                assert_eq!(asked.idp, idp, "{address}");
                assert_eq!(asked.login_hint.as_deref(), Some(address));
            }
            (Err(LoginError::ChoiceNeeded), None) => {}
            (other, _) => panic!("{address}: {other:?}"),
        }
    }
    let request = LoginRequest {
        idp: Some("demo"),
        login_hint: Some("alice@second.example"),
        ..LoginRequest::default()
    };
    porch.service.start(&request).await.unwrap();
    assert_eq!(
        porch.providers.last_asked().idp,
        "demo",
        "what is said counts"
    );
}

#[tokio::test]
async fn d5_an_answer_counts_only_at_the_address_of_its_own_provider() {
    let porch = two();
    for (idp, own) in [("demo", None), ("second", Some("second"))] {
        let request = LoginRequest {
            idp: Some(idp),
            ..LoginRequest::default()
        };
        let login = porch.service.start(&request).await.unwrap();
        let asked = porch.providers.last_asked().redirect_uri;
        assert_eq!(asked.ends_with("/auth/callback/second"), own.is_some());
        let at = |at| {
            let login = &login;
            let service = &porch.service;
            async move {
                let answer = callback(login, Ok("code-of-alice"));
                service.callback(&Callback { at, ..answer }).await
            }
        };
        for wrong in [None, Some("demo"), Some("second"), Some(""), Some("other")] {
            if wrong != own {
                let refused = error(at(wrong).await);
                assert!(matches!(refused, LoginError::Refused(_)), "{idp} {wrong:?}");
            }
        }
        assert_eq!(porch.providers.take_redeemed(), 0, "no token call");
        assert!(at(own).await.is_ok());
        assert_eq!(porch.providers.take_redeemed(), 1);
    }
}

#[tokio::test]
async fn a_provider_that_was_taken_away_finishes_no_login() {
    let porch = Porch::new();
    let login = porch.start().await;
    let other = Porch::with(|config| config.identity_providers[0].id = "other".into());
    assert_eq!(
        error(other.finish(&login, "code-of-alice", None).await),
        LoginError::UnknownProvider
    );
    assert_eq!(other.providers.take_redeemed(), 0);
}

#[tokio::test]
async fn a_native_client_may_leave_the_choice_to_its_user_even_when_it_pushes() {
    let porch = two();
    let params = native();
    let needed = porch.authorize(&params).await.unwrap_err();
    assert!(matches!(
        needed,
        AuthorizeError::Login(LoginError::ChoiceNeeded)
    ));
    let chosen = AuthorizationParams {
        idp: Some("second"),
        ..native()
    };
    porch.authorize(&chosen).await.unwrap();
    assert_eq!(porch.providers.last_asked().idp, "second");

    let credentials = crate::client::ClientCredentials::Public { id: "app" };
    let pushed = porch
        .service
        .push(&credentials, &params, None)
        .await
        .unwrap();
    let by_reference = AuthorizationParams {
        client_id: Some("app"),
        request_uri: Some(&pushed.request_uri),
        idp: Some("demo"),
        ..AuthorizationParams::default()
    };
    porch.authorize(&by_reference).await.unwrap();
    assert_eq!(porch.providers.last_asked().idp, "demo");
    let pushed = porch
        .service
        .push(&credentials, &chosen, None)
        .await
        .unwrap();
    let edited = AuthorizationParams {
        request_uri: Some(&pushed.request_uri),
        ..by_reference
    };
    porch.authorize(&edited).await.unwrap();
    assert_eq!(
        porch.providers.last_asked().idp,
        "second",
        "pushed is pushed"
    );
}

#[tokio::test]
async fn a_step_up_is_asked_for_and_remembered() {
    let porch = Porch::new();
    let request = LoginRequest {
        max_age: Some(0),
        acr_values: Some("gold"),
        ..LoginRequest::default()
    };
    porch.service.start(&request).await.unwrap();
    let asked = porch.providers.last_asked();
    assert_eq!(asked.max_age, Some(0));
    assert_eq!(asked.acr_values.as_deref(), Some("gold"));
}

#[tokio::test]
async fn d4_the_session_from_before_ends_though_its_cookie_stays_at_home() {
    // The Strict cookie is not sent with the provider's redirect: the login remembers.
    let porch = Porch::new();
    let old = porch.sign_in("bob").await;
    let bystander = porch.sign_in("bob").await;
    let request = LoginRequest {
        old_session: Some(old.expose()),
        ..LoginRequest::default()
    };
    let login = porch.service.start(&request).await.unwrap();
    assert!(!login.cookie.contains(old.expose()), "sealed");
    let signed_in = porch.finish(&login, "code-of-alice", None).await.unwrap();
    assert_eq!(porch.state(&old), FamilyState::Ended);
    assert_eq!(porch.state(&bystander), FamilyState::Active);
    assert_eq!(porch.state(&session_of(signed_in)), FamilyState::Active);

    // Nothing but a ticket of ours is remembered, however long it is.
    let long = "x".repeat(4000);
    for junk in ["", "x", &long] {
        let request = LoginRequest {
            old_session: Some(junk),
            ..LoginRequest::default()
        };
        let login = porch.service.start(&request).await.unwrap();
        assert!(login.cookie.len() < 1000);
        porch.finish(&login, "code-of-alice", None).await.unwrap();
    }
    assert_eq!(porch.state(&bystander), FamilyState::Active);
}
