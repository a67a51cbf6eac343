//! `cloakroom dev`: the whole system on this machine.

use crate::failure::Failure;
use crate::place::{self, Place};
use crate::{Answer, print};
use clap::ValueEnum;
use cloakroom_domain::config;
use cloakroom_gateway::telemetry::{self, Format};
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{DEMO_CONFIG, Options, StartError, System};
use std::io;
use std::path::PathBuf;

/// Starts the whole system on this machine, on embedded parts
///
/// The configuration is the demo's own, which is compiled in, unless --config or
/// CLOAKROOM_CONFIG names a file. How much is logged: CLOAKROOM_LOG. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cloakroom dev
  cloakroom dev --port 3001 --api http --data-dir .dev
  cloakroom dev --lambda http://127.0.0.1:9000 --env-file .dev/functions.env")]
pub(crate) struct Args {
    /// The port of the system; 0 takes a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Where table and keys are kept, for one system at a time [default: in memory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Which kind of API Gateway
    #[arg(long, value_enum, default_value_t = Api::Rest)]
    api: Api,
    /// What is in front of it; replaces the configuration's `edge`
    #[arg(long, value_enum)]
    edge: Option<Edge>,
    /// Calls the functions through the Lambda Invoke API there, instead of in this
    /// process
    #[arg(long, value_name = "URL")]
    lambda: Option<String>,
    /// Where to write the environment of the functions
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Api {
    /// A REST API (v1)
    Rest,
    /// An HTTP API (v2)
    Http,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Edge {
    /// Nothing: the authorizer sees the cookie itself, nothing is cached
    None,
    /// CloudFront and its function, and a cached authorizer
    Cloudfront,
}

pub(crate) async fn run(place: &Place, args: Args) -> Result<Answer, Failure> {
    let settings = Place::settings(&[])?;
    telemetry::init(&settings.stack, settings.log, Format::Plain);
    let config = match place.named_config() {
        Some(path) => place::read(&path)?,
        None => DEMO_CONFIG.to_owned(),
    };
    let mut signals = Signals::listen()?;
    let system = System::start(Options {
        port: args.port,
        data_dir: args.data_dir,
        flavour: match args.api {
            Api::Rest => Flavour::Rest,
            Api::Http => Flavour::Http,
        },
        edge: args.edge.map(|edge| match edge {
            Edge::None => config::Edge::None,
            Edge::Cloudfront => config::Edge::Cloudfront,
        }),
        lambda: args.lambda,
        config,
        env_file: args.env_file.clone(),
        ..Options::default()
    })
    .await
    .map_err(|error| failure(&error))?;
    welcome(&system, args.env_file);
    tokio::select! {
        () = system.run() => Err(Failure::new("a part of the system has stopped")),
        () = signals.come() => Ok(Answer::Yes),
    }
}

/// What may be opened, called and signed in with.
fn welcome(system: &System, env_file: Option<PathBuf>) {
    let config = system.config();
    let links = [
        ("Example page", system.at("/")),
        ("Token endpoint", system.at("/oauth/token")),
        ("Public keys", system.at("/.well-known/jwks.json")),
        (
            "Metadata",
            system.at("/.well-known/oauth-authorization-server"),
        ),
        ("Demo provider", system.provider_url().to_owned()),
        ("Demo services", system.services_url().to_owned()),
        ("DynamoDB", system.backends().dynamodb_url().to_owned()),
        ("KMS", system.backends().kms_url().to_owned()),
    ];
    for (name, url) in links {
        print::line(&format!("{name:<15} {url}"));
    }
    if let Some(file) = env_file {
        print::line(&format!("{:<15} {}", "Environment", file.display()));
    }
    let demo = |idp: &config::IdentityProviderConfig| idp.issuer == system.provider_url();
    if config.identity_providers.iter().any(demo) {
        print::line("");
        print::line("Sign in as alice (password alice, an administrator) or bob (password bob).");
    }
    if config.client("demo-machine").is_some() {
        print::line("Get a token, as a machine:");
        print::line(&format!(
            "  curl -u demo-machine:demo-machine-secret -d grant_type=client_credentials {}",
            system.at("/oauth/token")
        ));
    }
    print::line("");
    print::line("ready");
}

fn failure(error: &StartError) -> Failure {
    match error {
        StartError::Listen { port, source } if source.kind() == io::ErrorKind::AddrInUse => {
            // `make run` has no options.
            Failure::new(format!(
                "port {port} is taken: choose another with --port, as in `cargo dev --port 3001`"
            ))
        }
        StartError::InUse(dir) => Failure::new(format!(
            "another `cloakroom dev` is running in {}: stop it, or name another folder with --data-dir",
            dir.display()
        )),
        StartError::Config(error) => Failure::from(error),
        other => Failure::new(other.to_string()),
    }
}

/// What asks a process to end.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From here on a signal is heard, not obeyed.
    fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen =
                |kind| signal(kind).map_err(|_| Failure::new("signals cannot be listened for"));
            Ok(Self {
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn come(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
