//! Integration tests: one binary, so that everything is linked once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

mod alarms;
mod architecture;
mod attacks;
mod caching;
mod contract;
mod events;
mod examples;
mod kinds;
mod lab;
mod lambda;
mod live;
mod oauth;
mod proxies;
mod readme;
mod rotation;
mod sam;
mod signing;
mod walk;
