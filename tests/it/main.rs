//! Integration tests.

mod architecture;
mod contract;
mod lambda;
mod readme;
mod walk;
