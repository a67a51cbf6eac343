use serde_json::{Value, json};

use super::*;
use crate::testing::{ISSUER, NOW, TestClock, key_set, token};

const ES256: Algorithm = Algorithm::ES256;

fn verifier_at(now: u64) -> Verifier {
    Verifier::builder(ISSUER, "orders")
        .key_set(key_set(ES256))
        .clock(TestClock::at(now))
        .build()
        .unwrap()
}

async fn verify(header: Value, claims: Value) -> Result<Claims, VerifyError> {
    verifier_at(NOW).verify(&token(ES256, header, claims)).await
}

async fn refusal(header: Value, claims: Value) -> JwsError {
    match verify(header, claims).await.unwrap_err() {
        VerifyError::Invalid(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_good_token_gives_its_claims() {
    let act = json!({"sub": "client|exchanger"});
    let claims = verify(json!({}), json!({"act": act, "extra": 1}))
        .await
        .unwrap();
    assert_eq!(claims.iss, ISSUER);
    assert_eq!(claims.sub, "demo|alice");
    assert_eq!(claims.aud, "orders");
    assert_eq!(claims.client_id, "demo-web");
    assert_eq!((claims.iat, claims.exp), (NOW, NOW + 300));
    assert_eq!(claims.jti, "j1");
    assert_eq!(claims.name.as_deref(), Some("Alice Example"));
    assert_eq!(claims.email.as_deref(), Some("alice@example.com"));
    assert_eq!(claims.auth_time, Some(NOW - 60));
    assert_eq!(claims.acr.as_deref(), Some("2"));
    assert_eq!(claims.amr, ["pwd", "otp"]);
    assert_eq!(claims.sid.as_deref(), Some("s1"));
    assert_eq!(
        claims.act.as_ref().and_then(|act| act.get("sub")),
        act.get("sub")
    );
    assert_eq!(claims.raw.get("extra"), Some(&json!(1)));
    assert_eq!(claims.header.kid.as_deref(), Some("ES256"));
    assert_eq!(claims.header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(
        serde_json::to_value(&claims.header).unwrap(),
        json!({"alg": "ES256", "typ": "at+jwt", "kid": "ES256"})
    );
    assert!(!format!("{claims:?}").to_lowercase().contains("alice"));
}

#[tokio::test]
async fn roles_and_scopes_are_whole_words() {
    let claims = verify(json!({}), json!({})).await.unwrap();
    assert!(claims.has_role("admin") && claims.require_role("admin").is_ok());
    assert!(claims.has_scope("orders:read") && claims.require_scope("orders:read").is_ok());
    for role in ["adm", "Admin", "admin user", ""] {
        assert_eq!(
            claims.require_role(role).unwrap_err().status(),
            403,
            "{role}"
        );
    }
    for scope in ["orders", "orders:", "orders:read orders:write", ""] {
        assert_eq!(
            claims.require_scope(scope).unwrap_err().status(),
            403,
            "{scope}"
        );
    }
    let bare = verify(json!({}), json!({"scope": null, "roles": null}))
        .await
        .unwrap();
    assert!(bare.scope.is_empty() && bare.roles.is_empty());
}

#[tokio::test]
async fn machines_are_not_users() {
    assert!(verify(json!({}), json!({})).await.unwrap().is_user());
    let machine = verify(json!({}), json!({"sub": "client|demo-machine"}))
        .await
        .unwrap();
    assert!(!machine.is_user());
}

#[tokio::test]
async fn a_token_that_differs_in_one_claim_is_refused_d62() {
    // The first two: jsonwebtoken takes a token without the iss and aud it
    // was told to check (C4).
    for (members, claim) in [
        (json!({"iss": null}), "iss"),
        (json!({"aud": null}), "aud"),
        (json!({"iss": "https://auth.example.com/"}), "iss"),
        (json!({"iss": "https://other.example.com"}), "iss"),
        (json!({"iss": [ISSUER]}), "iss"),
        (json!({"aud": "profile"}), "aud"),
        (json!({"aud": "Orders"}), "aud"),
        (json!({"aud": ["orders", "profile"]}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"aud": {"orders": 1}}), "aud"),
        (json!({"sub": null}), "sub"),
        (json!({"sub": ""}), "sub"),
        (json!({"sub": 7}), "sub"),
        (json!({"client_id": null}), "client_id"),
        (json!({"client_id": 7}), "client_id"),
        (json!({"jti": null}), "jti"),
        (json!({"jti": 7}), "jti"),
        (json!({"iat": null}), "iat"),
        (json!({"nbf": null}), "nbf"),
        (json!({"exp": null}), "exp"),
        (json!({"scope": ["orders:read"]}), "scope"),
        (json!({"roles": "admin"}), "roles"),
        (json!({"act": "client|exchanger"}), "act"),
        (json!({"auth_time": "now"}), "auth_time"),
    ] {
        let error = refusal(json!({}), members.clone()).await;
        assert_eq!(error, JwsError::Claim(claim), "{members}");
    }
    assert!(verify(json!({}), json!({"aud": ["orders"]})).await.is_ok());
}

#[tokio::test]
async fn a_token_that_differs_in_its_header_is_refused_d62() {
    for (members, expected) in [
        (json!({"typ": "JWT"}), JwsError::Type),
        (json!({"typ": null}), JwsError::Type),
        (json!({"crit": ["x"]}), JwsError::CriticalExtension),
        (json!({"kid": "other"}), JwsError::UnknownKey),
        (json!({"kid": null}), JwsError::KeyId),
        (
            json!({"jku": "https://evil.example"}),
            JwsError::EmbeddedKey,
        ),
        (json!({"alg": "none"}), JwsError::Algorithm),
        (json!({"alg": "RS384"}), JwsError::Algorithm),
    ] {
        assert_eq!(
            refusal(members.clone(), json!({})).await,
            expected,
            "{members}"
        );
    }
}

#[tokio::test]
async fn an_opaque_token_opens_nothing_behind_the_gateway_d29() {
    let opaque = format!("cr_at_{}000000", "A".repeat(64));
    let error = verifier_at(NOW).verify(&opaque).await.unwrap_err();
    assert!(matches!(error, VerifyError::Invalid(JwsError::Malformed)));
    assert_eq!(error.status(), 401);
}

#[tokio::test]
async fn a_token_is_dead_at_its_expiry_plus_the_leeway() {
    let token = token(ES256, json!({}), json!({}));
    assert!(verifier_at(NOW + 300 + 59).verify(&token).await.is_ok());
    assert!(verifier_at(NOW + 300 + 60).verify(&token).await.is_err());
    assert!(verifier_at(NOW - 60).verify(&token).await.is_ok());
    assert!(verifier_at(NOW - 61).verify(&token).await.is_err());
    assert_eq!(
        refusal(json!({}), json!({"exp": NOW + 3601})).await,
        JwsError::LifetimeTooLong
    );
}

#[tokio::test]
async fn an_authorization_header_is_bearer_one_space_and_a_token() {
    let (verifier, token) = (verifier_at(NOW), token(ES256, json!({}), json!({})));
    for good in [format!("Bearer {token}"), format!("bEARER {token}")] {
        assert!(verifier.verify_authorization_header(&good).await.is_ok());
    }
    for bad in [
        token.clone(),
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!(" Bearer {token}"),
        format!("Bearer {token} "),
        format!("Bearer {token},{token}"),
        format!("DPoP {token}"),
        "Bearer".to_owned(),
        String::new(),
    ] {
        let error = verifier
            .verify_authorization_header(&bad)
            .await
            .unwrap_err();
        assert_eq!(error.status(), 401, "{bad}");
    }
}

#[tokio::test]
async fn a_foreign_issuer_costs_no_fetch_and_missing_keys_are_not_the_tokens_fault() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Down(Arc<AtomicUsize>);
    impl FetchJwks for Down {
        async fn fetch(&self) -> Result<Vec<u8>, crate::FetchError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(crate::FetchError::new("down"))
        }
    }

    let fetches = Arc::new(AtomicUsize::default());
    let cache = JwksCache::new(Down(Arc::clone(&fetches)));
    let verifier = Verifier::builder(ISSUER, "orders")
        .jwks_cache(cache)
        .build()
        .unwrap();

    let foreign = token(ES256, json!({}), json!({"iss": "https://evil.example"}));
    assert_eq!(verifier.verify(&foreign).await.unwrap_err().status(), 401);
    assert_eq!(fetches.load(Ordering::SeqCst), 0);

    let good = token(ES256, json!({}), json!({}));
    assert_eq!(verifier.verify(&good).await.unwrap_err().status(), 503);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[test]
fn a_verifier_that_would_check_nothing_cannot_be_built() {
    let builder = || Verifier::builder(ISSUER, "orders").key_set(key_set(ES256));
    assert!(builder().leeway(300).build().is_ok());
    assert!(matches!(
        builder().leeway(301).build(),
        Err(BuildError::Leeway)
    ));
    assert!(matches!(
        builder().algorithms(&[]).build(),
        Err(BuildError::NoAlgorithm)
    ));
    assert!(matches!(
        Verifier::builder(ISSUER, "orders").build(),
        Err(BuildError::NoKeys)
    ));
    let unnamed = Verifier::builder(ISSUER, "")
        .key_set(key_set(ES256))
        .build();
    assert!(matches!(unnamed, Err(BuildError::Unnamed)));
    #[cfg(feature = "fetch")]
    {
        let url = |url: &str| Verifier::builder(ISSUER, "orders").jwks_url(url).build();
        assert!(url("https://auth.example.com/.well-known/jwks.json").is_ok());
        assert!(matches!(
            url("http://auth.example.com/jwks"),
            Err(BuildError::Url(_))
        ));
    }
}

/// What `serde_json` reads as the text `orders`, once a crate turns `raw_value` on.
#[tokio::test]
async fn d85_d86_d87_no_two_readers_read_a_token_differently() {
    use crate::testing::{claims_with, header_with, token_of_text};

    let verify = async |header: &str, claims: &str| {
        let token = token_of_text(ES256, header, claims);
        verifier_at(NOW).verify(&token).await
    };
    let (header, claims) = (header_with(ES256, json!({})), claims_with(json!({})));
    let (header, claims) = (header.to_string(), claims.to_string());
    assert!(verify(&header, &claims).await.is_ok());

    let magic = "$serde_json::private::RawValue";
    let aud = |value: Value| claims_with(json!({ "aud": value })).to_string();
    assert!(
        verify(&header, &aud(json!({magic: "\"orders\""})))
            .await
            .is_err()
    );
    assert!(
        verify(&header, &aud(json!([{magic: "\"orders\""}])))
            .await
            .is_err()
    );
    let nested = (0..10).fold("1".to_owned(), |inner, _| {
        json!({magic: format!("{}{inner}{}", "[".repeat(120), "]".repeat(120))}).to_string()
    });
    let with = |text: &str, member: &str| format!("{},{member}}}", &text[..text.len() - 1]);
    // To us it is one text, which nobody reads.
    let unread = with(&claims, &format!(r#""x":{nested}"#));
    let read = verify(&header, &unread).await;
    if unread.len() < 40_000 {
        let raw = read.unwrap().raw;
        assert_eq!(
            raw.get("x")
                .and_then(|x| x.get(magic))
                .map(Value::is_string),
            Some(true)
        );
    }

    for twice in [
        r#""x":{"a":1,"a":2}"#,
        r#""x":[[{"a":1,"\u0061":2}]]"#,
        r#""\u0061ud":"orders""#,
    ] {
        assert!(
            verify(&header, &with(&claims, twice)).await.is_err(),
            "{twice}"
        );
        let head = verify(
            &with(&header, &twice.replace("\\u0061ud", "\\u0061lg")),
            &claims,
        )
        .await;
        assert!(head.is_err(), "{twice}");
    }
}
