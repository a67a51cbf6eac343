//! D53, D54: what is no request, and who is no client.

use super::assertions::assertion;
use super::*;

const FORM: &str = "application/x-www-form-urlencoded";

const GOOD: &str = "grant_type=client_credentials&scope=orders%3Aread";

async fn ask(system: &System, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
    let request = http()
        .post(system.at(path))
        .basic_auth("demo-machine", Some(SECRET))
        .body(body.to_vec());
    let request = match content_type {
        None => request,
        Some(content_type) => request.header("content-type", content_type),
    };
    Answer::to(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn d53_a_request_is_a_form_in_utf_8() {
    let system = system("").await;
    let upper = "Application/X-WWW-Form-Urlencoded; Charset=UTF-8";
    for content_type in [FORM, upper] {
        let answer = ask(&system, "/oauth/token", Some(content_type), GOOD.as_bytes()).await;
        assert_eq!(answer.status, 200, "{content_type}");
    }
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        for content_type in [
            None,
            Some("application/json"),
            Some("text/plain"),
            Some("multipart/form-data; boundary=x"),
            Some("application/x-www-form-urlencoded-2"),
            Some("application/x-www-form-urlencoded; charset=utf-16"),
        ] {
            let answer = ask(&system, path, content_type, GOOD.as_bytes()).await;
            assert_eq!(answer.status, 400, "{path}: {content_type:?}");
            assert_eq!(answer.error(), "invalid_request");
        }
        let query = format!("{path}?token=x");
        let answer = ask(&system, &query, Some(FORM), GOOD.as_bytes()).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.error(), "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d53_a_form_is_short_and_says_everything_once() {
    let system = system("").await;
    let (fits, large) = ("x".repeat(15 * 1024), "x".repeat(16 * 1024));
    for good in [GOOD, "&&grant_type=client_credentials&&x&y=&"] {
        let body = format!("{good}&padding={fits}");
        let answer = ask(&system, "/oauth/token", Some(FORM), body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{good}");
    }
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        for more in [
            "grant_type=client_credentials",
            "grant_type=",
            "%67rant_type=x",
            &format!("padding={large}"),
            "x=%2",
            "x=%zz",
            "x=%ff",
            "%=x",
        ] {
            let body = format!("{GOOD}&{more}");
            let answer = ask(&system, path, Some(FORM), body.as_bytes()).await;
            let short: String = more.chars().take(30).collect();
            assert_eq!(answer.status, 400, "{path}: {short}");
            assert_eq!(answer.error(), "invalid_request", "{path}: {short}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d53_there_are_no_other_grants() {
    let system = system("").await;
    for (grant, error) in [
        ("", "invalid_request"),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
        ("CLIENT_CREDENTIALS", "unsupported_grant_type"),
        ("client_credentials\u{0}", "unsupported_grant_type"),
    ] {
        let form = [("grant_type", grant)];
        let request = post(&system, "/oauth/token", &form);
        let answer = Answer::to(request.basic_auth("demo-machine", Some(SECRET))).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (400, error.into()),
            "{grant:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d53_a_body_is_what_the_gateway_says_it_is() {
    let system = system("").await;
    let form =
        format!("grant_type=client_credentials&client_id=demo-machine&client_secret={SECRET}");
    let base64 = STANDARD.encode(&form);
    let function = system.function("token").unwrap();
    let ask = async |body: &str, is_base64: bool| {
        let event = json!({
            "resource": "/oauth/{proxy+}", "path": "/oauth/token", "httpMethod": "POST",
            "multiValueHeaders": {"Content-Type": [FORM]},
            "requestContext": {"requestId": "x", "httpMethod": "POST"},
            "body": body, "isBase64Encoded": is_base64,
        });
        let answer = function.invoke(event.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["statusCode"].as_u64().unwrap()
    };
    assert_eq!(ask(&form, false).await, 200);
    assert_eq!(ask(&base64, true).await, 200);
    assert_eq!(ask(&base64, false).await, 401, "a form that names nobody");
    assert_eq!(ask(&form, true).await, 400);
    assert_eq!(ask(&base64[1..], true).await, 400);
}

/// The demo, a client whose id and secret need their encoding, and one that signs.
async fn with_odd_clients(key: &ClientKey) -> System {
    let odd = client::hash_chosen("p:a%s+ é&=", &cloakroom_aws::world()).unwrap();
    system(&format!(
        r#"
        [[clients]]
        id = "odd:one"
        kind = "confidential"
        secrets = ["{}"]
        grants = ["client_credentials"]
        scopes = ["orders:read"]

        [[clients]]
        id = "signing"
        kind = "confidential"
        jwks = '{}'
        grants = ["client_credentials"]
        scopes = ["orders:read"]
        "#,
        String::from(odd),
        key.jwks
    ))
    .await
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// What a machine is told that shows this header and this form.
async fn shown(system: &System, header: Option<&str>, form: &[(&str, &str)]) -> Answer {
    let mut all = vec![("grant_type", "client_credentials")];
    all.extend_from_slice(form);
    let request = post(system, "/oauth/token", &all);
    let request = match header {
        None => request,
        Some(value) => request.header("authorization", value),
    };
    Answer::to(request).await
}

const IN_BODY: [(&str, &str); 2] = [("client_id", "demo-machine"), ("client_secret", SECRET)];

#[tokio::test(flavor = "multi_thread")]
async fn d54_a_client_proves_who_it_is_in_one_way() {
    let key = ClientKey::p256();
    let system = with_odd_clients(&key).await;
    let own = basic(&format!("demo-machine:{SECRET}"));
    let odd = basic("odd%3Aone:p%3Aa%25s%2B+%C3%A9%26%3D");
    let odd_in_body = [("client_id", "odd:one"), ("client_secret", "p:a%s+ é&=")];
    for (header, form) in [
        (Some(own.as_str()), &[][..]),
        (Some(&own), &IN_BODY[..1]),
        (Some(&odd), &[]),
        (None, &IN_BODY),
        (None, &odd_in_body),
    ] {
        let answer = shown(&system, header, form).await;
        assert_eq!(answer.status, 200, "{form:?}: {}", answer.text);
    }
    let assertion = assertion(&key, &system, "signing", &[]);
    let signed = [
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    // Two at once: which of them counts would be a guess.
    for (header, form) in [
        (Some(own.as_str()), IN_BODY.to_vec()),
        (Some(&own), signed.to_vec()),
        (None, [signed, IN_BODY].concat()),
        (Some(&own), vec![("client_id", "demo-native")]),
        (None, signed[..1].to_vec()),
        (None, signed[1..].to_vec()),
    ] {
        let answer = shown(&system, header, &form).await;
        assert_eq!(answer.status, 400, "{form:?}: {}", answer.text);
        assert_eq!(answer.error(), "invalid_request");
    }
    let another = [signed.as_slice(), &[("client_id", "demo-machine")]].concat();
    assert_eq!(
        shown(&system, None, &another).await.error(),
        "invalid_client"
    );
    let answer = shown(&system, None, &signed).await;
    assert_eq!(answer.status, 200, "none of it has used up the assertion");
}

#[tokio::test(flavor = "multi_thread")]
async fn d54_a_client_proves_who_it_is_with_what_is_its_own() {
    let system = with_odd_clients(&ClientKey::p256()).await;
    for (id, secret) in [
        ("", ""),
        ("", SECRET),
        ("demo-machine", ""),
        ("demo-machine", "wrong"),
        ("deleted", SECRET),
        // A public client has no secret, and one that signs has none either.
        ("demo-native", SECRET),
        ("odd:one", SECRET),
        ("signing", SECRET),
        ("signing", ""),
    ] {
        let form = [("client_id", id), ("client_secret", secret)];
        is_invalid_client(&shown(&system, None, &form).await, id);
    }
    for header in [
        basic("demo-machine:"),
        basic("demo-machine:wrong"),
        basic(&format!("odd%3Aone:{SECRET}")),
        basic(&format!("odd:one:{SECRET}")),
        basic(&format!("deleted:{SECRET}")),
        format!("Bearer {SECRET}"),
        "Digest username=\"demo-machine\"".to_owned(),
    ] {
        is_invalid_client(&shown(&system, Some(&header), &[]).await, &header);
    }
    let other = shown(&system, Some("Bearer x"), &IN_BODY).await;
    is_invalid_client(&other, "a scheme that is not ours");
    assert_eq!(shown(&system, None, &IN_BODY).await.status, 200);
}

pub(super) fn is_invalid_client(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    assert_eq!(answer.text, r#"{"error":"invalid_client"}"#, "{what}");
    let is_challenge = |line: &String| line.starts_with("www-authenticate: Basic");
    assert!(answer.headers.iter().any(is_challenge), "{what}");
}
