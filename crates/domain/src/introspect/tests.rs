use super::*;
use crate::authorize::{Authorizer, Scheme, Verdict};
use crate::delegation::{Actor, Delegation};
use crate::family::{FamilyId, Transition};
use crate::grant::{Grant, TokenMeta, new_family};
use crate::ports::SignError;
use crate::scope::ScopeSet;
use crate::seal::RootKeys;
use crate::testing::{
    Fault, MemoryStore, SECRET, SequenceEntropy, TestClock, TestRoots, TestSigner, Verb, cause,
    grant_of, meta, root, system, world,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

const NOW: u64 = 1_100;

/// The endpoint, and every hand that can reach into its world. `server` is the orders
/// service, `machine` stands before both services, `other` before neither.
struct Desk {
    introspector: Introspector<MemoryStore, TestSigner, TestRoots>,
    authorizer: Authorizer<MemoryStore, TestSigner, TestRoots>,
    store: MemoryStore,
    signer: TestSigner,
    roots: TestRoots,
    clock: TestClock,
    entropy: SequenceEntropy,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = system();
        let mut other = config.client("server").unwrap().clone();
        other.id = "other".into();
        config.clients.push(other);
        for client in &mut config.clients {
            match client.id.as_str() {
                "server" => client.audience = Some("orders".into()),
                "machine" => client.introspects = vec!["orders".into(), "profile".into()],
                _ => {}
            }
        }
        edit(&mut config);
        let config = Arc::new(config);
        let (store, roots, clock) = (MemoryStore::default(), TestRoots::new(), TestClock::at(NOW));
        let signer = TestSigner::new();
        Self {
            introspector: Introspector::new(
                Arc::clone(&config),
                UnixTime(0),
                store.clone(),
                signer.clone(),
                roots.clone(),
                world(&clock),
            ),
            authorizer: Authorizer::new(
                config,
                UnixTime(0),
                store.clone(),
                signer.clone(),
                roots.clone(),
                world(&clock),
            ),
            store,
            signer,
            roots,
            clock,
            entropy: SequenceEntropy::starting_at(7),
        }
    }

    fn caller(&self, id: &str) -> &ClientConfig {
        self.introspector.config.client(id).unwrap()
    }

    /// Stores a family whose first token is like this.
    fn token(&self, edit: impl FnOnce(&mut Grant, &mut TokenMeta)) -> OpaqueToken {
        let (mut grant, mut meta) = (grant_of("alice"), meta());
        meta.audiences.clear();
        edit(&mut grant, &mut meta);
        let (record, token) = new_family(&grant, &meta, &root(1), &self.entropy).unwrap();
        self.store.insert(record);
        token
    }

    async fn describe(
        &self,
        caller: &str,
        token: &str,
        resource: Option<&str>,
    ) -> Result<Answer<Introspection>, IntrospectError> {
        let question = Question { token, resource };
        let caller = self.caller(caller);
        self.introspector.describe(caller, &question).await.0
    }

    /// What the caller reads.
    async fn says(&self, caller: &str, token: &str) -> Value {
        match self.describe(caller, token, None).await.unwrap() {
            Answer::Active(answer) => serde_json::to_value(&answer).unwrap(),
            Answer::Inactive(_) => serde_json::to_value(Introspection::INACTIVE).unwrap(),
        }
    }

    /// Why it is not active.
    async fn why(&self, caller: &str, token: &str) -> &'static str {
        match self.describe(caller, token, None).await.unwrap() {
            Answer::Active(_) => "active",
            Answer::Inactive(why) => why.name(),
        }
    }

    async fn access_jwt(
        &self,
        caller: &str,
        token: &OpaqueToken,
        resource: Option<&str>,
    ) -> Result<Answer<Jwt>, IntrospectError> {
        let token = token.expose();
        let question = Question { token, resource };
        let caller = self.caller(caller);
        self.introspector.access_jwt(caller, &question).await.0
    }

    /// The JWT that the authorizer makes for `GET /api/orders`.
    async fn swapped(&self, token: &OpaqueToken) -> String {
        let route = ("GET", "/api/orders");
        let asked = self
            .authorizer
            .authorize(Scheme::Bearer, token.expose(), route.0, route.1);
        match asked.await.0 {
            Verdict::Allow(allowed) => allowed.jwt.expose().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn used_at(&self, token: &OpaqueToken) -> Option<UnixTime> {
        self.store.record(token.family()).tokens[&token.digest()].used_at
    }

    /// Reads of the epoch and of families, signatures and writes since last asked.
    fn cost(&self) -> Cost {
        let calls = self.store.take_calls();
        assert_eq!((calls.create, calls.once), (0, 0));
        Cost {
            read: calls.epoch + calls.find,
            sign: self.signer.take_calls(),
            write: calls.update,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Cost {
    read: usize,
    sign: usize,
    write: usize,
}

/// What an unknown token costs, and a known one at its second use.
const READS: Cost = Cost {
    read: 2,
    sign: 0,
    write: 0,
};

fn active<T>(answer: Result<Answer<T>, IntrospectError>) -> T {
    match answer.unwrap() {
        Answer::Active(active) => active,
        Answer::Inactive(why) => panic!("{}", why.name()),
    }
}

fn inactive() -> Value {
    json!({"active": false})
}

/// Header and claims.
fn parts(jwt: &str) -> (Value, Value) {
    let mut parts = jwt.split('.').map(|part| {
        let bytes = BASE64URL.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

// Who may ask.

#[test]
fn only_who_proves_to_be_a_confidential_client_may_ask_d58() {
    let desk = Desk::new();
    let who = |credentials: ClientCredentials<'_>| {
        let caller = desk.introspector.caller(&credentials);
        caller.ok().map(|client| client.id.clone())
    };
    let secret = |id, secret| ClientCredentials::Secret { id, secret };
    assert_eq!(who(secret("server", SECRET)).as_deref(), Some("server"));
    assert_eq!(who(secret("server", "wrong")), None);
    assert_eq!(who(secret("nobody", SECRET)), None);
    assert_eq!(who(ClientCredentials::Public { id: "server" }), None);
    assert_eq!(who(ClientCredentials::Public { id: "app" }), None, "public");
}

// What is said.

#[tokio::test]
async fn an_active_answer_says_what_rfc_7662_names_and_no_more() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| {
        meta.scope = ScopeSet::parse("orders:read orders:write").unwrap();
    });
    let expected = json!({
        "active": true,
        "scope": "orders:read orders:write",
        "client_id": "app",
        "token_type": "Bearer",
        "exp": 1_600,
        "iat": 1_000,
        "sub": "demo|alice",
        "aud": ["orders"],
        "iss": "https://app.example.com",
    });
    assert_eq!(desk.says("server", token.expose()).await, expected);

    let both = desk.says("machine", token.expose()).await;
    assert_eq!(
        both["aud"],
        json!(["orders", "profile"]),
        "the caller's own"
    );
    let one = active(
        desk.describe("machine", token.expose(), Some("profile"))
            .await,
    );
    let one = serde_json::to_value(&one).unwrap();
    assert_eq!(one["aud"], json!(["profile"]), "asked as one of them");
}

#[tokio::test]
async fn who_acts_for_the_subject_is_said() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| {
        meta.delegation = Delegation {
            act: Some(Actor {
                sub: "client|machine".into(),
                act: None,
            }),
            may_act: None,
        };
    });
    let said = desk.says("server", token.expose()).await;
    assert_eq!(said["act"], json!({"sub": "client|machine"}));
}

#[tokio::test]
async fn a_machines_token_names_the_machine() {
    let desk = Desk::new();
    let token = desk.token(|grant, meta| {
        grant.user = None;
        grant.client = Some("machine".into());
        meta.client = Some("machine".into());
        meta.scope = ScopeSet::default();
    });
    let said = desk.says("server", token.expose()).await;
    assert_eq!(said["sub"], "client|machine");
    assert_eq!(said.get("scope"), None);
}

#[tokio::test]
async fn an_expiry_is_the_grants_if_that_comes_first() {
    let desk = Desk::new();
    let token = desk.token(|grant, _| grant.absolute_expires_at = UnixTime(1_200));
    assert_eq!(desk.says("server", token.expose()).await["exp"], 1_200);
}

#[tokio::test]
async fn a_token_is_none_of_the_business_of_another_audience_d58() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.audiences = vec!["profile".into()]);
    let text = token.expose();
    assert_eq!(desk.says("server", text).await, inactive());
    assert_eq!(desk.why("server", text).await, "not_for_caller");
    assert_eq!(desk.says("machine", text).await["aud"], json!(["profile"]));
    let narrowed = desk.describe("machine", text, Some("orders")).await;
    assert!(matches!(
        narrowed,
        Ok(Answer::Inactive(Inactive::NotForCaller))
    ));

    let everywhere = desk.token(|_, _| {});
    assert_eq!(
        desk.says("other", everywhere.expose()).await,
        inactive(),
        "no audience of its own"
    );
}

#[tokio::test]
async fn a_client_may_ask_about_its_own_tokens() {
    let desk = Desk::new();
    let own = desk.token(|grant, meta| {
        grant.client = Some("other".into());
        meta.client = Some("other".into());
        meta.audiences = vec!["profile".into()];
    });
    let said = desk.says("other", own.expose()).await;
    assert_eq!(
        (&said["active"], &said["aud"]),
        (&json!(true), &json!(["profile"]))
    );
    let as_jwt = desk.access_jwt("other", &own, None).await;
    assert_eq!(
        as_jwt.unwrap_err(),
        IntrospectError::NoResource,
        "that does not make it a service"
    );
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_the_same_d58() {
    let desk = Desk::new();
    let good = desk.token(|_, _| {});
    let unknown = OpaqueToken::generate(
        TokenKind::Access,
        FamilyId([9; FamilyId::LEN]),
        &desk.entropy,
    );
    let stranger = OpaqueToken::generate(TokenKind::Access, good.family(), &desk.entropy);
    let expired = desk.token(|_, meta| meta.expires_at = UnixTime(NOW));
    let revoked = desk.token(|_, _| {});
    assert!(desk.store.carry_out(&Transition::revoke(revoked.family())));
    let gone = desk.token(|grant, meta| {
        grant.client = Some("gone".into());
        meta.client = Some("gone".into());
    });
    let tampered = desk.token(|_, _| {});
    desk.store.tamper(tampered.family(), |record| {
        for entry in record.tokens.values_mut() {
            entry.expires_at = UnixTime(u64::MAX);
        }
    });
    for (token, why) in [
        (unknown.unwrap().expose(), "unknown"),
        (stranger.unwrap().expose(), "unknown"),
        (expired.expose(), "expired"),
        (revoked.expose(), "revoked"),
        (gone.expose(), "client_gone"),
        (tampered.expose(), "broken_seal"),
    ] {
        assert_eq!(desk.why("server", token).await, why);
        assert_eq!(desk.cost(), READS, "{why}: no signature, no write");
        assert_eq!(desk.says("server", token).await, inactive(), "{why}");
        desk.cost();
    }
    assert_eq!(desk.why("server", good.expose()).await, "active");
    assert_eq!(desk.cost(), READS, "the same class of latency");
}

#[tokio::test]
async fn garbage_and_tokens_of_other_kinds_cost_nothing_d58() {
    let desk = Desk::new();
    let mut cases = vec![
        ("garbage".to_owned(), "malformed"),
        ("x".repeat(10_000), "malformed"),
        ("eyJhbGciOiJub25lIn0.e30.".to_owned(), "malformed"),
    ];
    for kind in TokenKind::ALL {
        if kind != TokenKind::Access {
            let token = desk.token(|_, meta| meta.kind = kind);
            cases.push((token.expose().to_owned(), "wrong_kind"));
        }
    }
    for (token, why) in cases {
        assert_eq!(desk.why("server", &token).await, why);
        assert_eq!(desk.says("server", &token).await, inactive());
        assert_eq!(desk.cost(), Cost::default());
    }
}

#[tokio::test]
async fn what_was_issued_before_the_epoch_is_inactive_at_once() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    assert_eq!(desk.why("server", token.expose()).await, "active");
    desk.store.set_epoch(NOW);
    assert_eq!(desk.why("server", token.expose()).await, "expired");
}

#[tokio::test]
async fn a_revoked_token_is_inactive_at_once() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    assert_eq!(desk.why("server", token.expose()).await, "active");
    assert!(desk.store.carry_out(&Transition::revoke(token.family())));
    assert_eq!(desk.why("server", token.expose()).await, "revoked");
}

// First use.

#[tokio::test]
async fn the_first_use_is_noted_before_the_answer_and_once() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.notes_first_use = true);
    assert_eq!(desk.why("server", token.expose()).await, "active");
    assert_eq!(desk.used_at(&token), Some(UnixTime(NOW)));
    assert_eq!(desk.cost(), Cost { write: 1, ..READS });
    assert_eq!(desk.why("server", token.expose()).await, "active");
    assert_eq!(desk.cost(), READS);
}

#[tokio::test]
async fn who_may_not_know_a_token_does_not_use_it() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.notes_first_use = true);
    assert_eq!(desk.why("other", token.expose()).await, "not_for_caller");
    assert_eq!(desk.used_at(&token), None);
    assert_eq!(desk.cost(), READS);
}

#[tokio::test]
async fn a_family_revoked_between_read_and_write_is_inactive() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.notes_first_use = true);
    desk.store
        .before_next_update(Transition::revoke(token.family()));
    assert_eq!(desk.why("server", token.expose()).await, "revoked");
}

#[tokio::test]
async fn whatever_fails_the_answer_is_unavailable_and_never_inactive() {
    let desk = Desk::new();
    for (verb, fault, outage) in [
        (Verb::Epoch, Fault::Unavailable, Outage::Store),
        (Verb::Find, Fault::Throttled, Outage::StoreThrottled),
        (Verb::Update, Fault::Unavailable, Outage::Store),
        (Verb::Update, Fault::AnswerLost, Outage::Store),
    ] {
        let token = desk.token(|_, meta| meta.notes_first_use = true);
        desk.store.fail_next(verb, fault);
        let answer = desk.describe("server", token.expose(), None).await;
        assert_eq!(
            answer.unwrap_err(),
            IntrospectError::Unavailable(outage),
            "{verb:?} {fault:?}"
        );
    }
    let token = desk.token(|_, _| {});
    desk.roots.set_down(true);
    let answer = desk.describe("server", token.expose(), None).await;
    assert_eq!(
        answer.unwrap_err(),
        IntrospectError::Unavailable(Outage::Roots)
    );
}

#[tokio::test]
async fn a_family_sealed_under_a_key_that_is_not_listed_is_inactive() {
    let desk = Desk::new();
    let foreign = RootKeys::new(root(9), vec![]);
    let (record, token) = new_family(
        &grant_of("alice"),
        &meta(),
        foreign.current(),
        &desk.entropy,
    )
    .unwrap();
    desk.store.insert(record);
    let answer = desk.describe("server", token.expose(), None).await;
    let retired = Inactive::Token(Rejection::Fault(TokenFault::Retired));
    assert!(matches!(answer, Ok(Answer::Inactive(why)) if why == retired));
}

// RFC 9701.

#[tokio::test]
async fn a_signed_answer_is_for_its_caller_and_cannot_pass_as_an_access_token() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    let answer = active(desk.describe("server", token.expose(), None).await);
    let caller = desk.caller("server");
    let jwt = desk.introspector.sign(caller, &answer).await.unwrap();
    let (header, claims) = parts(jwt.expose());
    assert_eq!(header["typ"], "token-introspection+jwt");
    assert_eq!(header["kid"], "k1");
    assert_eq!(
        claims,
        json!({
            "iss": "https://app.example.com",
            "aud": "server",
            "iat": NOW,
            "token_introspection": serde_json::to_value(&answer).unwrap(),
        }),
        "neither sub nor exp at the top"
    );
}

#[tokio::test]
async fn a_signed_no_is_made_once_a_minute_for_each_caller() {
    let desk = Desk::new();
    let no = async |caller: &str| {
        let jwt = desk
            .introspector
            .sign(desk.caller(caller), &Introspection::INACTIVE);
        jwt.await.unwrap().expose().to_owned()
    };
    let first = no("server").await;
    let (_, claims) = parts(&first);
    assert_eq!(claims["token_introspection"], inactive());
    for _ in 0..100 {
        assert_eq!(no("server").await, first);
    }
    assert_eq!(desk.signer.take_calls(), 1, "D72");
    assert_eq!(parts(&no("other").await).1["aud"], "other");
    assert_eq!(desk.signer.take_calls(), 1);

    desk.clock.advance(59);
    assert_eq!(no("server").await, first);
    desk.clock.advance(1);
    assert_ne!(no("server").await, first);
    assert_eq!(desk.signer.take_calls(), 1);
    desk.clock.set(NOW);
    no("server").await;
    assert_eq!(desk.signer.take_calls(), 1, "a clock that went backwards");
}

#[tokio::test]
async fn a_kept_no_is_never_the_answer_for_a_live_token() {
    let desk = Desk::new();
    let caller = desk.caller("server");
    let sign = async |answer: &Introspection| {
        let jwt = desk.introspector.sign(caller, answer).await.unwrap();
        parts(jwt.expose()).1["token_introspection"]["active"].clone()
    };
    let token = desk.token(|_, _| {});
    let yes = active(desk.describe("server", token.expose(), None).await);
    assert_eq!(sign(&Introspection::INACTIVE).await, false);
    assert_eq!(sign(&yes).await, true);
    assert_eq!(sign(&Introspection::INACTIVE).await, false);
    desk.signer.fail(Some(SignError::Throttled(cause())));
    assert_eq!(
        desk.introspector.sign(caller, &yes).await.unwrap_err(),
        Outage::SignerThrottled
    );
}

// The phantom-token call.

#[tokio::test]
async fn the_access_jwt_is_the_authorizers_own() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.notes_first_use = true);
    let jwt = active(desk.access_jwt("server", &token, None).await);
    let first = Cost {
        read: 2,
        sign: 1,
        write: 1,
    };
    assert_eq!(desk.cost(), first, "first use and JWT in one write");
    assert_eq!(desk.used_at(&token), Some(UnixTime(NOW)));
    let (header, claims) = parts(jwt.expose());
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(claims["aud"], "orders");
    assert_eq!(claims["email"], "alice@example.com");
    assert_eq!(
        desk.swapped(&token).await,
        jwt.expose(),
        "found in the item by the authorizer"
    );

    let other = desk.token(|_, _| {});
    let swapped = desk.swapped(&other).await;
    desk.cost();
    let jwt = active(desk.access_jwt("server", &other, None).await);
    assert_eq!(jwt.expose(), swapped, "and the other way round");
    assert_eq!(desk.cost(), READS);
}

#[tokio::test]
async fn a_caller_with_several_audiences_says_as_which_it_asks() {
    let desk = Desk::with(|config| {
        config.audiences[1].resource = Some("https://api.example.com/profile".into());
    });
    let token = desk.token(|_, _| {});
    let none = desk.access_jwt("machine", &token, None).await;
    assert_eq!(none.unwrap_err(), IntrospectError::NoResource);
    for (resource, aud) in [
        ("orders", "orders"),
        ("profile", "profile"),
        ("https://api.example.com/profile", "profile"),
    ] {
        let jwt = active(desk.access_jwt("machine", &token, Some(resource)).await);
        assert_eq!(parts(jwt.expose()).1["aud"], aud, "{resource}");
    }
    for (caller, resource) in [
        ("machine", "elsewhere"),
        ("machine", "Orders"),
        ("server", "profile"),
        ("other", "orders"),
    ] {
        let jwt = desk.access_jwt(caller, &token, Some(resource)).await;
        assert_eq!(jwt.unwrap_err(), IntrospectError::InvalidTarget);
        let answer = desk.describe(caller, token.expose(), Some(resource)).await;
        assert_eq!(answer.unwrap_err(), IntrospectError::InvalidTarget);
    }
}

#[tokio::test]
async fn an_audience_of_its_own_needs_no_naming_whatever_else_it_may_introspect() {
    let desk = Desk::with(|config| {
        for client in &mut config.clients {
            match client.id.as_str() {
                "server" | "machine" => client.introspects = vec!["profile".into()],
                _ => {}
            }
        }
    });
    let token = desk.token(|_, _| {});
    for (caller, aud) in [("server", "orders"), ("machine", "profile")] {
        let jwt = active(desk.access_jwt(caller, &token, None).await);
        assert_eq!(parts(jwt.expose()).1["aud"], aud);
    }
}

#[tokio::test]
async fn no_jwt_is_made_for_an_audience_for_which_the_token_is_no_good() {
    let desk = Desk::new();
    let token = desk.token(|_, meta| meta.audiences = vec!["profile".into()]);
    let own = desk.token(|grant, meta| {
        grant.client = Some("server".into());
        meta.client = Some("server".into());
        meta.audiences = vec!["profile".into()];
    });
    for token in [&token, &own] {
        let jwt = desk.access_jwt("server", token, None).await;
        assert!(matches!(jwt, Ok(Answer::Inactive(Inactive::NotForCaller))));
        assert_eq!(desk.cost(), READS);
    }
}

#[tokio::test]
async fn an_access_jwt_is_handed_out_only_after_its_write() {
    let desk = Desk::new();
    let token = desk.token(|_, _| {});
    desk.store.fail_next(Verb::Update, Fault::Unavailable);
    let jwt = desk.access_jwt("server", &token, None).await;
    assert_eq!(
        jwt.unwrap_err(),
        IntrospectError::Unavailable(Outage::Store)
    );
    desk.store
        .before_next_update(Transition::revoke(token.family()));
    let jwt = desk.access_jwt("server", &token, None).await;
    assert!(matches!(jwt, Ok(Answer::Inactive(why)) if why.name() == "revoked"));
}

// The settings.

#[test]
fn only_a_confidential_client_is_an_audience_that_exists_and_once() {
    type Edit = fn(&mut ClientConfig);
    let text = |id: &str, edit: Edit| {
        let mut config = system();
        let at = config.clients.iter().position(|each| each.id == id);
        edit(&mut config.clients[at.unwrap()]);
        toml::to_string(&config).unwrap()
    };
    let cases: [(&str, Edit, Option<&str>); 6] = [
        ("server", |c| c.audience = Some("orders".into()), None),
        (
            "server",
            |c| c.introspects = vec!["orders".into(), "profile".into()],
            None,
        ),
        (
            "server",
            |c| c.audience = Some("elsewhere".into()),
            Some(
                "clients[1].audience names an audience that does not exist: \"elsewhere\" (there are \"orders\", \"profile\")",
            ),
        ),
        (
            "server",
            |c| c.introspects = vec!["elsewhere".into()],
            Some(
                "clients[1].introspects names an audience that does not exist: \"elsewhere\" (there are \"orders\", \"profile\")",
            ),
        ),
        (
            "server",
            |c| {
                c.audience = Some("orders".into());
                c.introspects = vec!["orders".into()];
            },
            Some("clients[1].audience and introspects name an audience twice"),
        ),
        (
            "app",
            |c| c.introspects = vec!["orders".into()],
            Some(
                "clients[0].audience and introspects are for confidential clients: introspection is not for everybody (RFC 7662 §2.1)",
            ),
        ),
    ];
    for (id, edit, fault) in cases {
        let faults = Config::parse(&text(id, edit)).map(|_| ());
        let faults = faults.map_err(|error| error.faults().to_vec());
        assert_eq!(
            faults.err(),
            fault.map(|fault| vec![fault.to_owned()]),
            "{id}"
        );
    }
}
