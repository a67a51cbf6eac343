//! Attacks on the whole system, each named with its number in `docs/attacks.md`. For
//! what is refused there is always a neighbour that is let in, so that no test
//! passes because nothing works.

mod caches;
mod configuration;
mod coverage;
mod credentials;
pub(crate) mod leaks;
mod memory;
mod outages;
mod providers;
mod revocation;
mod sign_in;
pub(crate) mod table;

use cloakroom_local::system::{DEMO_CONFIG, Options, System};

/// A system that remembers no identity: what is in the table is what counts.
async fn forgetful() -> System {
    with_max_latency(0, Options::default()).await
}

/// A system with another `revocation.max_latency`.
async fn with_max_latency(seconds: u64, options: Options) -> System {
    let config = DEMO_CONFIG.replace("max_latency = 5", &format!("max_latency = {seconds}"));
    assert!(config.contains(&format!("max_latency = {seconds}\n")));
    System::start(Options { config, ..options }).await.unwrap()
}
