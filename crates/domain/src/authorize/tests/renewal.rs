//! What a JWT says, when it is renewed, and for how long an answer may be given again.

use super::*;
use crate::config::{ClaimName, FieldConfig};
use crate::policy::TokenDemand;

const GRAPHQL: &str = "/graphql";

/// The last 29 + 60 s of a JWT's 300 are for the way to the service.
const USEFUL: u64 = 300 - 89;

/// Nothing is remembered, so every request reads the item.
fn without_memory() -> Edge {
    Edge::with(|config| config.revocation.max_latency = 0)
}

fn long_lived(edge: &Edge) -> OpaqueToken {
    edge.token(|_, meta| meta.expires_at = UnixTime(50_000))
}

#[tokio::test]
async fn a_jwt_is_never_handed_out_with_less_than_the_least_life() {
    for (later, is_reused) in [(USEFUL - 32, true), (USEFUL + 1, false)] {
        let edge = Edge::new();
        let token = long_lived(&edge);
        let first = edge.claims(&token, ORDERS).await;
        edge.clock.advance(later);
        let second = edge.claims(&token, ORDERS).await;
        assert_eq!(first["jti"] == second["jti"], is_reused, "{later}");
        assert!(second["exp"].as_u64().unwrap() >= NOW + later + 89);
        edge.clock.advance(33);
        let third = edge.claims(&token, ORDERS).await;
        assert_eq!(second["jti"] == third["jti"], !is_reused, "{later}");
    }
}

/// How many of 400 tokens get a new JWT when theirs has `spare` seconds to spare.
async fn renewed_at(spare: u64) -> usize {
    let edge = without_memory();
    let mut renewed = 0;
    for _ in 0..400 {
        edge.clock.set(NOW);
        let token = long_lived(&edge);
        let first = edge.claims(&token, ORDERS).await;
        edge.clock.set(NOW + USEFUL - spare);
        let second = edge.claims(&token, ORDERS).await;
        renewed += usize::from(first["jti"] != second["jti"]);
    }
    renewed
}

#[tokio::test]
async fn the_nearer_its_end_the_likelier_a_jwt_is_renewed_ahead() {
    assert!((150..250).contains(&renewed_at(0).await), "one of two");
    assert!((20..80).contains(&renewed_at(2).await), "one of eight");
    assert_eq!(renewed_at(32).await, 0);
}

#[tokio::test]
async fn a_hundred_environments_renew_a_jwt_once_and_not_a_hundred_times() {
    let first = without_memory();
    let token = long_lived(&first);
    first.claims(&token, ORDERS).await;
    first.cost();
    let fleet: Vec<_> = (0..20)
        .map(|_| {
            Edge::over(&first.store, first.signer.clone(), 0, |config| {
                config.revocation.max_latency = 0;
            })
        })
        .collect();
    let mut signs = 0;
    for second in USEFUL - 40..=USEFUL + 40 {
        for edge in &fleet {
            edge.clock.set(NOW + second);
            // Five environments each, one after the other.
            for _ in 0..5 {
                assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
            }
        }
        signs += first.cost().sign;
    }
    assert_eq!(signs, 1, "whoever comes later finds it in the item");
}

#[tokio::test]
async fn a_signer_that_fails_is_no_outage_while_the_jwt_is_good() {
    let edge = without_memory();
    let token = long_lived(&edge);
    let first = edge.claims(&token, ORDERS).await;
    edge.signer.fail(Some(SignError::Unavailable(cause())));
    edge.clock.set(NOW + USEFUL);
    edge.cost();
    for _ in 0..20 {
        assert_eq!(edge.claims(&token, ORDERS).await["jti"], first["jti"]);
    }
    assert!(edge.cost().sign > 0, "it was tried");
    edge.clock.advance(1);
    assert_eq!(edge.outcome(&token, ORDERS).await, "503 signer", "D42");
}

#[tokio::test]
async fn what_another_environment_has_renewed_is_read_and_not_signed_again() {
    let ours = Edge::new();
    let token = long_lived(&ours);
    ours.claims(&token, ORDERS).await;
    ours.clock.set(NOW + USEFUL - 40);
    assert_eq!(ours.outcome(&token, ORDERS).await, "allow");
    let theirs = Edge::over(&ours.store, ours.signer.clone(), 0, |_| {});
    for edge in [&ours, &theirs] {
        edge.clock.set(NOW + USEFUL + 1);
    }
    let renewed = theirs.claims(&token, ORDERS).await;
    ours.cost();
    assert_eq!(ours.claims(&token, ORDERS).await["jti"], renewed["jti"]);
    let cost = ours.cost();
    assert_eq!((cost.get, cost.sign, cost.update), (1, 0, 0));
    assert_eq!(ours.claims(&token, ORDERS).await["jti"], renewed["jti"]);
    assert_eq!(ours.cost(), FREE);
}

async fn reusable_for(edge: &Edge, token: &OpaqueToken, method: &str, resource: &str) -> u64 {
    let asked = edge
        .authorizer
        .authorize(Scheme::Bearer, token.expose(), method, resource);
    match asked.await.0 {
        Verdict::Allow(allowed) => allowed.reusable_for,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_may_be_given_again_until_the_first_of_all_promises_ends() {
    let edge = Edge::new();
    let token = long_lived(&edge);
    assert_eq!(reusable_for(&edge, &token, "GET", ORDERS).await, 60);
    edge.clock.advance(10);
    let later = reusable_for(&edge, &token, "GET", ORDERS).await;
    assert_eq!(later, 50, "counted from the read, not from the answer");
    edge.clock.set(NOW + USEFUL - 40);
    let late = reusable_for(&edge, &token, "GET", ORDERS).await;
    assert_eq!(late, 40, "the JWT must live until a service has seen it");

    let immediate = without_memory();
    let token = long_lived(&immediate);
    assert_eq!(reusable_for(&immediate, &token, "GET", ORDERS).await, 0);

    let edge = Edge::new();
    let short = edge.token(|_, meta| meta.expires_at = UnixTime(NOW + 130));
    assert_eq!(reusable_for(&edge, &short, "GET", ORDERS).await, 130 - 89);

    let edge = Edge::with(|config| config.routes[0].max_age = Some(115));
    let token = long_lived(&edge);
    let step_up = reusable_for(&edge, &token, "GET", ORDERS).await;
    assert_eq!(step_up, 15, "signed in at 1000, and it is 1100");

    let edge = Edge::with(|config| config.revocation.max_latency = 4);
    let token = long_lived(&edge);
    assert_eq!(reusable_for(&edge, &token, "GET", ORDERS).await, 4);
    edge.clock.advance(3);
    let other = long_lived(&edge);
    let with_older_epoch = reusable_for(&edge, &other, "GET", ORDERS).await;
    assert_eq!(with_older_epoch, 2, "the epoch was read 3 s ago");
}

#[tokio::test]
async fn an_answer_about_a_session_ends_with_its_idle_limit() {
    let edge = Edge::new();
    for (idle, expected) in [(NOW + 7, 7), (NOW + 600, 60)] {
        let session = edge.session(idle);
        let asked = edge
            .authorizer
            .authorize(Scheme::Session, session.expose(), "GET", ORDERS);
        let Verdict::Allow(allowed) = asked.await.0 else {
            panic!("the session is good");
        };
        assert_eq!(allowed.reusable_for, expected);
    }
}

#[tokio::test]
async fn a_remembered_session_ends_where_its_claims_are_too_old() {
    let edge = Edge::with(|config| {
        let idp = &mut config.identity_providers[0];
        (idp.claims_max_age, idp.claims_max_stale) = (Some(30), Some(60));
    });
    let claims_at = Some(UnixTime(NOW - 40));
    let session = edge.token(|grant, meta| {
        grant.kind = FamilyKind::Session;
        (grant.client, grant.claims_at) = (None, claims_at);
        (meta.kind, meta.client) = (TokenKind::Session, None);
        meta.expires_at = grant.absolute_expires_at;
        meta.idle_expires_at = Some(UnixTime(50_000));
    });
    // The claims of a client's grant are what the client was granted.
    let granted = edge.token(|grant, meta| {
        grant.claims_at = claims_at;
        meta.expires_at = UnixTime(50_000);
    });
    for (later, expected) in [(0, "allow"), (19, "allow"), (1, "401 expired")] {
        edge.clock.advance(later);
        assert_eq!(edge.outcome(&session, ORDERS).await, expected);
        assert_eq!(edge.outcome(&granted, ORDERS).await, "allow");
    }
}

#[tokio::test]
async fn the_fields_that_a_token_does_not_get_come_with_its_answer() {
    let edge = Edge::with(|config| {
        let mut route = config.routes[1].clone();
        (route.method, route.path) = ("POST".into(), GRAPHQL.into());
        route.fields = vec![FieldConfig {
            names: vec!["Query.owners".into(), "Mutation.own".into()],
            token: TokenDemand::Either,
            scopes: vec![],
            any_scope: vec![],
            roles: vec!["owner".into()],
            any_role: vec![],
            clients: vec![],
            acr: vec![],
            max_age: None,
        }];
        config.routes.push(route);
    });
    let denied = async |token: &OpaqueToken| {
        let asked = edge
            .authorizer
            .authorize(Scheme::Bearer, token.expose(), "POST", GRAPHQL);
        match asked.await.0 {
            Verdict::Allow(allowed) => allowed.denied_fields,
            other => panic!("{other:?}"),
        }
    };
    let alice = edge.token(|_, _| {});
    for _ in 0..2 {
        assert_eq!(denied(&alice).await, ["Query.owners", "Mutation.own"]);
    }
    let owner = edge.token(|grant, _| {
        if let Some(user) = &mut grant.user {
            user.roles = vec!["owner".into()];
        }
    });
    assert!(denied(&owner).await.is_empty());
}

#[tokio::test]
async fn a_moved_epoch_reaches_what_the_gateway_keeps_in_time() {
    // The gateway keeps an answer for half of the promised time; what is remembered
    // here must leave it the other half.
    let edge = Edge::with(|config| config.edge = crate::config::Edge::Cloudfront);
    let token = long_lived(&edge);
    edge.claims(&token, ORDERS).await;
    edge.store.set_epoch(1_050);
    edge.clock.advance(29);
    assert_eq!(edge.outcome(&token, ORDERS).await, "allow");
    edge.clock.advance(1);
    assert_eq!(edge.outcome(&token, ORDERS).await, "401 expired", "D68");
}

#[tokio::test]
async fn an_audience_sees_the_claims_of_its_list_under_its_own_names() {
    let edge = Edge::with(|config| {
        let audience = &mut config.audiences[0];
        audience.claims = vec![ClaimName::Email, ClaimName::Roles];
        audience.rename_claims = [(ClaimName::Email, "mail".to_owned())].into();
    });
    let token = edge.token(|_, _| {});
    let claims = edge.claims(&token, ORDERS).await;
    assert_eq!(claims["mail"], "alice@example.com");
    assert_eq!(claims["roles"], serde_json::json!(["admin", "user"]));
    assert_eq!((claims.get("email"), claims.get("name")), (None, None));
    let plain = Edge::over(&edge.store, TestSigner::new(), 0, |_| {});
    let claims = plain.claims(&token, ORDERS).await;
    assert_eq!(
        claims["email"], "alice@example.com",
        "another policy, another JWT"
    );
    assert_eq!(claims.get("mail"), None);
}
