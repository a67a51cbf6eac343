//! The two shapes of proxy events and answers.

use super::BadRequest;
use super::params::Params;
use super::request::Request;
use super::response::Response;
use crate::headers::Headers;
use crate::path::without_stage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::SET_COOKIE;
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayProxyRequest, ApiGatewayProxyResponse, ApiGatewayV2httpRequest,
    ApiGatewayV2httpResponse,
};
use serde::Deserialize;

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
    #[derive(Deserialize)]
    struct Version {
        version: Option<String>,
    }
    // Bounded first (D60). serde_json itself bounds the depth.
    if event.len() > MAX_EVENT {
        return (Shape::V1, Err(BadRequest("the request is too large")));
    }
    match serde_json::from_slice(event) {
        Ok(Version {
            version: Some(version),
        }) if version == "2.0" => (Shape::V2, read_v2(event)),
        _ => (Shape::V1, read_v1(event)),
    }
}

fn read_v1(event: &[u8]) -> Result<Request, BadRequest> {
    let event: ApiGatewayProxyRequest = serde_json::from_slice(event).map_err(|_| UNREADABLE)?;
    // `headers` holds the last of each name, `multiValueHeaders` all (B-rest-2).
    let multi = !event.multi_value_headers.is_empty();
    let headers = headers(if multi {
        &event.multi_value_headers
    } else {
        &event.headers
    })?;
    // The gateway has decoded these.
    let query = if event.multi_value_query_string_parameters.is_empty() {
        event.query_string_parameters
    } else {
        event.multi_value_query_string_parameters
    };
    Ok(Request {
        method: event.http_method,
        path: event.path.ok_or(UNREADABLE)?,
        headers,
        query: Params::new(
            query
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        body: body(event.body, event.is_base64_encoded),
        id: event.request_context.request_id.unwrap_or_default(),
    })
}

fn read_v2(event: &[u8]) -> Result<Request, BadRequest> {
    let event: ApiGatewayV2httpRequest = serde_json::from_slice(event).map_err(|_| UNREADABLE)?;
    let mut headers = headers(&event.headers)?;
    // Cookies come apart from the headers; where a header comes too, it says the same.
    if let Some(cookies) = event.cookies {
        headers.remove("cookie");
        for cookie in cookies {
            headers.push("cookie", cookie);
        }
    }
    let context = event.request_context;
    let path = event.raw_path.ok_or(UNREADABLE)?;
    let query = event.raw_query_string.unwrap_or_default();
    Ok(Request {
        method: context.http.method,
        path: without_stage(&path, context.stage.as_deref()).to_owned(),
        headers,
        query: Params::parse(query.as_bytes()),
        body: body(event.body, event.is_base64_encoded),
        id: context.request_id.unwrap_or_default(),
    })
}

fn headers(map: &HeaderMap) -> Result<Headers<'static>, BadRequest> {
    map.iter()
        .map(|(name, value)| {
            let value = str::from_utf8(value.as_bytes()).map_err(|_| UNREADABLE)?;
            Ok((name.as_str().to_owned(), value.to_owned()))
        })
        .collect()
}

fn body(text: Option<String>, is_base64: bool) -> Result<Vec<u8>, BadRequest> {
    let text = text.unwrap_or_default();
    if !is_base64 {
        return Ok(text.into_bytes());
    }
    STANDARD
        .decode(text)
        .map_err(|_| BadRequest("the body is not the base64 that it claims to be"))
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
