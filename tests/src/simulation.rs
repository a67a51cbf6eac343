//! What a large system costs: a discrete-event run of many execution environments
//! and very many tokens, by the rules of the authorizer and the numbers of its
//! configuration.
//!
//! Requests come as a Poisson process, to tokens by Zipf's law, to environments at
//! random, which is the worst that a load balancer can do to memories. Reads, writes
//! and signatures take their time, so that environments race for a signature as they
//! would. That the model does what the authorizer does is tested against the
//! authorizer itself, call by call (`tests/it/signing/simulation.rs`).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and microseconds are far below 2^52"
)]

mod random;
mod report;

pub use report::{Prices, Row, table};

use cloakroom_domain::config::Config;
use cloakroom_domain::keyset::RECORD_TTL;
use random::{Random, Zipf};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// What is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Nothing: each request reads and has KMS sign.
    NoCache,
    /// Each environment remembers for itself.
    Memory,
    /// As it is: memory, and JWTs shared through the item.
    Shared,
    /// As it is in data-key mode: memory, and signatures in the process.
    DataKey,
}

impl Mode {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::NoCache, Self::Memory, Self::Shared, Self::DataKey];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCache => "no cache",
            Self::Memory => "memory only",
            Self::Shared => "memory + shared JWT",
            Self::DataKey => "data-key",
        }
    }
}

/// How long things take, in microseconds; each time between half of it and half as
/// much again.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// A read of the table.
    pub read: u64,
    /// A write.
    pub write: u64,
    /// A signature by KMS.
    pub sign: u64,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Execution environments, all started at once.
    pub environments: u32,
    /// Tokens in use; of one audience.
    pub tokens: u32,
    /// Requests per second.
    pub rate: f64,
    /// Seconds.
    pub duration: u64,
    /// Zipf's exponent.
    pub skew: f64,
    /// Same seed, same run.
    pub seed: u64,
    /// Whether JWTs are renewed a little before they must be, as they are; that is
    /// decided by dice, so it is left out where calls are compared one by one.
    pub renews_ahead: bool,
    /// How long things take.
    pub latency: Latency,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            environments: 1_000,
            tokens: 1_000_000,
            rate: 10_000.0,
            duration: 1_200,
            skew: 1.0,
            seed: 1,
            renews_ahead: true,
            latency: Latency {
                read: 4_000,
                write: 6_000,
                sign: 30_000,
            },
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Environments that have started.
    pub starts: u64,
    /// Signatures by KMS.
    pub signs: u64,
    /// Calls of KMS at starts: the root MAC, and in data-key mode the unwrapping.
    pub start_calls: u64,
    /// Reads of families.
    pub reads: u64,
    /// Reads of the epoch and, in data-key mode, of the key set: per environment and
    /// time, not per request.
    pub other_reads: u64,
    /// Writes of families.
    pub writes: u64,
    /// Signatures that one environment alone would have needed: one per token,
    /// audience and JWT life.
    pub lives: u64,
}

/// The authorizer's numbers, from the configuration.
#[derive(Clone, Copy, Debug)]
struct Rules {
    lifetime: u32,
    min_life: u32,
    memory_ttl: u32,
    epoch_ttl: u32,
    record_ttl: u32,
}

impl Rules {
    fn of(config: &Config) -> Self {
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
        Self {
            lifetime: seconds(config.jwt.lifetime),
            min_life: seconds(config.min_jwt_life()),
            memory_ttl: seconds(config.memory_ttl()),
            epoch_ttl: seconds(config.epoch_ttl()),
            record_ttl: seconds(RECORD_TTL),
        }
    }

    /// Whether a JWT that ends at `expiry` may be handed out at `now`.
    fn alive(&self, expiry: u32, now: u32) -> bool {
        expiry > now && expiry - now >= self.min_life
    }
}

/// What an environment remembers of a token.
#[derive(Clone, Copy)]
struct Remembered {
    read_at: u32,
    /// Its JWT's expiry; 0 if it has none.
    jwt: u32,
}

/// As the authorizer's memory is: two generations.
#[derive(Default)]
struct Memory {
    young: Entries,
    old: Entries,
    epoch_read: Option<u32>,
    record_read: Option<u32>,
}

type Entries = HashMap<u32, Remembered, BuildHasherDefault<Mix>>;

/// What the authorizer's memory holds in a generation.
const GENERATION: usize = 2_000;

impl Memory {
    fn recall(&mut self, token: u32, now: u32, ttl: u32) -> Option<&mut Remembered> {
        let found = if self.young.contains_key(&token) {
            self.young.get_mut(&token)
        } else {
            self.old.get_mut(&token)
        };
        found.filter(|found| now.saturating_sub(found.read_at) < ttl)
    }

    fn keep(&mut self, token: u32, entry: Remembered) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, entry);
    }
}

/// Tokens are small numbers: spread them.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

/// A request on its way.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Flight {
    environment: u32,
    token: u32,
    /// When it came, in seconds.
    came: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// The table answers.
    Read,
    /// KMS has signed.
    Signed,
    /// The table has the JWT that ends then.
    Written(u32),
}

/// A system at a moment.
#[expect(
    missing_debug_implementations,
    reason = "millions of numbers are nothing to look at"
)]
pub struct Simulation {
    mode: Mode,
    rules: Rules,
    renews_ahead: bool,
    latency: Latency,
    random: Random,
    memories: Vec<Memory>,
    /// By token: when the JWT in its item ends.
    slots: Vec<u32>,
    /// By token: when the JWT ends that one environment alone would have made.
    ideal: Vec<u32>,
    flights: BinaryHeap<Reverse<(u64, u64, Flight)>>,
    departures: u64,
    counts: Counts,
}

/// Runs a scenario.
pub fn run(mode: Mode, scenario: &Scenario, config: &Config) -> Counts {
    let mut simulation = Simulation::new(mode, scenario, config);
    let mut random = Random::new(scenario.seed);
    let zipf = Zipf::new(scenario.tokens, scenario.skew);
    let end = scenario.duration * 1_000_000;
    let mut now = 0.0;
    loop {
        now += random.exponential() * 1_000_000.0 / scenario.rate;
        let at = now as u64;
        if at >= end {
            break;
        }
        let (environment, token) = (
            random.below(scenario.environments),
            zipf.sample(&mut random),
        );
        simulation.request(at, environment, token);
    }
    simulation.finish()
}

impl Simulation {
    /// All environments start at the beginning.
    pub fn new(mode: Mode, scenario: &Scenario, config: &Config) -> Self {
        let (environments, tokens) = (scenario.environments, scenario.tokens as usize);
        let mut memories = Vec::new();
        memories.resize_with(environments as usize, Memory::default);
        let mut counts = Counts {
            starts: environments.into(),
            start_calls: environments.into(),
            ..Counts::default()
        };
        if mode == Mode::DataKey {
            counts.start_calls *= 2;
            counts.other_reads += u64::from(environments);
            for memory in &mut memories {
                memory.record_read = Some(0);
            }
        }
        Self {
            mode,
            rules: Rules::of(config),
            renews_ahead: scenario.renews_ahead,
            latency: scenario.latency,
            random: Random::new(scenario.seed ^ 0x5eed),
            memories,
            slots: vec![0; tokens],
            ideal: vec![0; tokens],
            flights: BinaryHeap::new(),
            departures: 0,
            counts,
        }
    }

    /// A request at this microsecond, to an environment with a token. Requests come
    /// in the order of their times.
    pub fn request(&mut self, at: u64, environment: u32, token: u32) {
        self.land(at);
        self.counts.requests += 1;
        let now = second(at);
        if !self.rules.alive(self.ideal[token as usize], now) {
            self.ideal[token as usize] = now + self.rules.lifetime;
            self.counts.lives += 1;
        }
        self.read_what_all_need(environment, now);
        let flight = Flight {
            environment,
            token,
            came: now,
            stage: Stage::Read,
        };
        let remembered = match self.mode {
            Mode::NoCache => None,
            Mode::Memory | Mode::Shared | Mode::DataKey => {
                self.memories[environment as usize].recall(token, now, self.rules.memory_ttl)
            }
        };
        let Some(remembered) = remembered else {
            self.depart(at, self.latency.read, flight);
            return;
        };
        if self.rules.alive(remembered.jwt, now) {
            return;
        }
        match self.mode {
            Mode::DataKey => remembered.jwt = now + self.rules.lifetime,
            // Somebody else may have had it signed.
            Mode::Shared => self.depart(at, self.latency.read, flight),
            Mode::Memory | Mode::NoCache => self.sign(at, flight),
        }
    }

    /// Everything that is under way ends.
    pub fn finish(mut self) -> Counts {
        self.land(u64::MAX);
        self.counts
    }

    /// The epoch, and the record of the keys.
    fn read_what_all_need(&mut self, environment: u32, now: u32) {
        let memory = &mut self.memories[environment as usize];
        let over = |read: Option<u32>, ttl| read.is_none_or(|read| now - read >= ttl);
        if over(memory.epoch_read, self.rules.epoch_ttl) {
            memory.epoch_read = Some(now);
            self.counts.other_reads += 1;
        }
        if self.mode == Mode::DataKey && over(memory.record_read, self.rules.record_ttl) {
            memory.record_read = Some(now);
            self.counts.other_reads += 1;
        }
    }

    fn sign(&mut self, at: u64, flight: Flight) {
        self.counts.signs += 1;
        let stage = Stage::Signed;
        self.depart(at, self.latency.sign, Flight { stage, ..flight });
    }

    fn depart(&mut self, at: u64, takes: u64, flight: Flight) {
        let takes = takes / 2 + self.random.below_u64(takes + 1);
        self.departures += 1;
        self.flights
            .push(Reverse((at + takes, self.departures, flight)));
    }

    /// Whatever ends until then.
    fn land(&mut self, until: u64) {
        while let Some(Reverse((at, _, _))) = self.flights.peek()
            && *at <= until
            && let Some(Reverse((at, _, flight))) = self.flights.pop()
        {
            self.arrive(at, flight);
        }
    }

    fn arrive(&mut self, at: u64, flight: Flight) {
        let Flight { token, came, .. } = flight;
        let made = came + self.rules.lifetime;
        match flight.stage {
            Stage::Read => {
                self.counts.reads += 1;
                let slot = self.slots[token as usize];
                let shared = self.mode == Mode::Shared && self.rules.alive(slot, came);
                if shared && !self.is_due(slot, came) {
                    self.remember(flight, slot);
                } else if self.mode == Mode::DataKey {
                    self.remember(flight, made);
                } else {
                    self.sign(at, flight);
                }
            }
            Stage::Signed if self.mode == Mode::Shared => {
                let stage = Stage::Written(made);
                self.depart(at, self.latency.write, Flight { stage, ..flight });
            }
            Stage::Signed => self.remember(flight, made),
            Stage::Written(expiry) => {
                self.counts.writes += 1;
                self.slots[token as usize] = expiry;
                self.remember(flight, expiry);
            }
        }
    }

    /// As the authorizer throws its dice: one of two requests renews in the last
    /// second in which a JWT is good, one of four in the second before, and so on.
    fn is_due(&mut self, expiry: u32, now: u32) -> bool {
        let spare = expiry - now - self.rules.min_life;
        self.renews_ahead && spare < self.random.zeros()
    }

    fn remember(&mut self, flight: Flight, jwt: u32) {
        if self.mode == Mode::NoCache || self.rules.memory_ttl == 0 {
            return;
        }
        let memory = &mut self.memories[flight.environment as usize];
        // A JWT that is made for a remembered identity makes that no younger.
        let known = memory.recall(flight.token, flight.came, self.rules.memory_ttl);
        match known {
            Some(known) if self.mode == Mode::Memory => known.jwt = jwt,
            _ => memory.keep(
                flight.token,
                Remembered {
                    read_at: flight.came,
                    jwt,
                },
            ),
        }
    }
}

/// The whole second, as the authorizer's clock shows it.
fn second(at: u64) -> u32 {
    u32::try_from(at / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::parse("config_version = 1\nissuer = \"https://app.example\"\n").unwrap()
    }

    /// A tenth of the tokens and environments, for as long as four JWTs live.
    fn small() -> Scenario {
        Scenario {
            environments: 100,
            tokens: 20_000,
            rate: 500.0,
            duration: 900,
            ..Scenario::default()
        }
    }

    #[test]
    fn shared_jwts_are_signed_once_per_token_audience_and_life() {
        let counts = run(Mode::Shared, &small(), &config());
        assert!(
            counts.requests > 400_000 && counts.lives > 50_000,
            "{counts:?}"
        );
        let ratio = counts.signs as f64 / counts.lives as f64;
        assert!((1.0..=1.01).contains(&ratio), "{ratio}: {counts:?}");
    }

    #[test]
    fn data_keys_cost_two_calls_of_kms_per_cold_start() {
        let counts = run(Mode::DataKey, &small(), &config());
        assert!(
            counts.start_calls + counts.signs <= 2 * counts.starts,
            "{counts:?}"
        );
        assert_eq!((counts.signs, counts.writes), (0, 0));
    }

    #[test]
    fn each_way_of_remembering_spares_signatures() {
        let counts = Mode::ALL.map(|mode| run(mode, &small(), &config()));
        let [none, memory, shared, data_key] = counts;
        assert_eq!(none.signs, none.requests);
        assert!(memory.signs < none.signs);
        assert!(shared.signs < memory.signs / 2);
        assert!(data_key.reads <= shared.reads);
        // All saw the same requests.
        assert!(counts.iter().all(|one| one.lives == none.lives));
    }

    /// Two requests on their way at once: the one that came first may be answered last,
    /// and find what the other has left, which was read later than it came.
    #[test]
    fn what_was_read_after_a_request_came_is_fresh_to_it() {
        let mut memory = Memory::default();
        memory.keep(
            7,
            Remembered {
                read_at: 11,
                jwt: 300,
            },
        );
        assert!(
            memory.recall(7, 10, 5).is_some(),
            "it came a second earlier"
        );
        assert!(memory.recall(7, 15, 5).is_some());
        assert!(memory.recall(7, 16, 5).is_none(), "its time is over");
        assert!(memory.recall(8, 10, 5).is_none());
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let one = run(Mode::Shared, &small(), &config());
        assert_eq!(one, run(Mode::Shared, &small(), &config()));
        let other = Scenario { seed: 2, ..small() };
        assert_ne!(one, run(Mode::Shared, &other, &config()));
    }
}
