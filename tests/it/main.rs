//! Integration tests.

mod contract;
mod lambda;
mod walk;
