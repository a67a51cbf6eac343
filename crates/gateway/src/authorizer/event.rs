//! Reading authorizer events.

use super::arn::MethodArn;
use crate::headers::Headers;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A question of API Gateway.
#[derive(Debug)]
pub struct AuthorizerEvent {
    /// How the answer must look.
    pub kind: EventKind,
    /// Which API and stage asks.
    pub arn: MethodArn,
    /// The HTTP method that the gateway matched.
    pub method: String,
    /// The resource that the gateway matched: a path with its variables.
    pub resource: String,
    /// The client's headers, cookies among them.
    pub headers: Headers,
    /// The gateway's id of the request.
    pub request_id: String,
}

/// How the answer must look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// REST API, TOKEN authorizer.
    RestToken,
    /// REST API, REQUEST authorizer.
    RestRequest,
    /// HTTP API, payload 1.0.
    HttpV1,
    /// HTTP API, payload 2.0.
    HttpV2,
}

impl EventKind {
    /// For logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RestToken => "rest_token",
            Self::RestRequest => "rest_request",
            Self::HttpV1 => "http_v1",
            Self::HttpV2 => "http_v2",
        }
    }

    /// Whether it is an HTTP API, where the client's token comes renamed, because
    /// `Authorization` can be neither overwritten nor removed there (specs B-http-6).
    pub const fn is_http_api(self) -> bool {
        matches!(self, Self::HttpV1 | Self::HttpV2)
    }
}

/// Not an authorizer event that we know (D40).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an authorizer event of a known kind")]
pub struct UnknownEvent;

impl AuthorizerEvent {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`UnknownEvent`] for what has another shape, contradicts itself, or belongs
    /// to a kind of API that we do not answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnknownEvent> {
        let event: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| UnknownEvent)?;
        let version = event.get("version").and_then(Value::as_str);
        let kind = match (text(&event, "type"), version) {
            ("TOKEN", None) => EventKind::RestToken,
            ("REQUEST", None) => EventKind::RestRequest,
            ("REQUEST", Some("1.0")) => EventKind::HttpV1,
            ("REQUEST", Some("2.0")) => EventKind::HttpV2,
            _ => return Err(UnknownEvent),
        };
        let read = match kind {
            EventKind::RestToken => Self::token(&event),
            EventKind::RestRequest | EventKind::HttpV1 => Self::request(kind, &event),
            EventKind::HttpV2 => Self::request_v2(&event),
        };
        read.ok_or(UnknownEvent)
    }

    /// The gateway hands over one header and the path that the client sent.
    fn token(event: &Map<String, Value>) -> Option<Self> {
        let arn = MethodArn::parse(text(event, "methodArn"))?;
        let mut headers = Headers::default();
        if let Some(Value::String(value)) = event.get("authorizationToken") {
            headers.push("authorization", value.as_str());
        }
        Some(Self {
            kind: EventKind::RestToken,
            method: arn.method().to_owned(),
            resource: arn.path().to_owned(),
            headers,
            request_id: String::new(),
            arn,
        })
    }

    fn request(kind: EventKind, event: &Map<String, Value>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        // A WebSocket's `$connect` looks the same and must not be answered as if it
        // were a request.
        if context.contains_key("connectionId") {
            return None;
        }
        let arn = MethodArn::parse(text(event, "methodArn"))?;
        let method = text(event, "httpMethod");
        let resource = text(event, "resource");
        let agrees = is_or_absent(context, "httpMethod", method)
            && is_or_absent(context, "resourcePath", resource)
            && belongs(context, &arn)
            && arn.method() == method;
        agrees.then(|| Self {
            kind,
            method: method.to_owned(),
            resource: resource.to_owned(),
            headers: headers_v1(event),
            request_id: text(context, "requestId").to_owned(),
            arn,
        })
    }

    fn request_v2(event: &Map<String, Value>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let http = object(context, "http")?;
        let arn = MethodArn::parse(text(event, "routeArn"))?;
        let method = text(http, "method");
        let route = text(event, "routeKey");
        // `GET /orders/{id}`, `ANY /orders`, or `$default`.
        let resource = match route.split_once(' ') {
            Some((verb, resource)) if verb == "ANY" || verb == method => resource,
            None if route == "$default" => "/{proxy+}",
            _ => return None,
        };
        let agrees = is_or_absent(context, "routeKey", route) && belongs(context, &arn);
        agrees.then(|| Self {
            kind: EventKind::HttpV2,
            method: method.to_owned(),
            resource: resource.to_owned(),
            headers: headers_v2(event),
            request_id: text(context, "requestId").to_owned(),
            arn,
        })
    }
}

/// `multiValueHeaders` has every value, `headers` the last: a client that sends two
/// must be seen to do so (D27). A name that only one of them has counts too.
fn headers_v1(event: &Map<String, Value>) -> Headers {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, values) in object(event, "multiValueHeaders").into_iter().flatten() {
        let values = values.as_array().into_iter().flatten();
        let list = lists.entry(name.to_ascii_lowercase()).or_default();
        list.extend(values.filter_map(Value::as_str).map(str::to_owned));
    }
    for (name, value) in object(event, "headers").into_iter().flatten() {
        let list = lists.entry(name.to_ascii_lowercase()).or_default();
        if let Some(value) = value.as_str()
            && !list.iter().any(|each| each == value)
        {
            list.push(value.to_owned());
        }
    }
    lists
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
        .collect()
}

/// Duplicates are joined with commas here, which no token contains. Cookies come apart
/// from the headers; where a header comes too, it says the same.
fn headers_v2(event: &Map<String, Value>) -> Headers {
    let mut headers = Headers::default();
    let cookies = event.get("cookies").and_then(Value::as_array);
    for (name, value) in object(event, "headers").into_iter().flatten() {
        let told_apart = cookies.is_some() && name.eq_ignore_ascii_case("cookie");
        if let Some(value) = value.as_str()
            && !told_apart
        {
            headers.push(name, value);
        }
    }
    for cookie in cookies.into_iter().flatten().filter_map(Value::as_str) {
        headers.push("cookie", cookie);
    }
    headers
}

/// An event that names one API in its ARN and another beside it is nobody's.
fn belongs(context: &Map<String, Value>, arn: &MethodArn) -> bool {
    is_or_absent(context, "apiId", arn.api()) && is_or_absent(context, "stage", arn.stage())
}

fn is_or_absent(object: &Map<String, Value>, name: &str, expected: &str) -> bool {
    match object.get(name) {
        None | Some(Value::Null) => true,
        Some(value) => value.as_str() == Some(expected),
    }
}

fn object<'a>(event: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    event.get(name).and_then(Value::as_object)
}

/// Empty if it is absent or no string; nothing that matters may be empty.
fn text<'a>(event: &'a Map<String, Value>, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}
