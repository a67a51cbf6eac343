//! The OAuth endpoints over HTTP.

mod authorize;
