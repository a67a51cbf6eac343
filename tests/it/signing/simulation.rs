//! The simulation counts what the authorizer does: the same requests, to the model
//! and to real environments over a real table and a real KMS endpoint, cost the same
//! calls.

use super::trouble::World;
use cloakroom_domain::ports::{Entropy, EntropyError};
use cloakroom_tests::environment::{Environment, config_with};
use cloakroom_tests::simulation::{Counts, Latency, Mode, Scenario, Simulation};

use std::sync::Arc;

const ENVIRONMENTS: u32 = 4;
const TOKENS: u32 = 8;
const REQUESTS: u32 = 400;

/// Randomness whose dice never say that a JWT should be renewed before it must be.
struct NothingAhead;

impl Entropy for NothingAhead {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.len() == 4 {
            bytes.fill(0xff);
            return Ok(());
        }
        cloakroom_aws::world().entropy.fill(bytes)
    }
}

/// Numbers that come around late; any would do.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

async fn compare(mode: Mode, jwt: &str) -> Counts {
    let config = config_with(jwt).replace("max_latency = 5", "max_latency = 30");
    let world = World::start(format!("{config}\n[lifetimes]\naccess_token = 86400\n")).await;
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(world.token().await);
    }
    world.faults.take_calls();
    let mut environments = Vec::new();
    for _ in 0..ENVIRONMENTS {
        let places = world.system.backends().key_places();
        let entropy = Arc::new(NothingAhead);
        environments.push(Environment::with(&world.system, &places, &world.clock, entropy).await);
    }
    let scenario = Scenario {
        environments: ENVIRONMENTS,
        tokens: TOKENS,
        renews_ahead: false,
        latency: Latency {
            read: 0,
            write: 0,
            sign: 0,
        },
        ..Scenario::default()
    };
    let mut model = Simulation::new(mode, &scenario, world.system.config());
    let (mut numbers, mut now) = (Numbers(7), 0);
    for _ in 0..REQUESTS {
        let pause = u64::from(numbers.below(9));
        let (environment, token) = (numbers.below(ENVIRONMENTS), numbers.below(TOKENS));
        now += pause;
        world.clock.advance(pause);
        let real = &environments[environment as usize];
        real.swap("/api/orders", &tokens[token as usize])
            .await
            .jwt();
        model.request(now * 1_000_000, environment, token);
    }
    let counts = model.finish();
    let asked = world.faults.take_calls();
    let calls = |operation: &str| asked.get(operation).copied().unwrap_or(0) as u64;
    assert_eq!(calls("Sign"), counts.signs, "{mode:?} {counts:?}");
    assert_eq!(
        calls("GenerateMac") + calls("Decrypt"),
        counts.start_calls,
        "{mode:?}"
    );
    assert_eq!(
        calls("GetItem"),
        counts.reads + counts.other_reads,
        "{mode:?} {counts:?}"
    );
    assert_eq!(calls("UpdateItem"), counts.writes, "{mode:?} {counts:?}");
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_costs_what_the_authorizer_costs() {
    let shared = compare(Mode::Shared, "algorithm = \"ES256\"").await;
    assert!(
        shared.signs >= shared.lives && shared.lives > 40,
        "{shared:?}"
    );
    let data_key = compare(Mode::DataKey, "mode = \"data-key\"\nalgorithm = \"ES256\"").await;
    assert_eq!(data_key.signs, 0);
}
