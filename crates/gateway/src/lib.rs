//! What all functions share: API Gateway's shapes to and from the rules, the
//! environment, and telemetry.
//!
//! The authorizer takes the first part alone; feature `http` adds what the functions
//! behind routes need. [`entry`] is where Lambda comes in.

mod arns;
pub mod authorizer;
pub mod cookies;
pub mod csrf;
pub mod entry;
pub mod headers;
#[cfg(feature = "http")]
pub mod http;
mod path;
pub mod settings;
pub mod telemetry;
