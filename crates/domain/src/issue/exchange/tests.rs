mod tombstones;

use super::*;
use crate::config::Config;
use crate::delegation::MayAct;
use crate::family::FamilyState;
use crate::grant::TokenFault;
use crate::issue::Revocation;
use crate::ports::Vouched;
use crate::testing::{
    Fault, MemoryStore, SECRET, SequenceEntropy, TestClock, TestRoots, Verb, grant_of, meta, root,
    roots, system, world,
};
use std::sync::Arc;

const NOW: u64 = 1_100;
const MACHINE: ClientCredentials<'static> = secret_of("machine");
const SERVER: ClientCredentials<'static> = secret_of("server");

const fn secret_of(id: &str) -> ClientCredentials<'_> {
    ClientCredentials::Secret { id, secret: SECRET }
}

/// A provider that vouches for alice if the token is called `good`.
struct Providers {
    may_act: Option<MayAct>,
    fault: Option<fn() -> IdpError>,
    /// Seconds since the token was issued.
    age: u64,
}

impl VerifySubjectToken for Providers {
    async fn verify_subject_token(
        &self,
        trusted: &[String],
        token: &str,
        now: UnixTime,
    ) -> Result<Vouched, IdpError> {
        if let Some(fault) = self.fault {
            return Err(fault());
        }
        if trusted != ["demo"] || token != "good" {
            return Err(IdpError::Unknown);
        }
        Ok(Vouched {
            claims: grant_of("alice").user.unwrap(),
            issued_at: UnixTime(now.0 - self.age),
            expires_at: now.plus(60),
            may_act: self.may_act.clone(),
        })
    }
}

/// A token service at whose desk `machine` exchanges tokens of `app` and of itself,
/// and `server` those of `machine`.
struct Desk {
    service: TokenService<MemoryStore, TestRoots>,
    store: MemoryStore,
    roots: TestRoots,
    clock: TestClock,
    providers: Providers,
    entropy: SequenceEntropy,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = system();
        config.audiences[0].resource = Some("https://orders.example.com".into());
        for (id, exchanges) in [
            ("machine", &["app", "machine"][..]),
            ("server", &["machine"]),
        ] {
            let client = config
                .clients
                .iter_mut()
                .find(|each| each.id == id)
                .unwrap();
            client.grants.push(GrantKind::TokenExchange);
            client.exchanges = exchanges.iter().map(|id| (*id).to_owned()).collect();
            client.audiences.clear();
            client.access_token_lifetime = None;
        }
        edit(&mut config);
        let (store, roots, clock) = (MemoryStore::default(), TestRoots::new(), TestClock::at(NOW));
        Self {
            service: TokenService::new(
                Arc::new(config),
                UnixTime(0),
                store.clone(),
                roots.clone(),
                world(&clock),
            ),
            store,
            roots,
            clock,
            providers: Providers {
                may_act: None,
                fault: None,
                age: 10,
            },
            entropy: SequenceEntropy::starting_at(9),
        }
    }

    /// An access token of `app` for alice, with the scopes `orders:read orders:write`
    /// for every audience, good for 600 seconds.
    fn token(&self, edit: impl FnOnce(&mut Grant, &mut TokenMeta)) -> OpaqueToken {
        let now = self.clock.now();
        let mut grant = Grant {
            created_at: now,
            absolute_expires_at: now.plus(10_000),
            ..grant_of("alice")
        };
        let mut meta = TokenMeta {
            scope: ScopeSet::parse("openid orders:read orders:write").unwrap(),
            audiences: Vec::new(),
            issued_at: now,
            expires_at: now.plus(600),
            ..meta()
        };
        edit(&mut grant, &mut meta);
        let (record, token) = new_family(&grant, &meta, &root(1), &self.entropy).unwrap();
        self.store.insert(record);
        token
    }

    /// A token of `machine` itself.
    fn own(&self, edit: impl FnOnce(&mut Grant, &mut TokenMeta)) -> OpaqueToken {
        self.token(|grant, meta| {
            grant.kind = FamilyKind::Client;
            (grant.client, meta.client) = (Some("machine".into()), Some("machine".into()));
            grant.user = None;
            edit(grant, meta);
        })
    }

    async fn ask(
        &self,
        client: &ClientCredentials<'_>,
        request: &ExchangeRequest<'_>,
        targets: &Targets<'_>,
    ) -> Result<Issued, IssueError> {
        self.service
            .exchange(client, request, targets, None, &self.providers)
            .await
    }

    async fn exchange(&self, token: &OpaqueToken) -> Result<Issued, IssueError> {
        self.exchange_with(token, |_| {}).await
    }

    async fn exchange_with<'a>(
        &self,
        token: &'a OpaqueToken,
        edit: impl FnOnce(&mut ExchangeRequest<'a>),
    ) -> Result<Issued, IssueError> {
        let mut request = subject(token.expose());
        edit(&mut request);
        self.ask(&MACHINE, &request, &Targets::default()).await
    }

    async fn id_token(&self, text: &str) -> Result<Issued, IssueError> {
        let request = ExchangeRequest {
            subject_token_type: TokenType::IdToken,
            ..subject(text)
        };
        self.ask(&MACHINE, &request, &Targets::default()).await
    }

    fn open(&self, token: &OpaqueToken) -> Result<Opened, TokenFault> {
        let record = self.store.record(token.family());
        grant::open(&record, token, &roots(), UnixTime(0), self.clock.now())
    }
}

fn subject(text: &str) -> ExchangeRequest<'_> {
    ExchangeRequest {
        subject_token: text,
        subject_token_type: TokenType::AccessToken,
        actor_token: None,
        scope: None,
    }
}

fn error<T>(result: Result<T, IssueError>) -> IssueError {
    result.map(|_| ()).unwrap_err()
}

fn fault<T>(result: Result<T, IssueError>) -> SubjectFault {
    match error(result) {
        IssueError::InvalidSubject(fault) => fault,
        other => panic!("{other:?}"),
    }
}

fn chain(opened: &Opened) -> Vec<String> {
    let first = opened.meta.delegation.act.as_ref();
    std::iter::successors(first, |actor| actor.act.as_deref())
        .map(|actor| actor.sub.clone())
        .collect()
}

#[tokio::test]
async fn a_client_gets_a_token_of_its_own_for_the_same_user() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let issued = desk.exchange(&token).await.unwrap();
    assert!(issued.pair.refresh.is_none());
    let new = issued.pair.access;
    assert_eq!(new.family(), token.family(), "the same family");
    let opened = desk.open(&new).unwrap();
    assert_eq!(jwt::subject(&opened.grant, &opened.meta), "demo|alice");
    assert_eq!(opened.meta.client_id(), "machine");
    assert_eq!(issued.expires_in, 600);
    assert_eq!(issued.scope.to_string(), "openid orders:read orders:write");
    assert!(opened.meta.delegation.is_none(), "nobody was named to act");
    assert!(desk.open(&token).is_ok(), "the subject token lives on");
}

#[tokio::test]
async fn a_machines_token_stays_about_that_machine() {
    let desk = Desk::new();
    let token = desk.own(|_, _| {});
    let request = subject(token.expose());
    let issued = desk.ask(&SERVER, &request, &Targets::default()).await;
    let opened = desk.open(&issued.unwrap().pair.access).unwrap();
    assert_eq!(jwt::subject(&opened.grant, &opened.meta), "client|machine");
    assert_eq!(opened.meta.client_id(), "server");
}

#[tokio::test]
async fn nothing_gets_wider_d52() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.scope = ScopeSet::parse("orders:read").unwrap());
    for (asked, got) in [
        (None, Ok("orders:read")),
        (Some("orders:read"), Ok("orders:read")),
        (
            Some("orders:read orders:write"),
            Err(IssueError::InvalidScope),
        ),
        (Some("openid"), Err(IssueError::InvalidScope)),
        (Some("stranger"), Err(IssueError::InvalidScope)),
        (
            Some("orders:read orders:read"),
            Err(IssueError::InvalidScope),
        ),
        (Some("orders:read\0"), Err(IssueError::InvalidScope)),
    ] {
        let result = desk.exchange_with(&token, |request| request.scope = asked);
        let scope = result.await.map(|issued| issued.scope.to_string());
        assert_eq!(scope, got.map(str::to_owned), "{asked:?}");
    }
    // Nor wider than the client itself may ask for.
    let desk = Desk::with(|config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().scopes.0 = vec!["orders:write".into()];
    });
    assert_eq!(
        error(
            desk.exchange(&desk.token(|_, meta| {
                meta.scope = ScopeSet::parse("orders:read").unwrap();
            }))
            .await
        ),
        IssueError::InvalidScope
    );
    let issued = desk.exchange(&desk.token(|_, _| {})).await.unwrap();
    assert_eq!(issued.scope.to_string(), "orders:write");
}

#[tokio::test]
async fn nobody_gets_a_refresh_token_by_exchange() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| {
        meta.scope = ScopeSet::parse("orders:read offline_access").unwrap();
    });
    let issued = desk.exchange(&token).await.unwrap();
    assert_eq!(issued.scope.to_string(), "orders:read");
    let asked = desk.exchange_with(&token, |request| request.scope = Some("offline_access"));
    assert_eq!(error(asked.await), IssueError::InvalidScope);
}

#[tokio::test]
async fn audiences_only_ever_shrink_d56() {
    let desk = Desk::new();
    let everywhere = desk.token(|_, _| {});
    let orders = desk.token(|_, meta| meta.audiences = vec!["orders".into()]);
    let asked = |resources: &'static [&'static str], audiences: &'static [&'static str]| Targets {
        resources: resources.to_vec(),
        audiences: audiences.to_vec(),
    };
    for (token, targets, expected) in [
        (&everywhere, asked(&[], &[]), Some("")),
        (&everywhere, asked(&[], &["profile"]), Some("profile")),
        (
            &everywhere,
            asked(&["https://orders.example.com"], &[]),
            Some("orders"),
        ),
        (
            &everywhere,
            asked(&["https://orders.example.com#x"], &[]),
            None,
        ),
        (&everywhere, asked(&["/orders"], &[]), None),
        (&everywhere, asked(&[], &["orders", "stranger"]), None),
        (&orders, asked(&[], &[]), Some("orders")),
        (&orders, asked(&[], &["orders"]), Some("orders")),
        (&orders, asked(&[], &["profile"]), None),
    ] {
        let request = subject(token.expose());
        match (desk.ask(&MACHINE, &request, &targets).await, expected) {
            (Ok(issued), Some(audiences)) => {
                let opened = desk.open(&issued.pair.access).unwrap();
                assert_eq!(opened.meta.audiences.join(" "), audiences);
            }
            (Err(IssueError::InvalidTarget), None) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    // A client whose own tokens are good for nothing that the subject's are.
    let desk = Desk::with(|config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().audiences = vec!["profile".into()];
    });
    let orders = desk.token(|_, meta| meta.audiences = vec!["orders".into()]);
    assert_eq!(
        error(desk.exchange(&orders).await),
        IssueError::InvalidTarget
    );
}

#[tokio::test]
async fn an_exchange_prolongs_nothing_d56() {
    let desk = Desk::new();
    let mut token = desk.own(|_, _| {});
    let end = NOW + 600;
    for at in [NOW, NOW + 300, end - 1] {
        desk.clock.set(at);
        // The result is exchanged again and again.
        let issued = desk.exchange(&token).await.unwrap();
        token = issued.pair.access;
        assert_eq!(desk.open(&token).unwrap().meta.expires_at, UnixTime(end));
    }
    desk.clock.set(end);
    assert_eq!(
        fault(desk.exchange(&token).await),
        SubjectFault::Token(GrantFault::Expired)
    );
    // The client's own lifetime and the grant's limit count too.
    let desk = Desk::with(|config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().access_token_lifetime = Some(30);
    });
    assert_eq!(
        desk.exchange(&desk.token(|_, _| {}))
            .await
            .unwrap()
            .expires_in,
        30
    );
    let desk = Desk::new();
    let ending = desk.token(|grant, _| grant.absolute_expires_at = UnixTime(NOW + 5));
    assert_eq!(desk.exchange(&ending).await.unwrap().expires_in, 5);
}

#[tokio::test]
async fn a_subject_token_that_is_no_good_is_refused_d56() {
    let desk = Desk::new();
    let good = desk.token(|_, _| {});
    let expired = desk.token(|_, meta| meta.expires_at = UnixTime(NOW));
    let revoked = desk.token(|_, _| {});
    desk.store.carry_out(&Transition::revoke(revoked.family()));
    let refresh = desk.token(|_, meta| meta.kind = TokenKind::Refresh);
    let session = desk.token(|_, meta| meta.kind = TokenKind::Session);
    let code = desk.token(|_, meta| meta.kind = TokenKind::Code);
    let foreign = desk.token(|grant, meta| {
        (grant.client, meta.client) = (Some("server".into()), Some("server".into()));
    });
    let gone = desk.token(|grant, meta| {
        (grant.client, meta.client) = (Some("gone".into()), Some("gone".into()));
    });
    let browser = desk.token(|grant, meta| (grant.client, meta.client) = (None, None));
    let stranger = OpaqueToken::generate(TokenKind::Access, good.family(), &desk.entropy).unwrap();
    let nowhere =
        OpaqueToken::generate(TokenKind::Access, FamilyId([7; 16]), &desk.entropy).unwrap();
    let unknown = SubjectFault::Token(GrantFault::Unknown);
    for (text, expected) in [
        ("", unknown),
        ("good", unknown),
        ("a.b.c", unknown),
        (refresh.expose(), unknown),
        (session.expose(), unknown),
        (code.expose(), unknown),
        (stranger.expose(), unknown),
        (nowhere.expose(), unknown),
        (expired.expose(), SubjectFault::Token(GrantFault::Expired)),
        (revoked.expose(), SubjectFault::Token(GrantFault::Revoked)),
        (foreign.expose(), SubjectFault::NotForThisClient),
        (gone.expose(), SubjectFault::NotForThisClient),
        (browser.expose(), SubjectFault::NotForThisClient),
    ] {
        let (asked, targets) = (subject(text), Targets::default());
        let result = desk.ask(&MACHINE, &asked, &targets);
        assert_eq!(fault(result.await), expected, "{expected:?}");
    }
    assert!(desk.exchange(&good).await.is_ok());
    desk.store.set_epoch(NOW + 1);
    assert_eq!(
        fault(desk.exchange(&good).await),
        SubjectFault::Token(GrantFault::Expired)
    );
    // A type that lies.
    assert!(matches!(
        fault(desk.id_token(good.expose()).await),
        SubjectFault::NotForThisClient
    ));
}

#[tokio::test]
async fn only_who_may_exchange_does() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let request = subject(token.expose());
    let app = ClientCredentials::Public { id: "app" };
    let targets = Targets::default();
    assert_eq!(
        error(desk.ask(&app, &request, &targets).await),
        IssueError::UnauthorizedClient
    );
    let nobody = ClientCredentials::Secret {
        id: "machine",
        secret: "x",
    };
    assert_eq!(
        error(desk.ask(&nobody, &request, &targets).await),
        IssueError::InvalidClient,
        "A7.9"
    );
    assert_eq!(
        fault(desk.ask(&SERVER, &request, &targets).await),
        SubjectFault::NotForThisClient
    );
    assert_eq!(
        desk.store.record(token.family()).tokens.len(),
        1,
        "nothing was written"
    );
}

#[tokio::test]
async fn an_exchanged_token_dies_with_its_family_and_not_the_other_way_round() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let one = desk.exchange(&token).await.unwrap().pair.access;
    let other = desk.exchange(&token).await.unwrap().pair.access;
    assert_eq!(
        desk.service.revoke(&MACHINE, one.expose()).await.unwrap(),
        Revocation::Done
    );
    assert!(desk.open(&one).is_err());
    assert!(desk.open(&other).is_ok() && desk.open(&token).is_ok());

    let app = ClientCredentials::Public { id: "app" };
    assert_eq!(
        desk.service.revoke(&app, other.expose()).await.unwrap(),
        Revocation::Nothing,
        "D59"
    );
    assert!(desk.open(&other).is_ok());
    assert_eq!(
        desk.service.revoke(&app, token.expose()).await.unwrap(),
        Revocation::Done
    );
    assert_eq!(desk.open(&other).unwrap_err(), TokenFault::Revoked);
}

#[tokio::test]
async fn an_exchange_is_a_first_use() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.notes_first_use = true);
    desk.exchange(&token).await.unwrap();
    let used = || desk.store.record(token.family()).tokens[&token.digest()].used_at;
    assert_eq!(used(), Some(UnixTime(NOW)));
    desk.clock.advance(5);
    desk.exchange(&token).await.unwrap();
    assert_eq!(used(), Some(UnixTime(NOW)));
    assert_eq!(desk.store.take_calls().update, 2, "one write each");
}

#[tokio::test]
async fn a_family_has_at_most_so_many_live_tokens_and_forgets_dead_ones() {
    let desk = Desk::with(|config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().access_token_lifetime = Some(60);
    });
    let token = desk.token(|_, _| {});
    for _ in 1..MAX_TOKENS {
        desk.exchange(&token).await.unwrap();
    }
    assert_eq!(
        error(desk.exchange(&token).await),
        IssueError::TooManyTokens
    );
    desk.clock.advance(60);
    desk.exchange(&token).await.unwrap();
    assert_eq!(desk.store.record(token.family()).tokens.len(), 2);
}

#[tokio::test]
async fn many_at_once_do_not_get_past_the_limit() {
    let desk = Arc::new(Desk::new());
    let token = desk.token(|_, _| {});
    for _ in 0..MAX_TOKENS - 4 {
        desk.exchange(&token).await.unwrap();
    }
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (desk, text) = (Arc::clone(&desk), token.expose().to_owned());
            tokio::spawn(async move {
                let request = subject(&text);
                desk.ask(&MACHINE, &request, &Targets::default())
                    .await
                    .is_ok()
            })
        })
        .collect();
    let mut good = 0;
    for task in tasks {
        good += usize::from(task.await.unwrap());
    }
    assert_eq!(good, 3);
    assert_eq!(desk.store.record(token.family()).tokens.len(), MAX_TOKENS);
}

#[tokio::test]
async fn a_dead_access_token_that_can_still_heal_its_pair_is_kept() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.expires_at = UnixTime(NOW + 900));
    let healing = desk.token(|_, _| {});
    // An unused access token of a pair, in the same family.
    let opened = desk.open(&token).unwrap();
    let sealer = Sealer {
        root: &root(1),
        family: token.family(),
        data_key: opened.data_key,
        entropy: &desk.entropy,
    };
    let meta = TokenMeta {
        expires_at: UnixTime(NOW + 1),
        notes_first_use: true,
        ..opened.meta
    };
    let (kept, entry) = sealer.token(&meta).unwrap();
    desk.store.carry_out(&Transition {
        family: token.family(),
        conditions: vec![],
        changes: vec![Change::AddToken(kept.digest(), Box::new(entry))],
    });
    drop(healing);
    desk.clock.advance(10);
    desk.exchange(&token).await.unwrap();
    assert!(
        desk.store
            .record(token.family())
            .tokens
            .contains_key(&kept.digest())
    );
}

/// The first write that finds the pair of a rotation in use and its window over.
#[tokio::test]
async fn an_exchange_drops_the_pair_that_its_subject_token_outlived() {
    for (waited, is_dropped) in [(9, false), (10, true)] {
        let desk = Desk::new();
        let replaced = TokenDigest([7; 32]);
        let token = desk.token(|_, meta| meta.successor_of = Some(replaced));
        desk.store.tamper(token.family(), |record| {
            let entry = record.tokens[&token.digest()].clone();
            let used = TokenEntry {
                kind: TokenKind::Refresh,
                state: TokenState::Used,
                redeemed_at: Some(desk.clock.now()),
                successor: Some(entry.meta.clone()),
                ..entry
            };
            record.tokens.insert(replaced, used);
        });
        desk.clock.advance(waited);
        desk.exchange(&token).await.unwrap();
        let used = desk.store.record(token.family()).tokens[&replaced].clone();
        assert_eq!(used.successor.is_none(), is_dropped, "{waited}");
    }
}

#[tokio::test]
async fn a_revocation_in_between_wins() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    desk.store
        .before_next_update(Transition::revoke(token.family()));
    assert_eq!(
        fault(desk.exchange(&token).await),
        SubjectFault::Token(GrantFault::Revoked)
    );
    let record = desk.store.record(token.family());
    assert_eq!(
        (record.state, record.tokens.len()),
        (FamilyState::Revoked, 1)
    );
}

#[tokio::test]
async fn whatever_fails_it_is_never_the_tokens_fault() {
    for (verb, fault) in [
        (Verb::Find, Fault::Unavailable),
        (Verb::Find, Fault::Throttled),
        (Verb::Epoch, Fault::Throttled),
        (Verb::Update, Fault::Throttled),
        (Verb::Update, Fault::AnswerLost),
    ] {
        let desk = Desk::new();
        let token = desk.token(|_, _| {});
        desk.store.fail_next(verb, fault);
        let result = desk.exchange(&token).await;
        assert!(
            matches!(error(result), IssueError::Unavailable(_)),
            "{verb:?}"
        );
    }
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    desk.roots.set_down(true);
    let result = desk.exchange(&token).await;
    assert!(matches!(error(result), IssueError::Unavailable(_)));
}

#[tokio::test]
async fn a_planted_subject_token_is_refused() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.expires_at = UnixTime(NOW));
    desk.store.tamper(token.family(), |record| {
        record.tokens.get_mut(&token.digest()).unwrap().expires_at = UnixTime(u64::MAX);
    });
    assert_eq!(
        fault(desk.exchange(&token).await),
        SubjectFault::Token(GrantFault::Broken),
        "D75"
    );
}

#[tokio::test]
async fn an_actor_is_on_record_and_in_front_of_those_before() {
    let desk = Desk::new();
    let mut token = desk.token(|_, _| {});
    let actor = desk.own(|_, _| {});
    let users = desk.token(|grant, meta| {
        (grant.client, meta.client) = (Some("machine".into()), Some("machine".into()));
        grant.user.as_mut().unwrap().sub = "demo|carol".into();
    });
    for (actor, expected) in [
        (&actor, &["client|machine"][..]),
        (&users, &["demo|carol", "client|machine"]),
        (&actor, &["client|machine", "demo|carol", "client|machine"]),
    ] {
        let request = desk.exchange_with(&token, |r| r.actor_token = Some(actor.expose()));
        token = request.await.unwrap().pair.access;
        assert_eq!(chain(&desk.open(&token).unwrap()), expected);
    }
    // History stays without a new actor, and ends at four.
    token = desk.exchange(&token).await.unwrap().pair.access;
    assert_eq!(chain(&desk.open(&token).unwrap()).len(), 3);
    let fourth = desk.exchange_with(&token, |r| r.actor_token = Some(actor.expose()));
    token = fourth.await.unwrap().pair.access;
    let fifth = desk.exchange_with(&token, |r| r.actor_token = Some(actor.expose()));
    assert_eq!(fault(fifth.await), SubjectFault::TooManyActors, "D56");
}

#[tokio::test]
async fn an_actor_token_is_the_clients_own_and_lives() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let foreign = desk.token(|_, _| {});
    let expired = desk.own(|_, meta| meta.expires_at = UnixTime(NOW));
    let delegated = desk.own(|_, meta| {
        meta.delegation = Delegation::default().handed_on("x".into()).unwrap();
    });
    for (actor, expected) in [
        ("garbage", SubjectFault::Token(GrantFault::Unknown)),
        (foreign.expose(), SubjectFault::Actor),
        (expired.expose(), SubjectFault::Token(GrantFault::Expired)),
        (delegated.expose(), SubjectFault::Actor),
    ] {
        let result = desk.exchange_with(&token, |r| r.actor_token = Some(actor));
        assert_eq!(fault(result.await), expected);
    }
    // What it gives ends with the actor's own token, whose first use it is.
    let short = desk.own(|_, meta| {
        meta.expires_at = UnixTime(NOW + 20);
        meta.notes_first_use = true;
    });
    let issued = desk.exchange_with(&token, |r| r.actor_token = Some(short.expose()));
    assert_eq!(issued.await.unwrap().expires_in, 20);
    let record = desk.store.record(short.family());
    assert!(record.tokens[&short.digest()].used_at.is_some());
}

#[tokio::test]
async fn only_who_may_act_acts() {
    let named = |sub: &str| {
        let sub = sub.to_owned();
        move |_: &mut Grant, meta: &mut TokenMeta| {
            meta.delegation.may_act = Some(MayAct { sub, iss: None });
        }
    };
    let desk = Desk::new();
    let machines = desk.token(named("client|machine"));
    let carols = desk.token(named("demo|carol"));
    let carol = desk.token(|grant, meta| {
        (grant.client, meta.client) = (Some("machine".into()), Some("machine".into()));
        grant.user.as_mut().unwrap().sub = "demo|carol".into();
    });
    let as_carol = |token| {
        desk.exchange_with(token, |r: &mut ExchangeRequest<'_>| {
            r.actor_token = Some(carol.expose());
        })
    };
    assert!(desk.exchange(&machines).await.is_ok());
    assert_eq!(fault(desk.exchange(&carols).await), SubjectFault::MayNotAct);
    assert!(as_carol(&carols).await.is_ok());
    assert_eq!(fault(as_carol(&machines).await), SubjectFault::MayNotAct);
}

#[tokio::test]
async fn an_id_token_starts_a_family_that_ends_with_it() {
    let trusting = |config: &mut Config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().exchange_id_tokens = vec!["demo".into()];
    };
    let desk = Desk::with(trusting);
    let issued = desk.id_token("good").await.unwrap();
    assert_eq!(issued.expires_in, 60, "the ID token's own end");
    assert!(issued.pair.refresh.is_none());
    let opened = desk.open(&issued.pair.access).unwrap();
    assert_eq!(opened.grant.user.as_ref().unwrap().sub, "demo|alice");
    assert_eq!(opened.grant.client.as_deref(), Some("machine"));
    assert_eq!(opened.grant.absolute_expires_at, UnixTime(NOW + 60));
    assert_eq!(issued.scope.to_string(), "openid orders:read orders:write");
    assert!(!desk.store.index().is_empty(), "found by its subject");

    assert!(matches!(
        fault(desk.id_token("bad").await),
        SubjectFault::NotVouchedFor(_)
    ));
    let desk = Desk::new();
    assert_eq!(
        fault(desk.id_token("good").await),
        SubjectFault::NotForThisClient,
        "only for clients that are named"
    );
}

#[tokio::test]
async fn an_id_token_from_before_a_sign_out_everywhere_gives_nothing() {
    let trusting = |config: &mut Config| {
        let machine = config.clients.iter_mut().find(|each| each.id == "machine");
        machine.unwrap().exchange_id_tokens = vec!["demo".into()];
    };
    let desk = Desk::with(trusting);
    desk.store.set_epoch(NOW - 9);
    assert_eq!(
        fault(desk.id_token("good").await),
        SubjectFault::Token(GrantFault::Expired)
    );
    let desk = Desk::with(trusting);
    let issued = desk.id_token("good").await.unwrap();
    let key = desk.store.index()[0].0.clone();
    drop(issued);
    crate::ports::SubjectIndex::end_subject(
        &desk.store,
        &key,
        crate::ended::Reach::All,
        UnixTime(NOW),
        UnixTime(u64::MAX),
    )
    .await
    .unwrap();
    assert_eq!(fault(desk.id_token("good").await), SubjectFault::SignedOut);

    let mut desk = Desk::with(trusting);
    desk.providers.fault = Some(|| IdpError::Unavailable("down"));
    assert!(matches!(
        error(desk.id_token("good").await),
        IssueError::Unavailable(_)
    ));
    desk.providers.fault = Some(|| IdpError::Refused("forged"));
    assert!(matches!(
        fault(desk.id_token("good").await),
        SubjectFault::NotVouchedFor("forged")
    ));
    desk.providers.fault = None;
    desk.providers.may_act = Some(MayAct {
        sub: "client|other".into(),
        iss: None,
    });
    assert_eq!(fault(desk.id_token("good").await), SubjectFault::MayNotAct);
}
