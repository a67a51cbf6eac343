//! Reading authorizer events.

use super::arn::MethodArn;
use crate::headers::Headers;
use crate::path::without_stage;
use cloakroom_domain::policy;
use cloakroom_domain::target::{self, Reading};
use cloakroom_jose::json::{Document, Object, Value};
use std::borrow::Cow;

/// A question of a gateway. Its texts are those of the event, but where that had them
/// escaped.
#[derive(Debug)]
pub struct AuthorizerEvent<'e> {
    /// How the answer must look.
    pub kind: EventKind,
    /// Who asks: `<api id>/<stage>`, an AppSync API's id, a target group's ARN.
    pub asker: Cow<'e, str>,
    /// What an IAM answer is about; the kinds that have no such answer have none.
    pub arn: Option<MethodArn<'e>>,
    /// The HTTP method that the gateway matched, `CONNECT` for a WebSocket.
    pub method: Cow<'e, str>,
    /// The resource that the gateway matched: a path with its variables. Empty if the
    /// request's path is not accepted ([`Reading`]); that matches no route.
    pub resource: Cow<'e, str>,
    /// The path below our own URL, which the client wrote. A proof of possession must be
    /// about it. Empty where none can come.
    pub path: Cow<'e, str>,
    /// How the path reached us.
    pub reading: Reading,
    /// The client's headers, cookies among them.
    pub headers: Headers<'e>,
    /// The gateway's id of the request.
    pub request_id: Cow<'e, str>,
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
    /// WebSocket API, `$connect`.
    WebSocket,
    /// AppSync, Lambda authorization.
    AppSync,
    /// Forward-auth through a function URL: the answer is an HTTP response.
    FunctionUrl,
    /// Forward-auth through a load balancer.
    LoadBalancer {
        /// Whether its target group has multi-value headers; the answer must have
        /// what the event has.
        multi_value_headers: bool,
    },
}

impl EventKind {
    /// For logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RestToken => "rest_token",
            Self::RestRequest => "rest_request",
            Self::HttpV1 => "http_v1",
            Self::HttpV2 => "http_v2",
            Self::WebSocket => "websocket",
            Self::AppSync => "appsync",
            Self::FunctionUrl => "function_url",
            Self::LoadBalancer { .. } => "load_balancer",
        }
    }

    /// Whether it is an HTTP API, where the client's token comes renamed, because
    /// `Authorization` can be neither overwritten nor removed there (specs B-http-6).
    pub const fn is_http_api(self) -> bool {
        matches!(self, Self::HttpV1 | Self::HttpV2)
    }

    /// Whether a proxy asks, and is answered with an HTTP response.
    pub const fn is_forward_auth(self) -> bool {
        matches!(self, Self::FunctionUrl | Self::LoadBalancer { .. })
    }
}

/// Not an authorizer event that we know (D40).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an authorizer event of a known kind")]
pub struct UnknownEvent;

impl<'e> AuthorizerEvent<'e> {
    /// Whether it is `name` who asks, as [`AuthorizerEvent::asker`] says it; an API may
    /// also be named with the account that it must be in.
    pub fn is_asked_by(&self, name: &str) -> bool {
        let account = self.arn.as_ref().map(MethodArn::account);
        let named = name
            .split_once('/')
            .filter(|(first, _)| account == Some(first));
        named.map_or(name, |(_, api)| api) == self.asker
    }

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`UnknownEvent`] for what has another shape, contradicts itself, or belongs
    /// to a kind of API that we do not answer.
    pub fn parse(bytes: &'e [u8]) -> Result<Self, UnknownEvent> {
        let document = Document::read(bytes).map_err(|_| UnknownEvent)?;
        let event = document.root().as_object().ok_or(UnknownEvent)?;
        let version = event.get("version").and_then(Value::as_str);
        let kind = event
            .get("type")
            .map(|kind| kind.as_str().unwrap_or_default());
        let read = match (kind.as_deref(), version.as_deref()) {
            (Some("TOKEN"), None) => Self::token(event),
            (Some("REQUEST"), None) if is_connect(event) => Self::websocket(event),
            (Some("REQUEST"), None) => Self::request(EventKind::RestRequest, event),
            (Some("REQUEST"), Some("1.0")) => Self::request(EventKind::HttpV1, event),
            (Some("REQUEST"), Some("2.0")) => Self::request_v2(event),
            // The others do not say what they are.
            (None, Some("2.0")) => Self::function_url(event),
            (None, None) if event.contains("authorizationToken") => Self::appsync(event),
            (None, None) => Self::load_balancer(event),
            _ => None,
        };
        read.ok_or(UnknownEvent)
    }

    /// Takes only paths without percent-encoded reserved characters. For policies in which
    /// such a character is part of a route's path: the gateway compared it encoded, and the
    /// service will not.
    pub fn keep_to_plain_paths(&mut self) {
        if self.reading == Reading::Routed
            && self.path.contains('%')
            && !Reading::Written.accepts(&self.path)
        {
            self.resource = Cow::default();
        }
    }

    /// Takes what a proxy asks about from the headers in which it says so. Whatever is
    /// not said exactly once matches no route.
    pub fn take_forwarded(&mut self) {
        let one = |name| self.headers.one(name).ok().flatten().unwrap_or_default();
        let method = one("x-forwarded-method").to_owned();
        let uri = one("x-forwarded-uri");
        let path = target::path_of(uri).unwrap_or_default().to_owned();
        self.resource = written(path.clone().into());
        self.path = path.into();
        self.reading = Reading::Written;
        self.method = method.into();
    }

    /// The gateway hands over one header and the path that the client sent.
    fn token(event: Object<'_, 'e>) -> Option<Self> {
        let arn = MethodArn::parse(text(event, "methodArn"))?;
        let mut headers = Headers::default();
        if let Some(value) = event.get("authorizationToken").and_then(Value::as_str) {
            headers.push("authorization", value);
        }
        Some(Self {
            kind: EventKind::RestToken,
            asker: arn.api_and_stage(),
            method: arn.method(),
            // The answer names the path, and must not be too long for it.
            resource: if arn.is_nameable() {
                written(arn.path())
            } else {
                Cow::default()
            },
            path: arn.path(),
            reading: Reading::Written,
            headers,
            request_id: Cow::default(),
            arn: Some(arn),
        })
    }

    fn request(kind: EventKind, event: Object<'_, 'e>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let arn = MethodArn::parse(text(event, "methodArn"))?;
        let headers = headers_v1(event)?;
        let method = text(event, "httpMethod");
        let resource = text(event, "resource");
        let agrees = is_or_absent(context, "httpMethod", &method)
            && is_or_absent(context, "resourcePath", &resource)
            && belongs(context, &arn)
            && arn.method() == method
            // A WebSocket must not be answered as if it were a request.
            && !context.contains("connectionId");
        let mut path = text(event, "path");
        let mut reading = Reading::Routed;
        if kind.is_http_api() {
            path = below_stage(path, &arn);
            reading = Reading::Decoded;
        }
        agrees.then(|| Self {
            kind,
            asker: arn.api_and_stage(),
            method,
            resource: matched(resource, &path, reading, &arn),
            path,
            reading,
            headers,
            request_id: text(context, "requestId"),
            arn: Some(arn),
        })
    }

    /// The one event of a WebSocket that is authorized: what comes after it comes over
    /// the connection that it opened.
    fn websocket(event: Object<'_, 'e>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let arn = MethodArn::parse(text(event, "methodArn"))?;
        let headers = headers_v1(event)?;
        let agrees = arn.method() == CONNECT_ROUTE
            && arn.path() == "/"
            && text(context, "routeKey") == CONNECT_ROUTE
            && is_or_absent(context, "eventType", "CONNECT")
            && belongs(context, &arn);
        agrees.then(|| Self {
            kind: EventKind::WebSocket,
            asker: arn.api_and_stage(),
            method: policy::CONNECT.into(),
            resource: policy::CONNECT_PATH.into(),
            path: Cow::default(),
            reading: Reading::default(),
            headers,
            request_id: text(context, "requestId"),
            arn: Some(arn),
        })
    }

    fn request_v2(event: Object<'_, 'e>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let http = object(context, "http")?;
        let arn = MethodArn::parse(text(event, "routeArn"))?;
        let method = text(http, "method");
        let route = text(event, "routeKey");
        // `GET /orders/{id}`, `ANY /orders`, or `$default`.
        let resource = match route.split_once(' ') {
            Some((verb, resource)) if verb == "ANY" || verb == method => resource.to_owned(),
            None if route == "$default" => "/{proxy+}".to_owned(),
            _ => return None,
        };
        let agrees = is_or_absent(context, "routeKey", &route) && belongs(context, &arn);
        let path = below_stage(text(event, "rawPath"), &arn);
        agrees.then(|| Self {
            kind: EventKind::HttpV2,
            asker: arn.api_and_stage(),
            method,
            resource: matched(resource.into(), &path, Reading::Decoded, &arn),
            path,
            reading: Reading::Decoded,
            headers: headers_v2(event),
            request_id: text(context, "requestId"),
            arn: Some(arn),
        })
    }

    /// What an operation is called, and what it selects, is its sender's to say: the
    /// route is the request that all of them are, and fields are held back one by one.
    fn appsync(event: Object<'_, 'e>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let asker = text(context, "apiId");
        let token = event.get("authorizationToken").and_then(Value::as_str)?;
        let mut headers = Headers::default();
        headers.push("authorization", token);
        let (method, resource) = policy::GRAPHQL;
        (!asker.is_empty()).then(|| Self {
            kind: EventKind::AppSync,
            asker,
            arn: None,
            method: method.into(),
            resource: resource.into(),
            path: Cow::default(),
            reading: Reading::default(),
            headers,
            request_id: text(context, "requestId"),
        })
    }

    fn function_url(event: Object<'_, 'e>) -> Option<Self> {
        let context = object(event, "requestContext")?;
        let http = object(context, "http")?;
        let (url, stage) = (text(context, "apiId"), text(context, "stage"));
        let path = text(event, "rawPath");
        // An HTTP API's own request looks the same, but for its host.
        let agrees = text(context, "domainName").contains(".lambda-url.")
            && text(event, "routeKey") == "$default"
            && !url.is_empty()
            && is_or_absent(http, "path", &path);
        agrees.then(|| Self {
            kind: EventKind::FunctionUrl,
            asker: format!("{url}/{stage}").into(),
            arn: None,
            method: text(http, "method"),
            resource: written(path.clone()),
            path,
            reading: Reading::Written,
            headers: headers_v2(event),
            request_id: text(context, "requestId"),
        })
    }

    fn load_balancer(event: Object<'_, 'e>) -> Option<Self> {
        let elb = object(object(event, "requestContext")?, "elb")?;
        let asker = text(elb, "targetGroupArn");
        let multi_value_headers = object(event, "multiValueHeaders").is_some();
        let headers = headers_v1(event)?;
        // A load balancer numbers requests by a header of its own. Where the client sent
        // one too, `Self` is the balancer's, and `Root` the client's.
        let trace = headers.all("x-amzn-trace-id").next().unwrap_or_default();
        let field = |name| trace.split(';').find(|field| field.starts_with(name));
        let request_id = field("Self=")
            .or_else(|| field("Root="))
            .unwrap_or_default()
            .to_owned();
        (!asker.is_empty()).then(|| Self {
            request_id: request_id.into(),
            kind: EventKind::LoadBalancer {
                multi_value_headers,
            },
            asker,
            arn: None,
            method: text(event, "httpMethod"),
            resource: written(text(event, "path")),
            path: text(event, "path"),
            reading: Reading::Written,
            headers,
        })
    }
}

/// API Gateway hands over at most 10 KB of headers, a load balancer 64 KB.
const MAX_HEADERS: usize = 1_000;

const CONNECT_ROUTE: &str = "$connect";

fn is_connect(event: Object<'_, '_>) -> bool {
    object(event, "requestContext").is_some_and(|context| context.contains("connectionId"))
}

/// The resource that is decided by, of a path that a client wrote.
fn written(path: Cow<'_, str>) -> Cow<'_, str> {
    if Reading::Written.accepts(&path) {
        target::canonical(path)
    } else {
        Cow::default()
    }
}

/// The gateway's match, if the path is one for which the service will take the same.
fn matched<'e>(
    resource: Cow<'e, str>,
    path: &str,
    reading: Reading,
    arn: &MethodArn<'_>,
) -> Cow<'e, str> {
    // Events of tests may leave the path out; the client cannot.
    let is_accepted = path.is_empty() || reading.accepts(path);
    let in_arn = arn.whole_path();
    let arn_agrees = match reading {
        // How an HTTP API encodes it here is not documented.
        Reading::Decoded => !in_arn.contains(['*', '?']),
        Reading::Routed | Reading::Written => reading.accepts(in_arn),
    };
    if is_accepted && arn_agrees {
        resource
    } else {
        Cow::default()
    }
}

fn below_stage<'e>(path: Cow<'e, str>, arn: &MethodArn<'_>) -> Cow<'e, str> {
    match path {
        Cow::Borrowed(path) => without_stage(path, Some(arn.stage())).into(),
        Cow::Owned(path) => without_stage(&path, Some(arn.stage())).to_owned().into(),
    }
}

/// `multiValueHeaders` has every value, `headers` the last: a client that sends two
/// must be seen to do so (D27). A name that only one of them has counts too.
///
/// Each of `headers` is compared with all the others, so there is a limit to them, which
/// no gateway comes near.
fn headers_v1<'e>(event: Object<'_, 'e>) -> Option<Headers<'e>> {
    let (lists, singles) = (object(event, "multiValueHeaders"), object(event, "headers"));
    let count = lists.or(singles).map_or(0, Object::len);
    let mut headers = Headers::with_capacity(count.min(MAX_HEADERS));
    for (name, values) in lists.into_iter().flatten() {
        let values = values.as_array().into_iter().flatten();
        for value in values.filter_map(Value::as_str) {
            if headers.len() > MAX_HEADERS {
                return None;
            }
            headers.push(name.clone(), value);
        }
    }
    if headers.len().max(singles.map_or(0, Object::len)) > MAX_HEADERS {
        return None;
    }
    for (place, (name, value)) in singles.into_iter().flatten().enumerate() {
        if let Some(value) = value.as_str()
            && !headers.is_at(place, &name, &value)
            && !headers.all(&name).any(|each| each == value)
        {
            headers.push(name, value);
        }
    }
    Some(headers)
}

/// Duplicates are joined with commas here, which no token contains. Cookies come apart
/// from the headers; where a header comes too, it says the same.
fn headers_v2<'e>(event: Object<'_, 'e>) -> Headers<'e> {
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
    let cookies = cookies.into_iter().flatten();
    for cookie in cookies.filter_map(Value::as_str) {
        headers.push("cookie", cookie);
    }
    headers
}

/// An event that names one API in its ARN and another beside it is nobody's.
fn belongs(context: Object<'_, '_>, arn: &MethodArn<'_>) -> bool {
    is_or_absent(context, "accountId", arn.account())
        && is_or_absent(context, "apiId", arn.api())
        && is_or_absent(context, "stage", arn.stage())
}

fn is_or_absent(object: Object<'_, '_>, name: &str, expected: &str) -> bool {
    object
        .get(name)
        .is_none_or(|value| value.is_null() || value.is(expected))
}

fn object<'d, 'e>(event: Object<'d, 'e>, name: &str) -> Option<Object<'d, 'e>> {
    event.get(name).and_then(Value::as_object)
}

/// Empty if it is absent or no string; nothing that matters may be empty.
fn text<'e>(event: Object<'_, 'e>, name: &str) -> Cow<'e, str> {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}
