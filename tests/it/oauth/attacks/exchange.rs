//! D56, D57: token exchange, and what a machine asks for.

use super::*;

/// Whoever exchanges tokens of the native app, and of itself.
pub(super) const EXCHANGER: &str = r#"
    [[clients]]
    id = "exchanger"
    kind = "confidential"
    secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
    grants = ["client_credentials", "token_exchange"]
    scopes = ["orders:read"]
    audiences = ["orders"]
    exchanges = ["demo-native", "exchanger"]
    exchange_id_tokens = ["demo"]
"#;

/// What is asked, with these changes to an exchange of `subject`.
pub(super) async fn exchanged(system: &System, subject: &str, changes: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", EXCHANGE),
        ("client_id", "exchanger"),
        ("client_secret", SECRET),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    for (name, value) in changes {
        let at = form.iter().position(|(other, _)| other == name);
        match at {
            Some(at) => form[at].1 = value,
            None => form.push((name, value)),
        }
    }
    token(system, &form).await
}

pub(super) fn access_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    oauth::text(&serde_json::from_str(&answer.text).unwrap(), "access_token")
}

/// A token of the exchanger itself.
async fn own_token(system: &System) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "exchanger"),
        ("client_secret", SECRET),
    ];
    access_token(&token(system, &form).await)
}

pub(super) async fn is_refused(
    system: &System,
    subject: &str,
    changes: &[(&str, &str)],
    error: &str,
) {
    let answer = exchanged(system, subject, changes).await;
    assert_eq!(answer.status, 400, "{changes:?}: {}", answer.text);
    assert_eq!(answer.error(), error, "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d56_only_a_live_access_token_that_is_the_clients_to_exchange_is_a_subject() {
    let system = system(EXCHANGER).await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let code = oauth::code(&system, "alice").await;
    let machine = oauth::machine_token(&system).await;
    let form = [("token", access.as_str())];
    let jwt = post(&system, "/oauth/introspect", &form)
        .header("accept", "application/jwt")
        .basic_auth("demo-machine", Some(SECRET));
    let jwt = Answer::to(jwt).await.text;
    assert!(jwt.starts_with("eyJ"));
    let forged = forged(&access);
    for subject in [&refresh, &code, &machine, &jwt, &forged, "garbage", ""] {
        is_refused(&system, subject, &[], "invalid_request").await;
    }
    for kind in [
        ID_TOKEN,
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:ietf:params:oauth:token-type:refresh_token",
        "urn:ietf:params:oauth:token-type:saml2",
        "",
    ] {
        for subject in [&access, &jwt] {
            let lie = [("subject_token_type", kind)];
            is_refused(&system, subject, &lie, "invalid_request").await;
        }
    }
    let given = access_token(&exchanged(&system, &access, &[]).await);
    assert_eq!(called(&system, &given).await.status, 200);
    assert_eq!(oauth::revoke(&system, &refresh).await, 200);
    is_refused(&system, &access, &[], "invalid_request").await;
    assert_eq!(
        called(&system, &given).await.status,
        401,
        "it died with its subject"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d56_an_exchange_widens_neither_scope_nor_audience() {
    let system = system(EXCHANGER).await;
    let (access, _) = oauth::native_tokens(&system, "alice").await;
    for resource in [
        "/orders",
        "https://api.example.com/orders#x",
        "https://api.example.com@evil.example/orders",
        "https://evil.example/orders",
        "https://api.example.com/profile",
    ] {
        is_refused(
            &system,
            &access,
            &[("resource", resource)],
            "invalid_target",
        )
        .await;
    }
    for audience in ["profile", "ORDERS", "demo-native", "*"] {
        is_refused(
            &system,
            &access,
            &[("audience", audience)],
            "invalid_target",
        )
        .await;
    }
    for scope in ["profile", "orders:read profile", "offline_access", "admin"] {
        is_refused(&system, &access, &[("scope", scope)], "invalid_scope").await;
    }
    let wanted = "urn:ietf:params:oauth:token-type:refresh_token";
    let wanted = [("requested_token_type", wanted)];
    is_refused(&system, &access, &wanted, "invalid_request").await;
    // Nor by exchanging again.
    let orders = [
        ("resource", "https://api.example.com/orders"),
        ("scope", "orders:read"),
    ];
    let narrow = access_token(&exchanged(&system, &access, &orders).await);
    is_refused(
        &system,
        &narrow,
        &[("audience", "profile")],
        "invalid_target",
    )
    .await;
    let again = access_token(&exchanged(&system, &narrow, &[]).await);
    let (status, _) = oauth::call(&system, "/api/profile", &again).await;
    assert_eq!(status, 403);
    assert_eq!(called(&system, &again).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn d56_an_actor_is_the_client_itself_and_a_chain_of_them_ends() {
    let system = system(EXCHANGER).await;
    let (access, _) = oauth::native_tokens(&system, "alice").await;
    let own = own_token(&system).await;
    let machine = oauth::machine_token(&system).await;
    let actor = [
        ("actor_token", own.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
    ];
    for wrong in [
        &actor[..1],
        &actor[1..],
        &[("actor_token", &machine), actor[1]],
        &[("actor_token", &access), actor[1]],
        &[actor[0], ("actor_token_type", ID_TOKEN)],
    ] {
        is_refused(&system, &access, wrong, "invalid_request").await;
    }
    let mut link = access;
    for _ in 0..4 {
        link = access_token(&exchanged(&system, &link, &actor).await);
    }
    is_refused(&system, &link, &actor, "invalid_request").await;
    let acting = [("actor_token", link.as_str()), actor[1]];
    is_refused(&system, &own, &acting, "invalid_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d56_exchanging_in_a_loop_prolongs_nothing() {
    let clock = TestClock::default();
    let system = system_at(&clock, EXCHANGER).await;
    let (access, _) = oauth::native_tokens(&system, "alice").await;
    let mut link = access.clone();
    for left in [600, 450, 300, 150] {
        let answer = exchanged(&system, &link, &[]).await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(body["expires_in"], left);
        link = access_token(&answer);
        clock.advance(150);
    }
    is_refused(&system, &link, &[], "invalid_request").await;
    is_refused(&system, &access, &[], "invalid_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d57_a_machine_gets_nothing_of_a_users() {
    let system = system(
        r#"
        [[clients]]
        id = "generous"
        kind = "confidential"
        secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
        grants = ["client_credentials"]
        scopes = ["openid", "profile", "email", "offline_access", "orders:read"]
        "#,
    )
    .await;
    let ask = async |scope: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "generous"),
            ("client_secret", SECRET),
            ("scope", scope),
        ];
        token(&system, &form).await
    };
    for scope in [
        "openid",
        "profile",
        "email",
        "offline_access",
        "orders:read offline_access",
        "orders:read openid",
    ] {
        let answer = ask(scope).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (400, "invalid_scope".into()),
            "{scope}"
        );
    }
    for scope in ["orders:read", ""] {
        let answer = ask(scope).await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(body["scope"], "orders:read");
        assert!(body["refresh_token"].is_null());
        let (_, seen) = oauth::call(&system, "/api/profile", &access_token(&answer)).await;
        assert_eq!(seen["claims"]["sub"], "client|generous");
    }
}
