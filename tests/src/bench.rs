//! Measures the authorizer as it is deployed: the release bootstrap, under an
//! emulated Runtime API, against the embedded DynamoDB and KMS. Start reading at
//! [`run`]; its cases are the lines of the table in the architecture.

mod bootstrap;
mod report;
mod runtime_api;

pub use report::{Figure, Report};

use crate::oauth;
use bootstrap::Bootstrap;
use cloakroom_local::system::{self, System};
use report::{megabytes, micros, millis, percentile};
use serde_json::json;
use std::error::Error;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What went wrong, in our own words.
pub type Fault = Box<dyn Error + Send + Sync>;

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The release binary.
    pub bootstrap: PathBuf,
    /// How often it is started.
    pub starts: usize,
    /// How many tokens there are; each is used once per uncached case.
    pub tokens: usize,
    /// How often one token is used in the cached case.
    pub repeats: usize,
    /// Shows what the bootstrap logs.
    pub verbose: bool,
}

/// Starts a local system and measures one authorizer after another against it.
///
/// # Errors
///
/// If a part does not start, or if the authorizer refuses one of its tokens:
/// refusals are cheap, and would make good figures.
pub async fn run(options: &Options) -> Result<Report, Fault> {
    if options.starts == 0 || options.tokens < 2 || options.repeats == 0 {
        return Err(
            "nothing to measure: one start, two tokens and one repeat are the least".into(),
        );
    }
    let file = options.bootstrap.as_path();
    let size = std::fs::metadata(file)
        .map_err(|_| format!("there is no bootstrap at {}", file.display()))?
        .len();
    let scratch = tempfile::tempdir()?;
    let system = System::start(system::Options {
        env_file: Some(scratch.path().join("functions.env")),
        ..system::Options::default()
    })
    .await?;
    let events = events(&system, options.tokens).await;
    let start = || Bootstrap::start(file, system.environment(), options.verbose);

    let first_use = each_once(&mut start().await?, &events).await?;
    // Another process: it remembers nothing, but the items now hold the JWTs.
    let mut second = start().await?;
    let stored = each_once(&mut second, &events).await?;
    let cached = one_again(&mut second, &events, options.repeats).await?;
    let peak = second.peak_memory();
    drop(second);

    let mut starts = Vec::new();
    let mut firsts = Vec::new();
    for event in events.iter().cycle().take(options.starts) {
        let mut fresh = start().await?;
        starts.push(fresh.started_in());
        firsts.push(fresh.invoke(event).await?);
    }

    let (starts, firsts) = (percentile(starts, 50), percentile(firsts, 50));
    Ok(Report::new([
        Figure::new(
            "start: exec to first /next",
            "ms",
            Some(10.0),
            millis(starts),
        ),
        Figure::new("start: first invocation", "ms", Some(5.0), millis(firsts)),
        Figure::new("cached: CPU", "µs", Some(150.0), cached.cpu.map(micros)),
        Figure::new("cached: latency", "ms", None, cached.latency(50)),
        Figure::new("cached: latency, 99 %", "ms", None, cached.latency(99)),
        Figure::new("JWT in the item: CPU", "µs", None, stored.cpu.map(micros)),
        Figure::new("JWT in the item: latency", "ms", None, stored.latency(50)),
        Figure::new("first use: CPU", "µs", None, first_use.cpu.map(micros)),
        Figure::new("first use: latency", "ms", None, first_use.latency(50)),
        Figure::new("peak memory", "MB", Some(14.0), peak.map(megabytes)),
        Figure::new("file", "MB", None, megabytes(size)),
        Figure::new(
            "zip",
            "MB",
            Some(4.194_304),
            zipped(file, scratch.path()).map(megabytes),
        ),
    ]))
}

/// What a case cost.
struct Cost {
    /// Per invocation; Linux alone tells.
    cpu: Option<Duration>,
    latencies: Vec<Duration>,
}

impl Cost {
    fn latency(&self, percent: usize) -> f64 {
        millis(percentile(self.latencies.clone(), percent))
    }
}

/// Every token once; the first tenth only opens connections.
async fn each_once(bootstrap: &mut Bootstrap, events: &[Vec<u8>]) -> Result<Cost, Fault> {
    let (warm, measured) = events.split_at(events.len() / 10);
    for event in warm {
        bootstrap.invoke(event).await?;
    }
    measure(bootstrap, measured).await
}

/// The last token, which the bootstrap has just seen, again and again.
async fn one_again(
    bootstrap: &mut Bootstrap,
    events: &[Vec<u8>],
    repeats: usize,
) -> Result<Cost, Fault> {
    measure(bootstrap, events.last().into_iter().cycle().take(repeats)).await
}

async fn measure<'a>(
    bootstrap: &mut Bootstrap,
    events: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Result<Cost, Fault> {
    let before = bootstrap.cpu();
    let mut latencies = Vec::new();
    for event in events {
        latencies.push(bootstrap.invoke(event).await?);
    }
    let spent = iter::zip(before, bootstrap.cpu()).next();
    let count = u32::try_from(latencies.len())?;
    Ok(Cost {
        cpu: spent.map(|(before, after)| after.saturating_sub(before) / count),
        latencies,
    })
}

/// One event for each of `count` new tokens.
async fn events(system: &System, count: usize) -> Vec<Vec<u8>> {
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        events.push(event(&oauth::machine_token(system).await));
    }
    events
}

/// A REST API's REQUEST authorizer event with the headers of an ordinary client.
fn event(token: &str) -> Vec<u8> {
    let headers = [
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Authorization", &format!("Bearer {token}")),
        ("Host", "abcdefghij.execute-api.eu-central-1.amazonaws.com"),
        ("User-Agent", "bench/1"),
        (
            "X-Amzn-Trace-Id",
            "Root=1-68c0ffee-0123456789abcdef01234567",
        ),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ];
    json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:eu-central-1:123456789012:abcdefghij/prod/GET/api/orders",
        "resource": "/api/orders",
        "path": "/api/orders",
        "httpMethod": "GET",
        "headers": headers.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        "multiValueHeaders": headers
            .iter()
            .map(|(name, value)| (*name, [*value]))
            .collect::<std::collections::BTreeMap<_, _>>(),
        "queryStringParameters": {},
        "multiValueQueryStringParameters": {},
        "pathParameters": {},
        "stageVariables": {},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "httpMethod": "GET",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "bench/1"},
            "path": "/prod/api/orders",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourceId": "abc123",
            "resourcePath": "/api/orders",
            "stage": "prod",
        },
    })
    .to_string()
    .into_bytes()
}

/// How large the file is as it is uploaded.
fn zipped(file: &Path, scratch: &Path) -> Option<u64> {
    let archive = scratch.join("bootstrap.zip");
    let done = Command::new("python3")
        .args(["-m", "zipfile", "-c"])
        .args([archive.as_path(), file])
        .stderr(Stdio::null())
        .status()
        .ok()?;
    let archive = std::fs::metadata(archive).ok()?;
    done.success().then_some(archive.len())
}
