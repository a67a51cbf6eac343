//! Tokens that are bound to a key (RFC 9449).

use super::*;
use crate::dpop::tests::Holder;
use std::sync::atomic::{AtomicU64, Ordering};

impl Desk {
    /// A proof by `holder` that nobody has seen yet.
    async fn proof(&self, holder: &Holder) -> Proof {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let jti = NUMBER.fetch_add(1, Ordering::SeqCst).to_string();
        let text = holder.at_endpoint("/oauth/token", self.clock.now(), &jti);
        self.service.judge_proof(&text).await.unwrap()
    }

    async fn issue_with(
        &self,
        client: &ClientCredentials<'_>,
        request: &TokenRequest<'_>,
        proof: Option<&Proof>,
    ) -> Result<Issued, IssueError> {
        let targets = Targets::default();
        self.service
            .issue_for(client, request, &targets, proof)
            .await
    }

    async fn redeem_with(
        &self,
        code: &OpaqueToken,
        holder: Option<&Holder>,
    ) -> Result<Issued, IssueError> {
        let request = redemption(code.expose(), REDIRECT, VERIFIER);
        let proof = match holder {
            Some(holder) => Some(self.proof(holder).await),
            None => None,
        };
        self.issue_with(&APP, &request, proof.as_ref()).await
    }

    async fn refresh_with(
        &self,
        token: &OpaqueToken,
        holder: Option<&Holder>,
    ) -> Result<Issued, IssueError> {
        let token = token.expose();
        let request = TokenRequest::RefreshToken { token, scope: None };
        let proof = match holder {
            Some(holder) => Some(self.proof(holder).await),
            None => None,
        };
        self.issue_with(&APP, &request, proof.as_ref()).await
    }

    /// To which key a token is bound.
    fn key_of(&self, token: &OpaqueToken) -> Option<Thumbprint> {
        let record = self.store.record(token.family());
        let opened = grant::open_whatever_its_state(&record, token, &roots()).unwrap();
        opened.meta.key().cloned()
    }
}

fn refresh_of(issued: &Issued) -> &OpaqueToken {
    issued.pair.refresh.as_ref().unwrap()
}

const KEY: IssueError = IssueError::InvalidGrant(GrantFault::Key);

#[tokio::test]
async fn a_public_clients_pair_is_bound_to_the_key_of_its_proof() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let issued = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let issued = issued.unwrap();
    assert_eq!(issued.token_type, "DPoP");
    assert_eq!(desk.key_of(&issued.pair.access), Some(holder.thumbprint()));
    assert_eq!(desk.key_of(refresh_of(&issued)), Some(holder.thumbprint()));

    let issued = desk.redeem_with(&desk.code(|_, _| {}), None).await.unwrap();
    assert_eq!(issued.token_type, "Bearer");
    assert_eq!(desk.key_of(&issued.pair.access), None);
    assert_eq!(desk.key_of(refresh_of(&issued)), None);
}

#[tokio::test]
async fn a_bound_refresh_token_is_worth_something_to_its_key_alone_and_burns_nothing() {
    let (desk, holder, thief) = (Desk::new(), Holder::new(), Holder::new());
    let first = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let first = first.unwrap();
    for nobody in [None, Some(&thief)] {
        let refused = desk.refresh_with(refresh_of(&first), nobody).await;
        assert_eq!(refused.unwrap_err(), KEY);
    }
    let second = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    let second = second.unwrap();
    assert_eq!(second.token_type, "DPoP");
    assert_eq!(desk.key_of(refresh_of(&second)), Some(holder.thumbprint()));
    // Used up, it is no weapon either: who found it cannot end the family.
    desk.use_access(&second);
    desk.clock.advance(11);
    for nobody in [None, Some(&thief)] {
        let refused = desk.refresh_with(refresh_of(&first), nobody).await;
        assert_eq!(refused.unwrap_err(), KEY);
    }
    assert!(
        desk.refresh_with(refresh_of(&second), Some(&holder))
            .await
            .is_ok()
    );
    // In the hand of its holder, a replay is one (D47).
    let replayed = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    assert_eq!(
        replayed.unwrap_err(),
        IssueError::InvalidGrant(GrantFault::Reused)
    );
    let record = desk.store.record(first.pair.access.family());
    assert_eq!(record.state, FamilyState::Revoked);
}

#[tokio::test]
async fn a_bound_refresh_token_of_an_older_generation_ends_its_family_by_its_key_alone() {
    let (desk, holder, thief) = (Desk::new(), Holder::new(), Holder::new());
    let first = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let first = first.unwrap();
    let mut current = desk
        .refresh_with(refresh_of(&first), Some(&holder))
        .await
        .unwrap();
    for _ in 0..2 {
        current = desk
            .refresh_with(refresh_of(&current), Some(&holder))
            .await
            .unwrap();
    }
    for nobody in [None, Some(&thief)] {
        let refused = desk.refresh_with(refresh_of(&first), nobody).await;
        assert_eq!(
            refused.unwrap_err(),
            IssueError::InvalidGrant(GrantFault::Unknown)
        );
    }
    let current = desk.refresh_with(refresh_of(&current), Some(&holder)).await;
    assert!(current.is_ok(), "nobody has ended it");
    let replayed = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    assert_eq!(
        replayed.unwrap_err(),
        IssueError::InvalidGrant(GrantFault::Reused)
    );
    let record = desk.store.record(first.pair.access.family());
    assert_eq!(record.state, FamilyState::Revoked);
}

#[tokio::test]
async fn d47_an_old_unbound_refresh_token_that_comes_with_a_proof_is_a_replay() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let first = desk.pair().await;
    let mut current = desk.refresh_with(refresh_of(&first), None).await.unwrap();
    for _ in 0..2 {
        current = desk.refresh_with(refresh_of(&current), None).await.unwrap();
    }
    let replayed = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    assert_eq!(
        replayed.unwrap_err(),
        IssueError::InvalidGrant(GrantFault::Reused)
    );
    let record = desk.store.record(first.pair.access.family());
    assert_eq!(record.state, FamilyState::Revoked);
}

#[tokio::test]
async fn a_bound_refresh_token_in_another_clients_hands_ends_nothing_without_its_key() {
    let (desk, holder, thief) = (Desk::new(), Holder::new(), Holder::new());
    let first = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let first = first.unwrap();
    let request = TokenRequest::RefreshToken {
        token: refresh_of(&first).expose(),
        scope: None,
    };
    let others = desk.proof(&thief).await;
    for nobody in [None, Some(&others)] {
        let refused = desk.issue_with(&SERVER, &request, nobody).await;
        assert_eq!(refused.unwrap_err(), KEY);
    }
    let alive = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    assert!(alive.is_ok());
    // Who has the key as well has stolen both (D51).
    let stolen = desk.proof(&holder).await;
    let refused = desk.issue_with(&SERVER, &request, Some(&stolen)).await;
    assert_eq!(
        refused.unwrap_err(),
        IssueError::InvalidGrant(GrantFault::Reused)
    );
}

#[tokio::test]
async fn a_lost_answer_heals_for_the_same_key_with_the_same_pair() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let first = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let first = first.unwrap();
    let lost = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    let again = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    let (lost, again) = (lost.unwrap(), again.unwrap());
    assert!(again.healed);
    assert_eq!(again.token_type, "DPoP");
    assert_eq!(lost.pair.access.expose(), again.pair.access.expose());
}

#[tokio::test]
async fn a_pair_that_is_bound_to_nothing_is_bound_at_its_next_refresh() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let first = desk.pair().await;
    let second = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    let second = second.unwrap();
    assert_eq!(desk.key_of(refresh_of(&second)), Some(holder.thumbprint()));
    // The same pair again only in the same hand.
    for other in [None, Some(&Holder::new())] {
        let refused = desk.refresh_with(refresh_of(&first), other).await;
        assert_eq!(refused.unwrap_err(), KEY);
    }
    let healed = desk.refresh_with(refresh_of(&first), Some(&holder)).await;
    assert!(healed.unwrap().healed);
}

#[tokio::test]
async fn a_confidential_clients_refresh_token_is_bound_to_the_client_alone() {
    let desk = Desk::with(|config| {
        config.clients[1].scopes.0.push(OFFLINE_ACCESS.into());
    });
    let (holder, next) = (Holder::new(), Holder::new());
    let code = desk.code(|grant, meta| {
        grant.client = Some("server".into());
        meta.client = Some("server".into());
    });
    let proof = desk.proof(&holder).await;
    let request = redemption(code.expose(), REDIRECT, VERIFIER);
    let first = desk.issue_with(&SERVER, &request, Some(&proof)).await;
    let first = first.unwrap();
    assert_eq!(desk.key_of(&first.pair.access), Some(holder.thumbprint()));
    assert_eq!(desk.key_of(refresh_of(&first)), None, "RFC 9449 §5");
    // It may take another key when it likes.
    let token = refresh_of(&first).expose().to_owned();
    let request = TokenRequest::RefreshToken {
        token: &token,
        scope: None,
    };
    let proof = desk.proof(&next).await;
    let second = desk.issue_with(&SERVER, &request, Some(&proof)).await;
    let second = second.unwrap();
    assert_eq!(desk.key_of(&second.pair.access), Some(next.thumbprint()));
    // But a retry gets what was given: in the hand for which it was made, or not at all.
    for other in [None, Some(desk.proof(&holder).await)] {
        let refused = desk.issue_with(&SERVER, &request, other.as_ref()).await;
        assert_eq!(refused.unwrap_err(), KEY);
    }
    let proof = desk.proof(&next).await;
    assert!(
        desk.issue_with(&SERVER, &request, Some(&proof))
            .await
            .unwrap()
            .healed
    );
}

#[tokio::test]
async fn a_code_that_was_asked_for_with_a_key_is_redeemed_with_it_alone() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let code = desk.code(|_, meta| {
        let binding = meta.code.as_mut().unwrap();
        binding.jkt = Some(holder.thumbprint());
    });
    for other in [None, Some(&Holder::new())] {
        let refused = desk.redeem_with(&code, other).await;
        assert_eq!(refused.unwrap_err(), KEY, "RFC 9449 §10");
    }
    assert!(desk.redeem_with(&code, Some(&holder)).await.is_ok());
}

#[tokio::test]
async fn a_client_of_bound_tokens_alone_gets_no_other() {
    const MISSING: IssueError = IssueError::InvalidProof(ProofFault::Missing);
    let desk = Desk::with(|config| {
        for client in &mut config.clients {
            client.dpop_bound_access_tokens = true;
        }
    });
    let holder = Holder::new();
    let credentials = TokenRequest::ClientCredentials { scope: None };
    let refused = desk.issue_with(&MACHINE, &credentials, None).await;
    assert_eq!(refused.unwrap_err(), MISSING);
    let proof = desk.proof(&holder).await;
    let issued = desk.issue_with(&MACHINE, &credentials, Some(&proof)).await;
    assert_eq!(issued.unwrap().token_type, "DPoP");

    let code = desk.code(|_, _| {});
    assert_eq!(desk.redeem_with(&code, None).await.unwrap_err(), MISSING);
    let issued = desk.redeem_with(&code, Some(&holder)).await.unwrap();
    let refused = desk.refresh_with(refresh_of(&issued), None).await;
    assert_eq!(refused.unwrap_err(), MISSING);
}

#[tokio::test]
async fn a_proof_counts_once_whatever_the_grant() {
    const REPLAYED: IssueError = IssueError::InvalidProof(ProofFault::Replayed);
    let (desk, holder) = (Desk::new(), Holder::new());
    let proof = desk.proof(&holder).await;
    let credentials = TokenRequest::ClientCredentials { scope: None };
    let first = desk.issue_with(&MACHINE, &credentials, Some(&proof)).await;
    assert!(first.is_ok());
    let again = desk.issue_with(&MACHINE, &credentials, Some(&proof)).await;
    assert_eq!(again.unwrap_err(), REPLAYED);
    let code = desk.code(|_, _| {});
    let request = redemption(code.expose(), REDIRECT, VERIFIER);
    let refused = desk.issue_with(&APP, &request, Some(&proof)).await;
    assert_eq!(refused.unwrap_err(), REPLAYED);
    // The code is as good as before.
    let issued = desk.redeem_with(&code, Some(&holder)).await.unwrap();
    let token = refresh_of(&issued).expose().to_owned();
    let request = TokenRequest::RefreshToken {
        token: &token,
        scope: None,
    };
    let refused = desk.issue_with(&APP, &request, Some(&proof)).await;
    assert_eq!(refused.unwrap_err(), REPLAYED);
    assert!(
        desk.refresh_with(refresh_of(&issued), Some(&holder))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn invariant_10_a_proof_without_a_grant_writes_nothing() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let live = desk.redeem_with(&desk.code(|_, _| {}), Some(&holder)).await;
    let live = live.unwrap();
    let code = desk.code(|_, _| {});
    let strangers = OpaqueToken::generate(
        TokenKind::Refresh,
        live.pair.access.family(),
        &SequenceEntropy::starting_at(99),
    )
    .unwrap();
    let nobody = ClientCredentials::Secret {
        id: "machine",
        secret: "wrong",
    };
    desk.store.take_calls();
    let refreshing = |token| TokenRequest::RefreshToken { token, scope: None };
    let verifier = "x".repeat(43);
    let cases = [
        (&APP, refreshing(strangers.expose())),
        (&APP, refreshing("cr_rt_x")),
        (&APP, redemption(code.expose(), REDIRECT, &verifier)),
        (&nobody, TokenRequest::ClientCredentials { scope: None }),
        (
            &MACHINE,
            TokenRequest::ClientCredentials {
                scope: Some("openid"),
            },
        ),
    ];
    for (client, request) in &cases {
        let proof = desk.proof(&holder).await;
        assert!(
            desk.issue_with(client, request, Some(&proof))
                .await
                .is_err()
        );
        let calls = desk.store.take_calls();
        assert_eq!((calls.once, calls.update, calls.create), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_store_that_cannot_say_whether_a_proof_was_used_is_unavailable() {
    let (desk, holder) = (Desk::new(), Holder::new());
    let code = desk.code(|_, _| {});
    desk.store.fail_next(Verb::Once, Fault::Unavailable);
    let refused = desk.redeem_with(&code, Some(&holder)).await;
    assert!(matches!(refused, Err(IssueError::Unavailable(_))));
    assert!(desk.redeem_with(&code, Some(&holder)).await.is_ok());
}
