//! The authorizer's events and answers: every shape in which API Gateway asks, one
//! way of deciding, one encoder per answer.
//!
//! [`event`] reads raw JSON leniently, because a typed reader fails on header values
//! that any client can send, and its failure is a 500. [`answer`] writes.

mod answer;
mod arn;
mod credential;
mod event;

pub use answer::{Answer, Encoded, MAX_ANSWER};
pub use arn::MethodArn;
pub use credential::{Credential, Missing, credential};
pub use event::{AuthorizerEvent, EventKind, UnknownEvent};

#[cfg(test)]
mod tests;
