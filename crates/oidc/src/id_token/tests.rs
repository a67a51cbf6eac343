use aws_lc_rs::digest::{SHA256, SHA512, digest};
use cloakroom_domain::ports::{CallbackCode, IdentityProviders};
use cloakroom_domain::time::UnixTime;
use serde_json::{Value, json};

use crate::testing::{NOW, TestIdp, b64, callback, jwk, refusal, relying_party, sign_in};

const MALFORMED: &str = "a claim of the token is missing or malformed";
const TOKEN: &[u8] = b"upstream-access-token";

/// Signs in with an ID token that differs in these members.
async fn differing(header: Value, claims: Value) -> Result<(), &'static str> {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    idp.issue(header, claims);
    match sign_in(&oidc, &idp).await {
        Ok(_) => Ok(()),
        error => Err(refusal(error)),
    }
}

async fn demanding(claims: Value, demand: impl Fn(&mut CallbackCode<'_>)) -> bool {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    idp.issue(json!({}), claims);
    let mut callback = callback(&idp);
    demand(&mut callback);
    oidc.redeem("demo", &callback).await.is_ok()
}

#[tokio::test]
async fn a_good_token_of_each_configured_algorithm_is_taken() {
    for alg in ["ES256", "RS256", "EdDSA"] {
        assert_eq!(differing(json!({"alg": alg}), json!({})).await, Ok(()));
    }
    assert_eq!(differing(json!({"typ": null}), json!({})).await, Ok(()));
}

#[tokio::test]
async fn a_time_may_have_a_fraction_and_a_token_hundreds_of_groups() {
    let time = f64::from(u32::try_from(NOW.0).unwrap());
    let dated = |auth_time: f64| json!({"auth_time": auth_time, "exp": time + 60.5});
    assert_eq!(differing(json!({}), dated(time - 1.25)).await, Ok(()));
    assert_eq!(differing(json!({}), dated(-1.25)).await, Err(MALFORMED));
    let groups = |count| json!({"groups": vec!["1d3a4f0c-8f5e-4b1a-9a57-0e6f2c7b9d11"; count]});
    assert_eq!(differing(json!({}), groups(500)).await, Ok(()));
    assert_eq!(
        differing(json!({}), groups(2_000)).await,
        Err("the token is too long (over 64 KiB)")
    );
}

#[tokio::test]
async fn a_token_that_differs_in_its_header_is_refused() {
    // D10
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES512"}),
        json!({"alg": "RS384"}),
        json!({"alg": "ES256", "kid": "RS256"}),
        json!({"kid": "unknown"}),
        json!({"kid": "../../etc/passwd"}),
        json!({"typ": "at+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"crit": ["exp"]}),
        json!({"jku": "https://evil.example/jwks"}),
        json!({"jwk": jwk("ES256")}),
        json!({"zip": "DEF"}),
    ] {
        let answer = differing(header.clone(), json!({})).await;
        assert!(answer.is_err(), "{header}");
    }
}

#[tokio::test]
async fn a_token_that_is_no_plain_jws_is_refused() {
    // D10: a JWE has five parts; base64url has no padding and no + or /.
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let good = idp.id_token(json!({}), json!({}));
    for bad in [
        format!("{good}.AAAA.AAAA"),
        format!("{good}="),
        good.replacen('.', ".+", 1),
        good.replacen('.', "./", 1),
        format!("{good} "),
        good[..good.len() - 2].to_owned(),
        format!("{}AAAA", &good[..good.len() - 4]),
    ] {
        idp.tokens(json!({"id_token": bad}));
        refusal(sign_in(&oidc, &idp).await);
    }
    idp.tokens(json!({"id_token": good}));
    assert!(sign_in(&oidc, &idp).await.is_ok());
}

#[tokio::test]
async fn a_token_without_kid_is_taken_if_only_one_key_can_be_meant() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    idp.issue(json!({"kid": null}), json!({}));
    assert!(sign_in(&oidc, &idp).await.is_ok());

    let mut twin = jwk("ES256");
    twin["kid"] = json!("twin");
    idp.publish(json!({"keys": [jwk("ES256"), twin]}));
    let (oidc, _) = idp.relying_party();
    refusal(sign_in(&oidc, &idp).await);
}

#[tokio::test]
async fn a_token_that_differs_in_one_claim_is_refused() {
    // D10, A17
    let (both, trusted) = (["cloakroom", "another"], "cloakroom");
    let other_login = "the token's nonce is another login's";
    let other_access_token = "the token is not for this access token";
    for (claims, expected) in [
        (
            json!({"iss": "https://evil.example"}),
            "the token is of another issuer",
        ),
        (json!({"iss": null}), MALFORMED),
        (json!({"aud": "another"}), "the token is for another client"),
        (
            json!({"aud": ["another"]}),
            "the token is for another client",
        ),
        (json!({"aud": []}), MALFORMED),
        (json!({"aud": null}), MALFORMED),
        (
            json!({"aud": both, "azp": trusted}),
            "the token is for others too",
        ),
        (
            json!({"azp": "another"}),
            "the token was given to another client",
        ),
        (json!({"nonce": null}), MALFORMED),
        (json!({"nonce": ["the-nonce"]}), MALFORMED),
        (json!({"nonce": "another"}), other_login),
        (json!({"nonce": "the-nonce2"}), other_login),
        (
            json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
            other_access_token,
        ),
        (json!({"at_hash": ""}), other_access_token),
        (json!({"at_hash": 7}), MALFORMED),
        (json!({"sub": null}), MALFORMED),
        (json!({"sub": 7}), MALFORMED),
    ] {
        let answer = differing(json!({}), claims.clone()).await;
        assert_eq!(answer, Err(expected), "{claims}");
    }
    for claims in [json!({"azp": "cloakroom"}), json!({"aud": ["cloakroom"]})] {
        assert_eq!(differing(json!({}), claims).await, Ok(()));
    }
}

#[tokio::test]
async fn a_token_of_another_time_is_refused() {
    // D10, A17.4
    let now = NOW.0;
    let future = "the token is from the future";
    for (claims, expected) in [
        (
            json!({"exp": now - 60, "iat": now - 300}),
            "the token has expired",
        ),
        (json!({"exp": null}), MALFORMED),
        (json!({"exp": "2000000000"}), MALFORMED),
        (json!({"iat": now + 61}), future),
        (
            json!({"iat": now - 661}),
            "the token is older than the login",
        ),
        (json!({"iat": null}), MALFORMED),
        (json!({"nbf": now + 61}), future),
        (
            json!({"auth_time": now + 61}),
            "the sign-in is from the future",
        ),
        (json!({"auth_time": "yesterday"}), MALFORMED),
    ] {
        let answer = differing(json!({}), claims.clone()).await;
        assert_eq!(answer, Err(expected), "{claims}");
    }
    for claims in [
        json!({"exp": now - 59, "iat": now - 300}),
        json!({"iat": now + 60}),
        json!({"iat": now - 660}),
        json!({"auth_time": now + 60}),
    ] {
        assert_eq!(
            differing(json!({}), claims.clone()).await,
            Ok(()),
            "{claims}"
        );
    }
}

#[tokio::test]
async fn an_issuer_with_a_slash_more_is_another_issuer() {
    // D10
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    idp.issue(json!({}), json!({"iss": format!("{}/", idp.issuer)}));
    assert_eq!(
        refusal(sign_in(&oidc, &idp).await),
        "the token is of another issuer"
    );
}

#[tokio::test]
async fn further_audiences_must_be_trusted_and_the_party_named() {
    let idp = TestIdp::start().await;
    let config = idp.config(r#"trusted_audiences = ["partner"]"#);
    let (oidc, _) = relying_party(&config);
    let with = |claims: Value| {
        idp.issue(json!({}), claims);
        sign_in(&oidc, &idp)
    };
    let both = ["cloakroom", "partner"];
    assert!(with(json!({"aud": both, "azp": "cloakroom"})).await.is_ok());
    refusal(with(json!({"aud": both})).await);
    refusal(with(json!({"aud": both, "azp": "partner"})).await);
    refusal(with(json!({"aud": ["partner"], "azp": "cloakroom"})).await);
}

#[tokio::test]
async fn the_access_token_is_tied_by_the_hash_of_the_algorithm() {
    for (alg, hash) in [("ES256", &SHA256), ("RS256", &SHA256), ("EdDSA", &SHA512)] {
        let digest = digest(hash, TOKEN);
        let half = |from: usize| {
            let length = digest.as_ref().len();
            b64(&digest.as_ref()[from * length / 2..(from + 1) * length / 2])
        };
        let header = json!({"alg": alg});
        assert_eq!(
            differing(header.clone(), json!({"at_hash": half(0)})).await,
            Ok(())
        );
        let right = differing(header.clone(), json!({"at_hash": half(1)})).await;
        assert!(right.is_err(), "{alg}");
        let whole = differing(header, json!({"at_hash": b64(digest.as_ref())})).await;
        assert!(whole.is_err(), "{alg}");
    }
}

#[tokio::test]
async fn a_demanded_age_is_judged() {
    // A17.7
    let with_age = async |claims| demanding(claims, |callback| callback.max_age = Some(300)).await;
    assert!(with_age(json!({"auth_time": NOW.0 - 360})).await);
    assert!(!with_age(json!({"auth_time": NOW.0 - 361})).await);
    assert!(!with_age(json!({})).await);
    assert!(!with_age(json!({"auth_time": 0})).await);
    let ever = async |claims| demanding(claims, |callback| callback.max_age = Some(u64::MAX)).await;
    assert!(ever(json!({"auth_time": 1})).await);
    assert!(
        !ever(json!({"auth_time": 0})).await,
        "not known is not long ago"
    );
    assert!(demanding(json!({"auth_time": NOW.0 - 90_000}), |_| {}).await);
}

#[tokio::test]
async fn a_fresh_sign_in_is_no_older_than_the_wish_for_it() {
    let asked = NOW.0 - 300;
    let fresh = async |claims| {
        let fresh_since = Some(UnixTime(asked));
        demanding(claims, |callback| callback.fresh_since = fresh_since).await
    };
    assert!(fresh(json!({"auth_time": asked - 60})).await);
    assert!(!fresh(json!({"auth_time": asked - 61})).await);
    // It is a wish: `max_age` makes the provider say when.
    assert!(fresh(json!({})).await);
    assert!(demanding(json!({"auth_time": asked - 61}), |_| {}).await);
}

#[tokio::test]
async fn a_demanded_authentication_context_is_judged() {
    let with_acr = async |claims| {
        demanding(claims, |callback| callback.acr_values = Some("gold silver")).await
    };
    assert!(with_acr(json!({"acr": "silver"})).await);
    for claims in [
        json!({"acr": "bronze"}),
        json!({"acr": "gold silver"}),
        json!({"acr": ""}),
        json!({}),
    ] {
        assert!(!with_acr(claims).await);
    }
}

#[tokio::test]
async fn a_login_without_a_nonce_is_refused() {
    assert!(!demanding(json!({"nonce": ""}), |callback| callback.nonce = "").await);
    assert!(!demanding(json!({}), |callback| callback.nonce = "").await);
}
