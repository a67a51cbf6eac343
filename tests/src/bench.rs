//! Measures the authorizer as it is deployed, beside its peers: release programs, under an
//! emulated Runtime API, against the same embedded DynamoDB and KMS, in one run. Start
//! reading at [`run`]; its cases are the lines of the table in the architecture.

mod bootstrap;
mod machine;
mod peer_items;
mod program;
mod report;
pub mod runtime_api;

pub use report::{Aim, Report, Row};

use crate::oauth;
use bootstrap::{Bootstrap, Expected, Output};
use cloakroom_bench::event;
use cloakroom_local::system::{self, System};
use program::{CLOAKROOM, EMPTY, GET_ITEM, NODE, Program, Role};
use report::{megabytes, micros, millis, percentile};
use std::collections::BTreeMap;
use std::error::Error;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

/// What went wrong, in our own words.
pub type Fault = Box<dyn Error + Send + Sync>;

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The release binary; the peers are beside it.
    pub bootstrap: PathBuf,
    /// Whether the peers are measured too.
    pub peers: bool,
    /// How often each is started.
    pub starts: usize,
    /// How many tokens there are; each is used once per uncached case.
    pub tokens: usize,
    /// How often one token is used in the cached case.
    pub repeats: usize,
    /// How many items there are in the table beside theirs.
    pub items: usize,
    /// Shows what the programs log.
    pub verbose: bool,
}

/// The programs take turns this often, so that a machine that slows down slows all.
const ROUNDS: usize = 10;

/// Starts a local system and measures one program after another against it.
///
/// # Errors
///
/// If a part does not start, or if an authorizer refuses one of its tokens:
/// refusals are cheap, and would make good figures.
pub async fn run(options: &Options) -> Result<Report, Fault> {
    if options.starts == 0 || options.tokens < 20 || options.repeats < ROUNDS {
        return Err("nothing to measure: one start, 20 tokens and 10 repeats are the least".into());
    }
    let scratch = tempfile::tempdir()?;
    let programs = program::all(&options.bootstrap, options.peers, scratch.path())?;
    let system = System::start(system::Options {
        env_file: Some(scratch.path().join("functions.env")),
        ..system::Options::default()
    })
    .await?;
    let tokens = tokens(&system, options.tokens).await;
    peer_items::fill(&system, options.items).await?;
    let bearer = |token: &str| event(&format!("Bearer {token}"));
    let events: Vec<_> = tokens.iter().map(|token| bearer(token)).collect();
    let junk = bearer(&"x".repeat(76));

    let output = if options.verbose {
        Output::Shown
    } else {
        Output::Dropped
    };
    let trace = match programs.first() {
        Some(ours) => trace(ours, system.environment(), options.starts).await?,
        None => BTreeMap::new(),
    };
    let mut benches = Vec::new();
    for program in programs {
        let start = || Bootstrap::start(&program, system.environment(), output);
        let mut costs = BTreeMap::new();
        if program.role == Role::Authorizer {
            if options.peers {
                // Anew: what one peer has left in its items is not there for the next.
                peer_items::plant(&system, &tokens).await?;
            }
            let first_use = each_once(&mut start().await?, &events).await?;
            costs.insert(Case::FirstUse, first_use);
        }
        benches.push(Bench {
            // Another process: it remembers nothing, but the items now hold the JWTs.
            process: start().await?,
            program,
            costs,
            starts: Vec::new(),
            firsts: Vec::new(),
        });
    }
    take_turns_with_new(&mut benches, &events).await?;
    take_turns(&mut benches, &events, &junk, options).await?;
    for n in 0..options.starts {
        for bench in &mut benches {
            let event = events.get(n % events.len()).ok_or("no event")?;
            let mut fresh = Bootstrap::start(&bench.program, system.environment(), output).await?;
            bench.starts.push(fresh.started_in());
            bench
                .firsts
                .push(fresh.invoke(event, Expected::Allow).await?);
        }
    }
    Ok(report(&benches, &trace, scratch.path()))
}

/// A program, its process, and what was found out about it.
struct Bench {
    program: Program,
    process: Bootstrap,
    costs: BTreeMap<Case, Cost>,
    starts: Vec<Duration>,
    firsts: Vec<Duration>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Case {
    /// A token that the process remembers.
    Hit,
    /// A token whose JWT is in the table.
    Miss,
    /// A token that nobody has used yet.
    FirstUse,
    /// What is no token.
    Junk,
}

impl Case {
    const ALL: [(Self, [&'static str; 3]); 4] = [
        (
            Self::Hit,
            ["hit: CPU", "hit: latency", "hit: latency, 99 %"],
        ),
        (
            Self::Miss,
            [
                "JWT in the item: CPU",
                "JWT in the item: latency",
                "JWT in the item: latency, 99 %",
            ],
        ),
        (
            Self::FirstUse,
            [
                "first use: CPU",
                "first use: latency",
                "first use: latency, 99 %",
            ],
        ),
        (
            Self::Junk,
            ["junk: CPU", "junk: latency", "junk: latency, 99 %"],
        ),
    ];
}

/// Tokens that nobody remembers, by all programs in turn.
async fn take_turns_with_new(benches: &mut [Bench], events: &[Vec<u8>]) -> Result<(), Fault> {
    let (warm, measured) = events.split_at(events.len() / 10);
    // The first only open connections.
    let warm = iter::once((warm, false));
    let rounds = measured
        .chunks(measured.len().div_ceil(ROUNDS))
        .zip(iter::repeat(true));
    for (events, counts) in warm.chain(rounds) {
        for bench in &mut *benches {
            if bench.program.role != Role::Nothing {
                let events = events.iter().map(Vec::as_slice);
                let cost = measure(&mut bench.process, events, Expected::Allow).await?;
                if counts {
                    bench.costs.entry(Case::Miss).or_default().add(cost);
                }
            }
        }
    }
    Ok(())
}

/// The cases that need no table, by all programs in turn.
async fn take_turns(
    benches: &mut [Bench],
    events: &[Vec<u8>],
    junk: &[u8],
    options: &Options,
) -> Result<(), Fault> {
    let known = events.last().ok_or("no event")?;
    for _ in 0..ROUNDS {
        for bench in &mut *benches {
            let count = options.repeats / ROUNDS;
            let refusal = match bench.program.role {
                Role::Authorizer => Expected::Refusal,
                Role::Nothing => Expected::Allow,
                Role::Reader => continue,
            };
            for (case, event, expected) in [
                (Case::Hit, known.as_slice(), Expected::Allow),
                (Case::Junk, junk, refusal),
            ] {
                let again = iter::repeat_n(event, count);
                let cost = measure(&mut bench.process, again, expected).await?;
                bench.costs.entry(case).or_default().add(cost);
            }
        }
    }
    Ok(())
}

/// What our start does, step by step: the median of so many starts that log it.
async fn trace(
    program: &Program,
    environment: &BTreeMap<String, String>,
    starts: usize,
) -> Result<BTreeMap<String, Duration>, Fault> {
    let mut environment = environment.clone();
    environment.insert("CLOAKROOM_LOG".to_owned(), "debug".to_owned());
    let mut steps: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for _ in 0..starts {
        let process = Bootstrap::start(program, &environment, Output::Kept).await?;
        let whole = process.started_in();
        let text = process.output().await?;
        let line = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["target"] == "cloakroom::start")
            .ok_or("the start was not logged")?;
        let mut rest = whole;
        for (n, step) in line["micros"]
            .as_str()
            .unwrap_or_default()
            .split(", ")
            .enumerate()
        {
            let (name, micros) = step.rsplit_once(' ').ok_or("a step without its time")?;
            let took = Duration::from_micros(micros.parse()?);
            rest = rest.saturating_sub(took);
            steps
                .entry(format!("{}. {name}", n + 1))
                .or_default()
                .push(took);
        }
        steps
            .entry("exec, runtime and the request for an event".to_owned())
            .or_default()
            .push(rest);
    }
    let steps = steps.into_iter();
    Ok(steps
        .map(|(name, times)| (name, percentile(times, 50)))
        .collect())
}

fn report(
    benches: &[Bench],
    trace: &BTreeMap<String, Duration>,
    scratch: &std::path::Path,
) -> Report {
    let mut report = Report {
        machine: machine::lines(),
        programs: benches.iter().map(|bench| bench.program.name).collect(),
        rows: Vec::new(),
        start: trace
            .iter()
            .map(|(name, took)| (name.clone(), millis(*took)))
            .collect(),
        aims: Vec::new(),
    };
    let mut row = |name, unit, of: &dyn Fn(&Bench) -> Option<f64>| {
        let figures = benches
            .iter()
            .filter_map(|bench| Some((bench.program.name, of(bench)?)));
        report.rows.push(Row {
            name,
            unit,
            figures: figures.collect(),
        });
    };
    row("start: exec to first /next", "ms", &|bench| {
        Some(millis(percentile(bench.starts.clone(), 50)))
    });
    row("start: first invocation", "ms", &|bench| {
        Some(millis(percentile(bench.firsts.clone(), 50)))
    });
    for (case, [cpu, median, late]) in Case::ALL {
        row(cpu, "µs", &|bench| {
            bench.costs.get(&case)?.cpu().map(micros)
        });
        row(median, "ms", &|bench| {
            Some(bench.costs.get(&case)?.latency(50))
        });
        row(late, "ms", &|bench| {
            Some(bench.costs.get(&case)?.latency(99))
        });
    }
    for (case, name) in [
        (Case::Hit, "hit: one environment"),
        (Case::Miss, "JWT in the item: one environment"),
    ] {
        row(name, "1/s", &|bench| bench.costs.get(&case)?.throughput());
    }
    row("peak memory", "MB", &|bench| {
        bench.process.peak_memory().map(megabytes)
    });
    row("zip", "MB", &|bench| {
        program::zipped(&bench.program, scratch).map(megabytes)
    });

    report.at_most_times(
        "start: exec to first /next",
        CLOAKROOM,
        ("start: exec to first /next", NODE),
        0.2,
    );
    report.at_most_above("start: exec to first /next", CLOAKROOM, EMPTY, 8.0);
    report.at_most("start: exec to first /next", CLOAKROOM, 10.0);
    report.at_most("start: first invocation", CLOAKROOM, 3.0);
    report.at_most_times("hit: CPU", CLOAKROOM, ("hit: CPU", EMPTY), 1.35);
    report.at_most_times("hit: CPU", CLOAKROOM, ("hit: CPU", NODE), 0.2);
    report.at_most("hit: CPU", CLOAKROOM, 150.0);
    report.at_most_times(
        "JWT in the item: latency",
        CLOAKROOM,
        ("JWT in the item: latency", GET_ITEM),
        1.15,
    );
    report.at_most_times(
        "JWT in the item: CPU",
        CLOAKROOM,
        ("JWT in the item: CPU", GET_ITEM),
        1.15,
    );
    // The floor is what an event costs that is not even looked at.
    report.at_most_times("junk: CPU", CLOAKROOM, ("junk: CPU", EMPTY), 1.1);
    report.at_most_times("peak memory", CLOAKROOM, ("peak memory", NODE), 0.2);
    report.at_most("peak memory", CLOAKROOM, 14.0);
    report.at_most("zip", CLOAKROOM, 4.194_304);
    report
}

/// What a case cost.
#[derive(Default)]
struct Cost {
    /// Per invocation, in each round; Linux alone tells.
    cpu: Vec<Duration>,
    latencies: Vec<Duration>,
}

impl Cost {
    fn cpu(&self) -> Option<Duration> {
        (!self.cpu.is_empty()).then(|| percentile(self.cpu.clone(), 50))
    }

    fn latency(&self, percent: usize) -> f64 {
        millis(percentile(self.latencies.clone(), percent))
    }

    /// Requests per second, one after another.
    fn throughput(&self) -> Option<f64> {
        let total: Duration = self.latencies.iter().sum();
        let count = u32::try_from(self.latencies.len()).ok()?;
        (count > 0).then(|| f64::from(count) / total.as_secs_f64())
    }

    fn add(&mut self, other: Self) {
        self.cpu.extend(other.cpu);
        self.latencies.extend(other.latencies);
    }
}

/// Every token once; the first tenth only opens connections.
async fn each_once(process: &mut Bootstrap, events: &[Vec<u8>]) -> Result<Cost, Fault> {
    let (warm, measured) = events.split_at(events.len() / 10);
    for event in warm {
        process.invoke(event, Expected::Allow).await?;
    }
    measure(process, measured.iter().map(Vec::as_slice), Expected::Allow).await
}

async fn measure<'a>(
    process: &mut Bootstrap,
    events: impl IntoIterator<Item = &'a [u8]>,
    expected: Expected,
) -> Result<Cost, Fault> {
    let before = process.cpu();
    let mut latencies = Vec::new();
    for event in events {
        latencies.push(process.invoke(event, expected).await?);
    }
    let spent = iter::zip(before, process.cpu()).next();
    let count = u32::try_from(latencies.len())?;
    Ok(Cost {
        cpu: spent
            .map(|(before, after)| after.saturating_sub(before) / count)
            .into_iter()
            .collect(),
        latencies,
    })
}

/// `count` new tokens.
async fn tokens(system: &System, count: usize) -> Vec<String> {
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        tokens.push(oauth::machine_token(system).await);
    }
    tokens
}
