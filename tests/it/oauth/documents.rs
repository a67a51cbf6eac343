//! The metadata says nothing but the truth, and scripts of other sites may read what is
//! public, and nothing else.

use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::client;
use cloakroom_tests::oauth;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const METADATA: &str = "/.well-known/oauth-authorization-server";
const KEYS: &str = "/.well-known/jwks.json";

async fn start(config: String) -> System {
    let options = Options {
        config,
        ..Options::default()
    };
    System::start(options).await.unwrap()
}

async fn metadata(system: &System) -> Value {
    let answer = client().get(system.at(METADATA)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_of_the_metadata_is_one_and_below_the_issuer() {
    let system = start(DEMO_CONFIG.to_owned()).await;
    let metadata = metadata(&system).await;
    assert_eq!(metadata["issuer"], system.url());
    let mut endpoints = 0;
    for (name, value) in metadata.as_object().unwrap() {
        if !name.ends_with("_endpoint") && name != "jwks_uri" {
            continue;
        }
        let url = value.as_str().unwrap();
        assert!(url.starts_with(&format!("{}/", system.url())), "{name}");
        let status = client().get(url).send().await.unwrap().status();
        let known = if name == "jwks_uri" {
            [200, 200]
        } else {
            [400, 405]
        };
        assert!(known.contains(&status.as_u16()), "{name}: {status}");
        endpoints += 1;
    }
    assert_eq!(endpoints, 6, "{metadata}");
    for (name, value) in [
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(["query"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        (
            "authorization_response_iss_parameter_supported",
            json!(true),
        ),
    ] {
        assert_eq!(metadata[name], value, "{name}");
    }
    assert!(!metadata.to_string().contains("\"none\",\"none\""));
}

/// What the demo's clients can do, and nothing that none of them can.
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_offers_what_some_client_may_use() {
    let demo = metadata(&start(DEMO_CONFIG.to_owned()).await).await;
    assert_eq!(
        demo["grant_types_supported"],
        json!([
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ])
    );
    assert_eq!(
        demo["token_endpoint_auth_methods_supported"],
        json!(["client_secret_basic", "client_secret_post", "none"])
    );
    assert_eq!(
        demo["introspection_endpoint_auth_methods_supported"],
        json!(["client_secret_basic", "client_secret_post"])
    );
    assert_eq!(
        demo["token_endpoint_auth_signing_alg_values_supported"],
        Value::Null
    );

    // A system for one machine that signs.
    let (before, rest) = DEMO_CONFIG
        .split_once("# The secret of this client")
        .unwrap();
    let (_, after) = rest.split_once("# Clients ask for an audience").unwrap();
    let jwks = cloakroom_tests::client_key::ClientKey::p256().jwks;
    let machine = format!(
        "[[clients]]\nid = \"machine\"\nkind = \"confidential\"\njwks = '{jwks}'\n\
         grants = [\"client_credentials\"]\nscopes = [\"orders:read\"]\n"
    );
    let alone = metadata(&start(format!("{before}{machine}#{after}")).await).await;
    assert_eq!(
        alone["grant_types_supported"],
        json!(["client_credentials"])
    );
    assert_eq!(alone["scopes_supported"], json!(["orders:read"]));
    for endpoint in ["token", "revocation", "introspection"] {
        let methods = &alone[format!("{endpoint}_endpoint_auth_methods_supported")];
        assert_eq!(*methods, json!(["private_key_jwt"]), "{endpoint}");
        let algorithms = &alone[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        let algorithms = algorithms.as_array().unwrap();
        assert!(algorithms.contains(&json!("ES256")), "{endpoint}");
        let weak = |alg: &Value| alg == "none" || alg.as_str().unwrap().starts_with("HS");
        assert!(!algorithms.iter().any(weak), "{endpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_other_sites_read_the_published_documents_and_nothing_else() {
    let config = DEMO_CONFIG.replace(
        "[revocation]",
        "allowed_origins = [\"https://app.example.com\"]\n\n[revocation]",
    );
    let system = start(config).await;
    let token = oauth::machine_token(&system).await;
    for origin in ["https://evil.example", "https://app.example.com", "null"] {
        for path in [KEYS, METADATA] {
            let answer = client()
                .get(system.at(path))
                .header("origin", origin)
                .send()
                .await
                .unwrap();
            assert_eq!(
                answer.headers()["access-control-allow-origin"],
                "*",
                "{path}"
            );
            let others = |name: &str| {
                name.starts_with("access-control") && name != "access-control-allow-origin"
            };
            assert!(
                !answer.headers().keys().any(|name| others(name.as_str())),
                "{path}"
            );
        }
        for path in [
            "/oauth/token",
            "/oauth/revoke",
            "/oauth/introspect",
            "/oauth/par",
            "/oauth/authorize",
        ] {
            let preflight = client()
                .request(Method::OPTIONS, system.at(path))
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,dpop");
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", "demo-machine"),
                ("client_secret", "demo-machine-secret"),
                ("token", &token),
            ];
            let post = client().post(system.at(path)).form(&form);
            let get = client().get(oauth::authorization_url(&system, &[]));
            for request in [preflight, post, get] {
                let answer = request.header("origin", origin).send().await.unwrap();
                let shared = answer
                    .headers()
                    .keys()
                    .any(|name| name.as_str().starts_with("access-control"));
                assert!(!shared, "{path} from {origin}: {:?}", answer.headers());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn published_documents_are_cached_by_their_content() {
    let system = start(DEMO_CONFIG.to_owned()).await;
    for path in [KEYS, METADATA] {
        let first = client().get(system.at(path)).send().await.unwrap();
        assert_eq!(first.headers()["cache-control"], "public, max-age=300");
        let etag = first.headers()["etag"].clone();
        assert!(!first.text().await.unwrap().is_empty());
        let again = client().get(system.at(path)).header("if-none-match", etag);
        let again = again.send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = client()
            .get(system.at(path))
            .header("if-none-match", "\"x\"");
        assert_eq!(other.send().await.unwrap().status(), StatusCode::OK);
    }
}

/// RFC 8252 §7.3: the operating system picks the port, on either loopback address.
#[tokio::test(flavor = "multi_thread")]
async fn a_native_app_is_answered_on_any_port_of_the_loopback_address_it_registered() {
    let config = DEMO_CONFIG.replace(
        "redirect_uris = [\"http://127.0.0.1/callback\"]",
        "redirect_uris = [\"http://127.0.0.1/callback\", \"http://[::1]:1/callback\", \"com.example.app:/callback\"]",
    );
    let system = start(config).await;
    let answered = async |uri: &str| {
        let url = oauth::authorization_url(
            &system,
            &[
                ("redirect_uri", uri),
                ("prompt", "none"),
                ("second_look", "1"),
            ],
        );
        let answer = client().get(url).send().await.unwrap();
        let location = answer.headers().get("location");
        location.is_some_and(|location| location.to_str().unwrap().starts_with(uri))
    };
    for uri in [
        "http://127.0.0.1:49152/callback",
        "http://127.0.0.1/callback",
        "http://[::1]:65535/callback",
        "http://[::1]/callback",
        "com.example.app:/callback",
    ] {
        assert!(answered(uri).await, "{uri}");
    }
    for uri in [
        "http://localhost:49152/callback",
        "https://127.0.0.1:49152/callback",
        "http://127.0.0.1:49152/callback/",
        "http://127.0.0.1:49152/callback?x=1",
        "http://127.0.0.1:0x50/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.2:49152/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:49152@evil.example/callback",
        "http://[::2]:49152/callback",
        "com.example.app:/callback/",
        "com.example.app://callback",
    ] {
        assert!(!answered(uri).await, "{uri}");
    }
}
