//! Breaks what is between the functions and AWS, on demand: for tests, and to see
//! what users see when AWS has a bad day.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body};
use cloakroom_jose::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Which service.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Backend {
    /// DynamoDB.
    DynamoDb,
    /// KMS.
    Kms,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It answers 500.
    Failing,
    /// It asks us to slow down.
    Throttling,
    /// It refuses our credentials.
    Denying,
    /// It takes this long, and then answers as it should.
    Slow(Duration),
    /// It does what was asked at once, and is this long in saying so.
    LateAnswer(Duration),
    /// It does what was asked, but the answer gets lost.
    AnswerLost,
    /// KMS: the key is disabled.
    KeyDisabled,
    /// KMS: another key answers than the one that was asked.
    OtherKey,
}

/// Faults that can be switched on and off. Clones share one switchboard.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    switches: Arc<Mutex<HashMap<Backend, Switch>>>,
    /// How often each operation was asked for.
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A fault, and the operations (`GetItem`, `Sign`) that have it; none means all.
#[derive(Clone, Debug)]
struct Switch {
    fault: Fault,
    operations: Vec<&'static str>,
}

impl Faults {
    /// Breaks these operations of a service; all, if none is named.
    pub fn set(&self, backend: Backend, fault: Fault, operations: &[&'static str]) {
        let switch = Switch {
            fault,
            operations: operations.to_vec(),
        };
        self.lock().insert(backend, switch);
    }

    /// Mends a service.
    pub fn clear(&self, backend: Backend) {
        self.lock().remove(&backend);
    }

    /// How often each operation (`GetItem`, `Sign`) was asked for, broken or not, since
    /// this was called last: what a request has cost.
    pub fn take_calls(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, operation: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(operation.to_owned()).or_default() += 1;
    }

    /// A service that stands before the one at `url`.
    pub fn stand_before(&self, backend: Backend, url: String) -> Router {
        Router::new().fallback(pass).with_state(Arc::new(Door {
            backend,
            url,
            faults: self.clone(),
            client: reqwest::Client::builder().no_proxy().build().ok(),
        }))
    }

    fn fault(&self, backend: Backend, operation: &str) -> Option<Fault> {
        self.lock()
            .get(&backend)
            .filter(|switch| switch.operations.is_empty() || switch.operations.contains(&operation))
            .map(|switch| switch.fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Backend, Switch>> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest request or answer that is passed on.
const LIMIT: usize = 1 << 20;

struct Door {
    backend: Backend,
    url: String,
    faults: Faults,
    client: Option<reqwest::Client>,
}

async fn pass(State(door): State<Arc<Door>>, request: Request) -> Response {
    let operation = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
        .to_owned();
    door.faults.count(&operation);
    match door.faults.fault(door.backend, &operation) {
        None => forward(&door, request).await,
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            forward(&door, request).await
        }
        Some(Fault::LateAnswer(time)) => {
            let answer = forward(&door, request).await;
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::AnswerLost) => {
            forward(&door, request).await;
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
        }
        Some(Fault::Failing) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        Some(Fault::Throttling) => refuse(
            StatusCode::BAD_REQUEST,
            match door.backend {
                Backend::DynamoDb => "ProvisionedThroughputExceededException",
                Backend::Kms => "ThrottlingException",
            },
        ),
        Some(Fault::Denying) => refuse(StatusCode::BAD_REQUEST, "AccessDeniedException"),
        Some(Fault::KeyDisabled) => refuse(StatusCode::BAD_REQUEST, "DisabledException"),
        Some(Fault::OtherKey) => in_another_name(forward(&door, request).await).await,
    }
}

/// As AWS's JSON protocols refuse.
fn refuse(status: StatusCode, kind: &str) -> Response {
    let body = format!(r#"{{"__type":"com.amazonaws#{kind}","message":"injected"}}"#);
    let media_type = HeaderValue::from_static("application/x-amz-json-1.0");
    (status, [(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// The answer, as if another key had given it.
async fn in_another_name(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = body::to_bytes(body, LIMIT).await.unwrap_or_default();
    let Ok(mut answer) = json::to_serde_json(&bytes) else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    if let Some(serde_json::Value::String(key)) = answer.get_mut("KeyId") {
        key.push('0');
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(answer.to_string()))
}

async fn forward(door: &Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = body::to_bytes(body, LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match send(door, parts, bytes).await {
        Some(response) => response,
        None => StatusCode::BAD_GATEWAY.into_response(),
    }
}

async fn send(door: &Door, parts: http::request::Parts, bytes: Bytes) -> Option<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = door
        .client
        .as_ref()?
        .request(parts.method, format!("{}{path}", door.url))
        .headers(parts.headers)
        .body(bytes)
        .send()
        .await
        .ok()?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await.ok()?));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}
