mod dpop;
mod renewal;
mod tickets;

use super::*;
use crate::family::{
    Change, FamilyId, FamilyKind, FamilyRecord, MAX_SHARING, TokenEntry, Transition,
};
use crate::grant::{Grant, Sealer, TokenMeta, new_family};
use crate::ports::{Entropy, EntropyError, SignError};
use crate::seal::{Purpose, RootKey, Sealed, SealingKey};
use crate::testing::{
    Fault, MemoryStore, SequenceEntropy, TestClock, TestRoots, TestSigner, Verb, cause, grant_of,
    meta, root, system, world,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::Value;
use zeroize::Zeroizing;

const ORDERS: &str = "/api/orders";
const PROFILE: &str = "/api/profile";
const OWNERS: &str = "/api/owners";
const NOW: u64 = 1_100;

/// An authorizer, and every hand that can reach into its world.
struct Edge {
    authorizer: Authorizer<MemoryStore, TestSigner, TestRoots>,
    store: MemoryStore,
    signer: TestSigner,
    roots: TestRoots,
    clock: TestClock,
    entropy: SequenceEntropy,
}

impl Edge {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        Self::over(&MemoryStore::default(), TestSigner::new(), 0, edit)
    }

    /// Another environment over the same table.
    fn over(
        store: &MemoryStore,
        signer: TestSigner,
        not_before: u64,
        edit: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = system();
        edit(&mut config);
        let (store, roots, clock) = (store.clone(), TestRoots::new(), TestClock::at(NOW));
        Self {
            authorizer: Authorizer::new(
                Arc::new(config),
                UnixTime(not_before),
                store.clone(),
                signer.clone(),
                roots.clone(),
                world(&clock),
            ),
            store,
            signer,
            roots,
            clock,
            entropy: SequenceEntropy::starting_at(5),
        }
    }

    /// Stores a family whose first token is like this.
    fn token(&self, edit: impl FnOnce(&mut Grant, &mut TokenMeta)) -> OpaqueToken {
        let (mut grant, mut meta) = (grant_of("alice"), meta());
        meta.audiences.clear();
        edit(&mut grant, &mut meta);
        let (record, token) = new_family(&grant, &meta, &root(1), &self.entropy).unwrap();
        self.store.insert(record);
        token
    }

    /// One that came with a refresh token.
    fn paired_token(&self) -> OpaqueToken {
        self.token(|_, meta| meta.notes_first_use = true)
    }

    /// One for a browser.
    fn session(&self, idle: u64) -> OpaqueToken {
        self.token(|grant, meta| {
            grant.kind = FamilyKind::Session;
            grant.client = None;
            meta.kind = TokenKind::Session;
            meta.client = None;
            meta.expires_at = grant.absolute_expires_at;
            meta.idle_expires_at = Some(UnixTime(idle));
        })
    }

    async fn get(&self, token: &OpaqueToken, resource: &str) -> Verdict {
        self.ask(token, resource).await.0
    }

    async fn ask(&self, token: &OpaqueToken, resource: &str) -> (Verdict, Facts) {
        let scheme = if token.kind() == TokenKind::Session {
            Scheme::Session
        } else {
            Scheme::Bearer
        };
        self.authorizer
            .authorize(scheme, token.expose(), "GET", resource)
            .await
    }

    async fn outcome(&self, token: &OpaqueToken, resource: &str) -> String {
        name(&self.get(token, resource).await)
    }

    async fn claims(&self, token: &OpaqueToken, resource: &str) -> Value {
        claims(&self.get(token, resource).await)
    }

    fn used_at(&self, token: &OpaqueToken) -> Option<UnixTime> {
        self.entry(token).used_at
    }

    fn entry(&self, token: &OpaqueToken) -> TokenEntry {
        self.store.record(token.family()).tokens[&token.digest()].clone()
    }

    /// Network calls since last asked.
    fn cost(&self) -> Cost {
        let calls = self.store.take_calls();
        assert_eq!((calls.create, calls.once), (0, 0));
        Cost {
            epoch: calls.epoch,
            get: calls.find,
            sign: self.signer.take_calls(),
            update: calls.update,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Cost {
    epoch: usize,
    get: usize,
    sign: usize,
    update: usize,
}

const FREE: Cost = Cost {
    epoch: 0,
    get: 0,
    sign: 0,
    update: 0,
};
const READ: Cost = Cost { get: 1, ..FREE };
const FIRST: Cost = Cost {
    get: 1,
    sign: 1,
    update: 1,
    ..FREE
};

fn name(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(_) => "allow".into(),
        Verdict::Unauthorized(rejection) => format!("401 {}", rejection.name()),
        Verdict::Forbidden(refusal) => format!("403 {}", refusal.name()),
        Verdict::Unavailable(outage) => format!("503 {}", outage.name()),
    }
}

fn is_alarming(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unauthorized(rejection) if rejection.is_alarming())
}

fn claims(verdict: &Verdict) -> Value {
    let Verdict::Allow(allowed) = verdict else {
        panic!("{}", name(verdict));
    };
    let mut parts = allowed.jwt.expose().split('.');
    let payload = parts.nth(1).unwrap();
    assert_eq!(parts.count(), 1);
    serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
}

// What it costs.

#[tokio::test]
async fn each_case_costs_the_network_calls_of_its_row_in_the_table() {
    let edge = Edge::new();
    let token = edge.paired_token();

    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    let with_epoch = Cost { epoch: 1, ..FIRST };
    assert_eq!(edge.cost(), with_epoch, "first use for an audience");

    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    assert_eq!(edge.cost(), FREE, "identity and JWT in memory");

    assert_eq!(edge.outcome(&token, PROFILE).await, "allow");
    assert_eq!(edge.cost(), FIRST, "first use for a second audience");

    edge.clock.advance(60);
    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    let with_epoch = Cost { epoch: 1, ..READ };
    assert_eq!(edge.cost(), with_epoch, "JWT in the item");

    let neighbour = Edge::over(&edge.store, edge.signer.clone(), 0, |_| {});
    assert_eq!(neighbour.outcome(&token, ORDERS).await, "allow");
    assert_eq!(
        edge.cost(),
        with_epoch,
        "JWT in the item, another environment"
    );

    let unknown = Edge::new().token(|_, _| {});
    let unknown = OpaqueToken::generate(TokenKind::Access, unknown.family(), &edge.entropy);
    let stranger = OpaqueToken::generate(
        TokenKind::Access,
        FamilyId([9; FamilyId::LEN]),
        &edge.entropy,
    );
    for token in [unknown.unwrap(), stranger.unwrap()] {
        assert_eq!(edge.outcome(&token, ORDERS).await, "401 unknown");
        assert_eq!(edge.cost(), READ, "D72: no write, no signature");
    }
}

#[tokio::test]
async fn a_malformed_token_costs_nothing() {
    let edge = Edge::new();
    let good = edge.token(|_, _| {});
    let good = good.expose();
    let wrong_crc = if good.ends_with('0') { "1" } else { "0" };
    let cases = [
        String::new(),
        "x".into(),
        good[..75].to_owned(),
        format!("{good}x"),
        format!("{}{wrong_crc}", &good[..75]),
        format!("{}=", &good[..75]),
        format!("{}\n", &good[..75]),
        format!("{}\0", &good[..75]),
        format!("{}\u{FFFD}", &good[..73]),
        format!(" {}", &good[..75]),
        good.to_uppercase(),
        good.replace("cr_at_", "cr_st_"),
        good.repeat(130),
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln".into(),
    ];
    for text in cases {
        let verdict = edge
            .authorizer
            .authorize(Scheme::Bearer, &text, "GET", ORDERS)
            .await;
        assert_eq!(name(&verdict.0), "401 malformed", "D28, D29: {text:?}");
        assert_eq!(verdict.1, Facts::default());
        assert_eq!(edge.cost(), FREE, "D28: {text:?}");
    }
}

#[tokio::test]
async fn a_token_passes_only_by_the_scheme_of_its_kind() {
    let edge = Edge::new();
    for kind in TokenKind::ALL {
        let token = edge.token(|_, meta| meta.kind = kind);
        for (scheme, carries) in [
            (Scheme::Bearer, TokenKind::Access),
            (Scheme::Session, TokenKind::Session),
        ] {
            let (verdict, _) = edge
                .authorizer
                .authorize(scheme, token.expose(), "GET", ORDERS)
                .await;
            if kind == carries {
                assert_eq!(name(&verdict), "allow", "{kind:?}");
                edge.cost();
            } else {
                assert_eq!(name(&verdict), "401 wrong_kind", "D30: {kind:?}");
                assert_eq!(edge.cost(), FREE, "D30: {kind:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_facts_say_where_things_came_from_and_nothing_secret() {
    let edge = Edge::new();
    let token = edge.paired_token();
    let (_, first) = edge.ask(&token, ORDERS).await;
    assert_eq!(
        (first.identity, first.jwt, first.epoch_read, first.first_use),
        (Some(Origin::Item), Some(Origin::Made), true, true)
    );
    let (verdict, second) = edge.ask(&token, ORDERS).await;
    assert_eq!(
        (
            second.identity,
            second.jwt,
            second.epoch_read,
            second.first_use
        ),
        (Some(Origin::Memory), Some(Origin::Memory), false, false)
    );
    assert_eq!(first.subject_tag, second.subject_tag);
    let text = format!("{verdict:?} {first:?} {second:?} {:?}", edge.authorizer);
    let family = token.family().to_text();
    for secret in [token.expose(), &family, "alice", "eyJ"] {
        assert!(!text.contains(secret), "D64");
    }
}

// What is in a JWT, and how long it is used.

#[tokio::test]
async fn a_jwt_says_what_its_audience_may_know() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let orders = edge.claims(&token, ORDERS).await;
    for (claim, value) in [
        ("iss", "https://app.example.com"),
        ("sub", "demo|alice"),
        ("aud", "orders"),
        ("client_id", "app"),
        ("scope", "orders:read"),
        ("email", "alice@example.com"),
    ] {
        assert_eq!(orders[claim], value, "{claim}");
    }
    assert_eq!(orders["roles"], serde_json::json!(["admin", "user"]));
    assert_eq!(
        [&orders["iat"], &orders["nbf"], &orders["exp"]],
        [NOW, NOW, NOW + 300]
    );
    let profile = edge.claims(&token, PROFILE).await;
    assert_eq!(profile["aud"], "profile");
    for hidden in ["name", "email", "roles"] {
        assert_eq!(profile.get(hidden), None, "{hidden}");
    }
    assert_ne!(orders["jti"], profile["jti"]);

    let machine = edge.token(|grant, meta| {
        grant.kind = FamilyKind::Client;
        grant.client = Some("machine".into());
        grant.user = None;
        meta.client = Some("machine".into());
    });
    let machine = edge.claims(&machine, ORDERS).await;
    assert_eq!(machine["sub"], "client|machine", "D57");
    for user in ["auth_time", "sid", "amr", "name", "roles"] {
        assert_eq!(machine.get(user), None, "{user}");
    }
}

#[tokio::test]
async fn a_jwt_dies_with_its_token_and_is_used_until_then() {
    let edge = Edge::new();
    let short = edge.token(|_, meta| meta.expires_at = UnixTime(NOW + 50));
    let first = edge.claims(&short, ORDERS).await;
    assert_eq!(first["exp"], NOW + 50, "invariant 4");
    edge.cost();
    edge.clock.set(NOW + 49);
    assert_eq!(edge.claims(&short, ORDERS).await["jti"], first["jti"]);
    assert_eq!(edge.cost(), FREE, "one that cannot be bettered is kept");

    let edge = Edge::new();
    let over_soon = edge.token(|grant, _| grant.absolute_expires_at = UnixTime(NOW + 50));
    assert_eq!(
        edge.claims(&over_soon, ORDERS).await["exp"],
        NOW + 50,
        "invariant 4"
    );

    let edge = Edge::new();
    let session = edge.session(NOW + 50);
    assert_eq!(
        edge.claims(&session, ORDERS).await["exp"],
        NOW + 300,
        "a session's idle limit slides: only the absolute one caps"
    );
}

#[tokio::test]
async fn a_stored_jwt_of_another_key_or_policy_is_not_handed_out() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let first = edge.claims(&token, ORDERS).await;
    let same = Edge::over(&edge.store, TestSigner::new(), 0, |_| {});
    assert_eq!(same.claims(&token, ORDERS).await["jti"], first["jti"]);
    let other_key = Edge::over(&edge.store, TestSigner::named("k2"), 0, |_| {});
    let second = other_key.claims(&token, ORDERS).await;
    assert_ne!(second["jti"], first["jti"]);
    let other_policy = Edge::over(&edge.store, TestSigner::named("k2"), 0, |config| {
        config.audiences[0].claims.clear();
    });
    let third = other_policy.claims(&token, ORDERS).await;
    assert_eq!(third.get("email"), None);
    assert_eq!(edge.entry(&token).jwts.len(), 1, "overwritten in place");
}

// What is remembered.

#[tokio::test]
async fn without_latency_nothing_is_remembered() {
    let edge = Edge::with(|config| config.revocation.max_latency = 0);
    let token = edge.paired_token();
    edge.claims(&token, ORDERS).await;
    edge.cost();
    for _ in 0..3 {
        assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
        assert_eq!(edge.cost(), READ);
    }
    assert!(edge.store.carry_out(&Transition::revoke(token.family())));
    assert_eq!(edge.outcome(&token, ORDERS).await, "401 revoked", "D33");
}

#[tokio::test]
async fn a_revoked_family_is_refused_within_the_promised_latency() {
    for finish in [Transition::revoke, Transition::end] {
        let edge = Edge::new();
        let token = edge.paired_token();
        edge.claims(&token, ORDERS).await;
        assert!(edge.store.carry_out(&finish(token.family())));
        edge.clock.advance(59);
        assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
        edge.clock.advance(1);
        assert_eq!(edge.outcome(&token, ORDERS).await, "401 revoked", "D33");
        edge.clock.set(NOW);
        assert_eq!(
            Edge::over(&edge.store, TestSigner::new(), 0, |_| {})
                .outcome(&token, ORDERS)
                .await,
            "401 revoked",
            "an environment that never saw it refuses at once"
        );
    }
}

#[tokio::test]
async fn policy_is_evaluated_on_every_call_though_the_identity_is_remembered() {
    let edge = Edge::new();
    let token = edge.paired_token();
    for _ in 0..2 {
        assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
        edge.cost();
        assert_eq!(edge.outcome(&token, OWNERS).await, "403 role", "D34");
        assert_eq!(edge.outcome(&token, "/api/nowhere").await, "403 no_route");
        let (verdict, _) = edge
            .authorizer
            .authorize(Scheme::Bearer, token.expose(), "POST", ORDERS)
            .await;
        assert_eq!(name(&verdict), "403 no_route", "D34");
        assert_eq!(edge.cost(), FREE, "invariant 5");
    }
    let owner = edge.token(|grant, _| {
        if let Some(user) = &mut grant.user {
            user.roles = vec!["owner".into()];
        }
    });
    assert_eq!(edge.outcome(&owner, OWNERS).await, "allow");
}

#[tokio::test]
async fn two_tokens_never_share_an_identity_or_a_jwt() {
    let edge = Edge::new();
    let alice = edge.token(|_, _| {});
    let bob = edge.token(|grant, _| {
        *grant = grant_of("bob");
    });
    let narrow = add_token(&edge, &alice, |meta| {
        meta.scope = "orders:write".split(' ').map(str::to_owned).collect();
    });
    for _ in 0..3 {
        assert_eq!(edge.claims(&alice, ORDERS).await["sub"], "demo|alice");
        assert_eq!(edge.claims(&bob, ORDERS).await["sub"], "demo|bob", "D45");
        assert_eq!(edge.outcome(&narrow, ORDERS).await, "403 scope", "D45");
        assert_eq!(
            edge.claims(&narrow, PROFILE).await["scope"],
            "orders:write",
            "D45"
        );
        assert_eq!(edge.claims(&alice, PROFILE).await["scope"], "orders:read");
        edge.clock.advance(40);
    }
}

/// Another token of the family of `token`.
fn add_token(edge: &Edge, token: &OpaqueToken, edit: impl FnOnce(&mut TokenMeta)) -> OpaqueToken {
    let record = edge.store.record(token.family());
    let opened = grant::open_whatever_its_state(&record, token, &crate::testing::roots()).unwrap();
    let mut meta = opened.meta;
    edit(&mut meta);
    let sealer = Sealer {
        root: &root(1),
        family: record.id,
        data_key: opened.data_key,
        entropy: &edge.entropy,
    };
    let (added, entry) = sealer.token(&meta).unwrap();
    edge.store.tamper(record.id, |record| {
        record.tokens.insert(added.digest(), entry);
    });
    added
}

#[tokio::test]
async fn a_jwt_is_shared_only_while_the_item_has_room() {
    for (weight, is_shared) in [(MAX_SHARING - 1, true), (MAX_SHARING, false)] {
        let edge = Edge::new();
        let token = edge.token(|_, meta| meta.notes_first_use = true);
        let other = add_token(&edge, &token, |_| {});
        edge.store.tamper(token.family(), |record| {
            let missing = weight - record.weight() - "x".len();
            let entry = record.tokens.get_mut(&other.digest()).unwrap();
            let jwt = Sealed::from_bytes(vec![0; missing]);
            entry.jwts.insert("x".to_owned(), jwt);
            assert_eq!(record.weight(), weight);
        });
        assert_eq!(edge.claims(&token, ORDERS).await["sub"], "demo|alice");
        let entry = edge.entry(&token);
        assert_eq!(entry.jwts.contains_key("orders"), is_shared);
        assert!(entry.used_at.is_some(), "noted in any case");
    }
}

// First use.

#[tokio::test]
async fn the_first_use_is_noted_before_the_answer_and_once() {
    let edge = Edge::new();
    let token = edge.paired_token();
    assert_eq!(edge.used_at(&token), None);
    edge.claims(&token, ORDERS).await;
    assert_eq!(edge.used_at(&token), Some(UnixTime(NOW)));
    edge.clock.advance(70);
    edge.cost();
    edge.claims(&token, ORDERS).await;
    assert_eq!(edge.cost(), Cost { epoch: 1, ..READ });
    assert_eq!(edge.used_at(&token), Some(UnixTime(NOW)));
}

#[tokio::test]
async fn the_first_use_is_noted_even_when_the_route_refuses() {
    for resource in [OWNERS, "/api/nowhere"] {
        let edge = Edge::new();
        let token = edge.paired_token();
        assert!(edge.outcome(&token, resource).await.starts_with("403"));
        assert_eq!(edge.used_at(&token), Some(UnixTime(NOW)));
        let cost = Cost { sign: 0, ..FIRST };
        assert_eq!(edge.cost(), Cost { epoch: 1, ..cost });
        assert!(edge.outcome(&token, resource).await.starts_with("403"));
        assert_eq!(edge.cost(), FREE);
    }
}

#[tokio::test]
async fn a_token_that_came_alone_has_no_first_use() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    assert_eq!(edge.outcome(&token, OWNERS).await, "403 role");
    assert_eq!(edge.cost(), Cost { epoch: 1, ..READ });
    edge.claims(&token, ORDERS).await;
    assert_eq!(edge.used_at(&token), None);
}

#[tokio::test]
async fn a_family_revoked_between_read_and_write_is_refused() {
    for resource in [ORDERS, OWNERS] {
        let edge = Edge::new();
        let token = edge.paired_token();
        edge.store
            .before_next_update(Transition::revoke(token.family()));
        assert_eq!(edge.outcome(&token, resource).await, "401 revoked");
        assert_eq!(edge.used_at(&token), None);
        edge.cost();
        assert_eq!(edge.outcome(&token, resource).await, "401 revoked");
        assert_eq!(edge.cost(), READ, "it was not kept");
    }
}

#[tokio::test]
async fn a_remembered_identity_is_forgotten_when_a_write_finds_it_revoked() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    edge.claims(&token, ORDERS).await;
    edge.store
        .before_next_update(Transition::revoke(token.family()));
    assert_eq!(edge.outcome(&token, PROFILE).await, "401 revoked");
    assert_eq!(edge.outcome(&token, ORDERS).await, "401 revoked");
}

#[tokio::test]
async fn a_token_whose_first_use_could_not_be_noted_is_neither_allowed_nor_kept() {
    for (fault, outage) in [
        (Fault::Throttled, "503 store_throttled"),
        (Fault::Unavailable, "503 store"),
    ] {
        for (resource, later) in [(ORDERS, "allow"), (OWNERS, "403 role")] {
            let edge = Edge::new();
            let token = edge.paired_token();
            edge.store.fail_next(Verb::Update, fault);
            assert_eq!(edge.outcome(&token, resource).await, outage, "D41");
            assert_eq!(edge.used_at(&token), None);
            edge.cost();
            assert_eq!(edge.outcome(&token, resource).await, later);
            let cost = edge.cost();
            assert_eq!((cost.get, cost.update), (1, 1), "it was not kept");
            assert_eq!(edge.used_at(&token), Some(UnixTime(NOW)));
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_met_again_in_the_item() {
    let edge = Edge::new();
    let token = edge.paired_token();
    edge.store.fail_next(Verb::Update, Fault::AnswerLost);
    assert_eq!(edge.outcome(&token, ORDERS).await, "503 store");
    edge.cost();
    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    assert_eq!(edge.cost(), READ);
}

#[tokio::test]
async fn first_uses_at_once_all_pass_and_are_one() {
    let edge = Edge::new();
    let token = edge.paired_token();
    let (a, b, c) = tokio::join!(
        edge.get(&token, ORDERS),
        edge.get(&token, ORDERS),
        edge.get(&token, PROFILE),
    );
    assert_eq!(claims(&a)["sub"], claims(&b)["sub"]);
    assert_eq!(claims(&c)["aud"], "profile");
    assert_eq!(edge.used_at(&token), Some(UnixTime(NOW)));
    assert_eq!(edge.entry(&token).jwts.len(), 2);
    assert_eq!(edge.cost().get, 3, "they were under way together");
}

// When we cannot tell.

#[tokio::test]
async fn whatever_fails_the_answer_is_unavailable_and_never_allow() {
    type Break = fn(&Edge);
    let cases: [(Break, &str); 9] = [
        (
            |edge| edge.store.fail_next(Verb::Epoch, Fault::Unavailable),
            "503 store",
        ),
        (
            |edge| edge.store.fail_next(Verb::Epoch, Fault::Throttled),
            "503 store_throttled",
        ),
        (
            |edge| edge.store.fail_next(Verb::Epoch, Fault::Malformed),
            "503 store",
        ),
        (
            |edge| edge.store.fail_next(Verb::Find, Fault::Throttled),
            "503 store_throttled",
        ),
        (
            |edge| edge.store.fail_next(Verb::Find, Fault::Unavailable),
            "503 store",
        ),
        (|edge| edge.roots.set_down(true), "503 roots"),
        (
            |edge| edge.signer.fail(Some(SignError::Throttled(cause()))),
            "503 signer_throttled",
        ),
        (
            |edge| edge.signer.fail(Some(SignError::Unavailable(cause()))),
            "503 signer",
        ),
        (
            |edge| edge.signer.fail(Some(SignError::Unacceptable("length"))),
            "503 signer",
        ),
    ];
    for (i, (fail, expected)) in cases.into_iter().enumerate() {
        let edge = Edge::new();
        let token = edge.paired_token();
        fail(&edge);
        assert_eq!(
            edge.outcome(&token, ORDERS).await,
            expected,
            "D41, D42: {i}"
        );
        edge.roots.set_down(false);
        edge.signer.fail(None);
        assert_eq!(
            edge.outcome(&token, ORDERS).await,
            "allow",
            "{i}: and it heals"
        );
    }
}

#[tokio::test]
async fn an_outage_of_kms_spares_only_the_jwts_that_exist() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let first = edge.claims(&token, ORDERS).await;
    edge.signer.fail(Some(SignError::Unavailable(cause())));
    assert_eq!(
        edge.claims(&token, ORDERS).await["jti"],
        first["jti"],
        "D42"
    );
    assert_eq!(edge.outcome(&token, PROFILE).await, "503 signer", "D42");
    edge.clock.advance(300);
    assert_eq!(edge.outcome(&token, ORDERS).await, "503 signer", "D42");
}

#[tokio::test]
async fn an_epoch_that_cannot_be_read_again_stops_even_the_remembered() {
    let edge = Edge::new();
    let token = edge.token(|_, meta| meta.expires_at = UnixTime(50_000));
    edge.claims(&token, ORDERS).await;
    edge.clock.advance(60);
    edge.store.fail_next(Verb::Epoch, Fault::Unavailable);
    assert_eq!(edge.outcome(&token, ORDERS).await, "503 store");
}

#[tokio::test]
async fn without_randomness_nothing_is_made() {
    struct Dry;
    impl Entropy for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let dry = Authorizer::new(
        Arc::new(system()),
        UnixTime(0),
        edge.store.clone(),
        edge.signer.clone(),
        edge.roots.clone(),
        World {
            clock: Arc::new(edge.clock.clone()),
            entropy: Arc::new(Dry),
        },
    );
    let (verdict, _) = dry
        .authorize(Scheme::Bearer, token.expose(), "GET", ORDERS)
        .await;
    assert_eq!(name(&verdict), "503 entropy");
    assert_eq!(edge.cost().sign, 0);
}

// Limits.

#[tokio::test]
async fn the_epoch_kills_what_was_issued_before_it() {
    // Everything here was issued at 1000.
    for (stored, environment, expected) in [
        (1_000, 0, "allow"),
        (0, 1_000, "allow"),
        (1_001, 0, "401 expired"),
        (0, 1_001, "401 expired"),
        (1_001, 5, "401 expired"),
        (5, 1_001, "401 expired"),
    ] {
        let edge = Edge::over(
            &MemoryStore::default(),
            TestSigner::new(),
            environment,
            |_| {},
        );
        edge.store.set_epoch(stored);
        let token = edge.token(|_, _| {});
        assert_eq!(edge.outcome(&token, ORDERS).await, expected, "D68");
    }
}

#[tokio::test]
async fn a_moved_epoch_kills_the_remembered_within_its_ttl() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    edge.claims(&token, ORDERS).await;
    edge.store.set_epoch(1_050);
    edge.clock.advance(59);
    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    edge.clock.advance(1);
    assert_eq!(edge.outcome(&token, ORDERS).await, "401 expired", "D68");
}

#[tokio::test]
async fn a_clock_that_went_backwards_makes_no_epoch_fresher() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    edge.clock.set(NOW + 100);
    edge.claims(&token, ORDERS).await;
    edge.cost();
    edge.clock.set(NOW);
    edge.claims(&token, ORDERS).await;
    assert_eq!(edge.cost().epoch, 1);
}

#[tokio::test]
async fn a_token_is_dead_at_its_expiry_remembered_or_not() {
    for remembered in [false, true] {
        let edge = Edge::new();
        let token = edge.token(|_, _| {});
        edge.clock.set(1_590);
        if remembered {
            edge.claims(&token, ORDERS).await;
        }
        edge.clock.set(1_599);
        assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
        edge.clock.set(1_600);
        assert_eq!(edge.outcome(&token, ORDERS).await, "401 expired", "D32");
    }
}

#[tokio::test]
async fn a_session_is_dead_at_its_idle_limit_unless_it_slid_meanwhile() {
    let edge = Edge::new();
    let session = edge.session(1_130);
    edge.clock.set(1_129);
    assert_eq!(edge.outcome(&session, ORDERS).await, "allow");
    edge.clock.set(1_130);
    assert_eq!(edge.outcome(&session, ORDERS).await, "401 expired");

    let edge = Edge::new();
    let session = edge.session(1_130);
    edge.claims(&session, ORDERS).await;
    slide(&edge, &session, UnixTime(5_000));
    edge.clock.set(1_130);
    assert_eq!(
        edge.outcome(&session, ORDERS).await,
        "allow",
        "a limit that has passed in memory is read again"
    );
}

fn slide(edge: &Edge, session: &OpaqueToken, until: UnixTime) {
    let record = edge.store.record(session.family());
    let opened =
        grant::open_whatever_its_state(&record, session, &crate::testing::roots()).unwrap();
    let meta = TokenMeta {
        idle_expires_at: Some(until),
        ..opened.meta
    };
    let sealer = Sealer {
        root: &root(1),
        family: record.id,
        data_key: opened.data_key,
        entropy: &edge.entropy,
    };
    let token = session.digest();
    let meta = sealer.meta(token, &meta).unwrap();
    assert!(edge.store.carry_out(&Transition {
        family: record.id,
        conditions: vec![],
        changes: vec![Change::Slide { token, until, meta }],
    }));
}

#[tokio::test]
async fn a_token_of_a_client_that_is_gone_is_refused() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let later = Edge::over(&edge.store, TestSigner::new(), 0, |config| {
        config.clients.retain(|client| client.id != "app");
    });
    assert_eq!(later.outcome(&token, ORDERS).await, "401 client_gone");
    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    let session = edge.session(5_000);
    assert_eq!(
        later.outcome(&session, ORDERS).await,
        "allow",
        "a browser session has no client"
    );
}

// A writer of the table.

#[tokio::test]
async fn what_a_writer_of_the_table_plants_or_swaps_is_refused_with_an_alarm() {
    type Edit = fn(&Edge, &mut FamilyRecord, &OpaqueToken);
    let cases: [Edit; 7] = [
        // A whole family, made with all of our code but without the MAC key.
        |edge, record, token| {
            let forged = RootKey::new(Zeroizing::new([0x66; 32]));
            let (planted, _) = forge(edge, &forged);
            let entry = planted.tokens.into_values().next().unwrap();
            record.grant = planted.grant;
            record.tokens.insert(token.digest(), entry);
        },
        // An entry for a token of the writer's own, with the victim's seals.
        |_, record, token| {
            let other = record.tokens.values().next_back().unwrap().clone();
            record.tokens.insert(token.digest(), other);
        },
        |_, record, token| {
            let grant = record.grant.clone();
            record.tokens.get_mut(&token.digest()).unwrap().meta = grant;
        },
        |_, record, token| record.grant = record.tokens[&token.digest()].meta.clone(),
        |_, record, token| {
            let entry = record.tokens.get_mut(&token.digest()).unwrap();
            entry.data_key = entry.meta.clone();
        },
        |_, record, token| {
            record.tokens.get_mut(&token.digest()).unwrap().expires_at = UnixTime(u64::MAX);
        },
        |_, record, _| record.idle_expires_at = UnixTime(u64::MAX),
    ];
    for (i, edit) in cases.into_iter().enumerate() {
        let edge = Edge::new();
        let token = edge.session(5_000);
        add_token(&edge, &token, |meta| meta.idle_expires_at = None);
        // The one that `edit` takes must not be the token's own.
        edge.store.tamper(token.family(), |record| {
            let mine = record.tokens.remove(&token.digest()).unwrap();
            let other = record.tokens.values().next().unwrap().clone();
            record
                .tokens
                .insert(crate::token::TokenDigest([0xFF; 32]), other);
            record.tokens.insert(token.digest(), mine);
        });
        edge.store
            .tamper(token.family(), |record| edit(&edge, record, &token));
        let verdict = edge.get(&token, ORDERS).await;
        assert_eq!(name(&verdict), "401 broken_seal", "D75: {i}");
        assert!(is_alarming(&verdict), "D75: {i}");
        let cost = edge.cost();
        assert_eq!((cost.sign, cost.update), (0, 0), "D75: {i}");
    }
}

fn forge(edge: &Edge, root: &RootKey) -> (FamilyRecord, OpaqueToken) {
    let meta = TokenMeta {
        kind: TokenKind::Session,
        ..meta()
    };
    new_family(&grant_of("alice"), &meta, root, &edge.entropy).unwrap()
}

#[tokio::test]
async fn a_family_sealed_under_a_key_that_is_not_listed_is_refused() {
    let edge = Edge::new();
    for (sealed_by, expected) in [(root(1), "allow"), (root(9), "401 retired_key")] {
        let (record, token) = forge(&edge, &sealed_by);
        edge.store.insert(record);
        assert_eq!(edge.outcome(&token, ORDERS).await, expected);
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_refused_with_an_alarm() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    edge.store.fail_next(Verb::Find, Fault::Malformed);
    let verdict = edge.get(&token, ORDERS).await;
    assert_eq!(name(&verdict), "401 malformed_item", "D32");
    assert!(is_alarming(&verdict), "D32");
    for harmless in [Rejection::Malformed, Rejection::NoFamily] {
        assert!(!harmless.is_alarming());
    }
}

#[tokio::test]
async fn a_jwt_copied_into_another_slot_is_ignored_and_made_anew() {
    let edge = Edge::new();
    let alice = edge.token(|_, meta| {
        meta.scope = ["orders:read", "admin"]
            .map(str::to_owned)
            .into_iter()
            .collect();
    });
    let narrow = add_token(&edge, &alice, |meta| {
        meta.scope = std::iter::once("orders:read".to_owned()).collect();
    });
    let bob = edge.token(|grant, _| *grant = grant_of("bob"));
    let rich = edge.claims(&alice, ORDERS).await;
    edge.claims(&alice, PROFILE).await;
    let jwts = edge.entry(&alice).jwts;

    // Into another token's entry: of the same family, and of another one.
    for poor in [&narrow, &bob] {
        edge.store.tamper(poor.family(), |record| {
            record.tokens.get_mut(&poor.digest()).unwrap().jwts = jwts.clone();
        });
        edge.cost();
        let claims = edge.claims(poor, ORDERS).await;
        assert_eq!(claims["scope"], "orders:read", "D75");
        assert_ne!(claims["jti"], rich["jti"], "D75");
        assert_eq!(edge.cost().sign, 1, "D75");
    }
    // Into the slot of another audience, by which more could be seen.
    edge.store.tamper(alice.family(), |record| {
        let entry = record.tokens.get_mut(&alice.digest()).unwrap();
        entry.jwts.insert("profile".into(), jwts["orders"].clone());
    });
    let fresh = Edge::over(&edge.store, TestSigner::new(), 0, |_| {});
    assert_eq!(fresh.claims(&alice, PROFILE).await["aud"], "profile", "D75");
}

#[tokio::test]
async fn a_jwt_sealed_by_a_writer_of_the_table_is_ignored() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let sealed = SealingKey::generate(&edge.entropy)
        .unwrap()
        .seal(
            br#"{"exp":4102444800,"jwt":"a.b.c"}"#,
            token.family(),
            Some(token.digest()),
            Purpose::TokenMeta,
            &edge.entropy,
        )
        .unwrap();
    edge.store.tamper(token.family(), |record| {
        let entry = record.tokens.get_mut(&token.digest()).unwrap();
        entry.jwts.insert("orders".into(), sealed);
    });
    assert_eq!(
        edge.claims(&token, ORDERS).await["sub"],
        "demo|alice",
        "D75"
    );
}

// Keys that follow one another.

#[tokio::test]
async fn d63_remembered_jwts_follow_the_key_that_signs() {
    let edge = Edge::new();
    let token = edge.token(|_, _| {});
    let first = edge.claims(&token, ORDERS).await;
    assert_eq!(edge.claims(&token, ORDERS).await["jti"], first["jti"]);
    edge.signer.rotate_to("k2");
    let second = edge.claims(&token, ORDERS).await;
    assert_ne!(second["jti"], first["jti"]);
    assert_eq!(edge.claims(&token, ORDERS).await["jti"], second["jti"]);
    assert_eq!(edge.entry(&token).jwts.len(), 1, "overwritten in place");
}

#[tokio::test]
async fn a_jwt_that_is_signed_here_is_not_shared() {
    let edge = Edge::new();
    edge.signer.sign_here();
    let token = edge.token(|_, _| {});
    let first = edge.claims(&token, ORDERS).await;
    assert!(edge.entry(&token).jwts.is_empty(), "a write costs more");
    assert_eq!(edge.claims(&token, ORDERS).await["jti"], first["jti"]);
    // The first use is noted all the same.
    let paired = edge.paired_token();
    edge.claims(&paired, ORDERS).await;
    assert!(edge.entry(&paired).used_at.is_some());
}

#[tokio::test]
async fn environments_that_remember_one_jwt_have_the_next_one_signed_once() {
    let signer = TestSigner::new();
    let store = MemoryStore::default();
    let edges: Vec<_> = (0..10)
        .map(|_| Edge::over(&store, signer.clone(), 0, |_| {}))
        .collect();
    let token = edges[0].token(|_, _| {});
    // At first, then while its JWT is still good enough, and then when it is not, but
    // the identity is still remembered.
    for moment in [0, 200, 230] {
        for edge in &edges {
            edge.clock.set(NOW + moment);
            assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
        }
    }
    assert_eq!(signer.take_calls(), 2);
}

#[tokio::test]
async fn a_jwt_that_is_made_for_a_remembered_identity_was_weighed_before() {
    let edge = Edge::new();
    edge.signer.sign_here();
    let token = edge.paired_token();
    let held = || {
        let held = edge.authorizer.memory.recall(token.digest(), UnixTime(NOW));
        held.unwrap().value
    };
    edge.claims(&token, ORDERS).await;
    let (before, expected) = (held().weight(0), held().weight(1));
    edge.cost();
    edge.claims(&token, PROFILE).await;
    assert_eq!(edge.cost().get, 0, "it was not read again, nor kept anew");
    let (grown, allowed) = (held().weight(0) - before, expected - before);
    // An audience may see more than another.
    assert!((1..=2 * allowed).contains(&grown), "{grown}, {allowed}");
}

#[tokio::test]
async fn the_providers_tokens_are_not_remembered() {
    let edge = Edge::new();
    let token = edge.token(|grant, _| {
        grant.upstream_id_token = Some("canary".to_owned().into());
        grant.upstream_refresh_token = Some("canary".to_owned().into());
    });
    edge.claims(&token, ORDERS).await;
    let held = edge.authorizer.memory.recall(token.digest(), UnixTime(NOW));
    let grant = &held.unwrap().value.opened.grant;
    assert!(grant.user.is_some(), "the rest is");
    assert!(grant.upstream_id_token.is_none() && grant.upstream_refresh_token.is_none());
}
