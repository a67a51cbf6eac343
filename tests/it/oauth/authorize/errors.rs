//! Every error that the two endpoints answer, as a whole: status, headers, body.
//! `errors.txt` holds what they are; a difference is printed as the new text.

use super::*;
use crate::oauth::gallery::Gallery;
use cloakroom_local::faults::{Backend, Fault};
use cloakroom_tests::browser::client;

const HTML: &str = "text/html,application/xhtml+xml;q=0.9";

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_authorization_endpoint_is_known() {
    let faults = Faults::default();
    let system = system_with(Some(faults.clone())).await;
    let mut gallery = Gallery::of(&system);
    front_channel(&system, &mut gallery).await;
    sessions(&system, &mut gallery, &faults).await;
    confirmation(&system, &mut gallery).await;
    back_channel(&system, &mut gallery).await;
    gallery.compare("authorize/errors.txt", include_str!("errors.txt"));
}

async fn front_channel(system: &System, gallery: &mut Gallery) {
    let native = |changes: &[(&str, &str)]| oauth::authorization_url(system, changes);
    let long = "x".repeat(1025);
    let cases = [
        ("no parameters", system.at("/oauth/authorize")),
        ("an unknown client", native(&[("client_id", "stranger")])),
        (
            "a client that sends no users",
            native(&[("client_id", "demo-machine")]),
        ),
        ("no redirect URI", native(&[("redirect_uri", "")])),
        (
            "a foreign redirect URI",
            native(&[("redirect_uri", "https://evil.example/callback")]),
        ),
        ("a parameter twice", format!("{}&state=again", native(&[]))),
        ("no response type", native(&[("response_type", "")])),
        (
            "another response type",
            native(&[("response_type", "token")]),
        ),
        (
            "another response mode",
            native(&[("response_mode", "fragment")]),
        ),
        ("no code challenge", native(&[("code_challenge", "")])),
        (
            "a plain challenge",
            native(&[("code_challenge_method", "plain")]),
        ),
        (
            "a scope that it may not have",
            native(&[("scope", "admin")]),
        ),
        (
            "an unknown resource",
            native(&[("resource", "https://evil.example")]),
        ),
        ("a malformed scope", native(&[("scope", "openid  openid")])),
        ("a state without end", native(&[("state", &long)])),
        ("an acr without end", native(&[("acr_values", &long)])),
        (
            "nothing may be shown and nobody is there",
            native(&[("prompt", "none"), ("second_look", "1")]),
        ),
        (
            "prompts that contradict each other",
            native(&[("prompt", "none login")]),
        ),
        ("an unknown prompt", native(&[("prompt", "create")])),
        ("an age that is none", native(&[("max_age", "-1")])),
        ("a request object", native(&[("request", "e30.e30.")])),
        (
            "a request URI elsewhere",
            native(&[("request_uri", "https://evil.example/request.jwt")]),
        ),
        (
            "a request URI of nobody's",
            native(&[("request_uri", "urn:ietf:params:oauth:request_uri:x")]),
        ),
        (
            "a client that must push",
            native(&[
                ("client_id", "pushing"),
                ("redirect_uri", "https://server.example.com/callback"),
                ("scope", "orders:read"),
            ]),
        ),
        (
            "an unknown provider",
            native(&[("idp", "nobody"), ("second_look", "1")]),
        ),
    ];
    for (title, url) in cases {
        gallery.hang(title, client().get(url)).await;
    }
    let page = client().get(native(&[("client_id", "stranger")]));
    gallery
        .hang(
            "an unknown client, to a person",
            page.header("accept", HTML),
        )
        .await;
    let ahead = client().get(native(&[])).header("sec-purpose", "prefetch");
    gallery.hang("loaded ahead", ahead).await;
    let deleted = client().delete(system.at("/oauth/authorize"));
    gallery.hang("another method", deleted).await;
}

async fn sessions(system: &System, gallery: &mut Gallery, faults: &Faults) {
    let alice = signed_in(system, "alice").await;
    let cookie = format!(
        "__Host-Http-cloakroom={}",
        alice.cookie("__Host-Http-cloakroom").unwrap()
    );
    let request = |changes: &[(&str, &str)]| {
        client()
            .get(oauth::authorization_url(system, changes))
            .header("cookie", &cookie)
    };
    gallery
        .hang(
            "nothing may be shown and the user must be asked",
            request(&[("prompt", "none")]),
        )
        .await;
    let pushed = client()
        .post(system.at("/oauth/par"))
        .basic_auth("pushing", Some("demo-machine-secret"))
        .form(&[
            ("response_type", "code"),
            ("redirect_uri", "https://server.example.com/callback"),
            ("code_challenge", &oauth::challenge(oauth::VERIFIER)),
            ("code_challenge_method", "S256"),
        ]);
    let pushed: serde_json::Value = pushed.send().await.unwrap().json().await.unwrap();
    let uri = oauth::text(&pushed, "request_uri");
    let by_uri = system.at("/oauth/authorize");
    let by_uri = [("client_id", "pushing"), ("request_uri", &uri)]
        .iter()
        .fold(Url::parse(&by_uri).unwrap(), |mut url, (name, value)| {
            url.query_pairs_mut().append_pair(name, value);
            url
        });
    let by_uri = || {
        client()
            .get(by_uri.clone())
            .header("cookie", &cookie)
            .header("sec-fetch-site", "none")
    };
    let first = by_uri().send().await.unwrap();
    assert!(
        first.headers()["location"]
            .to_str()
            .unwrap()
            .contains("code=")
    );
    gallery.hang("a request URI that was used", by_uri()).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    gallery.hang("the store is broken", request(&[])).await;
    gallery
        .hang(
            "the store is broken, to a person",
            request(&[]).header("accept", HTML),
        )
        .await;
    faults.clear(Backend::DynamoDb);
}

async fn confirmation(system: &System, gallery: &mut Gallery) {
    let post = || client().post(system.at("/oauth/authorize"));
    let form = [("ticket", "x"), ("decision", "allow")];
    gallery
        .hang(
            "a form of another site",
            post().header("origin", "https://evil.example").form(&form),
        )
        .await;
    gallery
        .hang("no form", post().json(&serde_json::json!({})))
        .await;
    gallery
        .hang("a form without a decision", post().form(&[("ticket", "x")]))
        .await;
    gallery
        .hang("an unknown decision", post().form(&[("decision", "yes")]))
        .await;
    gallery
        .hang(
            "a form with a query",
            client()
                .post(system.at("/oauth/authorize?decision=allow"))
                .form(&form),
        )
        .await;
    gallery
        .hang("a question that nobody put", post().form(&form))
        .await;
    gallery
        .hang(
            "a question that nobody put, to a person",
            post().header("accept", HTML).form(&form),
        )
        .await;
}

async fn back_channel(system: &System, gallery: &mut Gallery) {
    let post = || client().post(system.at("/oauth/par"));
    let form = |changes: &[(&str, &str)]| -> Vec<(String, String)> {
        let url = Url::parse(&oauth::authorization_url(system, changes)).unwrap();
        url.query_pairs().into_owned().collect()
    };
    let cases: [(&str, &[(&str, &str)]); 10] = [
        ("pushed by nobody", &[("client_id", "")]),
        ("pushed by a stranger", &[("client_id", "stranger")]),
        ("pushed without a proof", &[("client_id", "server")]),
        (
            "pushed by a client that sends no users",
            &[
                ("client_id", "demo-machine"),
                ("client_secret", "demo-machine-secret"),
            ],
        ),
        (
            "pushed for a foreign redirect URI",
            &[("redirect_uri", "https://evil.example/callback")],
        ),
        ("pushed for a token", &[("response_type", "token")]),
        ("pushed without a challenge", &[("code_challenge", "")]),
        ("pushed for more than is allowed", &[("scope", "admin")]),
        ("pushed with a request object", &[("request", "e30.e30.")]),
        (
            "pushed with a request URI",
            &[("request_uri", "urn:ietf:params:oauth:request_uri:x")],
        ),
    ];
    for (title, changes) in cases {
        gallery.hang(title, post().form(&form(changes))).await;
    }
    let wrong = post().basic_auth("server", Some("wrong"));
    gallery
        .hang(
            "pushed with a wrong secret in the header",
            wrong.form(&form(&[("client_id", "")])),
        )
        .await;
    let other = post().basic_auth("server", Some("demo-machine-secret"));
    gallery
        .hang("pushed in another client's name", other.form(&form(&[])))
        .await;
    let query = client().post(format!("{}?client_id=server", system.at("/oauth/par")));
    gallery
        .hang("pushed in a query", query.form(&form(&[])))
        .await;
    gallery
        .hang("pushed as JSON", post().json(&serde_json::json!({})))
        .await;
    let long = "x".repeat(17_000);
    gallery
        .hang("pushed too much", post().form(&form(&[("state", &long)])))
        .await;
    let mut twice = form(&[]);
    twice.push(("state".into(), "again".into()));
    gallery
        .hang("pushed with a parameter twice", post().form(&twice))
        .await;
    gallery
        .hang("pushed by GET", client().get(system.at("/oauth/par")))
        .await;
}
