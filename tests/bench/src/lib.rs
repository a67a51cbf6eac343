//! The steps of a decision, each by itself, on ports that do nothing: what is left is
//! our own code. `bin/counts.rs` counts their instructions, `benches/` their time.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up is a failed bench"
)]

mod ports;
mod step;

pub use step::{Function, STEPS, Step, authorizer, event};
