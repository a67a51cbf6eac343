//! The demo's microservices: orders, reports and a profile, behind the gateway.
//!
//! They trust a signature and nothing else: all they know of Cloakroom is
//! `cloakroom-verify`, as a service in somebody else's repository would. The gateway
//! has judged scope and role already; they judge again, because a request may come
//! past it (D69).

use aws_lc_rs::digest;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Json, Router, routing::get};
use cloakroom_verify::{Claims, RequireLayer, Verifier, VerifyLayer};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The audience of orders and reports.
pub const ORDERS: &str = "orders";
/// The audience of the profile.
pub const PROFILE: &str = "profile";

/// The demo's services, each held to its own audience.
#[derive(Clone, Debug)]
pub struct Services {
    orders: Verifier,
    profile: Verifier,
    header: HeaderName,
    origins: Vec<String>,
}

impl Services {
    /// Services that take tokens for the audiences [`ORDERS`] and [`PROFILE`] from
    /// `Authorization`, as behind a REST API.
    pub fn new(orders: Verifier, profile: Verifier) -> Self {
        Self {
            orders,
            profile,
            header: header::AUTHORIZATION,
            origins: Vec::new(),
        }
    }

    /// Lets scripts of these origins read the answers: a REST API adds nothing to them.
    #[must_use]
    pub fn readable_from(mut self, origins: Vec<String>) -> Self {
        self.origins = origins;
        self
    }

    /// Takes the bare JWT from another header, as behind an HTTP API.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }

    /// The services as one application.
    pub fn router(self) -> Router {
        let Self {
            orders,
            profile,
            header,
            origins,
        } = self;
        // Outermost the signature, so that nobody unknown learns what a route asks for.
        let verified = |verifier| VerifyLayer::new(verifier).header(header.clone());
        let sales = Router::new()
            .route(
                "/api/orders",
                get(list_orders).layer(RequireLayer::scope("orders:read")),
            )
            .route(
                "/api/reports",
                get(report).layer(RequireLayer::role("admin")),
            )
            .route_layer(verified(orders));
        let people = Router::new()
            .route("/api/profile", get(show_profile))
            .route_layer(verified(profile));
        sales
            .merge(people)
            .layer(middleware::from_fn_with_state(origins.into(), share))
    }
}

async fn share(State(origins): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let asker = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let known = |asker: &HeaderValue| origins.iter().any(|origin| origin.as_bytes() == asker);
    if let Some(origin) = asker.filter(known) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

async fn list_orders(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({
        "subject": claims.sub,
        "orders": [
            {"id": "1001", "item": "winter coat", "amount": 189.0, "currency": "EUR"},
            {"id": "1002", "item": "umbrella", "amount": 24.5, "currency": "EUR"},
        ],
    }))
}

async fn report(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({
        "subject": claims.sub,
        "report": {"period": "2026-10", "orders": 2, "revenue": 213.5, "currency": "EUR"},
    }))
}

/// What arrived here: of the JWT its content, of the headers their names, and of each
/// value the beginning of its SHA-256. By that, whoever has sent one can tell whether
/// it came through, and nobody else learns it.
async fn show_profile(headers: HeaderMap, Extension(claims): Extension<Claims>) -> Json<Value> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let digests: BTreeMap<&str, Vec<String>> = names
        .iter()
        .map(|name| (*name, headers.get_all(*name).iter().map(digest).collect()))
        .collect();
    Json(json!({
        "header": claims.header,
        "claims": claims.raw,
        "received_headers": names,
        "received_digests": digests,
    }))
}

fn digest(value: &HeaderValue) -> String {
    let hash = digest::digest(&digest::SHA256, value.as_bytes());
    let beginning = hash.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(beginning))
}

#[cfg(test)]
mod tests;
