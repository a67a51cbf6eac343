use std::collections::BTreeSet;

use cloakroom_verify::jws::{Algorithm, Expected, Unverified, Verified};

use crate::testing::{NOW, TestIdp, client_keys, field, relying_party, sign_in};

/// Signs in twice by assertions; what the provider could verify of them.
async fn assertions(idp: &TestIdp, more: &str) -> Vec<Verified> {
    let mut config = idp.config(more);
    let provider = &mut config.identity_providers[0];
    provider.client_authentication = cloakroom_domain::config::ClientAuthentication::PrivateKeyJwt;
    provider.client_secret = None;
    let (oidc, _) = relying_party(&config);
    for _ in 0..2 {
        sign_in(&oidc, idp).await.unwrap();
    }
    let seen = idp.seen("/token");
    assert_eq!(seen.len(), 2);
    seen.iter()
        .map(|seen| {
            assert_eq!(seen.authorization, None);
            assert_eq!(field(&seen.body, "client_secret"), None);
            assert_eq!(field(&seen.body, "client_id").as_deref(), Some("cloakroom"));
            assert_eq!(
                field(&seen.body, "client_assertion_type").as_deref(),
                Some(super::ASSERTION_TYPE)
            );
            let jwt = field(&seen.body, "client_assertion").unwrap();
            let expected = Expected {
                types: &["client-authentication+jwt", "JWT"],
                untyped: false,
                algorithms: &[Algorithm::ES256],
                key_id_required: true,
            };
            let jwt = Unverified::parse(&jwt, &expected).unwrap();
            jwt.verify(&client_keys()).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn an_assertion_is_for_one_provider_for_a_minute_and_once() {
    // A12
    let idp = TestIdp::start().await;
    let mut names = BTreeSet::new();
    for assertion in assertions(&idp, "").await {
        let typ = assertion.header.typ.as_deref();
        assert_eq!(typ, Some("client-authentication+jwt"));
        assert_eq!(assertion.header.kid.as_deref(), Some("client-key"));
        let claims = &assertion.claims;
        assert_eq!(claims.string("iss").unwrap(), "cloakroom");
        assert_eq!(claims.string("sub").unwrap(), "cloakroom");
        assert_eq!(claims.string("aud").unwrap(), idp.issuer, "and no list");
        assert_eq!(claims.time("iat").unwrap(), NOW.0);
        assert_eq!(claims.time("exp").unwrap(), NOW.0 + 60);
        names.insert(claims.string("jti").unwrap().to_owned());
    }
    assert_eq!(names.len(), 2, "each has a name of its own");
}

#[tokio::test]
async fn an_old_provider_gets_the_token_endpoint_as_audience_if_it_is_said() {
    let idp = TestIdp::start().await;
    let old = r#"client_assertion_audience = "token_endpoint""#;
    for assertion in assertions(&idp, old).await {
        assert_eq!(assertion.header.typ.as_deref(), Some("JWT"));
        let audience = assertion.claims.string("aud").unwrap().to_owned();
        assert_eq!(audience, format!("{}/token", idp.issuer));
    }
}
