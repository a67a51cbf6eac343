//! The events that API Gateway sends: to authorizers and to Lambda integrations, in
//! the payload formats of REST (1.0) and HTTP APIs (2.0).
//!
//! Field by field as AWS documents them, null where it says null and absent where
//! the field is absent (specs B-rest-1, B-rest-2, B-http-1, B-evt). Header values
//! that are not UTF-8 arrive as U+FFFD, never as an error.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cloakroom_domain::time::UnixTime;
use http::{HeaderMap, Version, header};
use serde_json::{Map, Value, json};

use super::authorizer::Authorized;

/// The account of every ARN here: no real one has it.
pub(super) const ACCOUNT: &str = "000000000000";

/// A request as it arrived. Holds tokens: no `Debug`.
pub(super) struct Received {
    pub(super) method: String,
    /// As received, not decoded.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) source_ip: IpAddr,
    pub(super) request_id: String,
    pub(super) at: UnixTime,
}

/// Where in the API a request went.
pub(super) struct Place<'a> {
    pub(super) api_id: &'a str,
    pub(super) stage: &'a str,
    pub(super) domain_name: &'a str,
    pub(super) resource: &'a str,
    pub(super) route_key: String,
    pub(super) path_parameters: Vec<(String, String)>,
    /// `methodArn`, `routeArn`.
    pub(super) arn: String,
}

/// A REST TOKEN authorizer's event.
pub(super) fn rest_token(place: &Place<'_>, token: &str) -> Bytes {
    serialized(&json!({
        "type": "TOKEN",
        "authorizationToken": token,
        "methodArn": place.arn,
    }))
}

/// A REST REQUEST authorizer's event.
pub(super) fn rest_request(received: &Received, place: &Place<'_>) -> Bytes {
    serialized(&Value::Object(request_v1(received, place)))
}

/// An HTTP API authorizer's event, payload format 1.0.
pub(super) fn http_request_v1(
    received: &Received,
    place: &Place<'_>,
    identity: &[String],
) -> Bytes {
    let mut event = request_v1(received, place);
    let identity = json!(identity.join(","));
    event.insert("version".to_owned(), json!("1.0"));
    event.insert("identitySource".to_owned(), identity.clone());
    event.insert("authorizationToken".to_owned(), identity);
    serialized(&Value::Object(event))
}

fn request_v1(received: &Received, place: &Place<'_>) -> Map<String, Value> {
    let (headers, query) = (received.all_headers(), received.all_query());
    let mut event = Map::new();
    let mut put = |key: &str, value| event.insert(key.to_owned(), value);
    put("type", json!("REQUEST"));
    put("methodArn", json!(place.arn));
    put("resource", json!(place.resource));
    put("path", json!(received.path));
    put("httpMethod", json!(received.method));
    put("headers", json!(last_of_each(&headers)));
    put("multiValueHeaders", json!(headers));
    put("queryStringParameters", json!(last_of_each(&query)));
    put("multiValueQueryStringParameters", json!(query));
    put("pathParameters", json!(place.parameters()));
    put("stageVariables", json!({}));
    put("requestContext", received.rest_context(place));
    event
}

/// The event of a Lambda proxy integration of a REST API.
pub(super) fn rest_proxy(
    received: &Received,
    place: &Place<'_>,
    authorized: Option<&Authorized>,
) -> Bytes {
    let (headers, query) = (received.all_headers(), received.all_query());
    let mut context = received.rest_context(place);
    if let Some(authorized) = authorized {
        // A REST API hands every context value on as a string.
        let mut values: Map<String, Value> = authorized
            .context
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => (key.clone(), json!(text)),
                other => (key.clone(), json!(other.to_string())),
            })
            .collect();
        values.insert("principalId".to_owned(), json!(authorized.principal_id));
        values.insert("integrationLatency".to_owned(), json!(0));
        if let Some(context) = context.as_object_mut() {
            context.insert("authorizer".to_owned(), Value::Object(values));
        }
    }
    // Without binary media types a body is text, whatever it was.
    let body = String::from_utf8_lossy(&received.body);
    serialized(&json!({
        "resource": place.resource,
        "path": received.path,
        "httpMethod": received.method,
        "headers": last_of_each(&headers),
        "multiValueHeaders": headers,
        "queryStringParameters": or_null(last_of_each(&query)),
        "multiValueQueryStringParameters": or_null(query),
        "pathParameters": or_null(place.parameters()),
        "stageVariables": null,
        "requestContext": context,
        "body": (!received.body.is_empty()).then_some(body),
        "isBase64Encoded": false,
    }))
}

/// An HTTP API authorizer's event, payload format 2.0.
pub(super) fn http_request(received: &Received, place: &Place<'_>, identity: &[String]) -> Bytes {
    let mut event = received.http_event(place);
    event.insert("type".to_owned(), json!("REQUEST"));
    event.insert("routeArn".to_owned(), json!(place.arn));
    if !identity.is_empty() {
        event.insert("identitySource".to_owned(), json!(identity));
    }
    serialized(&Value::Object(event))
}

/// The event of a Lambda proxy integration of an HTTP API, payload format 2.0.
pub(super) fn http_proxy(
    received: &Received,
    place: &Place<'_>,
    authorized: Option<&Authorized>,
) -> Bytes {
    let mut event = received.http_event(place);
    let text = received.body_as_text();
    event.insert("isBase64Encoded".to_owned(), json!(text.is_none()));
    if !received.body.is_empty() {
        let body = text.map_or_else(|| STANDARD.encode(&received.body), str::to_owned);
        event.insert("body".to_owned(), json!(body));
    }
    if let Some(authorized) = authorized
        && let Some(Value::Object(context)) = event.get_mut("requestContext")
    {
        context.insert(
            "authorizer".to_owned(),
            json!({"lambda": authorized.context}),
        );
    }
    serialized(&Value::Object(event))
}

impl Received {
    /// All values of a header, joined by commas; `None` if there is none.
    pub(super) fn joined(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(lossy).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    fn all_headers(&self) -> BTreeMap<&str, Vec<String>> {
        let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in &self.headers {
            all.entry(name.as_str()).or_default().push(lossy(value));
        }
        all
    }

    fn all_query(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            all.entry(name.into_owned())
                .or_default()
                .push(value.into_owned());
        }
        all
    }

    fn rest_context(&self, place: &Place<'_>) -> Value {
        json!({
            "accountId": ACCOUNT,
            "apiId": place.api_id,
            "domainName": place.domain_name,
            "domainPrefix": place.domain_prefix(),
            "extendedRequestId": self.request_id,
            "httpMethod": self.method,
            "identity": {
                "accessKey": null,
                "accountId": null,
                "caller": null,
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": self.source_ip,
                "user": null,
                "userAgent": self.joined("user-agent"),
                "userArn": null,
            },
            "path": format!("/{}{}", place.stage, self.path),
            "protocol": format!("{:?}", self.version),
            "requestId": self.request_id,
            "requestTime": common_log_time(self.at),
            "requestTimeEpoch": millis(self.at),
            "resourceId": place.resource_id(),
            "resourcePath": place.resource,
            "stage": place.stage,
        })
    }

    /// What authorizer and integration events of payload format 2.0 have in common.
    fn http_event(&self, place: &Place<'_>) -> Map<String, Value> {
        let mut headers = self.all_headers();
        headers.remove(header::COOKIE.as_str());
        let headers = each_joined(&headers);
        let query = each_joined(&self.all_query());
        let cookies: Vec<String> = self
            .headers
            .get_all(header::COOKIE)
            .iter()
            .map(lossy)
            .flat_map(|line| {
                line.split(';')
                    .map(|pair| pair.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .filter(|pair| !pair.is_empty())
            .collect();
        let mut event = Map::new();
        let mut put = |key: &str, value| event.insert(key.to_owned(), value);
        put("version", json!("2.0"));
        put("routeKey", json!(place.route_key));
        put("rawPath", json!(self.path));
        put("rawQueryString", json!(self.query));
        put("headers", json!(headers));
        put(
            "requestContext",
            json!({
                "accountId": ACCOUNT,
                "apiId": place.api_id,
                "domainName": place.domain_name,
                "domainPrefix": place.domain_prefix(),
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": format!("{:?}", self.version),
                    "sourceIp": self.source_ip,
                    "userAgent": self.joined("user-agent").unwrap_or_default(),
                },
                "requestId": self.request_id,
                "routeKey": place.route_key,
                "stage": place.stage,
                "time": common_log_time(self.at),
                "timeEpoch": millis(self.at),
            }),
        );
        if !cookies.is_empty() {
            put("cookies", json!(cookies));
        }
        if !query.is_empty() {
            put("queryStringParameters", json!(query));
        }
        if !place.path_parameters.is_empty() {
            put("pathParameters", json!(place.parameters()));
        }
        event
    }

    /// An HTTP API passes a few media types as text, and base64 of everything else
    /// (forms among it).
    fn body_as_text(&self) -> Option<&str> {
        let media_type = self
            .joined(header::CONTENT_TYPE.as_str())
            .unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        let is_text = self.body.is_empty()
            || media_type.starts_with("text/")
            || [
                "application/json",
                "application/javascript",
                "application/xml",
            ]
            .contains(&media_type.as_str())
            || media_type.ends_with("+json")
            || media_type.ends_with("+xml");
        std::str::from_utf8(&self.body).ok().filter(|_| is_text)
    }
}

impl Place<'_> {
    fn parameters(&self) -> BTreeMap<&str, &str> {
        self.path_parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn domain_prefix(&self) -> &str {
        self.domain_name.split('.').next().unwrap_or_default()
    }

    /// Opaque on AWS, a spelling of the resource here.
    fn resource_id(&self) -> String {
        let letters = self.resource.chars().filter(char::is_ascii_alphanumeric);
        let id: String = letters.collect();
        if id.is_empty() { "root".to_owned() } else { id }
    }
}

fn last_of_each<N: Clone + Ord>(all: &BTreeMap<N, Vec<String>>) -> BTreeMap<N, String> {
    let last = |(name, values): (&N, &Vec<String>)| Some((name.clone(), values.last()?.clone()));
    all.iter().filter_map(last).collect()
}

fn each_joined<N: Clone + Ord>(all: &BTreeMap<N, Vec<String>>) -> BTreeMap<N, String> {
    let joined = |(name, values): (&N, &Vec<String>)| (name.clone(), values.join(","));
    all.iter().map(joined).collect()
}

fn or_null<N, V>(map: BTreeMap<N, V>) -> Option<BTreeMap<N, V>> {
    (!map.is_empty()).then_some(map)
}

fn lossy(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn serialized(event: &Value) -> Bytes {
    event.to_string().into()
}

fn millis(at: UnixTime) -> u64 {
    at.0.saturating_mul(1_000)
}

/// `09/Apr/2015:12:34:56 +0000`.
fn common_log_time(at: UnixTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, second) = (at.0 / 86_400, at.0 % 86_400);
    // Years start in March here, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let month = usize::try_from(month)
        .ok()
        .and_then(|month| MONTHS.get(month))
        .unwrap_or(&"Jan");
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_access_logs() {
        for (seconds, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_428_582_896, "09/Apr/2015:12:34:56 +0000"),
            (1_735_689_599, "31/Dec/2024:23:59:59 +0000"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000"),
        ] {
            assert_eq!(common_log_time(UnixTime(seconds)), expected, "{seconds}");
        }
    }
}
