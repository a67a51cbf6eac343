//! D92, D93: tombstones and tokens that are exchanged.

use super::*;
use crate::ended::{MAX_SUBJECT_TOKEN_AGE, Reach, client_key, provider_key, subject_key};
use crate::family::IndexKey;
use crate::ports::SubjectIndex;

impl Desk {
    async fn bury(&self, key: &IndexKey, not_before: u64) {
        let (moment, long) = (UnixTime(not_before), UnixTime(u64::MAX));
        let end = self.store.end_subject(key, Reach::All, moment, long);
        end.await.unwrap();
    }
}

fn trusting(config: &mut Config) {
    let machine = config.clients.iter_mut().find(|each| each.id == "machine");
    machine.unwrap().exchange_id_tokens = vec!["demo".into()];
}

#[tokio::test]
async fn d92_a_token_of_an_ended_login_is_not_exchanged() {
    let user = grant_of("alice").user.unwrap();
    for name in [
        subject_key(&root(1), &user.iss, &user.sub),
        provider_key(&root(1), "demo"),
        client_key(&root(1), "app"),
    ] {
        let desk = Desk::new();
        let token = desk.token(|_, _| {});
        desk.bury(&name, NOW).await;
        desk.exchange(&token).await.unwrap();
        desk.bury(&name, NOW + 1).await;
        assert_eq!(
            fault(desk.exchange(&token).await),
            SubjectFault::Token(GrantFault::Revoked),
            "{name:?}"
        );
        assert_eq!(
            desk.store.record(token.family()).state,
            FamilyState::Revoked
        );
    }
}

#[tokio::test]
async fn d92_what_a_client_got_by_exchange_is_over_with_it() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let got = desk.exchange(&token).await.unwrap().pair.access;
    let targets = Targets::default();
    let again = desk.ask(&SERVER, &subject(got.expose()), &targets).await;
    again.unwrap();
    desk.bury(&client_key(&root(1), "machine"), NOW + 1).await;
    assert_eq!(
        fault(desk.ask(&SERVER, &subject(got.expose()), &targets).await),
        SubjectFault::Token(GrantFault::Revoked)
    );
}

#[tokio::test]
async fn d93_an_id_token_from_before_a_logout_gives_nothing_however_late_it_comes() {
    let user = grant_of("alice").user.unwrap();
    for name in [
        subject_key(&root(1), &user.iss, &user.sub),
        provider_key(&root(1), "demo"),
    ] {
        let mut desk = Desk::with(trusting);
        desk.clock.advance(1_000_000);
        let logout = desk.clock.now().0 - MAX_SUBJECT_TOKEN_AGE + 1;
        desk.bury(&name, logout).await;
        desk.providers.age = MAX_SUBJECT_TOKEN_AGE;
        assert_eq!(fault(desk.id_token("good").await), SubjectFault::SignedOut);
        // Whatever is older could be from before a logout that nobody remembers.
        desk.providers.age = MAX_SUBJECT_TOKEN_AGE + 1;
        assert_eq!(fault(desk.id_token("good").await), SubjectFault::TooOld);
        desk.providers.age = MAX_SUBJECT_TOKEN_AGE - 1;
        desk.id_token("good").await.unwrap();
        assert_eq!(desk.store.families().len(), 1);
    }
}

#[tokio::test]
async fn d92_an_ended_actor_does_not_act() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let actor = desk.own(|_, _| {});
    let acting = async || {
        let mut request = subject(token.expose());
        request.actor_token = Some(actor.expose());
        desk.ask(&MACHINE, &request, &Targets::default()).await
    };
    acting().await.unwrap();
    desk.bury(&client_key(&root(1), "machine"), NOW + 1).await;
    assert_eq!(
        fault(acting().await),
        SubjectFault::Token(GrantFault::Revoked)
    );
}
