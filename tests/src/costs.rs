//! What a month costs, from what `make bench` has measured, what the simulation counts
//! and what AWS asks: `make costs`.
//!
//! Without a gateway's cache, which would divide all but the first row alike, and without
//! what all have to pay alike: the API itself, the services, traffic, storage.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes are far below 2^52"
)]

use crate::simulation::{self, Counts, Latency, Mode, Scenario};
use cloakroom_domain::config::Config;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Dollars, us-east-1, on demand. Each source was read in November 2026, as a copy of
/// the page; docs/performance.md names them.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// Lambda: an invocation.
    pub invocation: f64,
    /// Lambda: a GB for a second, on x86.
    pub gb_second: f64,
    /// CloudWatch Logs, of Lambda: a GB, up to so many of them a month, and so on.
    pub logs: [(f64, f64); 4],
    /// CloudWatch: a metric for a month.
    pub metric: f64,
    /// KMS: a key for a month.
    pub key: f64,
    /// Verified Permissions: a question.
    pub question: f64,
    /// Cognito: a user of another identity provider who signs in that month.
    pub user: f64,
    /// Of whom so many are free.
    pub free_users: f64,
    /// DynamoDB and KMS.
    pub calls: simulation::Prices,
}

impl Default for Prices {
    fn default() -> Self {
        const TB: f64 = 1024.0;
        Self {
            invocation: 0.20 / 1e6,
            gb_second: 0.000_016_666_7,
            logs: [
                (10.0 * TB, 0.50),
                (30.0 * TB, 0.25),
                (50.0 * TB, 0.10),
                (f64::INFINITY, 0.05),
            ],
            metric: 0.30,
            key: 1.0,
            question: 5.0 / 1e6,
            user: 0.015,
            free_users: 50.0,
            calls: simulation::Prices::default(),
        }
    }
}

/// What is assumed.
#[derive(Clone, Copy, Debug)]
pub struct Assumed {
    /// Users who sign in within a month, for each request per second.
    pub users: f64,
    /// Bytes that Lambda itself writes to the log for each invocation.
    pub platform_line: f64,
    /// Bytes of our own line.
    pub our_line: f64,
    /// Metrics of ours, by function and outcome.
    pub metrics: f64,
    /// Keys of ours: one signs, one seals.
    pub keys: f64,
    /// Microseconds that Verified Permissions takes to answer.
    pub question: u64,
    /// Seconds that an execution environment lives.
    pub environment: f64,
    /// Seconds that are simulated.
    pub simulated: u64,
}

impl Default for Assumed {
    fn default() -> Self {
        Self {
            users: 100.0,
            platform_line: 350.0,
            our_line: 600.0,
            metrics: 25.0,
            keys: 2.0,
            question: 20_000,
            environment: 7200.0,
            simulated: 600,
        }
    }
}

/// Seconds.
const MONTH: f64 = 30.0 * 86_400.0;

/// Megabytes of memory with which a function has a whole processor.
const WHOLE_PROCESSOR: f64 = 1769.0;

/// Megabytes.
pub const MEMORY: [u32; 4] = [128, 256, 512, 1024];

/// Requests per second.
pub const RATES: [f64; 3] = [10.0, 1_000.0, 20_000.0];

/// A report of `make bench`.
#[derive(Clone, Debug, Deserialize)]
pub struct Measured {
    machine: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    figures: BTreeMap<String, f64>,
}

impl Measured {
    /// A figure, in the unit of the report.
    fn figure(&self, row: &str, program: &str) -> Result<f64, String> {
        let row = self.rows.iter().find(|each| each.name == row).ok_or(row)?;
        let figure = row.figures.get(program).copied();
        figure.ok_or_else(|| format!("{} of {program} was not measured", row.name))
    }

    /// Milliseconds on a processor.
    fn cpu(&self, case: &str, program: &str) -> Result<f64, String> {
        Ok(self.figure(&format!("{case}: CPU"), program)? / 1000.0)
    }
}

/// What can be bought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// This, with JWTs by KMS.
    Kms,
    /// This, in data-key mode.
    DataKey,
    /// An authorizer in Node that remembers nothing: a read and a signature each time.
    Node,
    /// An authorizer in Node that asks Verified Permissions.
    VerifiedPermissions,
}

impl Choice {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [
        Self::Kms,
        Self::DataKey,
        Self::Node,
        Self::VerifiedPermissions,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kms => "Cloakroom, JWTs by KMS",
            Self::DataKey => "Cloakroom, `data-key`",
            Self::Node => "Node authorizer without cache, JWTs by KMS",
            Self::VerifiedPermissions => "Node authorizer that asks Verified Permissions",
        }
    }
}

/// Invocations of one kind: how many in a month, their time on a processor, and what
/// they wait for, in milliseconds.
struct Work {
    count: f64,
    cpu: f64,
    waits: f64,
}

impl Work {
    /// Dollars for the time, which is billed by whole milliseconds. With less memory
    /// there is less of a processor.
    fn dollars(&self, memory: u32, prices: &Prices) -> f64 {
        let share = (f64::from(memory) / WHOLE_PROCESSOR).min(1.0);
        let billed = (self.cpu / share + self.waits).ceil();
        self.count * billed / 1000.0 * f64::from(memory) / 1024.0 * prices.gb_second
    }
}

/// What a month costs with one choice, by [`MEMORY`].
///
/// # Errors
///
/// When a figure is missing.
pub fn month(
    choice: Choice,
    rate: f64,
    measured: &Measured,
    assumed: &Assumed,
    prices: &Prices,
) -> Result<[f64; 4], String> {
    let requests = rate * MONTH;
    let Latency { read, sign, .. } = Scenario::default().latency;
    let Bill {
        work,
        calls,
        line,
        fixed,
    } = match choice {
        Choice::Kms => ours(Mode::Shared, rate, measured, assumed, prices)?,
        Choice::DataKey => ours(Mode::DataKey, rate, measured, assumed, prices)?,
        Choice::Node => Bill {
            work: vec![Work {
                count: requests,
                cpu: measured.cpu("first use", "node")?,
                waits: millis(read + sign),
            }],
            calls: requests / 1e6 * (prices.calls.sign + prices.calls.read_unit),
            line: 0.0,
            fixed: prices.key,
        },
        Choice::VerifiedPermissions => Bill {
            work: vec![Work {
                count: requests,
                // One call of an AWS service, as for a read.
                cpu: measured.cpu("JWT in the item", "node")?,
                waits: millis(assumed.question),
            }],
            calls: requests * prices.question,
            line: 0.0,
            fixed: 0.0,
        },
    };
    let gigabytes = requests * (assumed.platform_line + line) / f64::from(1_u32 << 30);
    let same = requests * prices.invocation + calls + logs(gigabytes, prices) + fixed;
    Ok(MEMORY.map(|memory| {
        let time: f64 = work.iter().map(|work| work.dollars(memory, prices)).sum();
        same + time
    }))
}

/// What a month consists of.
struct Bill {
    work: Vec<Work>,
    /// Dollars for calls of other services.
    calls: f64,
    /// Bytes that the function writes for each request.
    line: f64,
    /// Dollars for what is there whether it is used or not.
    fixed: f64,
}

/// Our own month: how many requests are answered from memory, from the item or with a
/// signature, the simulation says.
fn ours(
    mode: Mode,
    rate: f64,
    measured: &Measured,
    assumed: &Assumed,
    prices: &Prices,
) -> Result<Bill, String> {
    let requests = rate * MONTH;
    // Twice as many as are busy at once, at 5 ms each, and one more.
    let environments = (rate * 0.005 * 2.0).ceil() + 1.0;
    let counts = simulated(mode, rate, environments, assumed)?;
    let a_month = |count: u64| count as f64 * requests / counts.requests as f64;
    let (signs, reads) = (a_month(counts.signs), a_month(counts.reads));
    let others = a_month(counts.other_reads).min(requests - reads);
    let starts = environments * MONTH / assumed.environment;
    let calls_of_starts = starts * (counts.start_calls as f64 / counts.starts as f64);
    let Latency { read, write, sign } = Scenario::default().latency;
    let cpu = |case| measured.cpu(case, "cloakroom");
    let work = vec![
        Work {
            count: requests - reads - others,
            cpu: cpu("hit")?,
            waits: 0.0,
        },
        Work {
            count: reads - signs + others,
            cpu: cpu("JWT in the item")?,
            waits: millis(read),
        },
        Work {
            count: signs,
            cpu: cpu("first use")?,
            waits: millis(read + sign + write),
        },
        Work {
            count: starts,
            cpu: measured.figure("start: exec to first /next", "cloakroom")?,
            waits: millis(read),
        },
    ];
    let of = prices.calls;
    let per_million = signs * of.sign
        + (reads + others) * of.read_unit
        + a_month(counts.writes) * of.family * of.write_unit
        + calls_of_starts * of.symmetric;
    Ok(Bill {
        work,
        calls: per_million / 1e6,
        line: assumed.our_line,
        fixed: assumed.keys * prices.key + assumed.metrics * prices.metric,
    })
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// Cognito and the JWT authorizer of an HTTP API, whose requests cost nothing more than
/// the API's: what counts are the users.
pub fn cognito(rate: f64, assumed: &Assumed, prices: &Prices) -> f64 {
    (rate * assumed.users - prices.free_users).max(0.0) * prices.user
}

/// As many tokens as users.
fn simulated(
    mode: Mode,
    rate: f64,
    environments: f64,
    assumed: &Assumed,
) -> Result<Counts, String> {
    let config = "config_version = 1\nissuer = \"https://app.example.com\"\n";
    let config = Config::parse(config).map_err(|error| error.to_string())?;
    let scenario = Scenario {
        environments: whole(environments),
        tokens: whole(rate * assumed.users),
        rate,
        duration: assumed.simulated,
        ..Scenario::default()
    };
    Ok(simulation::run(mode, &scenario, &config))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most some millions, and positive"
)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}

fn logs(gigabytes: f64, prices: &Prices) -> f64 {
    let mut below = 0.0;
    let mut dollars = 0.0;
    for (end, price) in prices.logs {
        dollars += (gigabytes.min(end) - below).max(0.0) * price;
        below = end;
    }
    dollars
}

/// All of it, in Markdown.
///
/// # Errors
///
/// When a figure is missing.
pub fn tables(measured: &Measured) -> Result<String, String> {
    let (assumed, prices) = (Assumed::default(), Prices::default());
    let mut text = String::new();
    for line in &measured.machine {
        let _ = writeln!(text, "{line}");
    }
    for rate in RATES {
        let millions = rate * MONTH / 1e6;
        let _ = writeln!(
            text,
            "\n{rate} requests per second ({millions:.1} million a month), {} users:\n",
            rate * assumed.users
        );
        text.push_str("| $ per million requests ($ per month) |");
        for memory in MEMORY {
            let _ = write!(text, " {memory} MB |");
        }
        text.push_str("\n|---|---:|---:|---:|---:|\n");
        for choice in Choice::ALL {
            let _ = write!(text, "| {} |", choice.name());
            for dollars in month(choice, rate, measured, &assumed, &prices)? {
                let _ = write!(text, " {} |", money(dollars, millions));
            }
            text.push('\n');
        }
        let dollars = cognito(rate, &assumed, &prices);
        let _ = writeln!(
            text,
            "| Cognito and a JWT authorizer: no function | {} | | | |",
            money(dollars, millions)
        );
    }
    Ok(text)
}

fn money(month: f64, millions: f64) -> String {
    format!("{:.2} ({month:.0})", month / millions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let row = |name: &str, cloakroom: f64, node: f64| serde_json::json!({"name": name, "unit": "", "figures": {"cloakroom": cloakroom, "node": node}});
        let report = serde_json::json!({
            "machine": [],
            "rows": [
                row("hit: CPU", 100.0, 500.0),
                row("JWT in the item: CPU", 200.0, 1000.0),
                row("first use: CPU", 400.0, 2000.0),
                row("start: exec to first /next", 8.0, 200.0),
            ],
        });
        serde_json::from_value(report).unwrap()
    }

    fn is(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6 * other.abs().max(1.0)
    }

    #[test]
    fn time_is_billed_by_whole_milliseconds_of_the_share_of_a_processor() {
        let prices = Prices {
            gb_second: 1.0,
            ..Prices::default()
        };
        let work = |cpu, waits| Work {
            count: 1000.0,
            cpu,
            waits,
        };
        assert!(is(work(0.1, 0.0).dollars(1024, &prices), 1.0));
        // 0.1 ms of a processor of which there is a fourteenth: 1.4 ms, billed as 2.
        assert!(is(work(0.1, 0.0).dollars(128, &prices), 0.25));
        assert!(is(work(0.1, 4.0).dollars(128, &prices), 0.75));
        assert!(is(work(1.0, 0.0).dollars(2048, &prices), 2.0));
    }

    #[test]
    fn logs_grow_cheaper_tier_by_tier() {
        let prices = Prices::default();
        assert!(is(logs(1024.0, &prices), 512.0));
        // AWS's own example, in terabytes of 1,000 GB there: 60 TB for 12,500 $.
        assert!(is(logs(60.0 * 1024.0, &prices), 12_500.0 * 1.024));
    }

    #[test]
    fn a_month_of_node_is_its_calls_its_time_and_its_lines() {
        let (assumed, prices) = (Assumed::default(), Prices::default());
        let requests = 10.0 * MONTH;
        let [_, _, _, dollars] = month(Choice::Node, 10.0, &measured(), &assumed, &prices).unwrap();
        // 2 ms of CPU by 1024 of 1769 MB is 3.5 ms, after 34 ms for a read and a signature.
        let time = requests * 0.038 * prices.gb_second;
        let calls = requests / 1e6 * (0.20 + 3.0 + 0.125);
        let lines = requests * 350.0 / f64::from(1_u32 << 30) * 0.50;
        assert!(is(dollars, time + calls + lines + 1.0), "{dollars}");
    }

    #[test]
    fn ours_costs_less_than_what_asks_each_time_and_data_keys_least() {
        let (assumed, prices) = (Assumed::default(), Prices::default());
        let of = |choice| month(choice, 10.0, &measured(), &assumed, &prices).unwrap()[1];
        assert!(of(Choice::Kms) < of(Choice::Node));
        assert!(of(Choice::DataKey) < of(Choice::Kms));
        assert!(of(Choice::Node) < of(Choice::VerifiedPermissions));
    }

    #[test]
    fn cognito_is_paid_by_users() {
        let (assumed, prices) = (Assumed::default(), Prices::default());
        assert!(is(cognito(10.0, &assumed, &prices), 950.0 * 0.015));
        assert!(is(cognito(0.1, &assumed, &prices), 0.0));
    }

    #[test]
    fn a_figure_that_was_not_measured_is_named() {
        let mut measured = measured();
        measured.rows.remove(0);
        let error = month(
            Choice::Kms,
            10.0,
            &measured,
            &Assumed::default(),
            &Prices::default(),
        );
        assert_eq!(error.unwrap_err(), "hit: CPU");
    }
}
