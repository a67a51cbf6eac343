//! The authorizer's events and answers: every shape in which AWS asks (REST, HTTP and
//! WebSocket APIs, AppSync, and proxies through a function URL or a load balancer), one
//! way of deciding, one encoder per answer.
//!
//! [`event`] reads raw JSON leniently, because a typed reader fails on header values
//! that any client can send, and its failure is a 500. [`answer`] writes.

mod answer;
mod arn;
mod credential;
mod event;
mod statement;

pub use answer::{Answer, Encoded, MAX_ANSWER, Settings};
pub use arn::MethodArn;
pub use credential::{Credential, Missing, SUBPROTOCOL, credential};
pub use event::{AuthorizerEvent, EventKind, UnknownEvent};

#[cfg(test)]
mod tests;
