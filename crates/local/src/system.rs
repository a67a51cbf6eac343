//! The whole system in one process: embedded DynamoDB and KMS behind their real
//! wire protocols, the demo identity provider, API Gateway, the four functions and
//! the demo services.
//!
//! Read [`System::start`] top down.

mod backends;
mod configuration;
mod data_dir;
mod environment;
mod functions;
mod key_set;
mod routes;

pub use backends::{Backends, TABLE};

use crate::apigateway::{AUTHORIZER_LIMIT, Api, ApiGateway, Edge, Flavour, InvalidApi, JWT_HEADER};
use crate::faults::Faults;
use crate::function::Function;
use crate::idp::{DemoIdp, DemoIdpError, DemoIdpOptions};
use crate::recording::{self, Recorder};
use crate::services::{ORDERS, PROFILE, Services};
use cloakroom_aws::Limits;
use cloakroom_domain::config::{self, Config, ConfigError};
use cloakroom_domain::policy::DpopDemand;
use cloakroom_domain::ports::{Clock, World};
use cloakroom_gateway::settings::{Env, Source as _};
use cloakroom_verify::Verifier;
use functions::Functions;
use http::HeaderValue;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// What may be chosen.
#[derive(Clone)]
pub struct Options {
    /// Where the system is served; 0 takes a free port.
    pub port: u16,
    /// Where table and keys are kept; without one, in memory.
    pub data_dir: Option<PathBuf>,
    /// REST or HTTP API.
    pub flavour: Flavour,
    /// Replaces the configuration's `edge`.
    pub edge: Option<config::Edge>,
    /// Calls the functions through the Lambda Invoke API there, instead of here.
    pub lambda: Option<String>,
    /// The text of the configuration.
    pub config: String,
    /// Where to write the environment with which the functions can be started
    /// against this system.
    pub env_file: Option<PathBuf>,
    /// Breaks what is between the functions and DynamoDB or KMS, on demand.
    pub faults: Option<Faults>,
    /// How long the functions wait for DynamoDB and KMS.
    pub limits: Limits,
    /// The time of the functions and the gateway; the wall clock if absent.
    pub clock: Option<Arc<dyn Clock>>,
}

/// For a DynamoDB and a KMS that share this machine with their callers: a late answer
/// means that the machine is busy, not that the answer is lost. The authorizer and the
/// gateway wait accordingly.
pub const PATIENT: Limits = Limits {
    connect: Duration::from_secs(25),
    attempt: Duration::from_secs(25),
    operation: Duration::from_secs(25),
};

/// The demo's own configuration.
pub const DEMO_CONFIG: &str = include_str!("../../../cloakroom.toml");

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            data_dir: None,
            flavour: Flavour::Rest,
            edge: None,
            lambda: None,
            config: DEMO_CONFIG.to_owned(),
            env_file: None,
            faults: None,
            limits: PATIENT,
            clock: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("port", &self.port)
            .field("data_dir", &self.data_dir)
            .field("flavour", &self.flavour)
            .field("edge", &self.edge)
            .field("lambda", &self.lambda)
            .field("env_file", &self.env_file)
            .finish_non_exhaustive()
    }
}

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or there is no network.
    #[error("cannot listen on port {port}")]
    Listen {
        /// Which.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The configuration has faults.
    #[error("the configuration has faults: {0}")]
    Config(#[from] ConfigError),
    /// A file of the data directory, or the environment file.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another system has the data directory.
    #[error("another system is running in {0}")]
    InUse(PathBuf),
    /// The embedded DynamoDB or KMS.
    #[error("the embedded {0} does not start: {1}")]
    Backend(&'static str, String),
    /// The demo identity provider.
    #[error("the demo identity provider does not start")]
    Provider(#[from] DemoIdpError),
    /// The API.
    #[error("the API cannot be built: {0}")]
    Api(#[from] InvalidApi),
    /// A secret, a service, or a client.
    #[error("{0}")]
    Part(String),
}

/// A running system. Everything stops when it is dropped.
#[derive(Debug)]
pub struct System {
    base: Url,
    provider: Arc<DemoIdp>,
    services: String,
    config: Arc<Config>,
    backends: Backends,
    environment: BTreeMap<String, String>,
    functions: Functions,
    gateway: Arc<ApiGateway>,
    tasks: JoinSet<()>,
}

impl System {
    /// Starts everything; when this returns, the system answers.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let mut tasks = JoinSet::new();
        let front = Front::bind(options.port).await?;
        let (provider_listener, provider) = loopback().await?;
        let (services_listener, services) = loopback().await?;

        let mut config = Config::parse_with_issuer(&options.config, Some(&front.url))?;
        if let Some(edge) = options.edge {
            config.edge = edge;
        }
        // One HTTP API of the emulator answers simply.
        config.authorizer.simple_responses = true;
        let secret = configuration::take_demo_provider(&mut config, &provider);
        let origin_secret = configuration::random_secret();
        let config = Arc::new(config);

        let world = World {
            clock: options
                .clock
                .clone()
                .unwrap_or(cloakroom_aws::world().clock),
            entropy: cloakroom_aws::world().entropy,
        };
        // On the heap: the state of all nested calls is large.
        let backends = Box::pin(Backends::start(
            options.data_dir.as_deref(),
            &config,
            &world.clock,
            options.faults.as_ref(),
            recorder()?.as_ref(),
            options.limits,
            &mut tasks,
        ))
        .await?;
        let environment = environment::write(
            &config,
            &backends,
            [
                (configuration::SECRET_VARIABLE, &secret),
                (configuration::ORIGIN_SECRET_VARIABLE, &origin_secret),
            ],
            options.env_file.as_deref(),
            options.data_dir.as_deref(),
        )?;

        let idp = Arc::new(DemoIdp::new(DemoIdpOptions {
            issuer: provider.clone(),
            client_id: configuration::CLIENT_ID.to_owned(),
            client_secret: secret,
            redirect_uris: configuration::redirect_uris(&config),
            post_logout_redirect_uris: vec![format!(
                "{}{}",
                config.issuer, config.session.logged_out_path
            )],
            backchannel_logout_uri: Some(format!("{}/auth/backchannel-logout", config.issuer)),
        })?);
        let serving = Arc::clone(&idp);
        tasks.spawn(async move {
            let _ = serving.serve_on(provider_listener).await;
        });

        let demo = demo_services(&config, options.flavour)?;
        tasks.spawn(async move {
            let _ = axum::serve(services_listener, demo).await;
        });

        // Two calls, as deployed.
        let budget = options.limits.operation * 2;
        let functions = match &options.lambda {
            Some(url) => Functions::behind(backends.sdk(), url),
            None => {
                Box::pin(Functions::here(
                    &config,
                    &backends,
                    &environment,
                    &world,
                    budget,
                ))
                .await?
            }
        };
        let edge = topology(&config, &origin_secret)?;
        let gateway = ApiGateway::new(Api {
            flavour: options.flavour,
            id: "local".to_owned(),
            domain_name: front.authority.clone(),
            // AWS does, on a REST API, and nothing gives the header its name back
            // (docs/deploy.md). Here it is kept as functions say it, so that clients can
            // be held to RFC 6749 §5.2; the answer is the same in all else.
            remaps_www_authenticate: false,
            names_dpop: takes_proofs(&config),
            // It has to outlast the authorizer, which has to outlast the store.
            authorizer_limit: AUTHORIZER_LIMIT.max(budget),
            allowed_origins: config.allowed_origins.clone(),
            routes: routes::all(&config, &edge, options.flavour, &functions, &services)?,
            edge,
            clock: world.clock,
        })?;
        let base = front.serve(&gateway, &mut tasks)?;
        Ok(Self {
            base,
            provider: idp,
            services,
            config,
            backends,
            environment,
            functions,
            gateway,
            tasks,
        })
    }

    /// Where the system is: `http://localhost:3000`.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A path below [`System::url`].
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url())
    }

    /// The demo identity provider's issuer.
    pub fn provider_url(&self) -> &str {
        self.provider.issuer()
    }

    /// The demo identity provider.
    pub fn provider(&self) -> &Arc<DemoIdp> {
        &self.provider
    }

    /// The demo services, past the gateway.
    pub fn services_url(&self) -> &str {
        &self.services
    }

    /// The configuration as it is in force here.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The embedded DynamoDB and KMS.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// What the functions' environment would be.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The API.
    pub fn gateway(&self) -> &Arc<ApiGateway> {
        &self.gateway
    }

    /// A function by its name: what Lambda would call, past the gateway.
    pub fn function(&self, name: &str) -> Option<Arc<dyn Function>> {
        let function = match name {
            "authorizer" => &self.functions.authorizer,
            "login" => &self.functions.login,
            "token" => &self.functions.token,
            "jwks" => &self.functions.jwks,
            _ => return None,
        };
        Some(Arc::clone(function))
    }

    /// Waits for ever, or until a part fails.
    pub async fn run(mut self) {
        self.tasks.join_next().await;
    }
}

/// The recorder that the environment asks for.
fn recorder() -> Result<Option<Recorder>, StartError> {
    let Some(path) = Env.value(recording::VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    match Recorder::appending_to(&path) {
        Ok(recorder) => Ok(Some(recorder)),
        Err(error) => Err(StartError::File {
            path,
            reason: error.to_string(),
        }),
    }
}

/// The listeners of the front door. Browsers look for `localhost` at both loopback
/// addresses.
struct Front {
    listeners: Vec<TcpListener>,
    url: String,
    authority: String,
}

impl Front {
    async fn bind(port: u16) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { port, source };
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(listen)?;
        let port = first.local_addr().map_err(listen)?.port();
        let mut listeners = vec![first];
        // A machine without IPv6 is no reason to fail.
        listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await);
        let authority = format!("localhost:{port}");
        Ok(Self {
            listeners,
            url: format!("http://{authority}"),
            authority,
        })
    }

    fn serve(self, gateway: &Arc<ApiGateway>, tasks: &mut JoinSet<()>) -> Result<Url, StartError> {
        for listener in self.listeners {
            let service = gateway
                .router()
                .into_make_service_with_connect_info::<SocketAddr>();
            tasks.spawn(async move {
                let _ = axum::serve(listener, service).await;
            });
        }
        Url::parse(&self.url).map_err(|error| StartError::Part(error.to_string()))
    }
}

/// A listener on a free port, and its URL.
async fn loopback() -> Result<(TcpListener, String), StartError> {
    let listen = |source| StartError::Listen { port: 0, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok((listener, format!("http://{address}")))
}

/// What stands in front.
fn topology(config: &Config, origin_secret: &str) -> Result<Edge, StartError> {
    Ok(match config.edge {
        config::Edge::None => Edge::None,
        config::Edge::Cloudfront => {
            let secret = HeaderValue::from_str(origin_secret);
            let mut secret = secret.map_err(|error| StartError::Part(error.to_string()))?;
            secret.set_sensitive(true);
            Edge::CloudFront {
                public_origin: config.issuer.clone(),
                origin_secret: secret,
                allow_headers: config.edge_allow_headers.clone(),
            }
        }
    })
}

/// Whether a route takes proofs of possession.
fn takes_proofs(config: &Config) -> bool {
    let mut routes = config.routes.iter();
    routes.any(|route| route.dpop != DpopDemand::Unsaid)
}

/// Services that fetch the published keys as any service would.
fn demo_services(config: &Config, flavour: Flavour) -> Result<axum::Router, StartError> {
    let verifier = |audience: &str| {
        Verifier::builder(&config.issuer, audience)
            .jwks_url(&format!("{}/.well-known/jwks.json", config.issuer))
            .build()
            .map_err(|error| StartError::Part(error.to_string()))
    };
    let services = Services::new(verifier(ORDERS)?, verifier(PROFILE)?)
        .readable_from(config.allowed_origins.clone());
    Ok(match flavour {
        Flavour::Rest => services,
        Flavour::Http => services.header(JWT_HEADER),
    }
    .router())
}
