//! The orders service, in Rust. `cargo run -p cloakroom-verify --example orders`
//!
//! The gateway has judged scope and role already. This service judges again: a request may come
//! past the gateway, and a signature is worth more than a network.

use axum::{Extension, Json, Router, routing::get};
use cloakroom_verify::{Claims, RequireLayer, Verifier, VerifyLayer};
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "nobody else says why it does not start"
)]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::builder(env("ISSUER")?, env("AUDIENCE")?)
        .jwks_url(&env("JWKS_URL")?)
        .build()?;
    let app = Router::new()
        .route(
            "/api/orders",
            get(orders).layer(RequireLayer::scope("orders:read")),
        )
        .route(
            "/api/reports",
            get(reports).layer(RequireLayer::role("admin")),
        )
        // Around the two above: nobody unknown learns what a route asks for.
        .route_layer(VerifyLayer::new(verifier));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", env("PORT")?)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn orders(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({"subject": claims.sub, "name": claims.name, "orders": ["1001", "1002"]}))
}

async fn reports(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({"subject": claims.sub, "email": claims.email, "revenue": 213.5}))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this service's whole configuration"
)]
fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}
