//! The rules of Cloakroom.
//!
//! What a token is, what is sealed and how, how a family of tokens lives and dies,
//! who passes a route, what a service may know about a user. Everything here is
//! decided from arguments and ports: this crate knows no AWS, no HTTP, no Lambda,
//! no environment and no wall clock (invariant 7).
//!
//! Start reading at [`token`], then [`seal`], [`family`], [`grant`]; the services
//! are [`authorize`] and [`issue`].

pub mod authorize;
pub mod claims;
pub mod client;
pub mod config;
pub mod delegation;
pub mod dpop;
pub mod ended;
pub mod family;
pub mod grant;
mod identity;
pub mod introspect;
pub mod issue;
pub mod jwk;
pub mod jwt;
pub mod keyset;
pub mod login;
mod pad;
pub mod policy;
pub mod ports;
pub mod scope;
pub mod seal;
pub mod target;
#[cfg(test)]
mod testing;
pub mod time;
pub mod token;
pub mod visible;
