//! Proof of possession (RFC 9449) over HTTP: at the token endpoint, at the pushed
//! authorization requests, and before the services.

use super::gallery::Gallery;
use crate::walk::join_all;
use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::client;
use cloakroom_tests::dpop::{Holder, present};
use cloakroom_tests::table::Table;
use cloakroom_tests::{logs, oauth};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const BAD: StatusCode = StatusCode::BAD_REQUEST;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

/// The demo, where `/api/profile` demands DPoP, `/api/reports` takes it and nothing is
/// said of `/api/orders`; with a client that may have bound tokens alone.
pub(crate) fn options(flavour: Flavour, edge: Edge) -> Options {
    let config = DEMO_CONFIG
        .replace(
            "[revocation]",
            "[authorizer]\ndpop_authorizer = true\n\n[revocation]",
        )
        .replace(
            "path = \"/api/profile\"",
            "path = \"/api/profile\"\ndpop = true",
        )
        .replace(
            "path = \"/api/reports\"",
            "path = \"/api/reports\"\ndpop = \"optional\"",
        );
    let client = r#"
        [[clients]]
        id = "bound-machine"
        kind = "confidential"
        secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
        grants = ["client_credentials"]
        scopes = ["orders:read"]
        dpop_bound_access_tokens = true
        "#;
    Options {
        flavour,
        edge: Some(edge),
        config: format!("{config}\n{client}"),
        ..Options::default()
    }
}

async fn system() -> System {
    System::start(options(Flavour::Rest, Edge::None))
        .await
        .unwrap()
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What is posted to exchange an access token.
fn exchange(token: &str) -> [(&'static str, &str); 3] {
    [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ]
}

const AS_MACHINE: [(&str, &str); 2] = [
    ("client_id", "demo-machine"),
    ("client_secret", "demo-machine-secret"),
];

/// Access and refresh token of the native app for `user`, bound to the holder's key.
async fn bound_tokens(system: &System, holder: &Holder, user: &str) -> (String, String) {
    let code = oauth::code(system, user).await;
    let (status, body) = holder.token(system, &oauth::redemption(&code)).await;
    assert_eq!(status, OK, "{body}");
    assert_eq!(body["token_type"], "DPoP", "RFC 9449 §5");
    (
        oauth::text(&body, "access_token"),
        oauth::text(&body, "refresh_token"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_passes_with_a_proof_through_every_flavour_of_api() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            let system = System::start(options(flavour, edge)).await.unwrap();
            walk(&system, edge == Edge::Cloudfront).await;
        }
    }
}

/// What a native app does that holds a key, and what it may not.
pub(crate) async fn walk(system: &System, cached: bool) {
    let (holder, other) = (Holder::default(), Holder::default());
    let (access, refresh) = bound_tokens(system, &holder, "alice").await;

    // Where DPoP is demanded, and where it is taken: with a new proof each time.
    for _ in 0..2 {
        let (status, body) = holder.call(system, "/api/profile", &access).await;
        assert_eq!(status, OK, "{body}");
        assert_eq!(body["claims"]["cnf"], json!({"jkt": holder.thumbprint()}));
        assert_eq!(body["claims"]["sub"], "demo|alice");
    }
    assert_eq!(holder.call(system, "/api/reports", &access).await.0, OK);

    // Where nothing is said, it is taken unless an answer might be kept (D35).
    let (status, _) = holder.call(system, "/api/orders", &access).await;
    assert_eq!(status, if cached { UNAUTHORIZED } else { OK });

    // A2.2: a bound token is no bearer's, anywhere.
    for path in ["/api/profile", "/api/reports", "/api/orders"] {
        let (status, _) = oauth::call(system, path, &access).await;
        assert_eq!(status, UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        other.call(system, "/api/profile", &access).await.0,
        UNAUTHORIZED
    );

    // A token that is bound to nothing gains nothing by a proof.
    let (unbound, _) = oauth::native_tokens(system, "alice").await;
    for path in ["/api/profile", "/api/reports", "/api/orders"] {
        let (status, _) = holder.call(system, path, &unbound).await;
        assert_eq!(status, UNAUTHORIZED, "{path}");
    }
    for (path, expected) in [
        ("/api/profile", UNAUTHORIZED),
        ("/api/reports", OK),
        ("/api/orders", OK),
    ] {
        let (status, _) = oauth::call(system, path, &unbound).await;
        assert_eq!(status, expected, "{path}");
    }

    // RFC 9449 §5: the refresh token of a public client is bound as well.
    let (status, body) = oauth::refresh(system, &refresh).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    let (status, body) = other.token(system, &oauth::refreshing(&refresh)).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    let (status, body) = holder.token(system, &oauth::refreshing(&refresh)).await;
    assert_eq!(status, OK, "nobody else has burnt it: {body}");
    assert_eq!(body["token_type"], "DPoP");
    let access = oauth::text(&body, "access_token");
    assert_eq!(holder.call(system, "/api/profile", &access).await.0, OK);

    // RFC 9449 §6.2.
    let form = [("token", access.as_str())];
    let answer = client()
        .post(system.at("/oauth/introspect"))
        .basic_auth("demo-machine", Some("demo-machine-secret"))
        .form(&form)
        .send()
        .await
        .unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["active"], true);
    assert_eq!(body["token_type"], "DPoP");
    assert_eq!(body["cnf"], json!({"jkt": holder.thumbprint()}));

    // Who asks for the JWT has seen no proof, and hands on what it gets (§7.2).
    for (token, expected) in [(&access, 204), (&unbound, 200)] {
        let answer = client()
            .post(system.at("/oauth/introspect"))
            .basic_auth("demo-machine", Some("demo-machine-secret"))
            .header("accept", "application/jwt")
            .form(&[("token", token)]);
        assert_eq!(answer.send().await.unwrap().status(), expected);
    }

    // Revoking needs no proof: whoever found it does its owner a favour.
    assert_eq!(oauth::revoke(system, &access).await, OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_demands_a_nonce_and_says_which() {
    let system = system().await;
    let holder = Holder::default();
    let url = system.at("/oauth/token");
    let form = [&[("grant_type", "client_credentials")][..], &AS_MACHINE[..]].concat();
    let send = async |edit: fn(&mut Value)| {
        let proof = holder.proof("POST", &url, None, edit);
        let request = client().post(&url).header("dpop", proof).form(&form);
        request.send().await.unwrap()
    };
    // RFC 9449 §8: without one, or with one that we did not make.
    let nothing: fn(&mut Value) = |_| {};
    let made_up: fn(&mut Value) = |claims| claims["nonce"] = json!("1.AAAAAAAAAAAAAAAAAAAAAA");
    for edit in [nothing, made_up] {
        let answer = send(edit).await;
        assert_eq!(answer.status(), BAD);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(answer.headers().contains_key("dpop-nonce"));
        holder.learn(&answer);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], "use_dpop_nonce");
    }
    let answer = send(|_| {}).await;
    assert_eq!(answer.status(), OK);
    assert!(
        answer.headers().contains_key("dpop-nonce"),
        "the next one, before it is needed (§8.2)"
    );
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token_type"], "DPoP");
    assert!(body.get("refresh_token").is_none());
    let token = oauth::text(&body, "access_token");
    assert_eq!(holder.call(&system, "/api/orders", &token).await.0, OK);

    // Whoever brings no proof hears nothing of nonces.
    let answer = client().post(&url).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), OK);
    assert!(!answer.headers().contains_key("dpop-nonce"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token_type"], "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_counts_once_at_the_token_endpoint_and_before_a_service() {
    replays(&system().await).await;
}

/// What comes of a proof that is shown again.
pub(crate) async fn replays(system: &System) {
    let holder = Holder::default();
    let (access, refresh) = bound_tokens(system, &holder, "alice").await;

    let url = system.at("/oauth/token");
    let proof = holder.proof("POST", &url, None, |_| {});
    let send = async || {
        let form = oauth::refreshing(&refresh);
        let request = client().post(&url).header("dpop", &proof).form(&form);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    assert_eq!(send().await.0, OK);
    let (status, body) = send().await;
    assert_eq!(status, BAD);
    assert_eq!(body["error"], "invalid_dpop_proof");
    assert_eq!(body["error_description"], "the DPoP proof was used before");
    // That was a lost answer to be healed: with a new proof it is.
    assert_eq!(
        holder.token(system, &oauth::refreshing(&refresh)).await.0,
        OK
    );

    let proof = holder.proof("GET", &system.at("/api/profile"), Some(&access), |_| {});
    let send = async || present(system, Method::GET, "/api/profile", &access, &proof).await;
    logs::listen();
    assert_eq!(send().await.0, OK);
    assert_eq!(send().await.0, UNAUTHORIZED);

    // Of many at once one passes.
    let proof = holder.proof("GET", &system.at("/api/profile"), Some(&access), |_| {});
    let all = (0..10).map(|_| present(system, Method::GET, "/api/profile", &access, &proof));
    let mut passed = 0;
    for (status, _) in join_all(all).await {
        passed += usize::from(status == OK);
    }
    assert_eq!(passed, 1);
}

/// Makes one thing of a proof wrong.
type Edit = fn(&mut Value);

#[tokio::test(flavor = "multi_thread")]
async fn every_error_about_a_proof_is_known() {
    let system = system().await;
    let mut gallery = Gallery::of(&system);
    let holder = Holder::default();
    let (token, par) = (system.at("/oauth/token"), system.at("/oauth/par"));
    let form = [&[("grant_type", "client_credentials")][..], &AS_MACHINE[..]].concat();
    let post = |proof: &str| client().post(&token).header("dpop", proof).form(&form);
    let told = post(&holder.proof("POST", &token, None, |_| {}));
    gallery.hang("POST /oauth/token: no nonce", told).await;
    let answer = post(&holder.proof("POST", &token, None, |_| {}))
        .send()
        .await
        .unwrap();
    holder.learn(&answer);
    let edits: [(&str, Edit); 5] = [
        ("a nonce that is not ours", |c| c["nonce"] = json!("1.AAAA")),
        ("another htm", |c| c["htm"] = json!("GET")),
        ("another htu", |c| c["htu"] = json!("https://evil.example/")),
        ("an old iat", |c| c["iat"] = json!(1)),
        ("no jti", |c| c["jti"] = json!("")),
    ];
    for (title, edit) in edits {
        let request = post(&holder.proof("POST", &token, None, edit));
        gallery
            .hang(&format!("POST /oauth/token: {title}"), request)
            .await;
    }
    let good = holder.proof("POST", &token, None, |_| {});
    let other = holder.proof("POST", &token, None, |_| {});
    let (signed, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let swapped = format!("{signed}.{signature}");
    for (title, request) in [
        ("no JWS", post("x")),
        ("the signature of another", post(&swapped)),
        ("two proofs", post(&good).header("dpop", &other)),
    ] {
        gallery
            .hang(&format!("POST /oauth/token: {title}"), request)
            .await;
    }
    assert_eq!(post(&good).send().await.unwrap().status(), OK);
    gallery
        .hang("POST /oauth/token: a proof that was used", post(&good))
        .await;
    let bound = [
        ("grant_type", "client_credentials"),
        ("client_id", "bound-machine"),
        ("client_secret", "demo-machine-secret"),
    ];
    let request = client().post(&token).form(&bound);
    gallery
        .hang("POST /oauth/token: a proof is demanded", request)
        .await;

    let push = |key: &str, proof: &str| {
        let form = oauth::authorization_request(&[("dpop_jkt", key)]);
        let request = client().post(&par).form(&form);
        if proof.is_empty() {
            request
        } else {
            request.header("dpop", proof)
        }
    };
    let proof = || holder.proof("POST", &par, None, |_| {});
    let other = Holder::default().thumbprint();
    let without = holder.proof("POST", &par, None, |c| c["nonce"] = json!(""));
    for (title, request) in [
        ("no nonce", push("", &without)),
        ("a dpop_jkt that is none", push("x", "")),
        ("the dpop_jkt of another key", push(&other, &proof())),
    ] {
        gallery
            .hang(&format!("POST /oauth/par: {title}"), request)
            .await;
    }
    let request = client().get(system.at("/api/profile"));
    gallery.hang("GET /api/profile: no token", request).await;
    gallery.compare("errors/dpop.txt", include_str!("errors/dpop.txt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_binds_its_code_to_the_key_of_its_proof() {
    let system = system().await;
    let (holder, other) = (Holder::default(), Holder::default());
    let form = oauth::authorization_request(&[]);
    let form: Vec<_> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let (status, pushed) = holder
        .post(&system, "/oauth/par", &form, |request| request)
        .await;
    assert_eq!(status, StatusCode::CREATED, "{pushed}");
    let url = oauth::pushed_url(&system, "demo-native", &pushed);
    let code = oauth::code_at(&url, "alice").await;
    holds_its_code(&system, &holder, &other, &code).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_request_binds_its_code_to_a_key_by_dpop_jkt() {
    let system = system().await;
    let (holder, other) = (Holder::default(), Holder::default());
    let key = holder.thumbprint();
    let url = oauth::authorization_url(&system, &[("dpop_jkt", &key)]);
    let code = oauth::code_at(&url, "alice").await;
    holds_its_code(&system, &holder, &other, &code).await;
}

/// RFC 9449 §10.
async fn holds_its_code(system: &System, holder: &Holder, other: &Holder, code: &str) {
    let (status, body) = oauth::redeem(system, code).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    let (status, body) = other.token(system, &oauth::redemption(code)).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    let (status, body) = holder.token(system, &oauth::redemption(code)).await;
    assert_eq!(status, OK, "{body}");
    assert_eq!(body["token_type"], "DPoP");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_exchanged_in_the_hand_of_its_holder_alone() {
    let system = system().await;
    let holder = Holder::default();
    let (access, _) = bound_tokens(&system, &holder, "alice").await;
    let form = [&exchange(&access)[..], &AS_MACHINE[..]].concat();
    // RFC 9700 §4.10, A7.10.
    let (status, body) = oauth::token(&system, &form).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")));
    let (status, body) = Holder::default().token(&system, &form).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")));
    let (status, body) = holder.token(&system, &form).await;
    assert_eq!(status, OK, "{body}");
    assert_eq!(body["token_type"], "DPoP");
    let exchanged = oauth::text(&body, "access_token");
    assert_eq!(holder.call(&system, "/api/orders", &exchanged).await.0, OK);
    assert_eq!(
        oauth::call(&system, "/api/orders", &exchanged).await.0,
        UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_actor_token_counts_in_the_hand_of_its_holder_alone() {
    let system = system().await;
    let (holder, stranger) = (Holder::default(), Holder::default());
    let (access, _) = oauth::native_tokens(&system, "alice").await;
    let own = [&[("grant_type", "client_credentials")][..], &AS_MACHINE[..]].concat();
    let (status, body) = holder.token(&system, &own).await;
    assert_eq!(status, OK, "{body}");
    let actor = oauth::text(&body, "access_token");
    let form = [
        &exchange(&access)[..],
        &[
            ("actor_token", actor.as_str()),
            ("actor_token_type", ACCESS_TOKEN),
        ],
        &AS_MACHINE[..],
    ]
    .concat();
    let (status, body) = oauth::token(&system, &form).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")));
    let (status, body) = stranger.token(&system, &form).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")));
    let (status, body) = holder.token(&system, &form).await;
    assert_eq!(status, OK, "{body}");
    // What it gets is bound to the same key, and says who acts.
    assert_eq!(body["token_type"], "DPoP");
    let given = oauth::text(&body, "access_token");
    let (status, seen) = holder.call(&system, "/api/profile", &given).await;
    assert_eq!(status, OK, "{seen}");
    assert_eq!(seen["claims"]["act"], json!({"sub": "client|demo-machine"}));
    let (status, _) = stranger.call(&system, "/api/profile", &given).await;
    assert_eq!(status, UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_about_its_host_moves_no_proof() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        let system = System::start(options(flavour, Edge::None)).await.unwrap();
        let holder = Holder::default();
        let (access, _) = bound_tokens(&system, &holder, "alice").await;
        let send = async |htu: &str, more: &[(&str, &str)]| {
            let proof = holder.proof("GET", htu, Some(&access), |_| {});
            let mut request = client()
                .get(system.at("/api/profile?page=1"))
                .header("authorization", format!("DPoP {access}"))
                .header("dpop", proof);
            for (name, value) in more {
                request = request.header(*name, *value);
            }
            request.send().await.unwrap().status()
        };
        let here = system.at("/api/profile");
        let evil = "https://evil.example/api/profile";
        let forged = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
        ];
        assert_eq!(send(&here, &[]).await, OK);
        assert_eq!(send(&here, &forged).await, OK);
        assert_eq!(send(evil, &forged).await, UNAUTHORIZED);
        // The stage is nothing that a client sees (A11.5).
        assert_eq!(
            send(&system.at("/local/api/profile"), &[]).await,
            UNAUTHORIZED
        );
        let twice = [("dpop", "e30.e30.AA")];
        assert_eq!(send(&here, &twice).await, UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_10_whoever_has_no_grant_and_no_token_writes_nothing() {
    let system = system().await;
    let (holder, stranger) = (Holder::default(), Holder::default());
    let (access, refresh) = bound_tokens(&system, &holder, "alice").await;
    let table = Table::of(&system);
    let before = table.count().await;
    let garbage = format!("cr_rt_{}", &refresh[6..75]);
    for token in [refresh.as_str(), &garbage, "cr_rt_x"] {
        let (status, _) = stranger.token(&system, &oauth::refreshing(token)).await;
        assert_eq!(status, BAD);
    }
    for path in ["/api/profile", "/api/reports", "/api/orders"] {
        assert_eq!(stranger.call(&system, path, &access).await.0, UNAUTHORIZED);
    }
    assert_eq!(table.count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_names_what_a_proof_may_be_signed_with() {
    let system = system().await;
    let url = system.at("/.well-known/oauth-authorization-server");
    let metadata: Value = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        metadata["dpop_signing_alg_values_supported"],
        json!(["ES256", "Ed25519", "EdDSA", "PS256", "RS256"])
    );
}
