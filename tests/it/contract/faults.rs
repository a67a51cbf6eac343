//! What the adapters make of a service that is slow, refusing, or whose answer is
//! lost on the way (D41, D42).

use super::World;
use super::records::{family, random_text};
use super::store::{created, found};
use super::world::{dynamo_at, kms_at, listen, url};
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{KmsPublicKeys, KmsRoots, KmsSigner, create_mac_key, create_signing_key};
use cloakroom_domain::family::{FamilyState, IndexKey, Transition};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{
    CreateError, CreateFamily, FindFamily, OnceName, PublicKeys, Roots, SignError, Signer,
    StoreError, UpdateError, UpdateFamily, UseOnce,
};
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LATER: UnixTime = UnixTime(4_000_000_000);

const THROTTLED: Act = Act::Answer(400, r#"{"__type":"a#ThrottlingException","message":"m"}"#);
const DENIED: Act = Act::Answer(400, r#"{"__type":"a#AccessDeniedException","message":"m"}"#);
const BROKEN: Act = Act::Answer(500, r#"{"__type":"a#KMSInternalException","message":"m"}"#);
const CONFLICT: Act = Act::Answer(
    400,
    r#"{"__type":"a#TransactionConflictException","message":"m"}"#,
);
pub(super) const CANCELLED: Act = Act::Answer(
    400,
    r#"{"__type":"a#TransactionCanceledException","message":"m","CancellationReasons":
    [{"Code":"None"},{"Code":"None"},{"Code":"TransactionConflict"}]}"#,
);

/// What is done with a request.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Silence,
    Answer(u16, &'static str),
    Forward,
    /// It is carried out, and the answer gets lost.
    Lose,
}

/// Stands before a service and does as it is told.
pub(super) struct Gate {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Gate {
    /// `act` is told the request's number, from 0.
    async fn before(service: &str, act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let (listener, address) = listen().await;
        let requests = Arc::new(AtomicUsize::new(0));
        let service = service.trim_start_matches("http://").to_owned();
        let (act, counter) = (Arc::new(act), requests.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (service, act, counter) = (service.clone(), act.clone(), counter.clone());
                tokio::spawn(async move {
                    let mut client = client;
                    if let Some(request) = read_request(&mut client).await {
                        let act = act(counter.fetch_add(1, Ordering::SeqCst));
                        serve(client, &service, &request, act).await;
                    }
                });
            }
        });
        Self {
            url: url(address),
            requests,
        }
    }

    /// Before nothing: forwards nowhere.
    pub(super) async fn alone(act: Act) -> Self {
        Self::before("", move |_| act).await
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) async fn store(&self) -> DynamoStore {
        DynamoStore::new(dynamo_at(&self.url).await, "table")
    }

    async fn store_of(&self, world: &World) -> DynamoStore {
        DynamoStore::new(dynamo_at(&self.url).await, &world.table)
    }
}

/// Reads one request, and marks it as the last of its connection.
pub(super) async fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if request.len() >= head + 4 + length {
                request.splice(head..head, *b"\r\nconnection: close");
                return Some(request);
            }
        }
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

pub(super) async fn serve(mut client: TcpStream, service: &str, request: &[u8], act: Act) {
    match act {
        Act::Silence => std::future::pending().await,
        Act::Answer(status, body) => {
            let answer = format!(
                "HTTP/1.1 {status} .\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
        Act::Forward | Act::Lose => {
            let mut service = TcpStream::connect(service).await.unwrap();
            service.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            service.read_to_end(&mut answer).await.unwrap();
            if matches!(act, Act::Forward) {
                let _ = client.write_all(&answer).await;
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_never_answers_is_unavailable_in_time() {
    let gate = Gate::alone(Act::Silence).await;
    let store = gate.store().await;
    let start = Instant::now();
    let outcome = store.find_family(&family().id).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_millis(2_500));
    assert_eq!(gate.requests(), 2);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() {
    let (listener, address) = listen().await;
    drop(listener);
    let store = DynamoStore::new(dynamo_at(&url(address)).await, "table");
    assert!(matches!(
        store.find_family(&family().id).await,
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_throttle_is_told_from_a_refusal_to_serve() {
    let store = Gate::alone(THROTTLED).await.store().await;
    assert!(matches!(
        store.find_family(&family().id).await,
        Err(StoreError::Throttled(_))
    ));

    let gate = Gate::alone(DENIED).await;
    let store = gate.store().await;
    assert!(matches!(
        store.find_family(&family().id).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(gate.requests(), 1, "asking again does not help");
}

#[tokio::test]
async fn a_conflict_is_never_taken_for_a_replay() {
    let store = Gate::alone(CONFLICT).await.store().await;
    assert!(matches!(
        store.update_family(&Transition::revoke(family().id)).await,
        Err(UpdateError::Store(StoreError::Throttled(_)))
    ));
}

#[tokio::test]
async fn a_creation_that_met_another_is_tried_again() {
    let world = World::embedded().await;
    let subject = [IndexKey::Subject(random_text())];
    let behind = world.dynamo_url.clone();

    let gate = Gate::before(&behind, |n| if n < 2 { CANCELLED } else { Act::Forward }).await;
    let lucky = family();
    let store = gate.store_of(&world).await;
    store.create_family(&lucky, &subject, LATER).await.unwrap();
    assert_eq!(found(&world.store(), &lucky.id).await, Some(lucky));
    assert_eq!(gate.requests(), 3);

    let gate = Gate::before(&behind, |_| CANCELLED).await;
    let outcome = gate
        .store_of(&world)
        .await
        .create_family(&family(), &subject, LATER)
        .await;
    assert!(matches!(
        outcome,
        Err(CreateError::Store(StoreError::Throttled(_)))
    ));
    assert_eq!(gate.requests(), 4);
}

#[tokio::test]
async fn a_lost_answer_does_no_harm() {
    let world = World::embedded().await;
    let behind = world.dynamo_url.clone();
    let losing = async || {
        let first_lost = |n| if n == 0 { Act::Lose } else { Act::Forward };
        Gate::before(&behind, first_lost).await
    };

    let name = OnceName {
        namespace: "used",
        digest: random_text(),
    };
    let gate = losing().await;
    let store = gate.store_of(&world).await;
    assert!(store.use_once(&name, LATER).await.unwrap(), "still ours");
    assert!(!store.use_once(&name, LATER).await.unwrap());
    assert_eq!(gate.requests(), 3);

    let gate = losing().await;
    let family = family();
    let store = gate.store_of(&world).await;
    store.create_family(&family, &[], LATER).await.unwrap();
    assert_eq!(gate.requests(), 2);

    // A transition that its own first attempt forestalled says what is there now.
    let gate = losing().await;
    let family = created(&world.store()).await;
    let store = gate.store_of(&world).await;
    match store.update_family(&Transition::revoke(family.id)).await {
        Err(UpdateError::Refused(Some(old))) => assert_eq!(old.state, FamilyState::Revoked),
        other => panic!("{other:?}"),
    }
    assert_eq!(gate.requests(), 2);
}

#[tokio::test]
async fn a_broken_kms_is_not_asked_by_everyone() {
    let world = World::embedded().await;
    let arn = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    // Five calls of two attempts each.
    let gate = Gate::before(
        &world.kms_url,
        |n| {
            if n < 10 { BROKEN } else { Act::Forward }
        },
    )
    .await;
    let signer = KmsSigner::new(kms_at(&gate.url).await, arn, Algorithm::ES256);
    for _ in 0..5 {
        assert!(matches!(
            sign(&signer).await,
            Err(SignError::Unavailable(_))
        ));
    }
    let start = Instant::now();
    assert!(matches!(
        sign(&signer).await,
        Err(SignError::Unavailable(_))
    ));
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(gate.requests(), 10, "the sixth did not ask");

    tokio::time::sleep(Duration::from_millis(1_100)).await;
    sign(&signer).await.unwrap();
    sign(&signer).await.unwrap();
}

#[tokio::test]
async fn a_disabled_key_is_asked_again() {
    let world = World::embedded().await;
    let mac = create_mac_key(&world.kms).await.unwrap();
    let arn = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();

    let signer = KmsSigner::new(world.kms.clone(), &arn, Algorithm::ES256);
    let roots = KmsRoots::new(world.kms.clone(), vec![mac.clone()]);
    for key in [&arn, &mac] {
        world.kms.disable_key().key_id(key).send().await.unwrap();
    }
    assert!(matches!(
        sign(&signer).await,
        Err(SignError::Unavailable(_))
    ));
    assert!(matches!(
        roots.roots().await,
        Err(SignError::Unavailable(_))
    ));
    for key in [&arn, &mac] {
        world.kms.enable_key().key_id(key).send().await.unwrap();
    }
    sign(&signer).await.unwrap();
    roots.roots().await.unwrap();

    // What was fetched once is kept.
    world.kms.disable_key().key_id(&mac).send().await.unwrap();
    roots.roots().await.unwrap();
}

#[tokio::test]
async fn public_keys_outlive_an_outage_for_a_while() {
    let world = World::embedded().await;
    let arn = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    let gate = Gate::before(
        &world.kms_url,
        |n| {
            if n == 0 { Act::Forward } else { BROKEN }
        },
    )
    .await;
    let keys = KmsPublicKeys::new(kms_at(&gate.url).await, vec![arn], Algorithm::ES256);
    let fresh = keys.public_keys().await.unwrap();
    keys.public_keys().await.unwrap();
    assert_eq!(gate.requests(), 1, "from memory");

    advance(Duration::from_mins(6)).await;
    assert_eq!(keys.public_keys().await.unwrap(), fresh);
    assert_eq!(gate.requests(), 3, "asked, in vain");

    advance(Duration::from_hours(1)).await;
    assert!(keys.public_keys().await.is_err());
}

async fn sign(signer: &KmsSigner) -> Result<Vec<u8>, SignError> {
    let key = signer.signing_key(UnixTime(0)).await?;
    signer.sign(&key, b"message").await
}

async fn advance(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}
