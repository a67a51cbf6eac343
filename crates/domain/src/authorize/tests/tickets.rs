//! WebSocket tickets: good once, for what their session is good for.

use super::*;
use crate::config::RouteConfig;
use crate::policy::{CONNECT, CONNECT_PATH};

fn edge(roles: &[&str]) -> Edge {
    over(&MemoryStore::default(), TestSigner::new(), roles)
}

fn over(store: &MemoryStore, signer: TestSigner, roles: &[&str]) -> Edge {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Edge::over(store, signer, 0, |config| {
        config.routes.push(RouteConfig {
            method: CONNECT.into(),
            path: CONNECT_PATH.into(),
            roles,
            ..config.routes[1].clone()
        });
    })
}

/// As `LoginService::ticket` makes it.
fn ticket(edge: &Edge) -> OpaqueToken {
    let session = edge.session(50_000);
    add_token(edge, &session, |meta| {
        meta.kind = TokenKind::WebSocketTicket;
        meta.issued_at = UnixTime(NOW);
        meta.expires_at = UnixTime(NOW + 30);
        meta.idle_expires_at = None;
    })
}

async fn connect(edge: &Edge, ticket: &OpaqueToken) -> Verdict {
    let asked = edge
        .authorizer
        .authorize(Scheme::Ticket, ticket.expose(), CONNECT, CONNECT_PATH);
    asked.await.0
}

async fn outcome(edge: &Edge, ticket: &OpaqueToken) -> String {
    name(&connect(edge, ticket).await)
}

#[tokio::test]
async fn a_ticket_opens_one_connection_with_a_jwt_of_its_session() {
    let edge = edge(&[]);
    let ticket = ticket(&edge);
    let verdict = connect(&edge, &ticket).await;
    assert_eq!(claims(&verdict)["sub"], "demo|alice");
    assert_eq!(claims(&verdict)["exp"], NOW + 300, "not the ticket's 30 s");
    let Verdict::Allow(allowed) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(allowed.reusable_for, 0);
    assert_eq!(edge.cost(), Cost { epoch: 1, ..FIRST });
    for _ in 0..2 {
        assert_eq!(outcome(&edge, &ticket).await, "401 replayed");
        assert_eq!(edge.cost(), READ, "and nothing of it is remembered");
    }
    let neighbour = over(&edge.store, TestSigner::new(), &[]);
    assert_eq!(outcome(&neighbour, &ticket).await, "401 replayed");
}

#[tokio::test]
async fn a_ticket_that_the_route_refuses_is_used_up_all_the_same() {
    let edge = edge(&["owner"]);
    let ticket = ticket(&edge);
    assert_eq!(outcome(&edge, &ticket).await, "403 role");
    assert_eq!(outcome(&edge, &ticket).await, "401 replayed");
}

#[tokio::test]
async fn of_two_that_present_a_ticket_at_once_one_is_let_in() {
    for _ in 0..20 {
        let here = edge(&[]);
        let there = over(&here.store, TestSigner::new(), &[]);
        let ticket = ticket(&here);
        let (a, b) = tokio::join!(outcome(&here, &ticket), outcome(&there, &ticket));
        let mut both = [a, b];
        both.sort();
        assert_eq!(both, ["401 replayed", "allow"]);
    }
}

/// The SDK sends a write again whose answer was lost; the second one meets the first.
#[tokio::test]
async fn a_retry_of_our_own_is_no_replay_of_a_ticket() {
    for (roles, expected) in [(&[][..], "allow"), (&["owner"], "403 role")] {
        let edge = edge(roles);
        let ticket = ticket(&edge);
        edge.store.fail_next(Verb::Update, Fault::SentTwice);
        assert_eq!(outcome(&edge, &ticket).await, expected);
        assert_eq!(outcome(&edge, &ticket).await, "401 replayed");
    }
    // Nor is it good for anything if the session was ended in between, or if it was
    // somebody else who was first.
    let edge = edge(&[]);
    let (orphan, raced) = (ticket(&edge), ticket(&edge));
    edge.store
        .before_next_update(Transition::end(orphan.family()));
    assert_eq!(outcome(&edge, &orphan).await, "401 revoked");
    let rival = over(&edge.store, TestSigner::new(), &[]);
    let (a, b) = tokio::join!(outcome(&edge, &raced), outcome(&rival, &raced));
    assert_ne!(a == "allow", b == "allow", "{a}, {b}");
}

#[tokio::test]
async fn a_ticket_is_dead_after_half_a_minute_and_with_its_session() {
    let edge = edge(&[]);
    let (in_time, late, orphan) = (ticket(&edge), ticket(&edge), ticket(&edge));
    edge.clock.set(NOW + 29);
    assert_eq!(outcome(&edge, &in_time).await, "allow");
    assert!(edge.store.carry_out(&Transition::end(orphan.family())));
    assert_eq!(outcome(&edge, &orphan).await, "401 revoked");
    edge.clock.set(NOW + 30);
    assert_eq!(outcome(&edge, &late).await, "401 expired");
}

#[tokio::test]
async fn a_ticket_survives_what_is_no_answer() {
    let edge = edge(&[]);
    let ticket = ticket(&edge);
    edge.signer.fail(Some(SignError::Unavailable(cause())));
    assert_eq!(outcome(&edge, &ticket).await, "503 signer");
    edge.signer.fail(None);
    edge.store.fail_next(Verb::Update, Fault::Throttled);
    assert_eq!(outcome(&edge, &ticket).await, "503 store_throttled");
    assert_eq!(outcome(&edge, &ticket).await, "allow");
}

#[tokio::test]
async fn d30_a_ticket_passes_for_nothing_else_and_nothing_else_for_a_ticket() {
    let edge = edge(&[]);
    let (ticket, session) = (ticket(&edge), edge.session(50_000));
    let access = edge.token(|_, _| {});
    for (scheme, token) in [
        (Scheme::Bearer, &ticket),
        (Scheme::Session, &ticket),
        (Scheme::Ticket, &session),
        (Scheme::Ticket, &access),
    ] {
        let asked = edge
            .authorizer
            .authorize(scheme, token.expose(), CONNECT, CONNECT_PATH);
        assert_eq!(name(&asked.await.0), "401 wrong_kind", "{scheme:?}");
    }
    assert_eq!(edge.cost(), FREE);
}

#[tokio::test]
async fn d75_a_ticket_made_by_a_writer_of_the_table_opens_nothing() {
    let edge = edge(&[]);
    let ticket = ticket(&edge);
    edge.store.tamper(ticket.family(), |record| {
        let entry = record.tokens.get_mut(&ticket.digest()).unwrap();
        entry.expires_at = UnixTime(NOW + 3_000);
    });
    let verdict = connect(&edge, &ticket).await;
    assert_eq!(name(&verdict), "401 broken_seal");
    assert!(is_alarming(&verdict));
}
