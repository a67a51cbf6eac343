//! One program for all targets: `FUZZ_TARGET` names the one to run.
#![no_main]

use cloakroom_fuzz_targets::TARGETS;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("FUZZ_TARGET is a target").1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
