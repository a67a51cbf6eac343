//! What functions are sent, field by field.

use super::*;

#[tokio::test]
async fn a_rest_authorizer_gets_the_documented_event() {
    let lab = Lab::rest(Edge::None);
    let request = get("/api/items/a%2Fb?x=1&x=2&y=%20")
        .with("authorization", "Bearer a")
        .with("authorization", "Bearer b")
        .with("user-agent", "test");
    lab.send(request).await;
    let mut event = lab.authorizer.last();
    let context = event["requestContext"].take();
    assert_eq!(
        event,
        json!({
            "type": "REQUEST",
            "methodArn": "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/api/items/a%2Fb",
            "resource": "/api/items/{id}",
            "path": "/api/items/a%2Fb",
            "httpMethod": "GET",
            // D27: the last one here, both below.
            "headers": {"authorization": "Bearer b", "user-agent": "test"},
            "multiValueHeaders": {"authorization": ["Bearer a", "Bearer b"], "user-agent": ["test"]},
            "queryStringParameters": {"x": "2", "y": " "},
            "multiValueQueryStringParameters": {"x": ["1", "2"], "y": [" "]},
            "pathParameters": {"id": "a/b"},
            "stageVariables": {},
            "requestContext": null,
        })
    );
    for (pointer, expected) in [
        ("/accountId", json!("000000000000")),
        ("/apiId", json!("local")),
        ("/domainName", json!("api.example.com")),
        ("/domainPrefix", json!("api")),
        ("/httpMethod", json!("GET")),
        ("/identity/sourceIp", json!("127.0.0.1")),
        ("/identity/userAgent", json!("test")),
        ("/path", json!("/local/api/items/a%2Fb")),
        ("/protocol", json!("HTTP/1.1")),
        ("/requestTime", json!("15/Jan/2027:08:00:00 +0000")),
        ("/requestTimeEpoch", json!(1_800_000_000_000_u64)),
        ("/resourcePath", json!("/api/items/{id}")),
        ("/stage", json!("local")),
    ] {
        assert_eq!(context.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[tokio::test]
async fn requests_have_ids_of_their_own() {
    let lab = Lab::rest(Edge::None);
    let mut ids = Vec::new();
    for _ in 0..2 {
        lab.get("/api/orders").await;
        ids.push(lab.authorizer.last()["requestContext"]["requestId"].take());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_token_authorizer_gets_one_header_and_nothing_else() {
    let lab = Lab::with(Flavour::Rest, cloudfront(), allow("*"), |authorizer| {
        authorizer.kind = AuthorizerKind::RestToken;
        authorizer.identity_sources.truncate(1);
    });
    assert_eq!(lab.get("/api/orders?x=1").await.status, 200);
    assert_eq!(
        lab.authorizer.last(),
        json!({
            "type": "TOKEN",
            "authorizationToken": "Bearer t",
            "methodArn": "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/api/orders",
        })
    );
}

#[tokio::test]
async fn an_http_authorizer_gets_the_documented_event() {
    let lab = Lab::http(cloudfront());
    let request = get("/api/items/1?x=1&x=2")
        .with("authorization", "Bearer t")
        .with("accept", "1")
        .with("accept", "2");
    lab.send(request).await;
    let mut event = lab.authorizer.last();
    let context = event["requestContext"].take();
    assert_eq!(
        event,
        json!({
            "version": "2.0",
            "type": "REQUEST",
            "routeArn": "arn:aws:execute-api:us-east-1:000000000000:local/$default/GET/api/items/1",
            "identitySource": ["Bearer t", "shown", "GET /api/items/{id}"],
            "routeKey": "GET /api/items/{id}",
            "rawPath": "/api/items/1",
            "rawQueryString": "x=1&x=2",
            "headers": {
                "accept": "1,2",
                "x-cloakroom-token": "Bearer t",
                "x-origin-verify": "shown",
            },
            "queryStringParameters": {"x": "1,2"},
            "pathParameters": {"id": "1"},
            "requestContext": null,
        })
    );
    for (pointer, expected) in [
        ("/http/method", json!("GET")),
        ("/http/path", json!("/api/items/1")),
        ("/http/sourceIp", json!("127.0.0.1")),
        ("/routeKey", json!("GET /api/items/{id}")),
        ("/stage", json!("$default")),
        ("/timeEpoch", json!(1_800_000_000_000_u64)),
    ] {
        assert_eq!(context.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[tokio::test]
async fn a_rest_function_gets_cookies_as_a_header_and_the_body_as_text() {
    let lab = Lab::rest(Edge::None);
    let request = send("POST", "/auth/login?return_to=%2F")
        .with("cookie", "a=1; b=2")
        .with("content-type", "application/x-www-form-urlencoded")
        .body("k=v&l=%C3%A9");
    let got = lab.send(request).await;
    assert_eq!((got.status, got.body.as_ref()), (200, b"hello".as_slice()));
    let event = lab.auth.last();
    assert_eq!(event["multiValueHeaders"]["cookie"], json!(["a=1; b=2"]));
    assert_eq!(event["queryStringParameters"], json!({"return_to": "/"}));
    assert_eq!(event["pathParameters"], json!({"proxy": "login"}));
    assert_eq!(event["resource"], "/auth/{proxy+}");
    assert_eq!(event["requestContext"]["resourcePath"], "/auth/{proxy+}");
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("k=v&l=%C3%A9"), &json!(false))
    );
    lab.send(get("/auth/login")).await;
    let event = lab.auth.last();
    for absent in [
        "body",
        "queryStringParameters",
        "multiValueQueryStringParameters",
    ] {
        assert_eq!(event[absent], Value::Null, "{absent}");
    }
}

#[tokio::test]
async fn an_http_function_gets_cookies_as_a_list_and_forms_in_base64() {
    let lab = Lab::http(Edge::None);
    let request = send("POST", "/auth/login")
        .with("cookie", "a=1; b=2")
        .with("cookie", "c=3")
        .with("content-type", "application/x-www-form-urlencoded")
        .body("k=v");
    lab.send(request).await;
    let event = lab.auth.last();
    assert_eq!(event["cookies"], json!(["a=1", "b=2", "c=3"]));
    assert_eq!(event["headers"]["cookie"], Value::Null);
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("az12"), &json!(true))
    );

    let request = send("POST", "/auth/login")
        .with("content-type", "application/json")
        .body("{}");
    lab.send(request).await;
    let event = lab.auth.last();
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("{}"), &json!(false))
    );
    assert_eq!(event.get("cookies"), None);
}

#[tokio::test]
async fn a_function_behind_an_authorizer_gets_its_context() {
    let lab = Lab::rest(Edge::None);
    lab.authorizer.answers(json!({
        "principalId": "tag",
        "policyDocument": allow("*")["policyDocument"],
        "context": {"client_id": "c", "count": 2, "flag": true},
    }));
    lab.get("/mine").await;
    assert_eq!(
        lab.auth.last()["requestContext"]["authorizer"],
        json!({
            "principalId": "tag", "client_id": "c", "count": "2", "flag": "true",
            "integrationLatency": 0,
        })
    );

    let lab = Lab::http(Edge::None);
    lab.get("/mine").await;
    let authorizer = lab.auth.last()["requestContext"]["authorizer"].take();
    assert_eq!(
        authorizer,
        json!({"lambda": {"jwt": JWT, "client_id": "c"}})
    );
    lab.get("/auth/login").await;
    assert_eq!(lab.auth.last()["requestContext"].get("authorizer"), None);
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_as_replacement_characters() {
    for lab in [Lab::rest(Edge::None), Lab::http(Edge::None)] {
        let mut request = get("/mine");
        let value = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        request.0.headers_mut().insert("x-odd", value);
        lab.send(request).await;
        for recorder in [&lab.authorizer, &lab.auth] {
            assert_eq!(recorder.last()["headers"]["x-odd"], "Bearer \u{fffd}");
        }
    }
}
