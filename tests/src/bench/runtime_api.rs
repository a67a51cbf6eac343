//! The Lambda Runtime API, as far as one bootstrap needs it: hands out one event
//! after another and takes the answers.

use super::Fault;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const RESPONSE: &str = "/2018-06-01/runtime/invocation/{id}/response";
const ERROR: &str = "/2018-06-01/runtime/invocation/{id}/error";
const INIT_ERROR: &str = "/2018-06-01/runtime/init/error";

/// An end of 2099: no invocation of a benchmark runs out of time.
const DEADLINE: &str = "4102444799000";

/// Our side. It serves one bootstrap until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Instant>,
    events: mpsc::UnboundedSender<Bytes>,
    answers: mpsc::UnboundedReceiver<Answer>,
    _server: JoinSet<()>,
}

/// What the function made of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// What it answered.
    Response(Bytes),
    /// What it threw: `errorType` and `errorMessage`.
    Error(Bytes),
}

impl RuntimeApi {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When there is no network.
    pub async fn serve() -> Result<Self, Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (asking, asked) = mpsc::unbounded_channel();
        let (events, queue) = mpsc::unbounded_channel();
        let (answering, answers) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            asking,
            queue: Mutex::new(queue),
            answering,
        });
        let router = Router::new()
            .route(NEXT, get(next))
            .route(RESPONSE, post(response))
            .route(ERROR, post(error))
            .route(INIT_ERROR, post(error))
            .with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            asked,
            events,
            answers,
            _server: server,
        })
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the function asks for an event, and says when it did.
    ///
    /// # Errors
    ///
    /// When nothing is served any more.
    pub async fn asked(&mut self) -> Result<Instant, Fault> {
        Ok(self
            .asked
            .recv()
            .await
            .ok_or("the Runtime API has stopped")?)
    }

    /// Hands out an event and waits for the answer.
    ///
    /// # Errors
    ///
    /// When nothing is served any more.
    pub async fn invoke(&mut self, event: Bytes) -> Result<Answer, Fault> {
        self.events.send(event)?;
        Ok(self
            .answers
            .recv()
            .await
            .ok_or("the Runtime API has stopped")?)
    }
}

/// The bootstrap's side.
struct Shared {
    asking: mpsc::UnboundedSender<Instant>,
    queue: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    answering: mpsc::UnboundedSender<Answer>,
}

async fn next(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, StatusCode> {
    let _ = shared.asking.send(Instant::now());
    let event = shared.queue.lock().await.recv().await;
    Response::builder()
        .header("content-type", "application/json")
        .header(
            "lambda-runtime-aws-request-id",
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        )
        .header("lambda-runtime-deadline-ms", DEADLINE)
        .header(
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:authorizer",
        )
        .body(event.ok_or(StatusCode::GONE)?.into())
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn response(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.answering.send(Answer::Response(body));
    StatusCode::ACCEPTED
}

async fn error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.answering.send(Answer::Error(body));
    StatusCode::ACCEPTED
}
