//! For the services behind Cloakroom: verifies the internal JWT, so that a
//! service trusts a signature and not its network.
//!
//! Every request that reaches a service through the gateway carries a signed
//! JWT (RFC 9068, `typ: at+jwt`). This crate checks it, gives the service typed
//! [`Claims`], and answers 401, 403 or 503 where a request may not pass:
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use cloakroom_verify::{Claims, Verifier, VerifyLayer};
//!
//! # fn app() -> Result<Router, Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://auth.example.com", "orders")
//!     .jwks_url("https://auth.example.com/.well-known/jwks.json")
//!     .build()?;
//! let orders = |Extension(claims): Extension<Claims>| async move { claims.sub };
//! let app = Router::new()
//!     .route("/orders", get(orders))
//!     .layer(VerifyLayer::new(verifier).require_scope("orders:read"));
//! # Ok(app)
//! # }
//! # app().unwrap();
//! ```
//!
//! Behind an HTTP API the JWT travels in another header, bare:
//! [`VerifyLayer::header`]. Without tower, call [`Verifier::verify`]. A service's
//! own tests hand the verifier a fixed key set: [`VerifierBuilder::key_set`].
//!
//! One JWT is sent many times while the gateway caches its authorizer's answer:
//! do not treat `jti` as single use.
//!
//! Start reading at [`Verifier`]; [`jws`] is the strict core beneath it. Nothing
//! here may know opaque tokens, sessions or AWS: this crate is published with
//! `cloakroom-jose` alone.

mod cache;
mod claims;
mod clock;
mod error;
#[cfg(feature = "fetch")]
mod fetch;
pub mod jws;
mod layer;
mod verifier;

#[cfg(test)]
mod testing;

pub use cache::{CachePolicy, FetchError, FetchJwks, JwksCache, KeysUnavailable};
pub use claims::Claims;
pub use clock::{Clock, SystemClock};
pub use error::VerifyError;
#[cfg(feature = "fetch")]
pub use fetch::{HttpFetch, UrlRefused};
pub use layer::{RequireLayer, RequireService, Requirement, VerifyLayer, VerifyService};
pub use verifier::{BuildError, Verifier, VerifierBuilder};
