//! What the functions remember between requests (D45), and a handler that panics (D67).

use axum::Router;
use bytes::Bytes;
use cloakroom_domain::config::Edge as Topology;
use cloakroom_local::apigateway::{
    AUTHORIZER_LIMIT, Api, ApiGateway, Authorizer, Edge, Flavour, Integration, Route,
};
use cloakroom_local::function::InProcess;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::{logs, oauth};
use reqwest::Method;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn d45_nobody_gets_anothers_jwt() {
    logs::listen();
    for edge in [Topology::None, Topology::Cloudfront] {
        let options = Options {
            edge: Some(edge),
            ..Options::default()
        };
        let system = Arc::new(System::start(options).await.unwrap());
        let mut people = Vec::new();
        for user in ["alice", "bob"] {
            let mut browser = Browser::default();
            browser.sign_in(system.url(), user).await;
            let cookie = browser.cookie("__Host-Http-cloakroom").unwrap();
            people.push((format!("demo|{user}"), cookie));
        }
        let machine = oauth::machine_token(&system).await;
        let (native, _) = oauth::native_tokens(&system, "bob").await;

        let mut asking = JoinSet::new();
        for round in 0..40 {
            let (subject, cookie) = people[round % 2].clone();
            let profile = system.at("/api/profile");
            asking.spawn(async move {
                let mut browser = Browser::default();
                browser.plant("__Host-Http-cloakroom", &cookie);
                let (status, _, body) = browser.fetch(Method::GET, &profile).await;
                (subject, "cloakroom", status, body)
            });
            let (subject, client, token) = if round % 2 == 0 {
                ("client|demo-machine", "demo-machine", machine.clone())
            } else {
                ("demo|bob", "demo-native", native.clone())
            };
            let system = Arc::clone(&system);
            asking.spawn(async move {
                let (status, body) = oauth::call(&system, "/api/profile", &token).await;
                (subject.to_owned(), client, status, body)
            });
        }
        while let Some(answer) = asking.join_next().await {
            let (subject, client, status, body) = answer.unwrap();
            assert_eq!(status, 200, "{body} {:#?}", logs::with("unavailable"));
            assert_eq!(body["claims"]["sub"], subject);
            assert_eq!(body["claims"]["client_id"], client);
            assert_eq!(body["claims"]["aud"], "profile");
        }
    }
}

/// An API with one route, whose authorizer and service are these.
async fn api(authorizer: Option<Authorizer>, integration: Integration) -> String {
    let gateway = ApiGateway::new(Api {
        flavour: Flavour::Rest,
        id: "local".to_owned(),
        domain_name: "localhost".to_owned(),
        edge: Edge::None,
        remaps_www_authenticate: false,
        names_dpop: false,
        authorizer_limit: AUTHORIZER_LIMIT,
        allowed_origins: Vec::new(),
        routes: vec![Route {
            method: None,
            resource: "/api/{proxy+}".to_owned(),
            authorizer: authorizer.map(Arc::new),
            integration,
        }],
        clock: Arc::new(TestClock::default()),
    })
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/orders", listener.local_addr().unwrap());
    let router: Router = gateway.router();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

fn panicking() -> InProcess<impl Fn(Bytes) -> std::future::Ready<Result<Vec<u8>, String>>> {
    InProcess::new(|_: Bytes| -> std::future::Ready<Result<Vec<u8>, String>> { panic!("canary") })
}

async fn ask(url: &str) -> (u16, String) {
    let request = client().get(url).bearer_auth("canary");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn d67_a_function_that_panics_lets_nobody_in() {
    let page = || Integration::document("text/plain", Bytes::from_static(b"secret"));
    assert_eq!(
        ask(&api(None, page()).await).await,
        (200, "secret".to_owned())
    );

    let authorizer = Authorizer::of_topology(&Edge::None, Flavour::Rest, 0, Arc::new(panicking()));
    let url = api(Some(authorizer), page()).await;
    for _ in 0..3 {
        let (status, body) = ask(&url).await;
        assert_eq!(status, 503, "and it goes on answering");
        assert!(
            !body.contains("secret") && !body.contains("canary"),
            "{body}"
        );
    }

    let url = api(None, Integration::Function(Arc::new(panicking()))).await;
    let (status, body) = ask(&url).await;
    assert_eq!(status, 502);
    assert!(!body.contains("canary"), "{body}");
}
