//! D92: a session that nobody could find when it was ended is over when it is next seen.

use super::*;
use crate::testing::grant_of;

const LONG: UnixTime = UnixTime(u64::MAX);

impl Porch {
    /// Ends all of alice's, though the index does not list her session.
    async fn end_unlisted(&self, session: &OpaqueToken, key: &IndexKey) {
        self.store.unlist(session.family());
        let now = self.clock.now();
        let end = self.store.end_subject(key, Reach::All, now.plus(1), LONG);
        end.await.unwrap();
    }
}

/// All names under which alice's session is ended.
fn names() -> [IndexKey; 4] {
    let user = grant_of("alice").user.unwrap();
    [
        ended::subject_key(&root(1), &user.iss, &user.sub),
        ended::idp_session_key(&root(1), &user.iss, "idp-sid-of-alice"),
        ended::provider_key(&root(1), &user.idp),
        ended::client_key(&root(1), grant::BROWSER),
    ]
}

#[tokio::test]
async fn d92_a_session_that_no_index_lists_ends_when_it_is_next_seen() {
    for name in names() {
        for slide in [true, false] {
            let porch = Porch::new();
            let session = porch.sign_in("alice").await;
            let others = ended::provider_key(&root(1), "another");
            porch.end_unlisted(&session, &others).await;
            porch
                .service
                .session(session.expose(), slide)
                .await
                .unwrap();
            porch.end_unlisted(&session, &name).await;
            let seen = porch.service.session(session.expose(), slide).await;
            assert_eq!(seen.err(), Some(SessionError::NoSession), "{name:?}");
            assert_eq!(porch.state(&session), FamilyState::Ended, "{name:?}");
        }
    }
}

#[tokio::test]
async fn d92_an_ended_session_gets_no_ticket_and_no_code() {
    for name in names() {
        let porch = Porch::new();
        let session = porch.sign_in("alice").await;
        porch.service.ticket(session.expose()).await.unwrap();
        porch.end_unlisted(&session, &name).await;
        let ticket = porch.service.ticket(session.expose()).await;
        assert_eq!(ticket.err(), Some(SessionError::NoSession), "{name:?}");

        let porch = Porch::new();
        let session = porch.sign_in("alice").await;
        porch.end_unlisted(&session, &name).await;
        let presence = Presence::Cookie(session.expose());
        let authorized = porch.service.authorize(&native(), presence).await;
        let to_provider = matches!(authorized, Ok(Authorized::Login(_)));
        assert!(to_provider, "{name:?}: the user signs in again");
    }
}

#[tokio::test]
async fn d92_what_comes_back_from_a_provider_that_was_ended_starts_nothing() {
    let porch = Porch::new();
    let login = porch.start().await;
    let name = ended::provider_key(&root(1), "demo");
    let later = UnixTime(NOW + 1);
    let end = porch.store.end_subject(&name, Reach::All, later, LONG);
    end.await.unwrap();
    let finished = porch.finish(&login, "code-of-alice", None).await;
    assert_eq!(error(finished), LoginError::SignedOut);
    porch.clock.advance(1);
    porch.sign_in("alice").await;
}

/// The user did nothing wrong: the client's next grant is a new one.
#[tokio::test]
async fn a_client_that_was_ended_may_be_granted_something_anew() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    let name = ended::client_key(&root(1), "app");
    let end = porch
        .store
        .end_subject(&name, Reach::All, UnixTime(NOW + 1), LONG);
    end.await.unwrap();
    let presence = Presence::Cookie(session.expose());
    let authorized = porch.service.authorize(&native(), presence).await;
    assert!(
        matches!(authorized, Ok(Authorized::SignedIn(_))),
        "{authorized:?}"
    );
}

#[tokio::test]
async fn a_tombstone_that_cannot_be_read_is_no_session_and_no_refusal() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.store.fail_next(Verb::Tombstone, Fault::Throttled);
    let seen = porch.service.session(session.expose(), true).await;
    assert!(matches!(seen.err(), Some(SessionError::Unavailable(_))));
    porch.store.fail_next(Verb::Tombstone, Fault::Malformed);
    let seen = porch.service.session(session.expose(), true).await;
    assert!(
        matches!(seen.err(), Some(SessionError::Unavailable(_))),
        "not 401 either"
    );
    assert_eq!(porch.state(&session), FamilyState::Active);
    porch.service.session(session.expose(), true).await.unwrap();
}

#[tokio::test]
async fn signing_out_works_though_the_session_was_ended() {
    let porch = Porch::new();
    let session = porch.sign_in("alice").await;
    porch.end_unlisted(&session, &names()[0]).await;
    let left = porch.service.log_out(session.expose()).await.unwrap();
    assert!(left.logout_url.is_some(), "the provider is told");
}
