//! What the gateway answers by itself: AWS's own statuses and messages, changed by
//! the gateway responses that the REST template sets.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Api, Flavour, edge::EdgeRefusal};
use crate::function::{FunctionError, Unavailable};

/// As the template's gateway response says it (RFC 9449 §7.1).
const BEARER_OR_DPOP: &str =
    r#"Bearer realm="cloakroom", DPoP realm="cloakroom", algs="ES256 Ed25519 EdDSA PS256 RS256""#;

/// What the gateway answers by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    AccessDenied,
    AuthorizerFailed,
    BadRequest,
    BodyTooLarge,
    Edge(EdgeRefusal),
    HeadersTooLarge,
    IntegrationFailed,
    IntegrationTimedOut,
    NoRoute,
    Unauthorized,
    UriTooLong,
}

impl Refusal {
    fn table(self, flavour: Flavour) -> (u16, &'static str) {
        match (self, flavour) {
            (Self::AccessDenied, Flavour::Rest) => {
                (403, "User is not authorized to access this resource")
            }
            (Self::AccessDenied, Flavour::Http) | (Self::Edge(EdgeRefusal::Forbidden), _) => {
                (403, "Forbidden")
            }
            // The template's GatewayResponses say 503 for AUTHORIZER_FAILURE and
            // AUTHORIZER_CONFIGURATION_ERROR; an HTTP API cannot be told to.
            (Self::AuthorizerFailed, Flavour::Rest)
            | (Self::IntegrationTimedOut, Flavour::Http) => (503, "Service Unavailable"),
            (Self::AuthorizerFailed | Self::IntegrationFailed, Flavour::Http) => {
                (500, "Internal Server Error")
            }
            (Self::BadRequest, _) => (400, "Bad Request"),
            (Self::BodyTooLarge, _) => (413, "Request Entity Too Large"),
            (Self::HeadersTooLarge, _) => (431, "Request Header Fields Too Large"),
            (Self::IntegrationFailed, Flavour::Rest) => (502, "Internal server error"),
            (Self::IntegrationTimedOut, Flavour::Rest) => (504, "Endpoint request timed out"),
            (Self::NoRoute, Flavour::Rest) => (403, "Missing Authentication Token"),
            (Self::NoRoute, Flavour::Http) => (404, "Not Found"),
            (Self::Unauthorized | Self::Edge(EdgeRefusal::Unauthenticated), _) => {
                (401, "Unauthorized")
            }
            (Self::UriTooLong, _) => (414, "Request-URI Too Large"),
        }
    }

    pub(super) fn response(self, api: &Api) -> Response {
        let flavour = api.flavour;
        let (status, message) = self.table(flavour);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "message": message }).to_string();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
        put(header::CONTENT_TYPE, "application/json");
        // D70. An HTTP API cannot say so itself: this is then the edge's word.
        put(header::CACHE_CONTROL, "no-store");
        match (self, flavour) {
            (Self::Unauthorized, _) if api.names_dpop => {
                put(header::WWW_AUTHENTICATE, BEARER_OR_DPOP);
            }
            (Self::Unauthorized | Self::Edge(EdgeRefusal::Unauthenticated), _) => {
                put(header::WWW_AUTHENTICATE, r#"Bearer realm="cloakroom""#);
            }
            (Self::AccessDenied, Flavour::Rest) => {
                let challenge = r#"Bearer realm="cloakroom", error="insufficient_scope""#;
                put(header::WWW_AUTHENTICATE, challenge);
            }
            (Self::AuthorizerFailed, Flavour::Rest) => {
                put(header::RETRY_AFTER, "1");
            }
            _ => {}
        }
        response
    }
}

impl From<FunctionError> for Refusal {
    fn from(error: FunctionError) -> Self {
        match error {
            FunctionError::Unavailable(Unavailable::TimedOut) => Self::IntegrationTimedOut,
            FunctionError::Unavailable(Unavailable::Failed(_)) | FunctionError::Handled { .. } => {
                Self::IntegrationFailed
            }
        }
    }
}
