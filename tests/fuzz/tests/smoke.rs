//! The short run: every target over the sample events and over what becomes of them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use cloakroom_fuzz_targets::{TARGETS, TOKEN};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For each target, however fast the machine is.
const LIMIT: Duration = Duration::from_secs(4);
const RUNS: usize = 20_000;

/// What mutations insert.
const WORDS: [&[u8]; 16] = [
    b"\"",
    b"\\u0061",
    b"\\ud800",
    b"{\"a\":1,\"a\":1}",
    b"{\"$serde_json::private::RawValue\":\"[1]\"}",
    b"[[[[[[[[",
    b"1e400",
    b"-0",
    b"\xff",
    b"null",
    b",",
    b"..",
    b"%2f",
    b"#",
    b"Bearer @TOKEN@",
    b"\"isBase64Encoded\":true",
];

fn seeds() -> Vec<Vec<u8>> {
    let events = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events"));
    let mut folders = vec![PathBuf::from(events)];
    let mut seeds = vec![b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA".to_vec()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "json") {
                seeds.push(fs::read(path).unwrap());
            }
        }
    }
    seeds.push(cloakroom_bench::event(&format!("Bearer {TOKEN}")));
    seeds
}

/// The same sequence each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

fn mutate(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(8)).min(bytes.len());
        match dice.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..end, WORDS[dice.below(WORDS.len())].iter().copied())),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ => bytes.extend_from_within(at..end),
        }
    }
    bytes
}

#[test]
fn seeds_and_what_becomes_of_them_hold_d60_d67() {
    let seeds = seeds();
    assert!(seeds.len() > 100, "the events were found");
    for (name, target) in TARGETS {
        let (start, mut dice) = (Instant::now(), Dice(0x9e37_79b9_7f4a_7c15));
        for seed in &seeds {
            target(seed);
        }
        let mut runs = 0;
        while runs < RUNS && start.elapsed() < LIMIT {
            target(&mutate(&seeds[dice.below(seeds.len())], &mut dice));
            runs += 1;
        }
        println!("{name}: {runs}");
        assert!(runs > 100, "{name} is too slow");
    }
}

/// A fuzzer whose targets can find nothing proves nothing.
#[test]
fn the_authorizer_lets_the_token_in_and_nothing_else() {
    let (function, token) = cloakroom_bench::authorizer();
    let good = cloakroom_bench::event(&format!("Bearer {token}"));
    let answer = function(&good).unwrap();
    assert!(answer.windows(3).any(|part| part == b"eyJ"));
    assert!(function(&cloakroom_bench::event("Bearer x")).is_none());
}
