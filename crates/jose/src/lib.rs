//! JOSE, and nothing of Cloakroom: what reads tokens, keys and claims.
//!
//! [`json`] is the one reader for JSON that somebody else wrote.

pub mod json;
