//! OpenID Connect Back-Channel Logout 1.0 §2.7: what a provider's word ends, and what
//! it does not.

use super::*;
use crate::config::Config;

impl Porch {
    async fn told(&self, token: &str) -> Result<u64, LoginError> {
        let signed_out = self.service.sign_out_by_provider(token).await?;
        assert_eq!(signed_out.idp, "demo");
        Ok(signed_out.ended)
    }

    /// A native client's tokens: with the code redeemed if `offline`.
    async fn granted(&self, offline: bool) -> FamilyRecord {
        let before: Vec<_> = self.store.families().iter().map(|each| each.id).collect();
        let (login, asked) = self.ask(&native()).await;
        let SignedIn::Confirm { ticket, .. } = asked else {
            panic!("{asked:?}");
        };
        self.confirm(&ticket, &login, Decision::Allow)
            .await
            .unwrap();
        let families = self.store.families();
        let new = families.iter().find(|each| !before.contains(&each.id));
        let id = new.unwrap().id;
        if offline {
            self.store.tamper(id, |record| {
                let mut entry = record.tokens.values().next().unwrap().clone();
                entry.kind = TokenKind::Refresh;
                let digest = crate::token::TokenDigest([7; 32]);
                record.tokens.insert(digest, entry);
            });
        }
        self.store.record(id)
    }
}

#[tokio::test]
async fn a_session_that_is_named_ends_and_no_other() {
    let porch = Porch::new();
    let (alice, again) = (porch.sign_in("alice").await, porch.sign_in("alice").await);
    let bob = porch.sign_in("bob").await;
    // Both of alice's have the same session at this provider.
    let told = porch.told("sid=idp-sid-of-alice,sub=demo|alice;1").await;
    assert_eq!(told, Ok(2));
    for session in [&alice, &again] {
        assert_eq!(porch.state(session), FamilyState::Ended);
        assert_eq!(
            porch.service.session(session.expose(), true).await.err(),
            Some(SessionError::NoSession)
        );
    }
    assert_eq!(porch.state(&bob), FamilyState::Active);
}

#[tokio::test]
async fn a_user_without_a_session_means_all_of_theirs() {
    let porch = Porch::new();
    let alice = porch.sign_in("alice").await;
    let bob = porch.sign_in("bob").await;
    assert_eq!(porch.told("sub=demo|alice;1").await, Ok(1));
    assert_eq!(porch.state(&alice), FamilyState::Ended);
    assert_eq!(porch.state(&bob), FamilyState::Active);
}

#[tokio::test]
async fn with_a_session_its_users_other_sessions_live_on() {
    let porch = Porch::new();
    let alice = porch.sign_in("alice").await;
    assert_eq!(porch.told("sid=another,sub=demo|alice;1").await, Ok(0));
    assert_eq!(porch.state(&alice), FamilyState::Active);
}

#[tokio::test]
async fn nobody_of_that_name_is_no_fault() {
    // A18.4
    let porch = Porch::new();
    assert_eq!(porch.told("sub=demo|nobody;1").await, Ok(0));
    assert_eq!(porch.told("sid=nothing;2").await, Ok(0));
}

#[tokio::test]
async fn a_token_is_believed_once() {
    let porch = Porch::new();
    assert_eq!(porch.told("sub=demo|alice;1").await, Ok(0));
    porch.clock.advance(2);
    let alice = porch.sign_in("alice").await;
    let replayed = porch.told("sub=demo|alice;1").await;
    assert_eq!(replayed, Err(LoginError::Replayed));
    assert_eq!(porch.state(&alice), FamilyState::Active);
    assert_eq!(porch.told("sub=demo|alice;2").await, Ok(1));
}

#[tokio::test]
async fn a_login_in_flight_does_not_survive_it() {
    for token in ["sid=idp-sid-of-alice;1", "sub=demo|alice;1"] {
        let porch = Porch::new();
        let login = porch.start().await;
        porch.told(token).await.unwrap();
        assert_eq!(
            error(porch.finish(&login, "code-of-alice", None).await),
            LoginError::SignedOut
        );
        assert!(porch.store.families().is_empty());
        porch.clock.advance(1);
        porch.sign_in("alice").await;
    }
}

#[tokio::test]
async fn a_client_that_works_offline_goes_on_and_one_that_does_not_ends() {
    // §2.7
    let porch = Porch::new();
    let offline = porch.granted(true).await;
    let online = porch.granted(false).await;
    assert_eq!(porch.told("sid=idp-sid-of-alice;1").await, Ok(1));
    assert_eq!(porch.store.record(offline.id).state, FamilyState::Active);
    assert_eq!(porch.store.record(online.id).state, FamilyState::Ended);
}

#[tokio::test]
async fn a_provider_may_be_configured_to_end_offline_access_too() {
    let ends_all = |config: &mut Config| {
        config.identity_providers[0].logout_ends_offline_access = true;
    };
    for token in ["sid=idp-sid-of-alice;1", "sub=demo|alice;1"] {
        let porch = Porch::with(ends_all);
        let offline = porch.granted(true).await;
        let bob = porch.sign_in("bob").await;
        assert_eq!(porch.told(token).await, Ok(1));
        assert_eq!(porch.store.record(offline.id).state, FamilyState::Ended);
        assert_eq!(porch.state(&bob), FamilyState::Active);
    }
}

#[tokio::test]
async fn a_token_whose_work_failed_does_it_when_it_comes_again() {
    for verb in [Verb::Find, Verb::Update, Verb::Once] {
        let porch = Porch::new();
        let alice = porch.sign_in("alice").await;
        porch.store.fail_next(verb, Fault::Unavailable);
        let failed = porch.told("sub=demo|alice;1").await;
        assert!(
            matches!(failed, Err(LoginError::Unavailable(_))),
            "{verb:?}"
        );
        porch.told("sub=demo|alice;1").await.unwrap();
        assert_eq!(porch.state(&alice), FamilyState::Ended, "{verb:?}");
    }
    let porch = Porch::new();
    porch.roots.set_down(true);
    let failed = porch.told("sub=demo|alice;1").await;
    assert!(matches!(failed, Err(LoginError::Unavailable(_))));
}

#[tokio::test]
async fn what_was_sealed_under_an_older_root_is_found_too() {
    let porch = Porch::new();
    let alice = porch.sign_in("alice").await;
    let rotated = crate::seal::RootKeys::new(root(2), vec![root(1)]);
    let service = LoginService::new(
        Arc::new(system()),
        UnixTime(0),
        porch.store.clone(),
        TestRoots::of(rotated),
        porch.providers.clone(),
        world(&porch.clock),
    );
    let token = "sub=demo|alice;1";
    let signed_out = service.sign_out_by_provider(token).await.unwrap();
    assert_eq!(signed_out.ended, 1);
    assert_eq!(porch.state(&alice), FamilyState::Ended);
}

#[tokio::test]
async fn a_token_that_is_not_believed_ends_nothing() {
    let porch = Porch::new();
    let alice = porch.sign_in("alice").await;
    let refused = porch.told("no token").await;
    assert!(matches!(refused, Err(LoginError::Refused(_))));
    assert_eq!(porch.state(&alice), FamilyState::Active);
}

#[tokio::test]
async fn d91_one_item_that_cannot_be_read_keeps_nobody_else_alive() {
    for token in ["sid=idp-sid-of-alice;1", "sub=demo|alice;1"] {
        let porch = Porch::new();
        let mut sessions = Vec::new();
        for _ in 0..6 {
            sessions.push(porch.sign_in("alice").await);
        }
        porch.store.damage(sessions[2].family());
        assert_eq!(porch.told(token).await, Ok(6));
        for session in &sessions {
            assert_eq!(porch.state(session), FamilyState::Ended);
        }
    }
}

#[tokio::test]
async fn d91_one_item_that_cannot_be_reached_keeps_nobody_else_alive() {
    for (verb, ends_all) in [
        (Verb::Find, false),
        (Verb::Update, false),
        (Verb::Update, true),
    ] {
        let porch = Porch::with(|config| {
            config.identity_providers[0].logout_ends_offline_access = ends_all;
        });
        let mut sessions = Vec::new();
        for _ in 0..6 {
            sessions.push(porch.sign_in("alice").await);
        }
        porch.store.pass_next(verb);
        if verb == Verb::Find {
            // The first is whether the token was used.
            porch.store.pass_next(verb);
        }
        porch.store.fail_next(verb, Fault::Throttled);
        let told = porch.told("sub=demo|alice;1").await;
        assert!(matches!(told, Err(LoginError::Unavailable(_))), "{told:?}");
        let alive = |porch: &Porch| {
            let active = |session: &&OpaqueToken| porch.state(session) == FamilyState::Active;
            sessions.iter().filter(active).count()
        };
        assert_eq!(alive(&porch), 1);
        assert_eq!(porch.told("sub=demo|alice;1").await, Ok(1), "sent again");
        assert_eq!(alive(&porch), 0);
    }
}

#[tokio::test]
async fn d91_a_listing_that_breaks_off_ends_what_it_has_named() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.store.fail_next(Verb::List, Fault::Unavailable);
    let told = porch.told("sub=demo|alice;1").await;
    assert!(matches!(told, Err(LoginError::Unavailable(_))));
    assert_eq!(porch.state(&session), FamilyState::Ended);
}

#[tokio::test]
async fn d91_rows_of_the_index_that_name_nobody_are_counted_and_stop_nothing() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.store.damage_index(2);
    let token = "sub=demo|alice;1";
    let signed_out = porch.service.sign_out_by_provider(token).await.unwrap();
    assert_eq!((signed_out.ended, signed_out.unreadable), (1, 2));
    assert_eq!(porch.state(&session), FamilyState::Ended);
}
