//! D92: what was ended while nobody could find it is over at the next request.

use super::*;
use crate::family::IndexKey;

const LONG: UnixTime = UnixTime(u64::MAX);

impl Desk {
    async fn bury(&self, key: &IndexKey, reach: Reach, not_before: u64) {
        let end = self
            .store
            .end_subject(key, reach, UnixTime(not_before), LONG);
        end.await.unwrap();
    }
}

/// A code and a refresh token of alice, begun at the same moment, and each name.
fn names() -> [IndexKey; 3] {
    let user = grant_of("alice").user.unwrap();
    [
        ended::subject_key(&root(1), &user.iss, &user.sub),
        ended::provider_key(&root(1), &user.idp),
        ended::client_key(&root(1), "app"),
    ]
}

#[tokio::test]
async fn d92_a_refresh_after_its_login_was_ended_gives_nothing_and_ends_it() {
    for name in names() {
        let desk = Desk::new();
        let pair = desk.pair().await;
        desk.bury(&name, Reach::All, NOW).await;
        let again = desk.refresh(refresh_of(&pair)).await.unwrap();
        desk.bury(&name, Reach::All, NOW + 1).await;
        let refused = fault(desk.refresh(refresh_of(&again)).await);
        assert_eq!(refused, GrantFault::Revoked, "{name:?}");
        assert_eq!(
            desk.state(&pair),
            FamilyState::Revoked,
            "the authorizer sees it"
        );
    }
}

#[tokio::test]
async fn d92_a_repeated_refresh_is_not_healed_after_the_end() {
    let desk = Desk::new();
    let pair = desk.pair().await;
    desk.refresh(refresh_of(&pair)).await.unwrap();
    desk.bury(&names()[0], Reach::All, NOW + 1).await;
    let refused = fault(desk.refresh(refresh_of(&pair)).await);
    assert_eq!(refused, GrantFault::Revoked);
}

#[tokio::test]
async fn d92_a_code_from_before_the_end_gives_nothing() {
    for name in names() {
        let desk = Desk::new();
        let code = desk.code(|_, _| {});
        desk.bury(&name, Reach::Online, NOW + 1).await;
        assert_eq!(fault(desk.redeem(&code).await), GrantFault::Revoked);
        desk.clock.advance(1);
        desk.redeem(&desk.code(|_, _| {})).await.unwrap();
    }
}

#[tokio::test]
async fn a_logout_that_leaves_offline_access_leaves_it_at_a_refresh_too() {
    let desk = Desk::new();
    let pair = desk.pair().await;
    desk.bury(&names()[0], Reach::Online, NOW + 1).await;
    desk.refresh(refresh_of(&pair)).await.unwrap();
}

#[tokio::test]
async fn d92_a_tombstone_that_an_older_root_named_counts() {
    let desk = Desk::new();
    let pair = desk.pair().await;
    desk.bury(&names()[0], Reach::All, NOW + 1).await;
    let service = TokenService::new(
        Arc::new(system()),
        UnixTime(0),
        desk.store.clone(),
        TestRoots::of(RootKeys::new(root(2), vec![root(1)])),
        world(&desk.clock),
    );
    let token = refresh_of(&pair).expose();
    let request = TokenRequest::RefreshToken { token, scope: None };
    assert_eq!(
        fault(service.issue(&APP, &request).await),
        GrantFault::Revoked
    );
}

#[tokio::test]
async fn a_tombstone_that_cannot_be_read_is_not_taken_for_none() {
    let desk = Desk::new();
    let pair = desk.pair().await;
    for cannot in [Fault::Unavailable, Fault::Throttled, Fault::Malformed] {
        desk.store.fail_next(Verb::Tombstone, cannot);
        let refused = desk.refresh(refresh_of(&pair)).await.unwrap_err();
        assert!(
            matches!(refused, IssueError::Unavailable(_)),
            "{cannot:?}: {refused:?}"
        );
    }
    desk.refresh(refresh_of(&pair)).await.unwrap();
}

/// D99: a writer of the table who sets the clear `redeemed_at` to a moment that suits them.
#[tokio::test]
async fn d99_a_redemption_that_is_said_to_be_in_the_future_is_as_old_as_it_is() {
    for moment in [
        Some(0),
        Some(NOW + 100),
        Some(NOW + 12),
        Some(9_223_372_036_854_775_807),
        None,
    ] {
        let desk = Desk::new();
        let pair = desk.pair().await;
        let next = desk.refresh(refresh_of(&pair)).await.unwrap();
        desk.use_access(&next);
        let tamper = || {
            let token = refresh_of(&pair);
            desk.store.tamper(token.family(), |record| {
                let entry = record.tokens.get_mut(&token.digest()).unwrap();
                entry.redeemed_at = moment.map(UnixTime);
            });
        };
        tamper();
        // Within the grace period the pair is given again, whatever the table says.
        let again = desk.refresh(refresh_of(&pair)).await.unwrap();
        assert_eq!(again.pair.access.expose(), next.pair.access.expose());
        desk.clock.advance(10);
        tamper();
        let reused = fault(desk.refresh(refresh_of(&pair)).await);
        assert_eq!(reused, GrantFault::Reused, "{moment:?}");
        assert_eq!(desk.state(&pair), FamilyState::Revoked);
    }
}
