//! What services are sent, and what becomes of their answers.

use axum::response::IntoResponse;

use super::*;

/// An API that forwards `/api/{proxy+}` to a URL.
fn forwarding(base: &str) -> Arc<ApiGateway> {
    let api = Api {
        flavour: Flavour::Rest,
        id: "local".to_owned(),
        domain_name: "api.example.com".to_owned(),
        edge: Edge::None,
        remaps_www_authenticate: false,
        names_dpop: false,
        authorizer_limit: AUTHORIZER_LIMIT,
        allowed_origins: Vec::new(),
        routes: vec![Route {
            method: None,
            resource: "/api/{proxy+}".to_owned(),
            authorizer: None,
            integration: Integration::Url(Url::parse(base).unwrap()),
        }],
        clock: Arc::new(Turned::default()),
    };
    ApiGateway::new(api).unwrap()
}

async fn listening(service: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

async fn through(gateway: &Arc<ApiGateway>, request: Sent) -> Response {
    gateway.router().oneshot(request.0).await.unwrap()
}

async fn read(response: Response) -> Value {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_service_sees_the_jwt_and_no_identity_of_the_clients_making() {
    // D39, invariant 6.
    let forged = |path| {
        get(path)
            .with("authorization", "Bearer opaque")
            .with("cookie", "__Host-Http-cloakroom=x")
            .with("x-cloakroom-jwt", "forged")
            .with("x-cloakroom-token", "forged")
            .with("x-internal-token", "forged")
            .with("x-user-id", "root")
            .with("accept", "*/*")
    };
    let bearer = format!("authorization: Bearer {JWT}");
    let own = format!("x-cloakroom-jwt: {JWT}");
    // What an HTTP API cannot take off, nobody vouches for.
    let client = json!(["authorization: Bearer opaque", "accept: */*"]);
    for (lab, jwt, on_public_routes) in [
        (Lab::rest(Edge::None), bearer, json!(["accept: */*"])),
        (Lab::http(Edge::None), own, client),
    ] {
        let seen = lab.send(forged("/api/orders")).await.json();
        assert_eq!(seen["headers"], json!(["accept: */*", jwt]));
        let seen = lab.send(forged("/public")).await.json();
        assert_eq!(seen["headers"], on_public_routes);
    }
}

#[tokio::test]
async fn families_of_names_are_the_edges_to_remove_and_nobody_elses() {
    for (family, reserved) in [
        ("x-user-phone", false),
        ("x-cloakroom-new", false),
        ("x_internal_token", false),
        ("x-amzn-oidc-data", true),
    ] {
        let forged = || {
            get("/api/orders")
                .with("authorization", "Bearer opaque")
                .with(family, "root")
        };
        for lab in [Lab::rest, Lab::http] {
            let seen = lab(cloudfront()).send(forged()).await.json();
            assert!(!seen.to_string().contains("root"), "{family}");
        }
        let rest = Lab::rest(Edge::None).send(forged()).await.json();
        assert_eq!(rest.to_string().contains("root"), !reserved, "{family}");
        let http = Lab::http(Edge::None).send(forged()).await.json();
        assert!(http.to_string().contains("root"), "{family}");
    }
}

#[tokio::test]
async fn an_http_integration_gets_method_path_query_and_body_as_they_came() {
    let service = Router::new().fallback(async |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let headers = [
            ("x-answer", "1"),
            ("connection", "close"),
            ("location", "/elsewhere"),
        ];
        let seen = json!([parts.method.as_str(), parts.uri.to_string(), body]);
        (StatusCode::SEE_OTHER, headers, Json(seen)).into_response()
    });
    let gateway = forwarding(&format!("{}/base/", listening(service).await));
    let request = send("PUT", "/api/a%2Fb;c?x=%20&y").body("hello");
    let response = through(&gateway, request).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["x-answer"], "1");
    assert_eq!(response.headers().get("connection"), None);
    assert_eq!(
        read(response).await,
        json!(["PUT", "/base/api/a%2Fb;c?x=%20&y", "hello"])
    );
}

#[tokio::test]
async fn a_path_that_reads_in_two_ways_is_not_forwarded() {
    let gateway = forwarding(&listening(echo()).await);
    assert_eq!(
        through(&gateway, get("/api/a/.b/c..d")).await.status(),
        StatusCode::OK
    );
    for path in [
        "/api/../x",
        "/api/./x",
        "/api/%2e%2E/x",
        "/api/.%2e",
        "/api/x/..",
        "/api/a\\b",
    ] {
        let response = through(&gateway, get(path)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_bad_gateway() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = forwarding(&format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let response = through(&gateway, get("/api/x")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_function_that_fails_is_a_bad_gateway() {
    for (lab, status) in [(Lab::rest(Edge::None), 502), (Lab::http(Edge::None), 500)] {
        assert_eq!(lab.get("/auth/login").await.status, 200);
        lab.auth.throws("Unauthorized");
        assert_eq!(lab.get("/auth/login").await.status, status);
        for answer in [
            json!("panic"),
            json!({"statusCode": "200"}),
            json!({"statusCode": 200, "body": 1}),
        ] {
            lab.auth.answers(answer.clone());
            assert_eq!(lab.get("/auth/login").await.status, status, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_functions_cookies_and_bytes_come_through() {
    let rest = json!({
        "statusCode": 303, "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
        "body": "/w==", "isBase64Encoded": true,
    });
    let http = json!({
        "statusCode": 303, "cookies": ["a=1", "b=2"], "body": "/w==", "isBase64Encoded": true,
    });
    for (lab, answer) in [(Lab::rest(Edge::None), rest), (Lab::http(Edge::None), http)] {
        lab.auth.answers(answer);
        let got = lab.get("/auth/callback").await;
        let expected = ["a=1", "b=2"].map(HeaderValue::from_static);
        let cookies: Vec<_> = got.headers.get_all("set-cookie").iter().cloned().collect();
        assert_eq!((got.status, cookies), (303, expected.to_vec()));
        assert_eq!(got.body.as_ref(), b"\xff");
    }
}

#[tokio::test]
async fn a_rest_api_renames_a_functions_challenge_and_keeps_its_own() {
    let challenge = json!({"statusCode": 401, "headers": {"www-authenticate": "Basic"}});
    let lab = Lab::rest(Edge::None);
    lab.auth.answers(challenge.clone());
    let got = lab.get("/auth/x").await;
    assert_eq!(got.header("www-authenticate"), None);
    assert_eq!(
        got.header("x-amzn-remapped-www-authenticate"),
        Some("Basic")
    );
    let lab = Lab::http(Edge::None);
    lab.auth.answers(challenge);
    assert_eq!(
        lab.get("/auth/x").await.header("www-authenticate"),
        Some("Basic")
    );
}
