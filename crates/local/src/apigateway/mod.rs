//! API Gateway in this process: routes, authorizers and their cache, header mapping,
//! and the answers the gateway gives by itself, for REST and HTTP APIs.
//!
//! Authorizers and functions get serialized events and give serialized answers, as on
//! AWS; nothing here knows what a token or a JWT is. Where AWS is undocumented, the
//! stricter reading is taken and said. Also emulates the edge function in front
//! ([`edge`]), because what it renames and strips is part of what the API sees.
//!
//! Start at [`ApiGateway`]; a request's way is `ApiGateway::answer`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State},
    response::Response,
};
use bytes::Bytes;
use cloakroom_domain::ports::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tower::ServiceExt;
use url::Url;

mod answer;
mod authorizer;
mod cache;
mod cors;
pub mod edge;
mod event;
mod mapping;
mod policy;
mod refusal;
mod route;
#[cfg(test)]
mod tests;

pub use self::{
    authorizer::{Authorizer, AuthorizerKind, IdentitySource},
    edge::Edge,
    mapping::JWT_HEADER,
    route::{Integration, Route},
};

use self::{
    authorizer::{Answer, Authorized},
    cache::{Cache, Key},
    event::{Place, Received},
    refusal::Refusal,
};
use crate::function::{FunctionError, invoke_within};

/// Specs B-rest-6, B-http-9.
const MOST_HEADER_BYTES: usize = 10_240;
const LONGEST_ARN: usize = 1_600;
const LONGEST_BODY: usize = 10 * 1024 * 1024;
/// In seconds (specs B-cache-1, B-http-5).
const LONGEST_TTL: u64 = 3_600;
/// How long API Gateway waits for an authorizer (specs B-http-9).
pub const AUTHORIZER_LIMIT: Duration = Duration::from_secs(10);
const INTEGRATION_LIMIT: Duration = Duration::from_secs(29);

const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
const REMAPPED_CHALLENGE: HeaderName = HeaderName::from_static("x-amzn-remapped-www-authenticate");

/// What an API is made of.
pub struct Api {
    /// REST or HTTP.
    pub flavour: Flavour,
    /// The API's id, as in its ARNs.
    pub id: String,
    /// The host in `requestContext.domainName`.
    pub domain_name: String,
    /// What stands in front.
    pub edge: Edge,
    /// Whether a REST API renames an integration's `WWW-Authenticate`, as it does on
    /// AWS (specs B-rest-7). `false` stands for an edge that renames it back.
    pub remaps_www_authenticate: bool,
    /// Whether the gateway's own 401 names DPoP beside Bearer (RFC 9449 §7.1). A
    /// gateway response is one text for the whole API, so it cannot say what was wrong.
    pub names_dpop: bool,
    /// Whose pages may call what is under `/api`, besides our own.
    pub allowed_origins: Vec<String>,
    /// The routes, in any order.
    pub routes: Vec<Route>,
    /// How long an authorizer may take; on AWS [`AUTHORIZER_LIMIT`].
    pub authorizer_limit: Duration,
    /// Dates events and ages the cache.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("flavour", &self.flavour)
            .field("edge", &self.edge)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// The two kinds of API Gateway API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// A REST API (v1).
    Rest,
    /// An HTTP API (v2).
    Http,
}

impl Flavour {
    /// The stage in ARNs and events. An HTTP API's default stage is not in its URLs.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Rest => "local",
            Self::Http => "$default",
        }
    }
}

/// Why an [`Api`] cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InvalidApi {
    /// Not a resource that can be matched.
    #[error("{0} is not a resource")]
    Resource(String),
    /// Two routes with one key.
    #[error("{0} is there twice")]
    Duplicate(String),
    /// The authorizer is of the other kind of API.
    #[error("authorizer {0} does not fit this kind of API")]
    AuthorizerKind(String),
    /// A TOKEN authorizer has one header for its identity source.
    #[error("authorizer {0} needs exactly one header")]
    TokenSource(String),
    /// AWS keeps an authorizer's answer for an hour at most.
    #[error("authorizer {0} keeps answers for too long")]
    Ttl(String),
    /// The client toward HTTP integrations cannot be built.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A running API.
#[derive(Debug)]
pub struct ApiGateway {
    api: Api,
    cache: Cache,
    client: reqwest::Client,
    requests: AtomicU64,
}

impl ApiGateway {
    /// Checks and prepares an API.
    ///
    /// # Errors
    ///
    /// If AWS would refuse the API.
    pub fn new(api: Api) -> Result<Arc<Self>, InvalidApi> {
        for (index, route) in api.routes.iter().enumerate() {
            if !route::is_well_formed(&route.resource) {
                return Err(InvalidApi::Resource(route.resource.clone()));
            }
            if api
                .routes
                .iter()
                .skip(index + 1)
                .any(|other| other.key() == route.key())
            {
                return Err(InvalidApi::Duplicate(route.key()));
            }
            if let Some(authorizer) = &route.authorizer {
                if authorizer.kind.flavour() != api.flavour {
                    return Err(InvalidApi::AuthorizerKind(authorizer.name.clone()));
                }
                if authorizer.ttl_seconds > LONGEST_TTL {
                    return Err(InvalidApi::Ttl(authorizer.name.clone()));
                }
                let one_header = matches!(
                    authorizer.identity_sources.as_slice(),
                    [IdentitySource::Header(_)]
                );
                if authorizer.kind == AuthorizerKind::RestToken && !one_header {
                    return Err(InvalidApi::TokenSource(authorizer.name.clone()));
                }
            }
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(INTEGRATION_LIMIT)
            .no_proxy()
            .build()
            .map_err(InvalidApi::Client)?;
        Ok(Arc::new(Self {
            api,
            cache: Cache::default(),
            client,
            requests: AtomicU64::new(0),
        }))
    }

    /// The API as a service; every path and method is its own business.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .fallback(handle)
            .layer(DefaultBodyLimit::max(LONGEST_BODY))
            .with_state(Arc::clone(self))
    }

    /// REST or HTTP.
    pub fn flavour(&self) -> Flavour {
        self.api.flavour
    }

    /// Forgets every authorizer answer, as FlushStageAuthorizersCache and
    /// ResetAuthorizersCache do.
    pub fn flush_authorizer_cache(&self) {
        self.cache.flush();
    }

    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let received = self.receive(request).await?;
        let (method, path) = (received.method.as_str(), received.path.as_str());
        let matched = route::find(&self.api.routes, self.api.flavour, method, path)
            .ok_or(Refusal::NoRoute)?;
        let stage = self.api.flavour.stage();
        let place = Place {
            api_id: &self.api.id,
            stage,
            domain_name: &self.api.domain_name,
            resource: &matched.route.resource,
            route_key: matched.route.key(),
            path_parameters: matched.path_parameters,
            arn: format!(
                "arn:aws:execute-api:us-east-1:{}:{}/{stage}/{method}/{}",
                event::ACCOUNT,
                self.api.id,
                path.trim_start_matches('/'),
            ),
        };
        let authorized = match &matched.route.authorizer {
            Some(authorizer) => Some(self.authorize(authorizer, &received, &place).await?),
            None => None,
        };
        let mut response = match &matched.route.integration {
            Integration::Function(function) => {
                let event = match self.api.flavour {
                    Flavour::Rest => event::rest_proxy(&received, &place, authorized.as_ref()),
                    Flavour::Http => event::http_proxy(&received, &place, authorized.as_ref()),
                };
                let answer = invoke_within(function, event, INTEGRATION_LIMIT).await?;
                answer::read(self.api.flavour, &answer).map_err(|_| Refusal::IntegrationFailed)?
            }
            Integration::Url(base) => self.forward(base, received, authorized.as_ref()).await?,
            Integration::Service(service) => {
                let request = self.request_for_service(&received, authorized.as_ref())?;
                let answered = service.clone().oneshot(request);
                let Ok(response) = tokio::time::timeout(INTEGRATION_LIMIT, answered)
                    .await
                    .map_err(|_| Refusal::IntegrationTimedOut)?;
                response
            }
        };
        if self.api.flavour == Flavour::Rest && self.api.remaps_www_authenticate {
            let headers = response.headers_mut();
            let challenges: Vec<_> = headers
                .get_all(header::WWW_AUTHENTICATE)
                .iter()
                .cloned()
                .collect();
            headers.remove(header::WWW_AUTHENTICATE);
            for challenge in challenges {
                headers.append(REMAPPED_CHALLENGE, challenge);
            }
        }
        Ok(response)
    }

    /// Takes a request in: edge, limits, body.
    async fn receive(&self, mut request: Request) -> Result<Received, Refusal> {
        let path = request.uri().path().to_owned();
        let flavour = self.api.flavour;
        edge::apply(&self.api.edge, flavour, &path, request.headers_mut())
            .map_err(Refusal::Edge)?;
        edge::show_secret(&self.api.edge, request.headers_mut());
        // REST APIs count header values, HTTP APIs the request line too, and answer a
        // 400 or a 431: here it is one limit and one answer, the stricter.
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let mut header_bytes: usize = request.headers().iter().map(size).sum();
        if flavour == Flavour::Http {
            let target = request
                .uri()
                .path_and_query()
                .map_or(0, |target| target.as_str().len());
            header_bytes += request.method().as_str().len() + target + " HTTP/1.1".len() + 1;
        }
        if header_bytes > MOST_HEADER_BYTES {
            return Err(Refusal::HeadersTooLarge);
        }
        let method = match flavour {
            Flavour::Rest => effective_method(request.method(), request.headers()),
            Flavour::Http => request.method().to_string(),
        };
        let query = request.uri().query().unwrap_or_default().to_owned();
        let version = request.version();
        let source_ip = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| {
                peer.ip()
            });
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, &())
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Refusal::BodyTooLarge
                } else {
                    Refusal::BadRequest
                }
            })?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(Received {
            method,
            path,
            query,
            version,
            headers,
            body,
            source_ip,
            request_id: format!("00000000-0000-4000-8000-{number:012x}"),
            at: self.api.clock.now(),
        })
    }

    /// Asks the authorizer, or the cache for what it said.
    async fn authorize(
        &self,
        authorizer: &Authorizer,
        received: &Received,
        place: &Place<'_>,
    ) -> Result<Authorized, Refusal> {
        if place.arn.len() > LONGEST_ARN {
            return Err(Refusal::UriTooLong);
        }
        let identity = authorizer
            .identity(received, place)
            .ok_or(Refusal::Unauthorized)?;
        let caches = authorizer.ttl_seconds > 0 && !identity.is_empty();
        let key = caches.then(|| {
            let whose = [place.api_id, place.stage, authorizer.name.as_str()];
            Key::new(whose.into_iter().chain(identity.iter().map(String::as_str)))
        });
        if let Some(answer) = key.and_then(|key| self.cache.find(key, received.at)) {
            if self.api.flavour == Flavour::Http && !answer.survives_the_http_cache() {
                return Err(Refusal::AuthorizerFailed);
            }
            return answer.judge(&place.arn).ok_or(Refusal::AccessDenied);
        }
        let event = match authorizer.kind {
            AuthorizerKind::RestToken => {
                event::rest_token(place, identity.first().map_or("", String::as_str))
            }
            AuthorizerKind::RestRequest => event::rest_request(received, place),
            AuthorizerKind::HttpV1 => event::http_request_v1(received, place, &identity),
            AuthorizerKind::HttpSimple | AuthorizerKind::HttpIam => {
                event::http_request(received, place, &identity)
            }
        };
        let answered = invoke_within(&authorizer.function, event, self.api.authorizer_limit).await;
        let answer = answered.map_err(|error| match error {
            // Exactly this word (specs B-rest-4). Whether an HTTP API does the same is
            // unsettled (B-http-8); here it does.
            FunctionError::Handled { error_message, .. } if error_message == "Unauthorized" => {
                Refusal::Unauthorized
            }
            FunctionError::Handled { .. } | FunctionError::Unavailable(_) => {
                Refusal::AuthorizerFailed
            }
        })?;
        let answer = Answer::read(authorizer.kind, &answer)
            .map(Arc::new)
            .map_err(|_| Refusal::AuthorizerFailed)?;
        if let Some(key) = key {
            self.cache.keep(
                key,
                Arc::clone(&answer),
                authorizer.ttl_seconds,
                received.at,
            );
        }
        answer.judge(&place.arn).ok_or(Refusal::AccessDenied)
    }

    /// An HTTP integration.
    async fn forward(
        &self,
        base: &Url,
        received: Received,
        authorized: Option<&Authorized>,
    ) -> Result<Response, Refusal> {
        let request = self.request_for_service(&received, authorized)?;
        let (parts, _) = request.into_parts();
        let url = format!("{}{}", base.as_str().trim_end_matches('/'), parts.uri);
        let url = Url::parse(&url).map_err(|_| Refusal::BadRequest)?;
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                Refusal::IntegrationTimedOut
            } else {
                Refusal::IntegrationFailed
            }
        };
        let sent = self
            .client
            .request(parts.method, url)
            .headers(parts.headers);
        let mut answer = sent.body(received.body).send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST_BODY {
                return Err(Refusal::IntegrationFailed);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = mapping::without_connection(answer.headers());
        Ok(response)
    }

    /// What a service gets: mapped headers, the path as received.
    fn request_for_service(
        &self,
        received: &Received,
        authorized: Option<&Authorized>,
    ) -> Result<Request, Refusal> {
        if is_ambiguous(&received.path) {
            return Err(Refusal::BadRequest);
        }
        let query = if received.query.is_empty() { "" } else { "?" };
        let target = format!("{}{query}{}", received.path, received.query);
        let mut request = Request::builder()
            .method(received.method.as_str())
            .uri(target)
            .body(Body::from(received.body.clone()))
            .map_err(|_| Refusal::BadRequest)?;
        *request.headers_mut() =
            mapping::request_headers(self.api.flavour, &received.headers, authorized)
                .map_err(|_| Refusal::IntegrationFailed)?;
        Ok(request)
    }
}

async fn handle(State(gateway): State<Arc<ApiGateway>>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let api = &gateway.api;
    let origin = cors::allowed(&api.allowed_origins, &path, request.headers());
    let response = match origin {
        Some(origin) if cors::is_preflight(&method, request.headers()) => cors::preflight(origin),
        origin => {
            let answered = gateway.answer(request).await;
            // A REST API cannot add to what a service answers: the service says it itself.
            let adds = answered.is_err() || api.flavour == Flavour::Http;
            let mut response = answered.unwrap_or_else(|refusal| refusal.response(api));
            if let Some(origin) = origin.filter(|_| adds) {
                cors::share(response.headers_mut(), origin);
            }
            response
        }
    };
    // Neither headers nor the query string: there are tokens and codes in them (D64).
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

/// A REST API honours the override, so policy must see the method it makes (D25).
fn effective_method(method: &Method, headers: &HeaderMap) -> String {
    let known = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    let wanted = headers
        .get(METHOD_OVERRIDE)
        .and_then(|value| value.to_str().ok());
    match known.into_iter().find(|known| wanted == Some(*known)) {
        Some(overridden) => overridden.to_owned(),
        None => method.to_string(),
    }
}

/// Whether another URL parser could read another path out of this one, and so reach a
/// resource that was not authorized.
fn is_ambiguous(path: &str) -> bool {
    let dots = path.to_ascii_lowercase().replace("%2e", ".");
    path.contains('\\')
        || dots
            .split('/')
            .any(|segment| segment == "." || segment == "..")
}
