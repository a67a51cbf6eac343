//! The whole of Cloakroom in one process, on embedded parts: what `make run` starts
//! and what the tests run against. Nothing of this is in a deployed function.
//!
//! Start reading at [`system`].

pub mod apigateway;
mod clock;
pub mod faults;
pub mod function;
pub mod idp;
pub mod kms;
pub mod recording;
pub mod services;
pub mod system;
