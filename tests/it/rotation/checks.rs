//! What the model checker finds. The numbers are in the output of every test run.

use super::protocol::{
    BORN_ALIVE, Client, ONE_BRANCH, POSSIBLE, Protocol, REPLAY_REVOKES, REVOKED_IS_OVER, STAYS_IN,
};
use super::rules::{Mutation, PAIRS, Rules};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

/// One refresh at a time, and nobody else.
const ALONE: Protocol = Protocol {
    rules: Rules::BUILT,
    client: Client::OneByOne,
    environments: 2,
    pairs: PAIRS,
    thief: false,
    revoke: false,
};

/// All that can go wrong, in a family of three pairs.
pub(super) const EVERYTHING: Protocol = Protocol {
    pairs: 3,
    thief: true,
    revoke: true,
    ..ALONE
};

/// Long enough for two requests, one after the other, that each see one tick.
const LONGER_WINDOW: Rules = Rules {
    window: 3,
    ..Rules::BUILT
};

/// What a window that begins with the first use would be.
const FROM_USE: Rules = Rules {
    window_from_use: true,
    ..Rules::BUILT
};

/// The same, and entries that stay until their window is over.
const KEPT: Rules = Rules {
    keeps_entries: true,
    ..FROM_USE
};

/// Looks at every state, or until something is wrong; says what, and with what it
/// begins.
fn faults(name: &str, protocol: Protocol) -> BTreeSet<&'static str> {
    let start = Instant::now();
    let checker = protocol
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let (states, steps) = (checker.unique_state_count(), checker.max_depth());
    say(&format!(
        "{name}: {states} states, {steps} steps deep, {:?}",
        start.elapsed()
    ));
    let (possible, faults): (BTreeSet<_>, BTreeSet<_>) =
        found.keys().partition(|name| POSSIBLE.contains(name));
    for fault in &faults {
        let trace = found[fault].clone().into_actions();
        say(&format!("  not {fault:?}: {trace:?}"));
    }
    if faults.is_empty() {
        assert_eq!(possible, BTreeSet::from(POSSIBLE), "{name} does too little");
    }
    faults
}

/// Straight to the standard error: the test harness keeps what `println!` says of a test
/// that passes to itself, and the numbers are what one runs this for.
fn say(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "model: {line}").unwrap();
}

fn holds(name: &str, protocol: Protocol) {
    assert_eq!(faults(name, protocol), BTreeSet::new(), "{name}");
}

fn fails(name: &str, protocol: Protocol, property: &'static str) {
    assert_eq!(faults(name, protocol), BTreeSet::from([property]), "{name}");
}

fn without(off: &'static [Mutation], protocol: Protocol) -> Protocol {
    let rules = Rules {
        off,
        ..protocol.rules
    };
    Protocol { rules, ..protocol }
}

#[test]
fn a_client_that_refreshes_once_at_a_time_stays_in() {
    holds("one by one", ALONE);
    holds(
        "one by one, with a revoke",
        Protocol {
            revoke: true,
            ..ALONE
        },
    );
}

#[test]
fn thief_and_revoke_together_break_nothing() {
    holds("a thief and a revoke", EVERYTHING);
}

#[test]
#[ignore = "minutes: one more rotation than above"]
fn thief_and_revoke_together_break_nothing_for_longer() {
    let longer = Protocol {
        pairs: PAIRS,
        ..EVERYTHING
    };
    holds("a thief and a revoke, four pairs", longer);
    let kept = Protocol {
        rules: KEPT,
        ..EVERYTHING
    };
    holds("a thief and a revoke, entries kept", kept);
}

/// Without them a client that follows the rules would be logged out.
#[test]
fn healing_keeps_the_client_in() {
    fails(
        "no healing while unused",
        without(&[Mutation::HealsWhileUnused], ALONE),
        STAYS_IN,
    );
    let parallel = Protocol {
        client: Client::Parallel,
        ..ALONE
    };
    fails(
        "no window",
        without(&[Mutation::HealsInWindow], parallel),
        STAYS_IN,
    );
    // It is for parallel refreshes alone.
    holds(
        "no window, one by one",
        without(&[Mutation::HealsInWindow], ALONE),
    );
}

/// A sealed pair that is dropped too early heals nothing any more.
#[test]
fn a_pair_is_dropped_only_after_its_window_and_by_its_own_use() {
    let parallel = Protocol {
        client: Client::Parallel,
        ..ALONE
    };
    fails(
        "dropped within the window",
        without(&[Mutation::DropsAfterWindow], parallel),
        STAYS_IN,
    );
    fails(
        "dropped by the use of another pair",
        without(&[Mutation::DropsOwnPair], ALONE),
        STAYS_IN,
    );
}

#[test]
fn without_both_locks_there_are_two_branches() {
    let both = &[Mutation::Generation, Mutation::TokenLive];
    fails("neither lock", without(both, EVERYTHING), ONE_BRANCH);
}

/// Each of the two does what the other does: whoever moves the generation has used
/// the live token, and nobody else uses it.
#[test]
fn either_lock_is_enough() {
    holds(
        "no generation",
        without(
            &[Mutation::Generation],
            Protocol {
                revoke: false,
                ..EVERYTHING
            },
        ),
    );
    holds(
        "not live",
        without(
            &[Mutation::TokenLive],
            Protocol {
                revoke: false,
                ..EVERYTHING
            },
        ),
    );
}

#[test]
fn without_its_conditions_a_revoke_is_not_one() {
    for off in [&[Mutation::ActiveWhenRead][..], &[Mutation::RevokeWins]] {
        fails(
            &format!("no {off:?}"),
            without(off, EVERYTHING),
            REVOKED_IS_OVER,
        );
    }
    let written = without(&[Mutation::ActiveWhenWritten], EVERYTHING);
    fails("written to a revoked family", written, BORN_ALIVE);
}

#[test]
fn without_its_conditions_a_replay_goes_unpunished() {
    for off in [
        &[Mutation::NotOnceUsed][..],
        &[Mutation::ReuseRevokes],
        &[Mutation::SpentRevokes],
        &[Mutation::FirstUseNoted],
    ] {
        fails(
            &format!("no {off:?}"),
            without(off, EVERYTHING),
            REPLAY_REVOKES,
        );
    }
}

/// It only cuts short the requests that were under way when the revoke returned.
#[test]
fn the_state_under_a_first_use_is_a_courtesy() {
    let one = Protocol {
        environments: 1,
        ..EVERYTHING
    };
    let off = &[Mutation::FirstUseWhileActive];
    holds("first use whatever the state", without(off, one));
}

/// docs/rotation.md, "What a client must keep to": refreshing twice at once is
/// forgiven within 10 s of the rotation, and not if its answer was lost before.
#[test]
fn two_refreshes_at_once_after_a_lost_answer_can_log_out() {
    for (client, name) in [(Client::Parallel, "parallel"), (Client::Hasty, "hasty")] {
        let protocol = Protocol {
            rules: LONGER_WINDOW,
            client,
            ..ALONE
        };
        fails(name, protocol, STAYS_IN);
    }
}

/// What would mend that.
#[test]
fn a_window_from_the_first_use_would_keep_such_clients_in() {
    let parallel = Protocol {
        rules: FROM_USE,
        client: Client::Parallel,
        environments: 3,
        pairs: 3,
        ..ALONE
    };
    holds("parallel, window from use", parallel);
    let hasty = Protocol {
        client: Client::Hasty,
        environments: 2,
        ..parallel
    };
    fails("hasty, window from use", hasty, STAYS_IN);
    let kept = Protocol {
        rules: KEPT,
        ..hasty
    };
    holds("hasty, entries kept", kept);
    let thief = Protocol {
        rules: KEPT,
        environments: 1,
        revoke: false,
        ..EVERYTHING
    };
    holds("a thief, entries kept", thief);
}
