//! Tokens that are bound to a key, before the services (RFC 9449 §7).

use super::*;
use crate::config;
use crate::dpop::Confirmation;
use crate::dpop::tests::Holder;
use crate::policy::DpopDemand;
use std::sync::atomic::{AtomicU64, Ordering};

impl Edge {
    fn bound_token(&self, holder: &Holder) -> OpaqueToken {
        let jkt = holder.thumbprint();
        self.token(|_, meta| meta.cnf = Some(Confirmation { jkt }))
    }

    /// Presents a token beside a proof.
    async fn prove(&self, token: &OpaqueToken, resource: &str, proof: &str) -> (Verdict, Facts) {
        let possession = Possession {
            proof,
            path: resource,
            reading: crate::target::Reading::Routed,
        };
        self.authorizer
            .authorize(Scheme::Dpop(possession), token.expose(), "GET", resource)
            .await
    }

    /// Presents a token beside a new proof.
    async fn hold(&self, holder: &Holder, token: &OpaqueToken, resource: &str) -> Verdict {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let jti = NUMBER.fetch_add(1, Ordering::SeqCst).to_string();
        let proof = holder.beside(token, resource, self.clock.now(), &jti);
        self.prove(token, resource, &proof).await.0
    }
}

fn demand(config: &mut Config, path: &str, dpop: DpopDemand) {
    let route = config.routes.iter_mut().find(|route| route.path == path);
    route.unwrap().dpop = dpop;
}

fn fault(verdict: &Verdict) -> PossessionFault {
    match verdict {
        Verdict::Unauthorized(Rejection::Possession(fault)) => *fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bound_token_passes_in_the_hand_that_holds_its_key() {
    let (edge, holder) = (Edge::new(), Holder::new());
    let token = edge.bound_token(&holder);
    let claims = claims(&edge.hold(&holder, &token, ORDERS).await);
    assert_eq!(
        claims["cnf"],
        serde_json::json!({"jkt": holder.thumbprint()}),
        "RFC 9449 §6.1"
    );
    // And from memory.
    assert_eq!(name(&edge.hold(&holder, &token, ORDERS).await), "allow");
}

#[tokio::test]
async fn a_token_counts_only_in_the_way_in_which_it_is_bound() {
    let (edge, holder, thief) = (Edge::new(), Holder::new(), Holder::new());
    let bound = edge.bound_token(&holder);
    let unbound = edge.token(|_, _| {});
    for _ in 0..2 {
        assert_eq!(
            fault(&edge.get(&bound, ORDERS).await),
            PossessionFault::AsBearer,
            "§7.2"
        );
        assert_eq!(
            fault(&edge.hold(&holder, &unbound, ORDERS).await),
            PossessionFault::Unbound
        );
        assert_eq!(
            fault(&edge.hold(&thief, &bound, ORDERS).await),
            PossessionFault::OtherKey
        );
        // The second time from memory.
        assert_eq!(name(&edge.hold(&holder, &bound, ORDERS).await), "allow");
        assert_eq!(name(&edge.get(&unbound, ORDERS).await), "allow");
    }
}

#[tokio::test]
async fn a_proof_counts_once_in_every_environment() {
    let store = MemoryStore::default();
    let here = Edge::over(&store, TestSigner::new(), 0, |_| {});
    let there = Edge::over(&store, TestSigner::new(), 0, |_| {});
    let holder = Holder::new();
    let token = here.bound_token(&holder);
    let proof = holder.beside(&token, ORDERS, UnixTime(NOW), "once");
    assert_eq!(name(&here.prove(&token, ORDERS, &proof).await.0), "allow");
    for edge in [&here, &there] {
        let (verdict, _) = edge.prove(&token, ORDERS, &proof).await;
        assert_eq!(
            fault(&verdict),
            PossessionFault::Proof(ProofFault::Replayed)
        );
    }
}

#[tokio::test]
async fn what_a_proof_costs_and_whom() {
    let (edge, holder) = (Edge::new(), Holder::new());
    let token = edge.bound_token(&holder);
    // A bad proof: nothing at all.
    let late = holder.beside(&token, ORDERS, UnixTime(NOW - 500), "late");
    let elsewhere = holder.beside(&token, PROFILE, UnixTime(NOW), "elsewhere");
    for (proof, expected) in [
        (late.as_str(), ProofFault::Time),
        (&elsewhere, ProofFault::Uri),
        ("x", ProofFault::Malformed),
    ] {
        let (verdict, _) = edge.prove(&token, ORDERS, proof).await;
        assert_eq!(fault(&verdict), PossessionFault::Proof(expected));
        assert_eq!(edge.store.take_calls(), crate::testing::Calls::default());
    }
    // Without a live token of that key, or where it may not pass: no write.
    let stranger = OpaqueToken::generate(TokenKind::Access, token.family(), &edge.entropy);
    let stranger = stranger.unwrap();
    edge.hold(&holder, &stranger, ORDERS).await;
    edge.hold(&Holder::new(), &token, ORDERS).await;
    let refused = edge.hold(&holder, &token, OWNERS).await;
    assert_eq!(name(&refused), "403 role");
    let calls = edge.store.take_calls();
    assert_eq!((calls.once, calls.update, calls.create), (0, 0, 0));
    // A good request: the proof's name, and what a request costs anyway.
    assert_eq!(name(&edge.hold(&holder, &token, ORDERS).await), "allow");
    let calls = edge.store.take_calls();
    assert_eq!((calls.once, calls.update), (1, 1));
    assert_eq!(name(&edge.hold(&holder, &token, ORDERS).await), "allow");
    let calls = edge.store.take_calls();
    assert_eq!((calls.find, calls.once, calls.update), (0, 1, 0));
}

#[tokio::test]
async fn a_route_that_demands_a_key_takes_no_other_token() {
    let edge = Edge::with(|config| demand(config, ORDERS, DpopDemand::Required));
    let holder = Holder::new();
    let (bound, unbound) = (edge.bound_token(&holder), edge.paired_token());
    assert_eq!(name(&edge.hold(&holder, &bound, ORDERS).await), "allow");
    assert_eq!(
        fault(&edge.get(&unbound, ORDERS).await),
        PossessionFault::Demanded
    );
    assert!(
        edge.used_at(&unbound).is_some(),
        "it was a use all the same"
    );
    let session = edge.session(10_000);
    assert_eq!(
        fault(&edge.get(&session, ORDERS).await),
        PossessionFault::Demanded
    );
    assert_eq!(name(&edge.get(&unbound, PROFILE).await), "allow");
}

#[tokio::test]
async fn d35_a_bound_token_passes_no_authorizer_whose_answers_are_kept() {
    for (dpop, latency, passes) in [
        (DpopDemand::Unsaid, 60, false),
        (DpopDemand::Unsaid, 0, true),
        (DpopDemand::Optional, 60, true),
        (DpopDemand::Required, 60, true),
    ] {
        let edge = Edge::with(|config| {
            config.edge = config::Edge::Cloudfront;
            config.revocation.max_latency = latency;
            demand(config, ORDERS, dpop);
        });
        let holder = Holder::new();
        let token = edge.bound_token(&holder);
        let verdict = edge.hold(&holder, &token, ORDERS).await;
        if passes {
            assert_eq!(name(&verdict), "allow", "{dpop:?} {latency}");
        } else {
            assert_eq!(fault(&verdict), PossessionFault::Cached);
            assert_eq!(edge.store.take_calls().once, 0);
        }
    }
}

#[tokio::test]
async fn a_session_is_no_token_to_hold_by_a_key() {
    let (edge, holder) = (Edge::new(), Holder::new());
    let session = edge.session(10_000);
    let verdict = edge.hold(&holder, &session, ORDERS).await;
    assert!(matches!(
        verdict,
        Verdict::Unauthorized(Rejection::WrongKind)
    ));
}

#[tokio::test]
async fn a_store_that_cannot_say_whether_a_proof_was_used_is_unavailable() {
    let (edge, holder) = (Edge::new(), Holder::new());
    let token = edge.bound_token(&holder);
    edge.store.fail_next(Verb::Once, Fault::Throttled);
    let verdict = edge.hold(&holder, &token, ORDERS).await;
    assert!(matches!(
        verdict,
        Verdict::Unavailable(Outage::StoreThrottled)
    ));
}
