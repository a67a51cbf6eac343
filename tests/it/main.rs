//! Integration tests.

mod contract;
mod walk;
