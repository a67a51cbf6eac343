//! What a Lambda integration answers, as a response: payload format 1.0 (REST) with
//! `multiValueHeaders`, 2.0 (HTTP) with `cookies`.

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use cloakroom_jose::json::Document;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::Flavour;

/// The function's answer is not one. No detail: it may hold a token.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("malformed proxy answer")]
pub(super) struct MalformedProxyAnswer;

/// Reads a proxy integration's answer.
pub(super) fn read(flavour: Flavour, bytes: &[u8]) -> Result<Response, MalformedProxyAnswer> {
    let document = Document::read(bytes).map_err(|_| MalformedProxyAnswer)?;
    let members = document.root().as_object();
    if flavour == Flavour::Http && !members.is_some_and(|answer| answer.contains("statusCode")) {
        // Format 2.0: what names no status is itself the body.
        return build(
            StatusCode::OK,
            "application/json",
            Vec::new(),
            bytes.to_vec(),
        );
    }
    let answer = ProxyAnswer::deserialize(document.root()).map_err(|_| MalformedProxyAnswer)?;
    let status = StatusCode::from_u16(answer.status_code).map_err(|_| MalformedProxyAnswer)?;
    let mut headers = Vec::new();
    match flavour {
        Flavour::Rest => {
            let all = answer.multi_value_headers.unwrap_or_default();
            for (name, value) in answer.headers.unwrap_or_default() {
                // Where a name is in both, the list counts.
                if !all.keys().any(|listed| listed.eq_ignore_ascii_case(&name)) {
                    headers.push((name, value.text()));
                }
            }
            for (name, values) in all {
                for value in values {
                    headers.push((name.clone(), value.text()));
                }
            }
        }
        Flavour::Http => {
            for (name, value) in answer.headers.unwrap_or_default() {
                headers.push((name, value.text()));
            }
            for cookie in answer.cookies.unwrap_or_default() {
                headers.push((header::SET_COOKIE.to_string(), cookie));
            }
        }
    }
    let body = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded {
        STANDARD.decode(body).map_err(|_| MalformedProxyAnswer)?
    } else {
        body.into_bytes()
    };
    let media_type = match flavour {
        Flavour::Rest => "application/json",
        Flavour::Http => "text/plain;charset=UTF-8",
    };
    build(status, media_type, headers, body)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyAnswer {
    status_code: u16,
    headers: Option<BTreeMap<String, Scalar>>,
    multi_value_headers: Option<BTreeMap<String, Vec<Scalar>>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Header values may be written as numbers or booleans.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Truth(bool),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Truth(yes) => yes.to_string(),
        }
    }
}

fn build(
    status: StatusCode,
    media_type: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Result<Response, MalformedProxyAnswer> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| MalformedProxyAnswer)?;
        let value = HeaderValue::try_from(value).map_err(|_| MalformedProxyAnswer)?;
        // The body may have been re-coded: its length is the connection's business.
        if name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value);
        }
    }
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .entry(header::CONTENT_TYPE)
        .or_insert(media_type);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn parts(flavour: Flavour, answer: Value) -> (u16, Vec<(String, String)>, String) {
        let response = read(flavour, answer.to_string().as_bytes()).unwrap();
        let (parts, body) = response.into_parts();
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let headers = parts.headers.iter().map(pair).collect();
        (
            parts.status.as_u16(),
            headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn a_rest_answer_merges_both_header_maps() {
        let answer = json!({
            "statusCode": 303,
            "headers": {"Location": "/", "Set-Cookie": "last=1", "X-Count": 2},
            "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"], "Content-Type": ["text/html"]},
            "body": "PGI+", "isBase64Encoded": true,
        });
        let expected = owned(&[
            ("location", "/"),
            ("x-count", "2"),
            ("content-type", "text/html"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        assert_eq!(
            parts(Flavour::Rest, answer).await,
            (303, expected, "<b>".to_owned())
        );
    }

    #[tokio::test]
    async fn an_http_answer_sets_its_cookies_and_may_be_a_bare_value() {
        let answer = json!({
            "statusCode": 200, "headers": {"content-type": "text/html"},
            "cookies": ["a=1", "b=2"], "body": "hi",
        });
        let expected = owned(&[
            ("content-type", "text/html"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        assert_eq!(
            parts(Flavour::Http, answer).await,
            (200, expected, "hi".to_owned())
        );
        let bare = parts(Flavour::Http, json!({"ok": true})).await;
        let expected = owned(&[("content-type", "application/json")]);
        assert_eq!(bare, (200, expected, r#"{"ok":true}"#.to_owned()));
    }

    #[test]
    fn an_answer_differing_in_one_point_is_malformed() {
        let good = json!({
            "statusCode": 200, "headers": {"x": "y"}, "body": "aGk=", "isBase64Encoded": true,
        });
        assert!(read(Flavour::Rest, good.to_string().as_bytes()).is_ok());
        for (key, value) in [
            ("statusCode", json!("200")),
            ("statusCode", json!(99)),
            ("headers", json!({"x y": "z"})),
            ("headers", json!({"x": "a\r\nb: c"})),
            ("headers", json!({"x": ["y"]})),
            ("body", json!({})),
            ("body", json!("not base64")),
        ] {
            let mut answer = good.clone();
            answer[key] = value;
            assert!(
                read(Flavour::Rest, answer.to_string().as_bytes()).is_err(),
                "{answer}"
            );
        }
        assert!(read(Flavour::Rest, br#"{"ok":true}"#).is_err());
        assert!(read(Flavour::Http, b"").is_err());
    }
}
