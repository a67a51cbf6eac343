//! Who is asked, when, and what their answer opens.

use super::*;

#[tokio::test]
async fn an_answer_is_used_again_for_the_same_token_method_and_resource_alone() {
    let lab = Lab::rest(cloudfront());
    let with = |method, path, token| send(method, path).with("authorization", token);
    for (request, calls) in [
        (with("GET", "/api/orders", "Bearer t"), 1),
        (with("GET", "/api/orders?page=2", "Bearer t"), 1),
        (with("GET", "/api/orders", "Bearer u"), 2),
        (with("POST", "/api/orders", "Bearer t"), 3),
        (with("GET", "/api/reports", "Bearer t"), 4),
        (with("GET", "/api/items/1", "Bearer t"), 5),
        (with("GET", "/api/items/2", "Bearer t"), 5),
        (with("GET", "/api/orders", "Bearer t"), 5),
    ] {
        assert_eq!(lab.send(request).await.status, 200);
        assert_eq!(lab.authorizer.calls(), calls);
    }
}

#[tokio::test]
async fn an_http_api_caches_by_token_and_route() {
    let lab = Lab::http(cloudfront());
    for (path, calls) in [("/api/orders", 1), ("/api/orders", 1), ("/api/reports", 2)] {
        assert_eq!(lab.get(path).await.status, 200);
        assert_eq!(lab.authorizer.calls(), calls);
    }
}

#[tokio::test]
async fn an_answer_is_forgotten_at_its_ttl() {
    let lab = Lab::rest(cloudfront());
    for (seconds, calls) in [(0, 1), (59, 1), (1, 2), (0, 2)] {
        lab.wait(seconds);
        lab.get("/api/orders").await;
        assert_eq!(lab.authorizer.calls(), calls);
    }
    lab.gateway.flush_authorizer_cache();
    lab.get("/api/orders").await;
    assert_eq!(lab.authorizer.calls(), 3);
}

#[tokio::test]
async fn without_an_edge_every_request_is_sent() {
    for lab in [Lab::rest(Edge::None), Lab::http(Edge::None)] {
        for calls in 1..=3 {
            // Also one without any credential: the authorizer is the one to say so.
            assert_eq!(lab.send(get("/api/orders")).await.status, 200);
            assert_eq!(lab.authorizer.calls(), calls);
        }
    }
}

#[tokio::test]
async fn a_missing_identity_source_is_a_401_for_which_nobody_is_asked() {
    for lab in [Lab::rest(cloudfront()), Lab::http(cloudfront())] {
        for request in [
            get("/api/orders"),
            get("/api/orders").with("authorization", ""),
        ] {
            let got = lab.send(request).await;
            assert_eq!(
                (got.status, got.json()),
                (401, json!({"message": "Unauthorized"}))
            );
            assert!(
                got.header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer")
            );
        }
        assert_eq!(lab.authorizer.calls(), 0);
    }
}

#[tokio::test]
async fn a_cached_policy_is_evaluated_for_each_request() {
    // D34: keyed by the token alone, and an answer that means GET /api/orders.
    let narrow = "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/api/orders";
    let lab = Lab::with(Flavour::Rest, cloudfront(), allow(narrow), |authorizer| {
        authorizer.identity_sources.truncate(1);
    });
    for (method, path, status) in [
        ("GET", "/api/orders", 200),
        ("POST", "/api/orders", 403),
        ("GET", "/api/reports", 403),
        ("GET", "/api/*", 403),
        ("GET", "/api/orders", 200),
    ] {
        let request = send(method, path).with("authorization", "Bearer t");
        assert_eq!(lab.send(request).await.status, status, "{method} {path}");
    }
    assert_eq!(lab.authorizer.calls(), 1);
}

#[tokio::test]
async fn a_star_spans_slashes() {
    let wide = "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/*";
    let lab = Lab::rest(cloudfront());
    lab.authorizer.answers(allow(wide));
    assert_eq!(lab.get("/api/a/b/c").await.status, 200);
    let request = send("POST", "/api/a/b/c").with("authorization", "Bearer t");
    assert_eq!(lab.send(request).await.status, 403);
}

#[tokio::test]
async fn a_thrown_unauthorized_is_a_401_and_not_kept() {
    for lab in [Lab::rest(cloudfront()), Lab::http(cloudfront())] {
        let allowance = lab.authorizer.answer.lock().unwrap().clone();
        lab.authorizer.throws("Unauthorized");
        let got = lab.get("/api/orders").await;
        assert_eq!(
            (got.status, got.header("cache-control")),
            (401, Some("no-store"))
        );
        assert_eq!(
            got.header("www-authenticate"),
            Some(r#"Bearer realm="cloakroom""#)
        );
        *lab.authorizer.answer.lock().unwrap() = allowance;
        assert_eq!(lab.get("/api/orders").await.status, 200);
    }
}

#[tokio::test]
async fn any_other_failure_is_unavailable_and_not_kept() {
    for (lab, status, retry_after) in [
        (Lab::rest(cloudfront()), 503, Some("1")),
        (Lab::http(cloudfront()), 500, None),
    ] {
        let allowance = lab.authorizer.answer.lock().unwrap().clone();
        for message in ["unauthorized", "Unauthorized: expired", "unavailable", ""] {
            lab.authorizer.throws(message);
            let got = lab.get("/api/orders").await;
            assert_eq!(
                (got.status, got.header("retry-after")),
                (status, retry_after),
                "{message}"
            );
        }
        let misfit = if lab.gateway.api.flavour == Flavour::Rest {
            simple(true)
        } else {
            allow("*")
        };
        for answer in [json!("panic"), json!(null), json!([]), json!({}), misfit] {
            lab.authorizer.answers(answer.clone());
            assert_eq!(lab.get("/api/orders").await.status, status, "{answer}");
        }
        *lab.authorizer.answer.lock().unwrap() = allowance;
        assert_eq!(lab.get("/api/orders").await.status, 200);
    }
}

#[tokio::test]
async fn a_deny_is_a_403_and_kept() {
    let denials = [
        (
            Lab::rest(cloudfront()),
            policy("Deny", "*"),
            "User is not authorized to access this resource",
        ),
        (Lab::http(cloudfront()), simple(false), "Forbidden"),
    ];
    for (lab, denial, message) in denials {
        lab.authorizer.answers(denial);
        for _ in 0..2 {
            let got = lab.get("/api/orders").await;
            assert_eq!((got.status, got.json()), (403, json!({"message": message})));
        }
        assert_eq!(lab.authorizer.calls(), 1);
    }
}

#[tokio::test]
async fn an_http_api_cannot_serve_quotes_from_its_cache() {
    let lab = Lab::http(cloudfront());
    lab.authorizer
        .answers(json!({"isAuthorized": true, "context": {"jwt": JWT, "name": "\"x\""}}));
    assert_eq!(lab.get("/api/orders").await.status, 200);
    assert_eq!(lab.get("/api/orders").await.status, 500);
}

#[tokio::test]
async fn an_http_api_may_have_a_policy_for_an_answer() {
    let lab = Lab::with(
        Flavour::Http,
        cloudfront(),
        allow("*/GET/*"),
        |authorizer| {
            authorizer.kind = AuthorizerKind::HttpIam;
        },
    );
    assert_eq!(lab.get("/api/orders").await.status, 200);
    let request = send("POST", "/api/orders").with("authorization", "Bearer t");
    assert_eq!(lab.send(request).await.status, 403);
}

#[tokio::test]
async fn the_overridden_method_is_the_one_that_is_judged() {
    // D25. Only REST APIs honour the header.
    let lab = Lab::rest(Edge::None);
    lab.authorizer.answers(allow("*/GET/*"));
    let overridden = |method| send("GET", "/api/orders").with("x-http-method-override", method);
    assert_eq!(lab.send(overridden("GET")).await.status, 200);
    assert_eq!(lab.send(overridden("DELETE")).await.status, 403);
    assert_eq!(lab.authorizer.last()["httpMethod"], "DELETE");
    assert_eq!(lab.send(overridden("delete")).await.status, 200);

    let lab = Lab::http(Edge::None);
    assert_eq!(lab.send(overridden("DELETE")).await.json()["method"], "GET");
    assert_eq!(
        lab.authorizer.last()["requestContext"]["http"]["method"],
        "GET"
    );
}

#[tokio::test]
async fn an_arn_may_be_1600_bytes_long_and_no_longer() {
    let lab = Lab::rest(Edge::None);
    let arn = "arn:aws:execute-api:us-east-1:000000000000:local/local/GET/api/";
    let longest = 1_600 - arn.len();
    for (length, status) in [(longest, 200), (longest + 1, 414)] {
        assert_eq!(
            lab.get(&format!("/api/{}", "x".repeat(length)))
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn a_session_reaches_the_authorizer_through_the_edge_alone() {
    let token = format!("cr_st_{}000000", "A".repeat(64));
    let cookie = format!("a=1; __Host-Http-cloakroom={token}");
    let lab = Lab::rest(cloudfront());
    let got = lab
        .send(
            get("/api/orders")
                .with("cookie", &cookie)
                .with("x-csrf", "1"),
        )
        .await;
    assert_eq!(got.status, 200);
    let event = lab.authorizer.last();
    assert_eq!(
        event["headers"]["authorization"],
        format!("Session {token}")
    );
    assert_eq!(event["headers"]["cookie"], Value::Null);

    let foreign = get("/api/orders").with("cookie", &cookie);
    assert_eq!(lab.send(foreign).await.status, 403);
    let forged = get("/api/orders").with("authorization", &format!("Session {token}"));
    assert_eq!(lab.send(forged).await.status, 401);
    assert_eq!(lab.authorizer.calls(), 1);

    // Without an edge the authorizer sees, and judges, all of it.
    let lab = Lab::rest(Edge::None);
    let both = get("/api/orders")
        .with("cookie", &cookie)
        .with("authorization", "Bearer t");
    lab.send(both).await;
    let event = lab.authorizer.last();
    assert_eq!(event["headers"]["cookie"], cookie);
    assert_eq!(event["headers"]["authorization"], "Bearer t");
}
