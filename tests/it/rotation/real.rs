//! The model is of this code: every record that the model reaches is made real, with
//! real tokens and seals, and the token service and the authorizer must do with it
//! what the model says, also when somebody else writes between read and write.

use super::checks::EVERYTHING;
use super::protocol::Protocol;
use super::rules::{Decision, PairId, Pairs, Record, Refresh, Rules, ids};
use cloakroom_domain::authorize::{Authorizer, Scheme, Verdict};
use cloakroom_domain::client::ClientCredentials;
use cloakroom_domain::config::Config;
use cloakroom_domain::dpop::{Confirmation, Thumbprint};
use cloakroom_domain::ended::Tombstone;
use cloakroom_domain::family::{
    FamilyId, FamilyRecord, FamilyState, IndexKey, TokenState, Transition,
};
use cloakroom_domain::grant::{self, Grant, Sealer, TokenMeta, TokenPair};
use cloakroom_domain::issue::target::Targets;
use cloakroom_domain::issue::{GrantFault, IssueError, TokenRequest, TokenService};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{
    Clock, CreateError, CreateFamily, FindFamily, OnceName, ReadEpoch, ReadTombstones, Roots,
    SignError, Signer, SigningKey, StoreError, UpdateError, UpdateFamily, UseOnce, World,
};
use cloakroom_domain::seal::{RootKey, RootKeys, SealingKey};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{OpaqueToken, TokenDigest, TokenKind};
use cloakroom_local::system::DEMO_CONFIG;
use cloakroom_tests::dpop::Holder;
use serde_json::{Value, json};
use stateright::Model;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

const NOW: u64 = 1_000_000;
const BORN: u64 = NOW - 100;
const CLIENT: &str = "demo-native";
const RULES: Rules = Rules::BUILT;

/// The last second within the window, and the first after it.
const AGES: [u64; 3] = [0, 9, 10];

/// What somebody else does between a read and the write that follows it.
#[derive(Clone, Copy, Debug)]
enum Rival {
    Nobody,
    Revokes,
    Refreshes(PairId),
    Uses(PairId),
}

#[tokio::test]
async fn the_real_code_decides_as_the_model() {
    let records = reachable(&EVERYTHING);
    let mut compared = 0;
    for before in &records {
        for rival in rivals(before) {
            for token in ids().filter(|id| before.pair(*id).is_some()) {
                refreshes_alike(before, rival, token).await;
                accepts_alike(before, rival, token).await;
                compared += 2;
            }
        }
    }
    println!("{} records, {compared} decisions compared", records.len());
    assert!(records.len() > 50, "{}", records.len());
}

/// What is bound to a key is worth as much to its holder as anything, and to nobody else;
/// nor can anybody else end the family with it.
#[tokio::test]
async fn without_its_key_a_token_changes_no_family() {
    for before in &reachable(&EVERYTHING) {
        for token in ids().filter(|id| before.pair(*id).is_some()) {
            let mut family = Family::bound(before);
            let stored = family.store.stored();
            for nobody in [None, Some(&Holder::default())] {
                let refused = family.refresh_by(token, nobody).await;
                let fault = family.told(refused).unwrap_err();
                let told_apart = matches!(
                    fault,
                    GrantFault::Key | GrantFault::Unknown | GrantFault::Revoked
                );
                assert!(told_apart, "{fault:?}: {token} of {before:?}");
                assert_eq!(family.store.stored(), stored, "{token} of {before:?}");
            }
            let mut model = *before;
            let expected = conclude(model.decide(token, RULES), token, &mut model);
            let answer = family.refresh(token).await;
            assert_eq!(family.told(answer), expected, "{token} of {before:?}");
            assert_eq!(family.abstracted(), model, "{token} of {before:?}");
        }
    }
}

async fn refreshes_alike(before: &Record, rival: Rival, token: PairId) {
    let mut family = Family::of(before);
    let mut model = *before;
    let first = model.decide(token, RULES);
    family.rival(rival, &mut model).await;
    let expected = conclude(first, token, &mut model);

    let answer = family.refresh(token).await;
    let found = family.told(answer);
    assert_eq!(found, expected, "{token} of {before:?}, {rival:?}");
    assert_eq!(
        family.abstracted(),
        model,
        "{token} of {before:?}, {rival:?}"
    );
}

async fn accepts_alike(before: &Record, rival: Rival, token: PairId) {
    let mut family = Family::of(before);
    let mut model = *before;
    let drop = before.outlived(token, RULES);
    family.rival(rival, &mut model).await;
    // Nobody has a JWT yet, so that a later use is a write too, under the same
    // condition as the first.
    let expected = before.active && model.active;
    assert!(!expected || model.note_use(token, drop, RULES));

    let accepted = family.accepts(token).await;
    assert_eq!(
        accepted, expected,
        "access {token} of {before:?}, {rival:?}"
    );
    assert_eq!(
        family.abstracted(),
        model,
        "access {token} of {before:?}, {rival:?}"
    );
}

/// Carries a decision out in the model, as an environment does.
fn conclude(first: Decision, token: PairId, model: &mut Record) -> Result<PairId, GrantFault> {
    let mut decision = first;
    loop {
        match decision {
            Decision::Rotate(plan) => match model.rotate(plan, RULES) {
                Some(pair) => return Ok(pair),
                None => decision = model.decide(token, RULES),
            },
            Decision::Heal(pair) => return Ok(pair),
            Decision::Reused => {
                model.active = false;
                return Err(GrantFault::Reused);
            }
            Decision::Revoked => return Err(GrantFault::Revoked),
            Decision::Unknown => return Err(GrantFault::Unknown),
        }
    }
}

/// Every record that the model reaches, with room for two more pairs.
fn reachable(protocol: &Protocol) -> BTreeSet<Record> {
    let mut seen: HashSet<_> = protocol.init_states().into_iter().collect();
    let mut pending: VecDeque<_> = seen.iter().copied().collect();
    while let Some(state) = pending.pop_front() {
        for next in protocol.next_states(&state) {
            if protocol.within_boundary(&next) && seen.insert(next) {
                pending.push_back(next);
            }
        }
    }
    seen.iter().map(|state| state.record).collect()
}

fn rivals(record: &Record) -> Vec<Rival> {
    let mut rivals = vec![Rival::Nobody];
    if record.active {
        rivals.push(Rival::Revokes);
        let pairs = ids().filter(|id| record.pair(*id).is_some());
        rivals.extend(pairs.flat_map(|id| [Rival::Refreshes(id), Rival::Uses(id)]));
    }
    rivals
}

/// A record of the model, made real.
struct Family {
    store: Store,
    roots: OneRoot,
    pairs: Vec<TokenPair>,
    /// Whose key its tokens are bound to.
    holder: Option<Holder>,
}

impl Family {
    fn of(model: &Record) -> Self {
        Self::held_by(None, model)
    }

    fn bound(model: &Record) -> Self {
        Self::held_by(Some(Holder::default()), model)
    }

    fn held_by(holder: Option<Holder>, model: &Record) -> Self {
        let key = key_of(holder.as_ref());
        let meta = |kind, replaced: Option<&TokenPair>| {
            let replaced = replaced.map(|pair| pair.refresh.as_ref().unwrap().digest());
            meta(kind, replaced, key.as_ref())
        };
        let world = world();
        let root = RootKey::new(Zeroizing::new([7; 32]));
        let grant: Grant = read(json!({
            "kind": "grant", "client": CLIENT, "sid": "sid", "created_at": BORN,
            "absolute_expires_at": NOW + 10_000, "user": {
                "sub": "demo|alice", "idp": "demo", "iss": "https://idp.example", "auth_time": BORN,
            },
        }));
        let (mut record, first) =
            grant::new_family(&grant, &meta(TokenKind::Refresh, None), &root, &world).unwrap();
        let data_key = SealingKey::generate(&world).unwrap();
        let sealer = Sealer {
            root: &root,
            family: first.family(),
            data_key,
            entropy: &world,
        };
        record.grant = sealer.grant(&grant, record.claims_version).unwrap();
        record.tokens.clear();
        let mut pairs: Vec<TokenPair> = Vec::new();
        let mut entries = Vec::new();
        let mut made_at = UnixTime(BORN);
        for pair in model.pairs.iter().flatten() {
            // The live token is the newest pair's, so each pair replaced the one before, and
            // was made when that was redeemed.
            let access = TokenMeta {
                issued_at: made_at,
                ..meta(TokenKind::Access, pairs.last())
            };
            made_at = match pair.refresh {
                Refresh::Used { at, .. } => ago(at),
                Refresh::Outlived => ago(RULES.window),
                Refresh::Live | Refresh::Dropped => UnixTime(BORN),
            };
            let (access, mut access_entry) = sealer.token(&access).unwrap();
            let refresh = meta(TokenKind::Refresh, None);
            let (refresh, refresh_entry) = sealer.token(&refresh).unwrap();
            access_entry.used_at = pair.access_used.map(ago);
            record.tokens.insert(access.digest(), access_entry);
            entries.push(refresh_entry);
            pairs.push(TokenPair {
                access,
                refresh: Some(refresh),
            });
        }
        for (id, mut entry) in ids().zip(entries) {
            let token = refresh_of(&pairs, id);
            match model.pair(id).unwrap().refresh {
                Refresh::Live => {}
                Refresh::Used { at, successor } => {
                    entry.state = TokenState::Used;
                    entry.redeemed_at = Some(ago(at));
                    let pair = &pairs[usize::from(successor)];
                    entry.successor =
                        Some(grant::seal_successor(&root, token, pair, &world).unwrap());
                }
                Refresh::Outlived => {
                    entry.state = TokenState::Used;
                    entry.redeemed_at = Some(ago(RULES.window));
                }
                Refresh::Dropped => continue,
            }
            record.tokens.insert(token.digest(), entry);
        }
        record.spent = model
            .spent
            .iter()
            .map(|id| grant::spent_name(refresh_of(&pairs, id).digest(), key.as_ref()))
            .collect();
        record.generation = model.generation.into();
        if !model.active {
            record.state = FamilyState::Revoked;
        }
        Self {
            store: Store::new(record),
            roots: OneRoot(Arc::new(RootKeys::new(root, vec![]))),
            pairs,
            holder,
        }
    }

    /// Lets somebody else write, unseen by whoever reads next.
    async fn rival(&mut self, rival: Rival, model: &mut Record) {
        let before = self.store.stored();
        match rival {
            Rival::Nobody => return,
            Rival::Revokes => {
                model.active = false;
                assert!(self.store.write(&Transition::revoke(before.id)));
            }
            Rival::Refreshes(token) => {
                let decision = model.decide(token, RULES);
                let expected = conclude(decision, token, model).ok();
                let pair = self.refresh(token).await.ok();
                assert_eq!(pair.map(|pair| self.number(pair)), expected);
            }
            Rival::Uses(token) => {
                let drop = model.outlived(token, RULES);
                assert!(model.note_use(token, drop, RULES));
                assert!(self.accepts(token).await);
            }
        }
        self.store.show_once(before);
    }

    async fn refresh(&self, token: PairId) -> Result<TokenPair, IssueError> {
        self.refresh_by(token, self.holder.as_ref()).await
    }

    async fn refresh_by(
        &self,
        token: PairId,
        holder: Option<&Holder>,
    ) -> Result<TokenPair, IssueError> {
        let (store, roots) = (self.store.clone(), self.roots.clone());
        let service = TokenService::new(config(), UnixTime(0), store, roots, world());
        let token = refresh_of(&self.pairs, token).expose().to_owned();
        let request = TokenRequest::RefreshToken {
            token: &token,
            scope: None,
        };
        let client = ClientCredentials::Public { id: CLIENT };
        let proof = match holder {
            None => None,
            Some(holder) => {
                let nonce = service.fresh_nonce().await.unwrap();
                let url = format!("{}/oauth/token", config().issuer);
                let proof = holder.proof("POST", &url, None, |claims| {
                    claims["iat"] = json!(NOW);
                    claims["nonce"] = json!(nonce);
                });
                Some(service.judge_proof(&proof).await.unwrap())
            }
        };
        let targets = Targets::default();
        let issued = service.issue_for(&client, &request, &targets, proof.as_ref());
        Ok(issued.await?.pair)
    }

    /// What a client is told: which pair, or what is wrong.
    fn told(&mut self, answer: Result<TokenPair, IssueError>) -> Result<PairId, GrantFault> {
        match answer {
            Ok(pair) => Ok(self.number(pair)),
            Err(IssueError::InvalidGrant(fault)) => Err(fault),
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn accepts(&self, token: PairId) -> bool {
        let (store, roots) = (self.store.clone(), self.roots.clone());
        let authorizer = Authorizer::new(config(), UnixTime(0), store, NoSigner, roots, world());
        let token = self.pairs[usize::from(token)].access.expose();
        let (verdict, _) = authorizer
            .authorize(Scheme::Bearer, token, "GET", "/api/orders")
            .await;
        match verdict {
            Verdict::Allow(_) => true,
            Verdict::Unauthorized(_) => false,
            other => panic!("{other:?}"),
        }
    }

    /// Which pair it is; a new one gets the next number.
    fn number(&mut self, pair: TokenPair) -> PairId {
        let digest = pair.access.digest();
        let known = self
            .pairs
            .iter()
            .position(|known| known.access.digest() == digest);
        let number = known.unwrap_or(self.pairs.len());
        if known.is_none() {
            self.pairs.push(pair);
        }
        number.try_into().unwrap()
    }

    /// What is stored, as a record of the model.
    fn abstracted(&self) -> Record {
        let stored = self.store.stored();
        let mut model = Record {
            active: stored.state == FamilyState::Active,
            generation: stored.generation.try_into().unwrap(),
            spent: Pairs::default(),
            pairs: Record::new().pairs,
        };
        for (id, pair) in ids().zip(&self.pairs) {
            let token = refresh_of(&self.pairs, id);
            let key = key_of(self.holder.as_ref());
            let name = grant::spent_name(token.digest(), key.as_ref());
            if stored.spent.contains(&name) {
                model.spent = model.spent.with(Pairs::of(id));
            }
            let slot = model.pairs[usize::from(id)].insert(Record::new().pair(0).unwrap());
            slot.access_used = stored.tokens[&pair.access.digest()].used_at.map(age);
            slot.refresh = match stored.tokens.get(&token.digest()) {
                None => Refresh::Dropped,
                Some(entry) if entry.state == TokenState::Live => Refresh::Live,
                Some(entry) if entry.successor.is_none() => Refresh::Outlived,
                Some(entry) => {
                    let sealed = entry.successor.as_ref().unwrap();
                    let roots = &self.roots.0;
                    let next = grant::open_successor(&stored, token, sealed, roots).unwrap();
                    let next = next.access.digest();
                    let at = |known: &TokenPair| known.access.digest() == next;
                    Refresh::Used {
                        at: age(entry.redeemed_at.unwrap()),
                        successor: self.pairs.iter().position(at).unwrap().try_into().unwrap(),
                    }
                }
            };
        }
        model
    }
}

fn refresh_of(pairs: &[TokenPair], id: PairId) -> &OpaqueToken {
    pairs[usize::from(id)].refresh.as_ref().unwrap()
}

fn meta(kind: TokenKind, replaced: Option<TokenDigest>, key: Option<&Thumbprint>) -> TokenMeta {
    TokenMeta {
        successor_of: replaced,
        cnf: key.map(|key| Confirmation { jkt: key.clone() }),
        ..read(json!({
            "kind": kind, "client": CLIENT, "scope": SCOPES, "audiences": [], "issued_at": BORN,
            "expires_at": NOW + 1_000, "notes_first_use": kind == TokenKind::Access,
        }))
    }
}

fn key_of(holder: Option<&Holder>) -> Option<Thumbprint> {
    holder.map(|holder| Thumbprint::parse(&holder.thumbprint()).unwrap())
}

/// As scopes are sealed.
const SCOPES: [&str; 2] = ["offline_access", "orders:read"];

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn ago(age: u8) -> UnixTime {
    UnixTime(NOW - AGES[usize::from(age)])
}

fn age(at: UnixTime) -> u8 {
    let passed = AGES.iter().position(|age| *age == NOW - at.0).unwrap();
    passed.try_into().unwrap()
}

fn config() -> Arc<Config> {
    // Nothing is remembered, so that every acceptance is a decision.
    let text = DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0");
    Arc::new(Config::parse(&text).unwrap())
}

fn world() -> World {
    World {
        clock: Arc::new(Still),
        entropy: cloakroom_aws::world().entropy,
    }
}

/// Time that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> UnixTime {
        UnixTime(NOW)
    }
}

#[derive(Clone)]
struct OneRoot(Arc<RootKeys>);

impl Roots for OneRoot {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Signs nothing in earnest: no JWT is looked at here.
struct NoSigner;

impl Signer for NoSigner {
    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: "none".to_owned(),
            algorithm: Algorithm::RS256,
        })
    }

    async fn sign(&self, _: &SigningKey, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(vec![0; 256])
    }
}

/// One family, and the past for who reads next.
#[derive(Clone)]
struct Store(Arc<Mutex<(FamilyRecord, Option<FamilyRecord>)>>);

impl Store {
    fn new(record: FamilyRecord) -> Self {
        Self(Arc::new(Mutex::new((record, None))))
    }

    fn stored(&self) -> FamilyRecord {
        self.0.lock().unwrap().0.clone()
    }

    fn write(&self, transition: &Transition) -> bool {
        transition.apply(&mut self.0.lock().unwrap().0)
    }

    fn show_once(&self, past: FamilyRecord) {
        self.0.lock().unwrap().1 = Some(past);
    }
}

impl FindFamily for Store {
    async fn find_family(&self, _: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        let past = self.0.lock().unwrap().1.take();
        Ok(Some(past.unwrap_or_else(|| self.stored())))
    }
}

impl UpdateFamily for Store {
    async fn update_family(&self, transition: &Transition) -> Result<(), UpdateError> {
        if self.write(transition) {
            return Ok(());
        }
        Err(UpdateError::Refused(Some(Box::new(self.stored()))))
    }
}

impl CreateFamily for Store {
    async fn create_family(
        &self,
        _: &FamilyRecord,
        _: &[IndexKey],
        _: UnixTime,
    ) -> Result<(), CreateError> {
        panic!("nothing here starts a family")
    }
}

impl ReadTombstones for Store {
    async fn tombstone(&self, _: &[IndexKey]) -> Result<Tombstone, StoreError> {
        Ok(Tombstone::default())
    }
}

impl UseOnce for Store {
    async fn use_once(&self, _: &OnceName, _: UnixTime) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn was_used(&self, _: &OnceName) -> Result<bool, StoreError> {
        panic!("nothing here asks")
    }
}

impl ReadEpoch for Store {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        Ok(UnixTime(0))
    }
}
