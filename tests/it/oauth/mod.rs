//! The OAuth endpoints over HTTP.

mod attacks;
mod authorize;
pub(crate) mod introspection;
pub(crate) mod libraries;
