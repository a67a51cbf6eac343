//! `cloakroom check`: every fault of a configuration at once.

mod clients;
mod routes;
mod size;

use crate::failure::Failure;
use crate::place::{self, Place};
use crate::{Answer, print};
use cloakroom_domain::config::Config;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Judges a configuration: every fault on a line of its own
///
/// Warnings fail with --strict alone. `CLOAKROOM_ISSUER` replaces the file's issuer, as it does for
/// the functions.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cloakroom check\n  cloakroom check deploy/cloakroom.toml --json\n  cloakroom check --strict\n  cloakroom check --schema > cloakroom.schema.json"
)]
pub(crate) struct Args {
    /// The file [default: --config, $CLOAKROOM_CONFIG, ./cloakroom.toml]
    file: Option<PathBuf>,
    /// Warnings fail, too
    #[arg(long)]
    strict: bool,
    /// Prints the JSON Schema of the file instead
    #[arg(long, conflicts_with_all = ["file", "strict"])]
    schema: bool,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    file: String,
    faults: Vec<String>,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
}

/// What a good configuration holds, and the numbers that follow from it.
#[derive(Debug, Serialize)]
struct Summary {
    identity_providers: usize,
    clients: usize,
    audiences: usize,
    routes: usize,
    gateway_ttl: u64,
    memory_ttl: u64,
    min_jwt_life: u64,
}

pub(crate) fn run(place: &Place, args: &Args) -> Result<Answer, Failure> {
    if args.schema {
        print::json(&sorted(Config::json_schema()));
        return Ok(true.into());
    }
    let path = args.file.clone().unwrap_or_else(|| place.config_path());
    let text = place::read(&path)?;
    let report = report(path.display().to_string(), &text);
    if args.json {
        print::json(&report);
    } else {
        report.print(&text);
    }
    let quiet = report.warnings.is_empty() || !args.strict;
    Ok((report.ok && quiet).into())
}

/// The same whatever map the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.into_iter().collect();
            let members = members.into_iter();
            Value::Object(members.map(|(name, value)| (name, sorted(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn report(file: String, text: &str) -> Report {
    match place::judge(text) {
        Ok(config) => Report {
            ok: true,
            file,
            faults: Vec::new(),
            warnings: warnings(&config),
            summary: Some(Summary::of(&config)),
        },
        Err(error) => Report {
            ok: false,
            file,
            faults: error.faults().to_vec(),
            warnings: Vec::new(),
            summary: None,
        },
    }
}

impl Report {
    fn print(&self, text: &str) {
        for fault in &self.faults {
            let place = line(fault, text).map_or(String::new(), |line| format!("line {line}: "));
            print::line(&format!("{}: {place}{fault}", self.file));
        }
        for warning in &self.warnings {
            print::line(&format!("warning: {warning}"));
        }
        if let Some(summary) = &self.summary {
            print::line(&format!("{}: {}", self.file, summary.sentence()));
        }
    }
}

impl Summary {
    fn of(config: &Config) -> Self {
        Self {
            identity_providers: config.identity_providers.len(),
            clients: config.clients.len(),
            audiences: config.audiences.len(),
            routes: config.routes.len(),
            gateway_ttl: config.gateway_ttl(),
            memory_ttl: config.memory_ttl(),
            min_jwt_life: config.min_jwt_life(),
        }
    }

    fn sentence(&self) -> String {
        format!(
            "ok: {}, {}, {}, {}; gateway TTL {} s, memory TTL {} s, minimum JWT life {} s",
            count(self.identity_providers, "identity provider"),
            count(self.clients, "client"),
            count(self.audiences, "audience"),
            count(self.routes, "route"),
            self.gateway_ttl,
            self.memory_ttl,
            self.min_jwt_life
        )
    }
}

/// Where the setting is that a fault begins with (`routes[3].path …`), or else its table.
fn line(fault: &str, text: &str) -> Option<usize> {
    let (table, rest) = fault.split_once('[')?;
    let (number, rest) = rest.split_once(']')?;
    let header = format!("[[{table}]]");
    let mut lines = text.lines().map(str::trim_start).enumerate();
    let is_header = |(_, line): &(usize, &str)| line.starts_with(&header);
    let (at, _) = lines.by_ref().filter(is_header).nth(number.parse().ok()?)?;
    let setting = rest.strip_prefix('.').unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let setting = setting.split(|c| !is_name(c)).next().unwrap_or_default();
    let found = lines
        .take_while(|(_, line)| !line.starts_with("[["))
        .find(|(_, line)| {
            let rest = line.strip_prefix(setting).filter(|_| !setting.is_empty());
            rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
        });
    Some(found.map_or(at, |(line, _)| line) + 1)
}

/// What is allowed and yet hardly meant.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = routes::warnings(config);
    warnings.extend(size::warnings(config));
    warnings.extend(clients::warnings(config));
    if config.shares_answers() {
        warnings.push(format!(
            "authorizer.identity_sources: the gateway keeps answers for {} s and does not tell routes apart by them, so that a token is refused on every other route until then; add the method and the resource path, or the route key",
            config.gateway_ttl()
        ));
    }
    warnings
}

/// `1 key`, `2 keys`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom_local::system::DEMO_CONFIG;

    fn judged(text: &str) -> Report {
        report("file".to_owned(), text)
    }

    #[test]
    fn a_fault_is_found_by_its_line() {
        let text = "issuer = \"x\"\n[[routes]]\npath = \"/a\"\n[[routes]]\n  path = \"/b\"\n";
        assert_eq!(line("routes[1].path must be", text), Some(5));
        assert_eq!(line("routes[0].path must be", text), Some(3));
        assert_eq!(line("routes[1] repeats", text), Some(4));
        assert_eq!(line("routes[1].audience must", text), Some(4));
        assert_eq!(line("routes[2].path must be", text), None);
        assert_eq!(line("issuer must be", text), None);
        assert_eq!(line("line 3: unknown field", text), None);
    }

    #[test]
    fn the_demo_is_good_and_every_route_has_somebody_who_passes() {
        let report = judged(DEMO_CONFIG);
        assert!(report.ok);
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert_eq!(
            report.summary.unwrap().sentence(),
            "ok: 1 identity provider, 2 clients, 2 audiences, 5 routes; gateway TTL 0 s, memory TTL 5 s, minimum JWT life 89 s"
        );
    }

    #[test]
    fn a_route_that_nobody_can_pass_is_a_warning_by_its_number() {
        let route = "\n[[routes]]\nmethod = \"GET\"\npath = \"/api/x\"\naudience = \"orders\"\n";
        let cases = [
            ("scopes = [\"orders:read\"]", true),
            ("scopes = [\"orders:write\"]", false),
            ("any_scope = [\"orders:write\", \"orders:read\"]", true),
            ("token = \"client\"\nscopes = [\"orders:read\"]", true),
            ("token = \"client\"\nscopes = [\"offline_access\"]", false),
            ("token = \"user\"\nscopes = [\"offline_access\"]", true),
            ("token = \"user\"\nclients = [\"demo-machine\"]", false),
            ("token = \"user\"\nclients = [\"demo-native\"]", true),
            ("roles = [\"admin\"]\nacr = [\"gold\"]\nmax_age = 60", true),
        ];
        for (demand, passes) in cases {
            let report = judged(&format!("{DEMO_CONFIG}{route}{demand}\n"));
            assert!(report.ok, "{demand}: {:?}", report.faults);
            assert_eq!(report.warnings.is_empty(), passes, "{demand}");
            let names = |line: &String| line.ends_with("the scope orders:write");
            let unknown = demand == "scopes = [\"orders:write\"]";
            assert_eq!(report.warnings.iter().any(names), unknown, "{demand}");
            assert!(
                report
                    .warnings
                    .iter()
                    .all(|line| line.starts_with("routes[5]"))
            );
        }
    }

    #[test]
    fn d101_a_secret_with_a_slow_hash_is_a_warning_by_its_client() {
        let client = |hash: &str| {
            let client = format!(
                "\n[[clients]]\nid = \"batch\"\nkind = \"confidential\"\nsecrets = [\"{hash}\"]\ngrants = [\"client_credentials\"]\n"
            );
            judged(&format!("{DEMO_CONFIG}{client}"))
        };
        let slow = client(
            "argon2id:$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        assert!(slow.ok, "{:?}", slow.faults);
        assert_eq!(slow.warnings.len(), 1);
        assert!(slow.warnings[0].starts_with("clients[2].secrets: an Argon2id hash"));
        let fast = client("sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert!(fast.ok && fast.warnings.is_empty(), "{:?}", fast.faults);
    }

    #[test]
    fn d78_a_cache_that_does_not_tell_routes_apart_is_reported() {
        let judged = |sources: &str, more: &str| {
            let authorizer = format!("\n[authorizer]\nidentity_sources = [{sources}]\n{more}");
            let text = DEMO_CONFIG.replace("max_latency = 5", "max_latency = 60");
            let text = text.replace(
                "http://localhost:3000\"",
                "http://localhost:3000\"\nedge = \"cloudfront\"",
            );
            judged(&format!("{text}{authorizer}"))
        };
        let warned = |report: &Report| {
            let mut lines = report.warnings.iter();
            lines.any(|line| line.starts_with("authorizer.identity_sources"))
        };
        let token = "\"method.request.header.Authorization\"";
        let report = judged(token, "");
        assert!(
            report.ok && warned(&report),
            "{:?} {:?}",
            report.faults,
            report.warnings
        );
        let whole = format!("{token}, \"context.httpMethod\", \"context.resourcePath\"");
        assert!(!warned(&judged(&whole, "")));
        let http = "\"$request.header.x-cloakroom-token\"";
        let report = judged(http, "");
        assert!(
            report
                .faults
                .iter()
                .any(|fault| fault.contains("$context.routeKey"))
        );
        let report = judged(http, "simple_responses = false");
        assert!(report.ok && warned(&report), "{:?}", report.faults);
        let keyed = format!("{http}, \"$context.routeKey\"");
        let report = judged(&keyed, "");
        assert!(report.ok && !warned(&report), "{:?}", report.faults);
        // Nothing is kept.
        assert!(!warned(&judged(token, "gateway_ttl = 0")));
    }

    #[test]
    fn a_role_that_no_provider_hands_on_is_nobodys() {
        let demand = "\n[[routes]]\nmethod = \"GET\"\npath = \"/api/x\"\naudience = \"orders\"\nroles = [\"owner\"]\n";
        for (allowed, passes) in [("owner", true), ("user", false)] {
            let text = DEMO_CONFIG.replace(
                "claims.allow_roles = [\"admin\", \"user\"]",
                &format!("claims.allow_roles = [\"{allowed}\", \"admin\"]"),
            );
            let report = judged(&format!("{text}{demand}"));
            assert!(report.ok, "{:?}", report.faults);
            assert_eq!(report.warnings.is_empty(), passes, "{allowed}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once_without_its_value() {
        let text = DEMO_CONFIG
            .replace("http://localhost:3000", "http://canary.example")
            .replace("max_latency = 5", "max_latency = 4000")
            .replace("kind = \"public\"", "kind = \"confidential\"");
        let report = judged(&text);
        assert!(!report.ok && report.summary.is_none());
        for setting in [
            "issuer",
            "jwt.lifetime",
            "revocation.max_latency",
            "clients[1].secrets",
        ] {
            let named = |fault: &&String| fault.starts_with(setting);
            assert_eq!(report.faults.iter().filter(named).count(), 1, "{setting}");
        }
        assert!(report.faults.iter().all(|fault| !fault.contains("canary")));
    }
}
