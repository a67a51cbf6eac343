//! The OAuth endpoints over HTTP.

mod attacks;
mod authorize;
mod conformance;
mod documents;
pub(crate) mod dpop;
mod errors;
mod gallery;
pub(crate) mod introspection;
pub(crate) mod libraries;
