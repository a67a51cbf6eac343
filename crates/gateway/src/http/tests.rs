//! Events in, answers out, through the one entry.

use super::*;
use crate::cookies::{SESSION, SetCookie};
use proptest::prelude::*;
use serde_json::{Value, json};

fn rest() -> Value {
    json!({
        "resource": "/oauth/{proxy+}", "path": "/oauth/token", "httpMethod": "POST",
        "headers": {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "a=2"},
        "multiValueHeaders": {
            "Content-Type": ["application/x-www-form-urlencoded"],
            "Cookie": ["a=1", "a=2"],
        },
        "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "requestId": "rest-id", "stage": "prod", "path": "/prod/oauth/token",
            "httpMethod": "POST", "resourcePath": "/oauth/{proxy+}", "apiId": "abc",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": "grant_type=client_credentials&scope=a+b", "isBase64Encoded": false,
    })
}

fn http() -> Value {
    json!({
        "version": "2.0", "routeKey": "ANY /oauth/{proxy+}",
        "rawPath": "/prod/oauth/token", "rawQueryString": "",
        "cookies": ["a=1", "__Host-Http-cloakroom=x"],
        "headers": {"content-type": "application/x-www-form-urlencoded"},
        "requestContext": {
            "requestId": "http-id", "stage": "prod", "accountId": "1", "apiId": "abc",
            "http": {"method": "POST", "path": "/prod/oauth/token", "sourceIp": "192.0.2.1"},
            "timeEpoch": 0,
        },
        "body": "Z3JhbnRfdHlwZT1j", "isBase64Encoded": true,
    })
}

fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[name] = value;
    event
}

/// What `look` sees of the request that this event is.
async fn seen<T>(event: &Value, look: impl FnOnce(Request) -> T) -> T {
    let mut result = None;
    let answer = serve("test", event.to_string().as_bytes(), |request| {
        result = Some(look(request));
        async { Response::empty(StatusCode::OK) }
    })
    .await;
    result.unwrap_or_else(|| panic!("not let in: {}", String::from_utf8_lossy(&answer)))
}

async fn answered(event: &[u8], response: Response) -> Value {
    let answer = serve("test", event, |_| async { response }).await;
    serde_json::from_slice(&answer).unwrap()
}

/// The answer to an event that must not reach the handler.
async fn refused(event: &[u8]) -> Value {
    let answer = serve("test", event, |_| async { panic!("let in") }).await;
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn a_rest_event_is_read() {
    seen(&rest(), |request| {
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.path(), "/oauth/token");
        assert_eq!(request.request_id(), "rest-id");
        assert_eq!(request.form().unwrap().get("scope"), Some("a b"));
        assert!(request.query().unwrap().is_empty());
        assert_eq!(request.refuse_query(), Ok(()));
    })
    .await;
}

#[tokio::test]
async fn an_http_event_is_read_without_its_stage() {
    seen(&http(), |request| {
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.path(), "/oauth/token");
        assert_eq!(request.request_id(), "http-id");
        assert_eq!(request.form().unwrap().get("grant_type"), Some("c"));
        assert_eq!(request.cookie("a"), Ok(Some("1")));
        assert_eq!(request.cookie(SESSION), Ok(Some("x")));
    })
    .await;
}

#[tokio::test]
async fn only_a_whole_first_segment_is_the_stage() {
    for (stage, raw, path) in [
        ("$default", "/oauth/token", "/oauth/token"),
        ("prod", "/prod/oauth/token", "/oauth/token"),
        ("prod", "/prod", "/"),
        ("prod", "/production/x", "/production/x"),
        ("prod", "/oauth/prod", "/oauth/prod"),
        ("", "/oauth/token", "/oauth/token"),
    ] {
        let event = with(
            with(http(), "/requestContext/stage", json!(stage)),
            "/rawPath",
            json!(raw),
        );
        assert_eq!(
            seen(&event, |request| request.path().to_owned()).await,
            path
        );
    }
}

#[tokio::test]
async fn duplicate_headers_and_cookies_of_a_rest_event_are_seen_d16() {
    seen(&rest(), |request| {
        assert!(request.cookie("a").is_err());
        assert!(request.header("cookie").is_err());
        assert!(request.header("content-type").unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_rest_event_without_multi_value_headers_is_read() {
    for absent in [json!(null), json!({})] {
        let event = with(rest(), "/multiValueHeaders", absent);
        assert_eq!(
            seen(&event, |request| request
                .cookie("a")
                .map(|a| a.map(str::to_owned)))
            .await,
            Ok(Some("2".to_owned()))
        );
    }
}

#[tokio::test]
async fn a_query_is_read_in_both_shapes_and_duplicates_are_faults() {
    let decoded = with(
        rest(),
        "/multiValueQueryStringParameters",
        json!({"return_to": ["/a b"], "x": [""]}),
    );
    let raw = with(http(), "/rawQueryString", json!("return_to=%2Fa+b&x="));
    for event in [decoded, raw] {
        seen(&event, |request| {
            assert_eq!(request.query().unwrap().get("return_to"), Some("/a b"));
            assert_eq!(request.query().unwrap().get("x"), None);
            assert!(
                request.refuse_query().is_err(),
                "even with other parameters in the body"
            );
        })
        .await;
    }
    let twice = with(
        rest(),
        "/multiValueQueryStringParameters",
        json!({"iss": ["a", "b"]}),
    );
    let twice_raw = with(http(), "/rawQueryString", json!("iss=a&iss=b"));
    let half_an_escape = with(http(), "/rawQueryString", json!("iss=%2"));
    for event in [twice, twice_raw, half_an_escape] {
        seen(&event, |request| {
            assert!(request.query().is_err());
            assert!(request.refuse_query().is_err());
        })
        .await;
    }
}

#[tokio::test]
async fn only_a_form_in_utf_8_is_a_form_d53() {
    let form = |content_type: Value| async move {
        let event = with(rest(), "/multiValueHeaders/Content-Type", content_type);
        seen(&event, |request| request.form().map(|_| ())).await
    };
    for good in [
        "application/x-www-form-urlencoded",
        "APPLICATION/x-www-form-urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=\"utf-8\"",
    ] {
        assert_eq!(form(json!([good])).await, Ok(()), "{good}");
    }
    for bad in [
        "",
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; boundary=x",
        "application/x-www-form-urlencoded, application/json",
        "application/x-www-form-urlencodedx",
    ] {
        assert!(form(json!([bad])).await.is_err(), "{bad}");
    }
    let good = "application/x-www-form-urlencoded";
    assert!(form(json!([good, good])).await.is_err(), "twice");
    assert!(form(json!([])).await.is_err(), "absent");
}

#[tokio::test]
async fn a_form_is_at_most_16_kilobytes_d53() {
    let form = |length: usize| async move {
        let event = with(
            rest(),
            "/body",
            json!(format!("a={}", "x".repeat(length - 2))),
        );
        seen(&event, |request| request.form().map(|_| ())).await
    };
    assert_eq!(form(16 * 1024).await, Ok(()));
    assert!(form(16 * 1024 + 1).await.is_err());
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_faults_and_no_panic_d53() {
    for (body, is_base64) in [
        (json!("not base64!"), true),
        (json!("/w=="), true),
        (json!("a=%"), false),
        (json!("a=1&a=2"), false),
    ] {
        let event = with(
            with(rest(), "/body", body),
            "/isBase64Encoded",
            json!(is_base64),
        );
        assert!(seen(&event, |request| request.form().is_err()).await);
    }
    let none = with(rest(), "/body", json!(null));
    assert!(seen(&none, |request| request.form().unwrap().is_empty()).await);
}

#[tokio::test]
async fn what_lambda_http_would_panic_on_is_just_a_request() {
    for odd in [
        "/a b",
        "/%",
        "//evil",
        "",
        "/\u{e9}",
        "/\"",
        "/[",
        "http://x:y/",
    ] {
        for event in [
            with(http(), "/rawPath", json!(odd)),
            with(rest(), "/path", json!(odd)),
        ] {
            assert_eq!(seen(&event, |request| request.path().to_owned()).await, odd);
        }
    }
    let event = with(http(), "/rawQueryString", json!("a= <>\"{}|\\^`"));
    assert!(
        seen(&event, |request| request
            .query()
            .unwrap()
            .get("a")
            .is_some())
        .await
    );
}

#[tokio::test]
async fn a_header_beyond_ascii_is_kept_as_text() {
    let event = with(rest(), "/multiValueHeaders/X", json!(["é"]));
    assert_eq!(
        seen(&event, |request| request
            .header("x")
            .map(|x| x.map(str::to_owned)))
        .await,
        Ok(Some("é".to_owned()))
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_our_own_400_in_the_gateways_shape() {
    let control = |event, at: &str| with(event, at, json!("a\r\nb")).to_string();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for event in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"httpMethod\":\"GET\"}".to_owned(),
        deep.clone(),
        format!("{{\"version\":{deep}}}"),
        control(rest(), "/headers/X"),
        with(rest(), "/httpMethod", json!("A B")).to_string(),
        with(rest(), "/path", json!(null)).to_string(),
        with(rest(), "/multiValueHeaders/X Y", json!(["1"])).to_string(),
    ] {
        let answer = refused(event.as_bytes()).await;
        assert_eq!(answer["statusCode"], 400);
        assert_eq!(
            answer["multiValueHeaders"]["content-type"][0],
            "application/json"
        );
        assert_eq!(
            answer["body"],
            r#"{"error":"invalid_request","error_description":"the request cannot be read"}"#
        );
    }
    for event in [
        control(http(), "/headers/x"),
        with(http(), "/rawPath", json!(null)).to_string(),
    ] {
        let answer = refused(event.as_bytes()).await;
        assert_eq!(answer["statusCode"], 400);
        assert_eq!(answer["headers"]["content-type"], "application/json");
    }
    assert_eq!(refused(&[0xff, 0xfe]).await["statusCode"], 400);
    let huge = with(rest(), "/body", json!("x".repeat(2 * 1024 * 1024))).to_string();
    assert_eq!(refused(huge.as_bytes()).await["statusCode"], 400);
}

#[tokio::test]
async fn several_cookies_survive_in_both_shapes() {
    let response = || {
        Response::see_other("/")
            .cookie(&SetCookie::session("a", 60).unwrap())
            .cookie(&SetCookie::clear_login("x").unwrap())
    };
    let cookies = json!([
        "__Host-Http-cloakroom=a; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict",
        "__Host-Http-login-x=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
    ]);
    let v1 = answered(rest().to_string().as_bytes(), response()).await;
    assert_eq!(v1["statusCode"], 303);
    assert_eq!(v1["multiValueHeaders"]["set-cookie"], cookies);
    assert_eq!(v1["multiValueHeaders"]["location"], json!(["/"]));
    assert_eq!(v1["headers"], json!({}));

    let v2 = answered(http().to_string().as_bytes(), response()).await;
    assert_eq!(v2["statusCode"], 303);
    assert_eq!(v2["cookies"], cookies);
    assert_eq!(v2["headers"]["location"], "/");
    assert_eq!(v2["headers"].get("set-cookie"), None);
}

#[tokio::test]
async fn every_answer_is_uncacheable_unless_it_says_otherwise_d70() {
    let event = http().to_string();
    for response in [
        Response::empty(StatusCode::OK),
        Response::json(StatusCode::OK, &json!({})),
        Response::html(StatusCode::OK, &Page::default()),
        Response::see_other("/"),
        Response::method_not_allowed("GET"),
        OAuthError::InvalidGrant.to_response(),
    ] {
        let headers = answered(event.as_bytes(), response).await["headers"].take();
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["pragma"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
    let public =
        Response::json(StatusCode::OK, &json!({})).header(header::CACHE_CONTROL, "max-age=300");
    let headers = answered(event.as_bytes(), public).await["headers"].take();
    assert_eq!(headers["cache-control"], "max-age=300");
    assert_eq!(headers.get("pragma"), None);
}

#[tokio::test]
async fn a_page_runs_no_script_and_is_not_framed() {
    let response = Response::html(StatusCode::BAD_REQUEST, &Page::default());
    let headers = answered(http().to_string().as_bytes(), response).await["headers"].take();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(
        headers["content-security-policy"],
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let response = Response::method_not_allowed("POST");
    let answer = answered(http().to_string().as_bytes(), response).await;
    assert_eq!(answer["statusCode"], 405);
    assert_eq!(answer["headers"]["allow"], "POST");
}

#[tokio::test]
async fn a_redirect_cannot_smuggle_a_header() {
    for url in ["/\r\nset-cookie: a=b", "/\n", "/\0", "/é"] {
        // The cookie belongs to the redirect, so it goes with it.
        let response = Response::see_other(url).cookie(&SetCookie::session("a", 60).unwrap());
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let answer = answered(http().to_string().as_bytes(), response).await;
        assert_eq!(answer["statusCode"], 500, "{url:?}");
        assert_eq!(answer["headers"].get("location"), None);
        assert_eq!(answer["cookies"], json!([]));
    }
}

#[tokio::test]
async fn a_page_is_for_those_who_ask_for_html() {
    for (accept, html) in [
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            true,
        ),
        ("text/html", true),
        ("application/json, text/html;q=0.9", false),
        ("text/html;q=0.9, application/json;q=0.5", true),
        ("text/html;q=0", false),
        ("text/html;q=x", false),
        ("application/json", false),
        ("*/*", false),
        ("", false),
    ] {
        let event = with(http(), "/headers/accept", json!(accept));
        assert_eq!(
            seen(&event, |request| request.prefers_html()).await,
            html,
            "{accept}"
        );
    }
}

#[tokio::test]
async fn debug_of_a_request_shows_nothing() {
    let text = seen(&rest(), |request| format!("{request:?}")).await;
    assert_eq!(text, "Request([redacted])");
}

/// Asks a request everything there is to ask.
fn interrogated(request: &Request) -> Response {
    let headers = ["authorization", "content-type", "cookie"].map(|name| {
        let value = request.header(name).ok().flatten();
        (basic::parse(value), request.cookie(name))
    });
    let echo = format!(
        "{request:?}{:?}{:?}{headers:?}",
        request.query(),
        request.form()
    );
    let pending = crate::cookies::pending_logins(request.headers()).len();
    let asked = (request.prefers_html(), request.refuse_query(), pending);
    Response::text(StatusCode::OK, "text/plain", format!("{asked:?}{echo}"))
        .header(header::LOCATION, request.path())
}

proptest! {
    #[test]
    fn no_event_panics_and_every_event_is_answered_d67(
        text in prop::collection::vec("\\PC*|[%+&=;:, \"]*|(Basic|a=|text/html;q=)?[ -~]*", 6),
        is_base64: bool,
    ) {
        for (event, path, query) in [
            (rest(), "/path", "/multiValueQueryStringParameters"),
            (http(), "/rawPath", "/rawQueryString"),
        ] {
            let raw = if query.ends_with("String") { json!(text[1]) } else { json!({&text[1]: [text[2]]}) };
            let event = [
                (path, json!(text[0])),
                (query, raw),
                ("/body", json!(text[3])),
                ("/isBase64Encoded", json!(is_base64)),
                ("/headers/authorization", json!(text[4])),
                ("/headers/accept", json!(text[5])),
                ("/requestContext/stage", json!(text[2])),
            ]
            .into_iter()
            .fold(event, |event, (pointer, value)| with(event, pointer, value));
            let event = event.to_string();
            let answer = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(serve("test", event.as_bytes(), |request| async move { interrogated(&request) }));
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            prop_assert!(answer["statusCode"].is_u64());
        }
    }

    #[test]
    fn no_bytes_panic_d67(bytes: Vec<u8>) {
        let (_, request) = event::read(&bytes);
        prop_assert!(request.is_err());
    }
}
