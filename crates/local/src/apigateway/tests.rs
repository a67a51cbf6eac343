//! The emulator with functions, services and a clock of the test's own.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use axum::{Json, body::Body};
use cloakroom_domain::time::UnixTime;
use serde_json::{Value, json};

use super::*;
use crate::function::{Function, InProcess};

mod authorizers;
mod events;
mod integrations;

const JWT: &str = "aaa.bbb.ccc";

/// A clock that a test turns.
#[derive(Default)]
struct Turned(AtomicU64);

impl Clock for Turned {
    fn now(&self) -> UnixTime {
        UnixTime(1_800_000_000 + self.0.load(Ordering::SeqCst))
    }
}

/// A function that answers as it is told and remembers what it was sent.
struct Recorder {
    answer: Mutex<Result<Value, String>>,
    events: Mutex<Vec<Value>>,
}

impl Recorder {
    fn new(answer: Value) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Ok(answer)),
            events: Mutex::default(),
        })
    }

    fn function(self: &Arc<Self>) -> Arc<dyn Function> {
        let recorder = Arc::clone(self);
        Arc::new(InProcess::new(move |event: Bytes| {
            let recorder = Arc::clone(&recorder);
            async move {
                recorder
                    .events
                    .lock()
                    .unwrap()
                    .push(serde_json::from_slice(&event).unwrap());
                let answer = recorder.answer.lock().unwrap().clone();
                assert_ne!(answer, Ok(json!("panic")), "as told");
                answer.map(|answer| answer.to_string().into_bytes())
            }
        }))
    }

    fn answers(&self, answer: Value) {
        *self.answer.lock().unwrap() = Ok(answer);
    }

    fn throws(&self, message: &str) {
        *self.answer.lock().unwrap() = Err(message.to_owned());
    }

    fn calls(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    fn last(&self) -> Value {
        self.events
            .lock()
            .unwrap()
            .last()
            .expect("no event")
            .clone()
    }
}

fn allow(resource: &str) -> Value {
    policy("Allow", resource)
}

fn policy(effect: &str, resource: &str) -> Value {
    json!({
        "principalId": "tag",
        "policyDocument": {"Version": "2012-10-17", "Statement": [
            {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource},
        ]},
        "context": {"authorization": format!("Bearer {JWT}"), "client_id": "c"},
    })
}

fn simple(authorized: bool) -> Value {
    json!({"isAuthorized": authorized, "context": {"jwt": JWT, "client_id": "c"}})
}

/// Answers what it received, so that tests see what a service would.
fn echo() -> Router {
    Router::new().fallback(async |request: Request| {
        let headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        Json(json!({"method": method, "uri": uri, "headers": headers}))
    })
}

/// One API under test: authorized `/api/…`, a public `/public`, a function at `/auth`.
struct Lab {
    gateway: Arc<ApiGateway>,
    authorizer: Arc<Recorder>,
    auth: Arc<Recorder>,
    clock: Arc<Turned>,
}

impl Lab {
    fn rest(edge: Edge) -> Self {
        Self::with(Flavour::Rest, edge, allow("*"), |_| {})
    }

    fn http(edge: Edge) -> Self {
        Self::with(Flavour::Http, edge, simple(true), |_| {})
    }

    fn with(
        flavour: Flavour,
        edge: Edge,
        answer: Value,
        change: impl FnOnce(&mut Authorizer),
    ) -> Self {
        let authorizer = Recorder::new(answer);
        let auth = Recorder::new(json!({"statusCode": 200, "body": "hello"}));
        let clock = Arc::new(Turned::default());
        let mut checked = Authorizer::of_topology(&edge, flavour, 60, authorizer.function());
        change(&mut checked);
        let checked = Arc::new(checked);
        let route = |method: Option<Method>, resource: &str, guarded: bool, integration| Route {
            method,
            resource: resource.to_owned(),
            authorizer: guarded.then(|| Arc::clone(&checked)),
            integration,
        };
        let service = || Integration::Service(echo());
        let page = Integration::document("text/html", Bytes::from_static(b"<p>"));
        let gateway = ApiGateway::new(Api {
            flavour,
            id: "local".to_owned(),
            domain_name: "api.example.com".to_owned(),
            edge,
            remaps_www_authenticate: true,
            names_dpop: false,
            authorizer_limit: AUTHORIZER_LIMIT,
            allowed_origins: vec!["https://shop.example.com".to_owned()],
            routes: vec![
                route(Some(Method::GET), "/", false, page),
                route(None, "/api/orders", true, service()),
                route(Some(Method::GET), "/api/reports", true, service()),
                route(Some(Method::GET), "/api/items/{id}", true, service()),
                route(None, "/api/{proxy+}", true, service()),
                route(None, "/public", false, service()),
                route(
                    None,
                    "/auth/{proxy+}",
                    false,
                    Integration::Function(auth.function()),
                ),
                route(None, "/mine", true, Integration::Function(auth.function())),
            ],
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self {
            gateway: gateway.unwrap(),
            authorizer,
            auth,
            clock,
        }
    }

    async fn send(&self, request: Sent) -> Got {
        let response = self.gateway.router().oneshot(request.0).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(get(path).with("authorization", "Bearer t")).await
    }

    fn wait(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

struct Sent(Request);

fn get(path: &str) -> Sent {
    send("GET", path)
}

fn send(method: &str, path: &str) -> Sent {
    Sent(
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap(),
    )
}

impl Sent {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0.map(|_| body.into()))
    }
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn cloudfront() -> Edge {
    Edge::CloudFront {
        public_origin: "https://app.example.com".to_owned(),
        allow_headers: vec![],
        origin_secret: HeaderValue::from_static("shown"),
    }
}

#[tokio::test]
async fn an_unknown_route_is_answered_as_each_kind_of_api_does() {
    for (lab, status, message) in [
        (Lab::rest(Edge::None), 403, "Missing Authentication Token"),
        (Lab::http(Edge::None), 404, "Not Found"),
    ] {
        let got = lab.get("/nowhere").await;
        assert_eq!(
            (got.status, got.json()),
            (status, json!({"message": message}))
        );
        assert_eq!(lab.authorizer.calls(), 0);
    }
}

#[tokio::test]
async fn a_document_is_served_as_it_was_handed_in() {
    for lab in [Lab::rest(cloudfront()), Lab::http(Edge::None)] {
        let got = lab.send(get("/?x=1")).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (200, Some("text/html"))
        );
        assert_eq!(got.body, "<p>");
    }
}

#[tokio::test]
async fn headers_may_be_10240_bytes_long_and_no_longer() {
    let lab = Lab::rest(Edge::None);
    let longest = 10_240 - "x-long".len();
    for (length, status) in [(longest, 200), (longest + 1, 431)] {
        let got = lab
            .send(get("/public").with("x-long", &"x".repeat(length)))
            .await;
        assert_eq!(got.status, status);
    }
    // An HTTP API counts the request line too.
    let lab = Lab::http(Edge::None);
    let longest = longest - "GET /public HTTP/1.1".len();
    for (length, status) in [(longest, 200), (longest + 1, 431)] {
        let got = lab
            .send(get("/public").with("x-long", &"x".repeat(length)))
            .await;
        assert_eq!(got.status, status);
    }
}

#[tokio::test]
async fn a_body_may_be_10_megabytes_long_and_no_longer() {
    let lab = Lab::rest(Edge::None);
    for (length, status) in [(LONGEST_BODY, 200), (LONGEST_BODY + 1, 413)] {
        let got = lab
            .send(send("POST", "/public").body(vec![b'x'; length]))
            .await;
        assert_eq!(got.status, status);
    }
}

#[test]
fn what_aws_would_not_deploy_is_refused() {
    let function = || Recorder::new(json!({})).function();
    let api = |flavour, resources: &[&str], authorizer: Option<Authorizer>| {
        let authorizer = authorizer.map(Arc::new);
        let route = |resource: &&str| Route {
            method: None,
            resource: (*resource).to_owned(),
            authorizer: authorizer.clone(),
            integration: Integration::Function(function()),
        };
        ApiGateway::new(Api {
            flavour,
            id: "local".to_owned(),
            domain_name: "api.example.com".to_owned(),
            edge: Edge::None,
            remaps_www_authenticate: false,
            names_dpop: false,
            authorizer_limit: AUTHORIZER_LIMIT,
            allowed_origins: vec!["https://shop.example.com".to_owned()],
            routes: resources.iter().map(route).collect(),
            clock: Arc::new(Turned::default()),
        })
    };
    let authorizer = |flavour| Authorizer::of_topology(&cloudfront(), flavour, 60, function());
    assert!(
        api(
            Flavour::Rest,
            &["/a", "/b"],
            Some(authorizer(Flavour::Rest))
        )
        .is_ok()
    );

    let malformed = api(Flavour::Rest, &["/{a+}/b"], None);
    assert!(matches!(malformed, Err(InvalidApi::Resource(_))));
    let twice = api(Flavour::Rest, &["/a", "/a"], None);
    assert!(matches!(twice, Err(InvalidApi::Duplicate(_))));
    let mismatch = api(Flavour::Http, &["/a"], Some(authorizer(Flavour::Rest)));
    assert!(matches!(mismatch, Err(InvalidApi::AuthorizerKind(_))));
    let token = Authorizer {
        kind: AuthorizerKind::RestToken,
        ..authorizer(Flavour::Rest)
    };
    let sources = api(Flavour::Rest, &["/a"], Some(token));
    assert!(matches!(sources, Err(InvalidApi::TokenSource(_))));
    let slow = Authorizer {
        ttl_seconds: 3_601,
        ..authorizer(Flavour::Rest)
    };
    assert!(matches!(
        api(Flavour::Rest, &["/a"], Some(slow)),
        Err(InvalidApi::Ttl(_))
    ));
}
