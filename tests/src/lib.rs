//! Shared pieces of the tests: a browser, OAuth clients, and what they do in a walk.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "what goes wrong here is a failed test"
)]

pub mod bench;
pub mod browser;
pub mod client_key;
pub mod clock;
pub mod costs;
pub mod dpop;
pub mod environment;
pub mod liar;
pub mod logs;
pub mod oauth;
pub mod simulation;
pub mod swap;
pub mod table;

/// The Rust of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
