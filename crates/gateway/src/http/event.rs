//! The two shapes of proxy events and answers.

use super::BadRequest;
use super::params::Params;
use super::request::Request;
use super::response::Response;
use crate::headers::Headers;
use crate::path::without_stage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_jose::json::{Document, Object, Value};
use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue, Method};
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayV2httpResponse};

/// The payload format in which a gateway asks, and wants its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// REST APIs, and HTTP APIs with format 1.0.
    V1,
    /// HTTP APIs with format 2.0.
    V2,
}

/// Far above what a gateway lets through besides a body, and a body of ours is small.
const MAX_EVENT: usize = 1024 * 1024;

const UNREADABLE: BadRequest = BadRequest("the request cannot be read");

/// The shape is known even if the request is not: the refusal needs it.
pub(super) fn read(event: &[u8]) -> (Shape, Result<Request, BadRequest>) {
    // Bounded first (D60).
    if event.len() > MAX_EVENT {
        return (Shape::V1, Err(BadRequest("the request is too large")));
    }
    let document = Document::read(event).ok();
    let Some(event) = document.as_ref().and_then(|event| event.root().as_object()) else {
        return (Shape::V1, Err(UNREADABLE));
    };
    match event.get("version") {
        Some(version) if version.is("2.0") => (Shape::V2, read_v2(event)),
        _ => (Shape::V1, read_v1(event)),
    }
}

fn read_v1(event: Object<'_, '_>) -> Result<Request, BadRequest> {
    // `headers` holds the last of each name, `multiValueHeaders` all (B-rest-2).
    let singles = headers(pairs(event, "headers")?)?;
    let all = headers(pairs(event, "multiValueHeaders")?)?;
    let headers = if all.len() == 0 { singles } else { all };
    // The gateway has decoded these.
    let mut query = pairs(event, "multiValueQueryStringParameters")?;
    if query.is_empty() {
        query = pairs(event, "queryStringParameters")?;
    }
    Ok(Request {
        method: method(event, "httpMethod")?,
        path: text(event, "path")?.ok_or(UNREADABLE)?,
        headers,
        query: Params::new(query),
        body: body(event)?,
        id: id(event)?,
    })
}

fn read_v2(event: Object<'_, '_>) -> Result<Request, BadRequest> {
    let mut headers = headers(pairs(event, "headers")?)?;
    // Cookies come apart from the headers; where a header comes too, it says the same.
    if let Some(cookies) = present(event, "cookies") {
        headers.remove("cookie");
        for cookie in cookies.as_array().ok_or(UNREADABLE)? {
            headers.push("cookie", string(cookie)?);
        }
    }
    let context = object(event, "requestContext")?.ok_or(UNREADABLE)?;
    let stage = text(context, "stage")?;
    let path = text(event, "rawPath")?.ok_or(UNREADABLE)?;
    let query = text(event, "rawQueryString")?.unwrap_or_default();
    Ok(Request {
        method: method(object(context, "http")?.ok_or(UNREADABLE)?, "method")?,
        path: without_stage(&path, stage.as_deref()).to_owned(),
        headers,
        query: Params::parse(query.as_bytes()),
        body: body(event)?,
        id: id(event)?,
    })
}

/// A member that is there and not null.
fn present<'d, 'e>(object: Object<'d, 'e>, name: &str) -> Option<Value<'d, 'e>> {
    object.get(name).filter(|value| !value.is_null())
}

fn string(value: Value<'_, '_>) -> Result<String, BadRequest> {
    value.as_str().map(Into::into).ok_or(UNREADABLE)
}

/// A string that may be left out.
fn text(object: Object<'_, '_>, name: &str) -> Result<Option<String>, BadRequest> {
    present(object, name).map(string).transpose()
}

/// An object that may be left out.
fn object<'d, 'e>(event: Object<'d, 'e>, name: &str) -> Result<Option<Object<'d, 'e>>, BadRequest> {
    present(event, name)
        .map(|value| value.as_object().ok_or(UNREADABLE))
        .transpose()
}

/// Names with a string, or with an array of strings, each.
fn pairs(event: Object<'_, '_>, name: &str) -> Result<Vec<(String, String)>, BadRequest> {
    let mut pairs = Vec::new();
    for (name, value) in object(event, name)?.into_iter().flatten() {
        match value.as_array() {
            None => pairs.push((name.into(), string(value)?)),
            Some(values) => {
                for value in values {
                    pairs.push((name.clone().into(), string(value)?));
                }
            }
        }
    }
    Ok(pairs)
}

fn method(request: Object<'_, '_>, name: &str) -> Result<Method, BadRequest> {
    let method = text(request, name)?.ok_or(UNREADABLE)?;
    method.parse().map_err(|_| UNREADABLE)
}

fn id(event: Object<'_, '_>) -> Result<String, BadRequest> {
    let context = object(event, "requestContext")?;
    let id = context.map(|context| text(context, "requestId"));
    Ok(id.transpose()?.flatten().unwrap_or_default())
}

/// What could not have come over HTTP is no header.
fn headers(pairs: Vec<(String, String)>) -> Result<Headers<'static>, BadRequest> {
    let is_header = |(name, value): &(String, String)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok()
            && HeaderValue::from_bytes(value.as_bytes()).is_ok()
    };
    if pairs.iter().all(is_header) {
        Ok(pairs.into_iter().collect())
    } else {
        Err(UNREADABLE)
    }
}

fn body(event: Object<'_, '_>) -> Result<Result<Vec<u8>, BadRequest>, BadRequest> {
    let text = text(event, "body")?.unwrap_or_default();
    let is_base64 = present(event, "isBase64Encoded")
        .map(|value| value.as_bool().ok_or(UNREADABLE))
        .transpose()?;
    Ok(if is_base64 == Some(true) {
        STANDARD
            .decode(text)
            .map_err(|_| BadRequest("the body is not the base64 that it claims to be"))
    } else {
        Ok(text.into_bytes())
    })
}

pub(super) fn write(shape: Shape, response: Response) -> Vec<u8> {
    let (status, mut headers, text) = response.into_parts();
    let body = (!text.is_empty()).then_some(Body::Text(text));
    let written = match shape {
        Shape::V1 => {
            let mut answer = ApiGatewayProxyResponse::default();
            answer.status_code = status.as_u16().into();
            answer.multi_value_headers = headers;
            answer.body = body;
            serde_json::to_vec(&answer)
        }
        Shape::V2 => {
            let mut answer = ApiGatewayV2httpResponse::default();
            answer.status_code = status.as_u16().into();
            // The only header of which this format takes several.
            answer.cookies = headers
                .get_all(SET_COOKIE)
                .iter()
                .filter_map(|cookie| cookie.to_str().ok().map(str::to_owned))
                .collect();
            headers.remove(SET_COOKIE);
            answer.headers = headers;
            answer.body = body;
            serde_json::to_vec(&answer)
        }
    };
    written.unwrap_or_else(|_| br#"{"statusCode":500}"#.to_vec())
}
