//! Claims stay fresh: one of many tabs asks, the rest serve the old ones, and there is
//! an end to that.

use super::*;
use crate::config::Config;

const MAX_AGE: u64 = 300;
const LIMIT: u64 = 900;

fn porch() -> Porch {
    let porch = Porch::with(renewing);
    porch.providers.says(&["user"]);
    porch
}

fn renewing(config: &mut Config) {
    let idp = &mut config.identity_providers[0];
    idp.claims_max_age = Some(MAX_AGE);
    idp.claims_max_stale = Some(LIMIT);
}

impl Porch {
    async fn looks(&self, session: &OpaqueToken) -> Result<(Freshness, Vec<String>), SessionError> {
        let view = self.service.session(session.expose(), true).await?;
        let claims = serde_json::to_value(&view).unwrap();
        let roles = claims["claims"]["roles"].as_array().unwrap().iter();
        let roles = roles.map(|role| role.as_str().unwrap().to_owned());
        Ok((view.freshness, roles.collect()))
    }

    fn version(&self, session: &OpaqueToken) -> u64 {
        self.store.record(session.family()).claims_version
    }
}

#[tokio::test]
async fn claims_are_asked_for_again_when_they_are_due_and_not_before() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE - 1);
    let (freshness, roles) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::Fresh);
    assert_eq!(roles, ["admin", "user"]);
    assert!(porch.providers.take_renewals().is_empty());

    porch.clock.advance(1);
    let (freshness, roles) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::Renewed);
    assert_eq!(roles, ["user"], "no admin any more");
    assert_eq!(porch.version(&session), 1, "no old JWT is handed out");
    assert_eq!(porch.providers.take_renewals(), ["refresh-0"]);
    let opened = porch.opened(&session).unwrap();
    let user = opened.grant.user.unwrap();
    assert_eq!(user.name.as_deref(), Some("renewed"));
    assert_eq!(
        user.auth_time,
        Some(UnixTime(NOW)),
        "the sign-in is what it was"
    );

    // The next time with the token that replaced the first.
    porch.clock.advance(MAX_AGE);
    porch.looks(&session).await.unwrap();
    assert_eq!(porch.providers.take_renewals(), ["refresh-1"]);
    assert_eq!(porch.version(&session), 2);
}

#[tokio::test]
async fn without_the_setting_the_claims_are_those_of_the_sign_in() {
    let porch = Porch::new();
    porch.providers.says(&["user"]);
    let session = porch.sign_in("alice").await;
    porch.clock.advance(3_000);
    let (freshness, roles) = porch.looks(&session).await.unwrap();
    assert_eq!((freshness, roles.len()), (Freshness::Fresh, 2));
}

#[tokio::test]
async fn d49_of_parallel_tabs_one_asks_and_the_others_serve_the_old_claims() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    let looks = (0..8).map(|_| porch.looks(&session));
    let mut renewed = 0;
    for look in join_all(looks).await {
        let (freshness, roles) = look.unwrap();
        match freshness {
            Freshness::Renewed => renewed += 1,
            Freshness::BeingRenewed => assert_eq!(roles, ["admin", "user"]),
            other => panic!("{other:?}"),
        }
    }
    assert!(renewed >= 1);
    assert_eq!(
        porch.providers.take_renewals().len(),
        1,
        "one upstream call"
    );
    assert_eq!(porch.version(&session), 1);
    assert_eq!(porch.store.record(session.family()).lease_until, None);
}

#[tokio::test]
async fn d49_a_lease_that_nobody_gives_back_runs_out() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    // Somebody took it and died.
    let until = porch.clock.now().plus(30);
    let family = session.family();
    porch
        .store
        .tamper(family, |record| record.lease_until = Some(until));
    let (freshness, _) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::BeingRenewed);
    porch.clock.advance(29);
    assert_eq!(
        porch.looks(&session).await.unwrap().0,
        Freshness::BeingRenewed
    );
    assert!(porch.providers.take_renewals().is_empty());
    porch.clock.advance(1);
    assert_eq!(porch.looks(&session).await.unwrap().0, Freshness::Renewed);
}

#[tokio::test]
async fn a_provider_that_says_no_ends_the_session() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.providers.end_grants();
    porch.clock.advance(MAX_AGE - 1);
    assert!(porch.looks(&session).await.is_ok());
    porch.clock.advance(1);
    assert_eq!(
        porch.looks(&session).await.unwrap_err(),
        SessionError::NoSession
    );
    assert_eq!(porch.state(&session), FamilyState::Ended);
}

#[tokio::test]
async fn a_provider_that_is_down_ends_the_session_only_at_the_limit() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.providers.set_down(true);
    porch.clock.advance(MAX_AGE);
    let (freshness, roles) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::Failed("down"));
    assert_eq!(roles, ["admin", "user"]);
    // The lease stays: it is not asked at every look.
    assert_eq!(
        porch.looks(&session).await.unwrap().0,
        Freshness::BeingRenewed
    );
    assert_eq!(porch.providers.take_renewals().len(), 1);

    porch.clock.set(NOW + LIMIT - 1);
    assert!(porch.looks(&session).await.is_ok());
    porch.clock.set(NOW + LIMIT);
    let waiting = porch.looks(&session).await.unwrap_err();
    assert!(
        matches!(waiting, SessionError::Unavailable(_)),
        "the lease is held"
    );
    porch.clock.set(NOW + LIMIT + 30);
    assert_eq!(
        porch.looks(&session).await.unwrap_err(),
        SessionError::NoSession
    );
    assert_eq!(porch.state(&session), FamilyState::Ended);
}

#[tokio::test]
async fn a_renewal_that_fails_half_way_keeps_the_refresh_token_that_it_was_given() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    porch.providers.set_mute(true);
    let (freshness, roles) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::Failed("mute"));
    assert_eq!(roles, ["admin", "user"], "the old ones serve");
    let opened = porch.opened(&session).unwrap();
    assert_eq!(
        opened.grant.claims_at(),
        UnixTime(NOW),
        "and are no younger"
    );
    assert_eq!(
        porch.looks(&session).await.unwrap().0,
        Freshness::BeingRenewed,
        "the lease stays"
    );
    porch.clock.advance(30);
    porch.providers.set_mute(false);
    assert_eq!(porch.looks(&session).await.unwrap().0, Freshness::Renewed);
    // None was presented twice: it would have ended the grant.
    assert_eq!(porch.providers.take_renewals(), ["refresh-0", "refresh-1"]);

    // And no longer than to their limit.
    porch.providers.set_mute(true);
    porch.clock.advance(LIMIT);
    assert_eq!(
        porch.looks(&session).await.unwrap_err(),
        SessionError::NoSession
    );
}

#[tokio::test]
async fn a_new_refresh_token_is_written_again_if_the_store_was_busy() {
    for faults in 1..=2 {
        let porch = porch();
        let session = porch.sign_in("alice").await;
        porch.clock.advance(MAX_AGE);
        // The lease is taken, then the write fails.
        porch.store.pass_next(Verb::Update);
        for _ in 0..faults {
            porch.store.fail_next(Verb::Update, Fault::Throttled);
        }
        let looked = porch.looks(&session).await;
        match faults {
            1 => assert_eq!(looked.unwrap().0, Freshness::Renewed),
            _ => assert!(matches!(looked, Err(SessionError::Unavailable(_)))),
        }
    }
}

#[tokio::test]
async fn a_session_that_was_away_for_long_comes_back_if_the_provider_agrees() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(LIMIT + 1);
    let opened = porch.opened(&session).unwrap();
    let config = {
        let mut config = system();
        renewing(&mut config);
        config
    };
    let now = porch.clock.now();
    assert!(
        !opened.grant.claims_are_current(&config, now),
        "to the authorizer"
    );
    assert_eq!(porch.looks(&session).await.unwrap().0, Freshness::Renewed);
    let opened = porch.opened(&session).unwrap();
    assert!(opened.grant.claims_are_current(&config, now));
    assert_eq!(opened.grant.ends_at(&config), now.plus(LIMIT));
}

#[tokio::test]
async fn without_a_refresh_token_there_is_nothing_but_the_limit() {
    let porch = Porch::with(renewing);
    let session = porch.sign_in("alice").await;
    porch.clock.advance(LIMIT - 1);
    let (freshness, _) = porch.looks(&session).await.unwrap();
    assert_eq!(freshness, Freshness::NotRenewable);
    porch.clock.advance(1);
    assert_eq!(
        porch.looks(&session).await.unwrap_err(),
        SessionError::NoSession
    );
}

#[tokio::test]
async fn a_logout_during_the_renewal_wins() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    porch
        .store
        .before_next_update(Transition::end(session.family()));
    assert_eq!(
        porch.looks(&session).await.unwrap_err(),
        SessionError::NoSession
    );
    assert!(porch.providers.take_renewals().is_empty());
    assert_eq!(porch.state(&session), FamilyState::Ended);
}

#[tokio::test]
async fn an_outage_of_the_store_ends_nothing() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    porch.store.fail_next(Verb::Update, Fault::Throttled);
    let unavailable = porch.looks(&session).await.unwrap_err();
    assert!(matches!(unavailable, SessionError::Unavailable(_)));
    assert!(
        porch.providers.take_renewals().is_empty(),
        "no lease, no call"
    );
    assert_eq!(porch.looks(&session).await.unwrap().0, Freshness::Renewed);
}

#[tokio::test]
async fn a_session_with_claims_past_their_limit_lets_no_client_in() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    let authorize = async || {
        let presence = Presence::Cookie(session.expose());
        porch.service.authorize(&native(), presence).await.unwrap()
    };
    assert!(matches!(authorize().await, Authorized::SignedIn(_)));
    porch.clock.advance(LIMIT);
    assert!(matches!(authorize().await, Authorized::Login(_)));
}

#[tokio::test]
async fn a_logout_gives_the_providers_refresh_token_back() {
    let porch = porch();
    let session = porch.sign_in("alice").await;
    porch.clock.advance(MAX_AGE);
    porch.looks(&session).await.unwrap();
    let out = porch.service.log_out(session.expose()).await.unwrap();
    assert_eq!(out.not_revoked, None);
    assert_eq!(porch.providers.revoked(), ["refresh-1"], "the newest");
    assert!(out.logout_url.is_some());

    let session = porch.sign_in("alice").await;
    porch.providers.set_down(true);
    let out = porch.service.log_out(session.expose()).await.unwrap();
    assert_eq!(out.not_revoked, Some("down"));
    assert_eq!(
        porch.state(&session),
        FamilyState::Ended,
        "over here all the same"
    );
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
