//! The authorizer behind the local gateway and its cache, over a table in memory that
//! counts, with a clock of the test's own: what would take minutes takes none.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use cloakroom_authorizer::Handler;
use cloakroom_domain::claims::UserClaims;
use cloakroom_domain::config::{Config, Edge as Topology, RouteConfig};
use cloakroom_domain::delegation::Delegation;
use cloakroom_domain::family::{FamilyId, FamilyKind, FamilyRecord, Transition};
use cloakroom_domain::grant::{Grant, TokenMeta, new_family};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::policy::{CONNECT, GRAPHQL, TokenDemand};
use cloakroom_domain::ports::{
    Clock, FindFamily, OnceName, ReadEpoch, Roots, SignError, Signer, SigningKey, StoreError,
    UpdateError, UpdateFamily, UseOnce, World,
};
use cloakroom_domain::scope::ScopeSet;
use cloakroom_domain::seal::{RootKey, RootKeys};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{OpaqueToken, TokenKind};
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::settings::OriginSecret;
use cloakroom_local::apigateway::{
    AUTHORIZER_LIMIT, Api, ApiGateway, Authorizer, AuthorizerKind, Edge, Flavour, IdentitySource,
    Integration, Route,
};
use cloakroom_local::function::{Function, InProcess};
use cloakroom_tests::clock::TestClock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;
use zeroize::Zeroizing;

/// What CloudFront would show.
pub(crate) const ORIGIN_SECRET: &str = "shown";

/// Network calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Calls {
    pub(crate) epoch: usize,
    pub(crate) get: usize,
    pub(crate) sign: usize,
    pub(crate) update: usize,
}

/// The table: it carries transitions out by their own law. Clones are one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    families: Mutex<HashMap<FamilyId, FamilyRecord>>,
    not_before: Mutex<UnixTime>,
    calls: Mutex<Calls>,
}

impl Table {
    pub(crate) fn carry_out(&self, transition: &Transition) -> bool {
        let mut families = self.0.families.lock().unwrap();
        let record = families.get_mut(&transition.family);
        record.is_some_and(|record| transition.apply(record))
    }

    /// Takes a family away, as if it had not been written yet.
    pub(crate) fn hide(&self, family: FamilyId) -> FamilyRecord {
        self.0.families.lock().unwrap().remove(&family).unwrap()
    }

    pub(crate) fn show(&self, record: FamilyRecord) {
        self.0.families.lock().unwrap().insert(record.id, record);
    }

    pub(crate) fn move_epoch(&self, to: UnixTime) {
        *self.0.not_before.lock().unwrap() = to;
    }

    fn count(&self, one: impl FnOnce(&mut Calls)) {
        one(&mut self.0.calls.lock().unwrap());
    }
}

impl FindFamily for Table {
    async fn find_family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        self.count(|calls| calls.get += 1);
        Ok(self.0.families.lock().unwrap().get(id).cloned())
    }
}

impl UpdateFamily for Table {
    async fn update_family(&self, transition: &Transition) -> Result<(), UpdateError> {
        self.count(|calls| calls.update += 1);
        if self.carry_out(transition) {
            Ok(())
        } else {
            Err(UpdateError::Refused(None))
        }
    }
}

/// Nobody proves possession here.
impl UseOnce for Table {
    async fn use_once(&self, _: &OnceName, _: UnixTime) -> Result<bool, StoreError> {
        panic!("a proof is used up")
    }

    async fn was_used(&self, _: &OnceName) -> Result<bool, StoreError> {
        panic!("a proof is looked up")
    }
}

impl ReadEpoch for Table {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        self.count(|calls| calls.epoch += 1);
        Ok(*self.0.not_before.lock().unwrap())
    }
}

/// "Signs" with a constant: here it matters how often, and what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pen(Arc<AtomicUsize>);

impl Signer for Pen {
    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: "k".to_owned(),
            algorithm: Algorithm::ES256,
        })
    }

    async fn sign(&self, _: &SigningKey, _: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.fetch_add(1, SeqCst);
        Ok(vec![7; 64])
    }
}

/// The root keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<RootKeys>);

impl Roots for Keys {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        Ok(Arc::clone(&self.0))
    }
}

fn root() -> RootKey {
    RootKey::new(Zeroizing::new([1; 32]))
}

/// An authorizer and its world.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: TestClock,
    pub(crate) table: Table,
    pen: Pen,
    handler: Arc<Handler<Table, Pen, Keys>>,
}

/// Who holds a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    /// The user's roles; none: a machine.
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) client: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) kind: Option<TokenKind>,
}

impl Lab {
    pub(crate) fn new(config: Config) -> Self {
        Self::over(config, Table::default(), TestClock::default())
    }

    /// Another environment over the same table.
    pub(crate) fn neighbour(&self) -> Self {
        let config = Config::clone(&self.config);
        let lab = Self::over(config, self.table.clone(), self.clock.clone());
        let handler = lab.handler_with(&self.pen);
        Self {
            pen: self.pen.clone(),
            handler,
            ..lab
        }
    }

    fn over(config: Config, table: Table, clock: TestClock) -> Self {
        let config = Arc::new(config);
        let pen = Pen::default();
        let handler = handler(&config, &table, &pen, &clock);
        Self {
            config,
            clock,
            table,
            pen,
            handler,
        }
    }

    fn handler_with(&self, pen: &Pen) -> Arc<Handler<Table, Pen, Keys>> {
        handler(&self.config, &self.table, pen, &self.clock)
    }

    /// A token of its own family, and what is inside.
    pub(crate) fn token(&self, holder: &Holder) -> (OpaqueToken, Grant, TokenMeta) {
        let now = self.clock.now();
        let kind = holder.kind.unwrap_or(TokenKind::Access);
        let session = kind == TokenKind::Session || kind == TokenKind::WebSocketTicket;
        let client = (!session).then(|| holder.client.clone());
        let grant = Grant {
            kind: match (&holder.roles, session) {
                (_, true) => FamilyKind::Session,
                (Some(_), false) => FamilyKind::Grant,
                (None, false) => FamilyKind::Client,
            },
            client: client.clone(),
            user: holder.roles.clone().map(|roles| UserClaims {
                sub: format!("demo|{}", roles.join("-")),
                idp: "demo".into(),
                iss: "https://idp.example".into(),
                roles,
                auth_time: Some(now),
                ..UserClaims::default()
            }),
            sid: "sid".into(),
            created_at: now,
            claims_at: None,
            absolute_expires_at: now.plus(90 * 86_400),
            upstream_id_token: None,
            upstream_refresh_token: None,
        };
        let meta = TokenMeta {
            kind,
            client,
            scope: holder.scopes.iter().cloned().collect::<ScopeSet>(),
            audiences: holder.audiences.clone(),
            issued_at: now,
            expires_at: now.plus(if kind == TokenKind::WebSocketTicket {
                30
            } else {
                30 * 86_400
            }),
            idle_expires_at: None,
            cnf: None,
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation: Delegation::default(),
        };
        let entropy = cloakroom_aws::world();
        let (record, token) = new_family(&grant, &meta, &root(), &entropy).unwrap();
        let mut families = self.table.0.families.lock().unwrap();
        families.insert(record.id, record);
        (token, grant, meta)
    }

    /// Asks the function itself.
    pub(crate) async fn ask(&self, event: &Value) -> Result<Value, FunctionFailure> {
        let answer = self.handler.handle(event.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// The network calls since this was last asked.
    pub(crate) fn take_calls(&self) -> Calls {
        let calls = std::mem::take(&mut *self.table.0.calls.lock().unwrap());
        Calls {
            sign: self.pen.0.swap(0, SeqCst),
            ..calls
        }
    }

    /// An API before it, whose services say what they were handed.
    pub(crate) fn api(&self, kind: AuthorizerKind, ttl: u64) -> Gateway {
        let authorizer = Arc::new(Authorizer {
            name: "authorizer".to_owned(),
            kind,
            identity_sources: identity_sources(kind, self.config.edge, ttl),
            ttl_seconds: ttl,
            function: self.function(),
        });
        let http = |route: &&RouteConfig| {
            route.method != CONNECT && (route.method.as_str(), route.path.as_str()) != GRAPHQL
        };
        let mut routes: Vec<_> = self
            .config
            .routes
            .iter()
            .filter(http)
            .map(|route| Route {
                method: (route.method != "ANY").then(|| route.method.parse().unwrap()),
                resource: route.path.clone(),
                authorizer: (route.token != TokenDemand::None).then(|| Arc::clone(&authorizer)),
                integration: Integration::Service(echo(&route.method, &route.path)),
            })
            .collect();
        // What the policy does not name is the policy's to refuse.
        if !routes.iter().any(|route| route.resource == "/{proxy+}") {
            routes.push(Route {
                method: None,
                resource: "/{proxy+}".to_owned(),
                authorizer: Some(authorizer),
                integration: Integration::Service(echo("ANY", "/{proxy+}")),
            });
        }
        let gateway = ApiGateway::new(Api {
            flavour: flavour(kind),
            id: "local".to_owned(),
            domain_name: "localhost".to_owned(),
            edge: Edge::None,
            remaps_www_authenticate: false,
            names_dpop: false,
            authorizer_limit: AUTHORIZER_LIMIT,
            allowed_origins: Vec::new(),
            routes,
            clock: Arc::new(self.clock.clone()),
        });
        Gateway(gateway.unwrap().router())
    }

    fn function(&self) -> Arc<dyn Function> {
        let handler = Arc::clone(&self.handler);
        Arc::new(InProcess::new(move |event: Bytes| {
            let handler = Arc::clone(&handler);
            async move { handler.handle(&event).await }
        }))
    }
}

fn handler(
    config: &Arc<Config>,
    table: &Table,
    pen: &Pen,
    clock: &TestClock,
) -> Arc<Handler<Table, Pen, Keys>> {
    let world = World {
        clock: Arc::new(clock.clone()),
        ..cloakroom_aws::world()
    };
    let handler = Handler::new(
        Arc::clone(config),
        UnixTime(0),
        table.clone(),
        pen.clone(),
        Keys(Arc::new(RootKeys::new(root(), vec![]))),
        world,
    );
    Arc::new(handler.behind(Some(OriginSecret::new(ORIGIN_SECRET))))
}

fn flavour(kind: AuthorizerKind) -> Flavour {
    match kind {
        AuthorizerKind::RestToken | AuthorizerKind::RestRequest => Flavour::Rest,
        AuthorizerKind::HttpV1 | AuthorizerKind::HttpSimple | AuthorizerKind::HttpIam => {
            Flavour::Http
        }
    }
}

/// As the templates deploy them.
fn identity_sources(kind: AuthorizerKind, edge: Topology, ttl: u64) -> Vec<IdentitySource> {
    let header = |name: &str| IdentitySource::Header(name.to_owned());
    match kind {
        AuthorizerKind::RestToken => vec![header("authorization")],
        _ if ttl == 0 => vec![],
        AuthorizerKind::RestRequest => vec![
            header("authorization"),
            IdentitySource::HttpMethod,
            IdentitySource::ResourcePath,
        ],
        AuthorizerKind::HttpV1 | AuthorizerKind::HttpSimple | AuthorizerKind::HttpIam => {
            let mut sources = vec![header("x-cloakroom-token"), IdentitySource::RouteKey];
            if edge == Topology::Cloudfront {
                sources.push(header("x-origin-verify"));
            }
            sources
        }
    }
}

/// Says which route it is, and what it was handed.
fn echo(method: &str, path: &str) -> Router {
    let route = json!([method, path]);
    Router::new().fallback(move |request: Request| {
        let headers = request.headers();
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let bearer = header("authorization");
        let jwt = header("x-cloakroom-jwt").or(bearer);
        let names: Vec<_> = headers
            .keys()
            .map(|name| name.as_str().to_owned())
            .collect();
        let body = json!({"route": route, "jwt": jwt, "names": names}).to_string();
        async move { body }
    })
}

/// An API.
pub(crate) struct Gateway(Router);

/// What the service behind a route was handed, or the status of a refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handed {
    pub(crate) status: u16,
    pub(crate) route: (String, String),
    pub(crate) claims: Value,
    pub(crate) names: Vec<String>,
}

impl Gateway {
    pub(crate) async fn call(&self, method: &str, path: &str, token: Option<&str>) -> Handed {
        let token = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = token
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .collect();
        self.send(method, path, &headers).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Handed {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX);
        let body: Value = serde_json::from_slice(&body.await.unwrap()).unwrap_or_default();
        let jwt = body["jwt"].as_str().unwrap_or_default();
        let part = jwt.split('.').nth(1).unwrap_or_default();
        let claims = BASE64URL.decode(part).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Handed {
            status,
            route: (text(&body["route"][0]), text(&body["route"][1])),
            claims: serde_json::from_slice(&claims).unwrap_or_default(),
            names: serde_json::from_value(body["names"].clone()).unwrap_or_default(),
        }
    }
}
