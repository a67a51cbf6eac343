//! Attacks on the whole system, each named as in the list of attacks.
//!
//! Those that are decided by one event are in the gateway's tests of the
//! authorizer's events, and in `events.rs`; those decided by the rules alone in
//! `crates/domain`.

mod faults;
pub(crate) mod secrecy;
pub(crate) mod table_writer;
