//! The routes of the local API: the policy's own, and those of the functions.

use super::StartError;
use super::functions::Functions;
use crate::apigateway::{Authorizer, Edge, Flavour, Integration, Route};
use bytes::Bytes;
use cloakroom_domain::config::{Config, RouteConfig};
use cloakroom_domain::policy::{CONNECT, CONNECT_PATH, DpopDemand, GRAPHQL, TokenDemand};
use http::Method;
use std::sync::Arc;
use url::Url;

/// The example page and its parts.
const PAGE: [(&str, &str, &str); 6] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../../../../examples/spa/index.html"),
    ),
    (
        "/app.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../../examples/spa/app.js"),
    ),
    (
        "/cloakroom.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../../examples/spa/cloakroom.js"),
    ),
    (
        "/signed-in.html",
        "text/html; charset=utf-8",
        include_str!("../../../../examples/spa/signed-in.html"),
    ),
    (
        "/signed-in.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../../examples/spa/signed-in.js"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("../../../../examples/spa/style.css"),
    ),
];

/// Every route of the API. What is under `/api` goes to the services at `services`.
pub(super) fn all(
    config: &Config,
    edge: &Edge,
    flavour: Flavour,
    functions: &Functions,
    services: &str,
) -> Result<Vec<Route>, StartError> {
    let services = Url::parse(services).map_err(|error| StartError::Part(error.to_string()))?;
    let authorizer = || {
        Authorizer::of_topology(
            edge,
            flavour,
            config.gateway_ttl(),
            Arc::clone(&functions.authorizer),
        )
    };
    // As the template has them: one that is cached, one for routes that take proofs.
    let each_time = Arc::new(authorizer().each_time());
    let authorizer = Arc::new(authorizer());
    let mut routes = Vec::new();
    // Neither a WebSocket API nor AppSync is emulated.
    let elsewhere = |route: &&RouteConfig| {
        let key = (route.method.as_str(), route.path.as_str());
        key == (CONNECT, CONNECT_PATH) || key == GRAPHQL
    };
    for route in config.routes.iter().filter(|route| !elsewhere(route)) {
        routes.push(Route {
            method: method(&route.method)?,
            resource: route.path.clone(),
            authorizer: match (route.token, route.dpop) {
                (TokenDemand::None, _) => None,
                (_, DpopDemand::Unsaid) => Some(Arc::clone(&authorizer)),
                (_, DpopDemand::Optional | DpopDemand::Required) => Some(Arc::clone(&each_time)),
            },
            integration: Integration::Url(services.clone()),
        });
    }
    // What the policy does not name is refused by it, and by nothing else: the
    // authorizer sees every request below /api.
    routes.push(Route {
        method: None,
        resource: "/api/{proxy+}".to_owned(),
        authorizer: Some(authorizer),
        integration: Integration::Url(services),
    });
    for (resource, function) in [
        ("/auth/{proxy+}", &functions.login),
        ("/oauth/authorize", &functions.login),
        ("/oauth/par", &functions.login),
        ("/oauth/{proxy+}", &functions.token),
        ("/.well-known/{proxy+}", &functions.jwks),
    ] {
        routes.push(Route {
            method: None,
            resource: resource.to_owned(),
            authorizer: None,
            integration: Integration::Function(Arc::clone(function)),
        });
    }
    for (resource, media_type, text) in PAGE {
        routes.push(Route {
            method: Some(Method::GET),
            resource: resource.to_owned(),
            authorizer: None,
            integration: Integration::document(media_type, Bytes::from_static(text.as_bytes())),
        });
    }
    Ok(routes)
}

fn method(name: &str) -> Result<Option<Method>, StartError> {
    match name {
        "ANY" => Ok(None),
        name => Method::from_bytes(name.as_bytes())
            .map(Some)
            .map_err(|error| StartError::Part(error.to_string())),
    }
}
