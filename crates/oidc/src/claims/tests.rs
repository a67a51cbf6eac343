use cloakroom_domain::claims::UserClaims;
use cloakroom_domain::time::UnixTime;
use serde_json::{Value, json};

use crate::testing::{NOW, TestIdp, refusal, relying_party, sign_in};

async fn mapped(mapping: &str, claims: Value) -> Result<UserClaims, &'static str> {
    let idp = TestIdp::start().await;
    let config = idp.config(&format!("[identity_providers.claims]\n{mapping}"));
    let (oidc, _) = relying_party(&config);
    idp.issue(json!({}), claims);
    match sign_in(&oidc, &idp).await {
        Ok(user) => Ok(user.claims),
        error => Err(refusal(error)),
    }
}

#[tokio::test]
async fn a_user_is_named_after_the_provider_and_its_subject() {
    let claims = json!({
        "auth_time": NOW.0 - 9, "acr": "gold", "amr": ["pwd", "otp"], "sid": "s-1",
    });
    let user = mapped("", claims).await.unwrap();
    assert_eq!(user.sub, "demo|alice");
    assert_eq!(user.idp, "demo");
    assert!(user.iss.starts_with("http://127.0.0.1:"));
    assert_eq!(user.name.as_deref(), Some("Alice Example"));
    assert_eq!(user.email.as_deref(), Some("alice@example.com"));
    assert_eq!(user.roles, ["admin", "user"]);
    assert_eq!(user.auth_time, Some(UnixTime(NOW.0 - 9)));
    assert_eq!(user.acr.as_deref(), Some("gold"));
    assert_eq!(user.amr, ["pwd", "otp"]);
    assert_eq!(user.idp_sid.as_deref(), Some("s-1"));
}

#[tokio::test]
async fn a_sign_in_is_never_later_than_now() {
    let ahead = mapped("", json!({"auth_time": NOW.0 + 30})).await.unwrap();
    assert_eq!(ahead.auth_time, Some(NOW));
    let behind = mapped("", json!({"auth_time": NOW.0 - 30})).await.unwrap();
    assert_eq!(behind.auth_time, Some(UnixTime(NOW.0 - 30)));
}

/// Its `iat` says when it was made: for a session at the provider that may be of this
/// morning, or by a renewal.
#[tokio::test]
async fn an_id_token_without_auth_time_says_nothing_about_the_sign_in() {
    for claims in [
        json!({"iat": NOW.0}),
        json!({"iat": NOW.0 - 30}),
        json!({"auth_time": 0}),
    ] {
        let user = mapped("", claims).await.unwrap();
        assert_eq!(user.auth_time, None);
    }
}

#[tokio::test]
async fn subjects_are_bounded_and_printable() {
    assert!(mapped("", json!({"sub": "a".repeat(255)})).await.is_ok());
    for bad in ["a".repeat(256), "a\nb".into(), "a\u{0}".into(), "é".into()] {
        assert!(mapped("", json!({"sub": bad})).await.is_err());
        assert!(mapped("", json!({"sid": bad})).await.is_err());
    }
    assert!(mapped("", json!({"sub": ""})).await.is_err());
}

#[tokio::test]
async fn claims_are_found_by_pointer() {
    let mapping = r#"
        name = "/profile/full~1name"
        email = "/mails/0"
        roles = "/realm/roles"
    "#;
    let claims = json!({
        "profile": {"full/name": "A. Example"},
        "mails": ["a@example.com"],
        "realm": {"roles": "user"},
    });
    let user = mapped(mapping, claims).await.unwrap();
    assert_eq!(user.name.as_deref(), Some("A. Example"));
    assert_eq!(user.email.as_deref(), Some("a@example.com"));
    assert_eq!(user.roles, ["user"]);
    let nobody = mapped(mapping, json!({})).await.unwrap();
    assert!(nobody.name.is_none() && nobody.email.is_none() && nobody.roles.is_empty());
}

#[tokio::test]
async fn a_mapped_claim_of_the_wrong_shape_refuses_the_login() {
    for claims in [
        json!({"name": 7}),
        json!({"name": "a\r\nb"}),
        json!({"name": "x".repeat(1025)}),
        json!({"email": ["a@example.com"]}),
        json!({"roles": {"admin": true}}),
        json!({"roles": ["user", 7]}),
        json!({"roles": ["us\ner"]}),
        json!({"roles": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()}),
        json!({"acr": 1}),
        json!({"amr": "pwd"}),
    ] {
        assert!(mapped("", claims.clone()).await.is_err(), "{claims}");
    }
    let empty = mapped("", json!({"name": "", "roles": []})).await.unwrap();
    assert!(empty.name.is_none() && empty.roles.is_empty());
}

#[tokio::test]
async fn roles_are_renamed_then_filtered_then_given_to_everyone() {
    let mapping = r#"
        rename_roles = { "corp-admins" = "admin", "corp-staff" = "user", "corp-guests" = "guest" }
        allow_roles = ["admin", "user"]
        default_roles = ["member"]
    "#;
    let roles = |names: &[&str]| json!({"roles": names});
    let user = mapped(mapping, roles(&["corp-staff", "corp-guests"])).await;
    assert_eq!(user.unwrap().roles, ["member", "user"]);
    let user = mapped(mapping, roles(&[])).await;
    assert_eq!(user.unwrap().roles, ["member"]);
    // A group of theirs that has our role's name is not our role.
    let user = mapped(mapping, roles(&["admin", "Corp-Admins"])).await;
    assert_eq!(user.unwrap().roles, ["member"]);
    let user = mapped(r#"allow_roles = ["user"]"#, roles(&["admin", "user"])).await;
    assert_eq!(user.unwrap().roles, ["user"]);
}

#[tokio::test]
async fn the_roles_of_well_known_providers_are_found_where_they_put_them() {
    let cases = [
        // Amazon Cognito
        ("/cognito:groups", json!({"cognito:groups": ["admins"]})),
        // Keycloak
        (
            "/realm_access/roles",
            json!({"realm_access": {"roles": ["admins"]}}),
        ),
        (
            "/resource_access/cloakroom/roles",
            json!({"resource_access": {"cloakroom": {"roles": ["admins"]}, "account": {"roles": ["x"]}}}),
        ),
        // Microsoft Entra ID: app roles, or groups
        ("/roles", json!({"roles": ["admins"], "groups": ["x"]})),
        ("/groups", json!({"groups": ["admins"], "roles": ["x"]})),
        // Auth0, whose own claims are URLs
        (
            "/https:~1~1example.com~1roles",
            json!({"https://example.com/roles": ["admins"]}),
        ),
        // A name with a tilde, and one that looks like an escape.
        ("/a~0b", json!({"a~b": ["admins"]})),
        ("/a~01b", json!({"a~1b": ["admins"]})),
    ];
    for (pointer, claims) in cases {
        let mapping = format!(
            "roles = \"{pointer}\"\nrename_roles = {{ admins = \"admin\" }}\nallow_roles = [\"admin\"]\ndefault_roles = [\"user\"]"
        );
        let user = mapped(&mapping, claims).await.unwrap();
        assert_eq!(user.roles, ["admin", "user"], "{pointer}");
        let elsewhere = mapped(&mapping, json!({"roles": null, "other": ["admins"]})).await;
        assert_eq!(elsewhere.unwrap().roles, ["user"], "{pointer}");
    }
    let nowhere = mapped("roles = \"\"\nname = \"\"", json!({}))
        .await
        .unwrap();
    assert!(
        nowhere.roles.is_empty() && nowhere.name.is_none(),
        "not mapped"
    );
}
