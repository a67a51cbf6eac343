//! The OAuth endpoints over HTTP.

mod authorize;
pub(crate) mod introspection;
pub(crate) mod libraries;
