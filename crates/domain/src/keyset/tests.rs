use super::*;
use crate::config::Config;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use proptest::prelude::*;

const NOW: UnixTime = UnixTime(1_000_000);
const MONTH: u64 = 30 * 86_400;
const PLANNED: Rotation = Rotation {
    sign_for: MONTH,
    at_once: false,
};

fn config() -> Config {
    Config::parse("config_version = 1\nissuer = \"https://app.example\"\n").unwrap()
}

/// An operator: who may sign key sets.
struct Operator(EcdsaKeyPair);

impl Operator {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn trust(&self) -> Trust {
        Trust {
            deployment: "https://app.example".into(),
            signer: "operator".into(),
            public_key: self.0.public_key().as_der().unwrap().as_ref().to_vec(),
            least_serial: 0,
        }
    }

    fn sign(&self, input: &str) -> String {
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", BASE64URL.encode(signature))
    }

    fn record(&self, set: &KeySet) -> String {
        self.sign(&set.signing_input("operator").unwrap())
    }

    /// A record with this payload.
    fn forge(&self, payload: &serde_json::Value) -> String {
        let payload = BASE64URL.encode(payload.to_string());
        self.sign(&format!("{}.{payload}", header_text("operator")))
    }
}

fn es256() -> NewKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    NewKey {
        alg: Algorithm::ES256,
        spki: pair.public_key().as_der().unwrap().as_ref().to_vec(),
        wrapped: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
    }
}

fn ed25519() -> NewKey {
    let pair = Ed25519KeyPair::generate().unwrap();
    NewKey {
        alg: Algorithm::EdDsa,
        spki: pair.public_key().as_der().unwrap().as_ref().to_vec(),
        wrapped: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
    }
}

fn first() -> KeySet {
    PLANNED.next(None, &es256(), &config(), NOW).unwrap()
}

type Edit = fn(&mut serde_json::Value);

fn kids(keys: &[&DataKey]) -> Vec<String> {
    keys.iter().map(|key| key.kid.clone()).collect()
}

#[test]
fn what_the_operator_signed_is_believed() {
    let operator = Operator::new();
    let set = PLANNED
        .next(Some(&first()), &ed25519(), &config(), NOW.plus(60))
        .unwrap();
    assert_eq!(operator.trust().open(&operator.record(&set)).unwrap(), set);
}

#[test]
fn d75_a_record_that_anybody_else_has_made_is_refused() {
    let operator = Operator::new();
    let set = first();
    let good = operator.record(&set);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let other_header = |name: &str, value: &str| {
        let mut header: serde_json::Value =
            serde_json::from_slice(&BASE64URL.decode(header).unwrap()).unwrap();
        header[name] = value.into();
        operator.sign(&format!(
            "{}.{payload}",
            BASE64URL.encode(header.to_string())
        ))
    };
    let mut changed = set.clone();
    changed.keys[0].sign_until = changed.keys[0].sign_until.plus(1);
    let changed = changed.signing_input("operator").unwrap();
    let cases = [
        ("by another key", Operator::new().record(&set)),
        ("of another set", format!("{changed}.{signature}")),
        ("no signature", format!("{input}.")),
        ("zeros", format!("{input}.{}", BASE64URL.encode([0; 64]))),
        ("alg none", other_header("alg", "none")),
        ("alg HS256", other_header("alg", "HS256")),
        ("another kind of JWT", other_header("typ", "at+jwt")),
        ("another signer", other_header("kid", "writer")),
        ("a key that it brings", other_header("jwk", "{}")),
    ];
    for (name, record) in cases {
        assert_eq!(
            operator.trust().open(&record),
            Err(KeySetFault::Signature),
            "{name}"
        );
    }
    let malformed = [
        String::new(),
        "a.b".into(),
        "....".into(),
        format!("{input}.{signature}="),
        "a".repeat(MAX_RECORD + 1),
    ];
    for record in malformed {
        assert!(operator.trust().open(&record).is_err(), "{record:.20}");
    }
}

#[test]
fn a_record_of_another_system_or_another_time_is_refused() {
    let operator = Operator::new();
    let set = PLANNED
        .next(Some(&first()), &es256(), &config(), NOW.plus(60))
        .unwrap();
    let record = operator.record(&set);
    let opened = |trust: Trust| trust.open(&record).map(|set| set.serial);
    let serial = set.serial;
    assert_eq!(opened(operator.trust()), Ok(serial));
    let elsewhere = Trust {
        deployment: "https://app.example.org".into(),
        ..operator.trust()
    };
    assert_eq!(opened(elsewhere), Err(KeySetFault::Deployment));
    let floor = |least_serial| Trust {
        least_serial,
        ..operator.trust()
    };
    assert_eq!(opened(floor(serial)), Ok(serial));
    assert_eq!(opened(floor(serial + 1)), Err(KeySetFault::Replayed));
}

#[test]
fn a_record_that_no_release_of_ours_would_write_is_refused() {
    let operator = Operator::new();
    let good = serde_json::to_value(first()).unwrap();
    let with = |edit: Edit| {
        let mut set = good.clone();
        edit(&mut set);
        operator.trust().open(&operator.forge(&set))
    };
    assert!(with(|_| {}).is_ok());
    let edits: [(&str, Edit); 9] = [
        ("a later format", |set| set["v"] = 2.into()),
        ("no keys", |set| set["keys"] = serde_json::json!([])),
        ("one key twice", |set| {
            let key = set["keys"][0].clone();
            set["keys"].as_array_mut().unwrap().push(key);
        }),
        ("another name", |set| set["keys"][0]["kid"] = "k".into()),
        ("another algorithm", |set| {
            set["keys"][0]["alg"] = "EdDSA".into();
        }),
        ("an algorithm that is none", |set| {
            set["keys"][0]["alg"] = "none".into();
        }),
        ("a public key that is none", |set| {
            set["keys"][0]["public_key"] = "AAAA".into();
        }),
        ("a schedule that ends before it begins", |set| {
            set["keys"][0]["sign_until"] = set["keys"][0]["sign_from"].clone();
        }),
        ("withdrawn while it signs", |set| {
            set["keys"][0]["publish_until"] = set["keys"][0]["sign_from"].clone();
        }),
    ];
    for (name, edit) in edits {
        assert_eq!(with(edit), Err(KeySetFault::Malformed), "{name}");
    }
}

#[test]
fn d75_only_the_wrapped_key_of_the_record_is_taken() {
    let (one, other) = (es256(), es256());
    let set = PLANNED.next(None, &one, &config(), NOW).unwrap();
    let wrapped = |kid: String, wrapped: &[u8]| {
        let stored = StoredKeySet {
            record: String::new(),
            wrapped: BTreeMap::from([(kid, wrapped.to_vec())]),
        };
        set.keys[0].wrapped(&stored).map(<[u8]>::to_vec)
    };
    assert_eq!(wrapped(one.kid(), &one.wrapped).unwrap(), one.wrapped);
    for (kid, key) in [
        (one.kid(), &other.wrapped),
        (other.kid(), &one.wrapped),
        (one.kid(), &one.wrapped[1..].to_vec()),
        (one.kid(), &Vec::new()),
    ] {
        assert_eq!(wrapped(kid, key), Err(KeySetFault::Swapped));
    }
}

#[test]
fn d63_the_next_key_is_published_long_enough_before_it_signs() {
    let config = config();
    let old = first();
    let at = NOW.plus(MONTH / 2);
    let set = PLANNED.next(Some(&old), &es256(), &config, at).unwrap();
    let [a, b] = &set.keys[..] else {
        panic!("two keys")
    };
    assert!(set.serial > old.serial);
    assert!(b.sign_from >= at.plus(JWKS_MAX_AGE + RECORD_TTL));
    assert_eq!(kids(&set.published(at)), [a.kid.clone(), b.kid.clone()]);
    let just_before = UnixTime(b.sign_from.0 - 1);
    assert_eq!(set.signing(just_before), Some(a));
    assert_eq!(set.signing(b.sign_from), Some(b));
}

#[test]
fn d63_the_previous_key_is_published_until_its_last_jwt_is_dead() {
    let config = config();
    let set = PLANNED
        .next(Some(&first()), &es256(), &config, NOW.plus(60))
        .unwrap();
    let [a, b] = &set.keys[..] else {
        panic!("two keys")
    };
    // Signed in the last second, by a clock that is late, judged by one that is late.
    let last_death = UnixTime(a.sign_until.0 - 1).plus(config.jwt.lifetime + 2 * config.jwt.skew);
    assert_eq!(
        kids(&set.published(last_death)),
        [b.kid.clone(), a.kid.clone()]
    );
    let after = set.published(last_death.plus(1));
    assert_eq!(kids(&after), std::slice::from_ref(&b.kid));
}

#[test]
fn nothing_signs_and_nothing_is_published_when_the_schedule_is_over() {
    let set = first();
    let key = &set.keys[0];
    assert!(set.signing(UnixTime(NOW.0 - 1)).is_none());
    assert_eq!(set.signing(NOW), Some(key));
    assert_eq!(set.signing(UnixTime(key.sign_until.0 - 1)), Some(key));
    assert!(set.signing(key.sign_until).is_none());
    assert_eq!(set.published(UnixTime(key.publish_until.0 - 1)), [key]);
    assert!(set.published(key.publish_until).is_empty());
}

#[test]
fn a_second_rotation_waits_for_the_first() {
    let config = config();
    let one = PLANNED
        .next(Some(&first()), &es256(), &config, NOW.plus(60))
        .unwrap();
    let waiting = one.keys[1].sign_from;
    let again = |now| PLANNED.next(Some(&one), &es256(), &config, now);
    let early = again(UnixTime(waiting.0 - 1));
    assert_eq!(early, Err(RotationFault::Pending(waiting)));
    assert_eq!(again(waiting).unwrap().keys.len(), 3);
}

#[test]
fn a_set_that_follows_on_a_lost_one_is_later_than_it() {
    let before = PLANNED.next(Some(&first()), &es256(), &config(), NOW.plus(60));
    let after_the_loss = PLANNED.next(None, &es256(), &config(), NOW.plus(61));
    assert!(after_the_loss.unwrap().serial > before.unwrap().serial);
    // And two within a second are two.
    let second = PLANNED
        .next(Some(&first()), &es256(), &config(), NOW)
        .unwrap();
    assert_eq!(second.serial, first().serial + 1);
}

#[test]
fn a_key_that_may_be_in_other_hands_is_withdrawn_at_once() {
    let new = es256();
    let at_once = Rotation {
        at_once: true,
        ..PLANNED
    };
    let at = NOW.plus(60);
    let set = at_once.next(Some(&first()), &new, &config(), at).unwrap();
    assert_eq!(kids(&set.published(at)), [new.kid()]);
    assert_eq!(set.signing(at).unwrap().kid, new.kid());
}

proptest! {
    /// Whenever somebody rotates: as long as they do so before the last key ends,
    /// exactly one key signs at every moment, it is published, and it stays
    /// published until every JWT that it has signed is dead.
    #[test]
    fn d63_there_is_no_gap_whatever_the_rhythm(
        pauses in proptest::collection::vec(0..2 * MONTH, 1..12),
        moments in proptest::collection::vec(0..3 * MONTH, 1..20),
    ) {
        let config = config();
        let mut sets = vec![(NOW, first())];
        let mut now = NOW;
        for pause in pauses {
            let (_, set) = sets.last().unwrap();
            let end = set.keys.iter().map(|key| key.sign_until).max().unwrap();
            now = now.plus(pause).min(UnixTime(end.0 - 1));
            if let Ok(next) = PLANNED.next(Some(set), &es256(), &config, now) {
                prop_assert!(next.serial > set.serial && next.is_sound());
                sets.push((now, next));
            }
        }
        let in_force = |at: UnixTime| sets.iter().rev().find(|(from, _)| *from <= at);
        let last = sets.last().unwrap().1.keys.iter().map(|key| key.sign_until).max().unwrap();
        let mut moments: Vec<_> = moments.into_iter().map(|moment| NOW.plus(moment)).collect();
        // The seconds at which something happens, and those before.
        for (from, set) in &sets {
            moments.push(*from);
            for key in &set.keys {
                moments.extend([key.sign_from, UnixTime(key.sign_from.0.saturating_sub(1))]);
            }
        }
        for at in moments.into_iter().filter(|at| *at >= NOW && *at < last) {
            let (_, set) = in_force(at).unwrap();
            let signing = set.signing(at);
            prop_assert!(signing.is_some(), "nothing signs at {at:?}");
            let kid = &signing.unwrap().kid;
            for later in [at, at.plus(config.jwt.lifetime - 1)] {
                let (_, set) = in_force(later).unwrap();
                prop_assert!(kids(&set.published(later)).contains(kid));
            }
        }
    }
}
