//! D43: a KMS whose answers are not about what was asked. An alias that moved, an
//! answer of another call, a truncated one: no signature comes of it, and no key.

use super::World;
use super::keys::verifies;
use super::world::{kms_at, listen, url};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_aws::kms::{KmsPublicKeys, KmsRoots, KmsSigner, create_mac_key, create_signing_key};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{PublicKeys, Roots, SignError, Signer};
use cloakroom_domain::time::UnixTime;
use cloakroom_tests::browser::client;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Changes an answer.
type Lie = Box<dyn Fn(&mut Value) + Send>;

/// Stands before a KMS and tells lies about what it answers.
struct Liar {
    kms: aws_sdk_kms::Client,
    tongue: Arc<Tongue>,
}

struct Tongue {
    behind: String,
    lie: Mutex<Lie>,
    /// The key that answers in the place of any other.
    impostor: Mutex<Option<String>>,
}

impl Liar {
    async fn before(service: &str) -> Self {
        let (listener, address) = listen().await;
        let tongue = Arc::new(Tongue {
            behind: service.to_owned(),
            lie: Mutex::new(Box::new(|_| {})),
            impostor: Mutex::default(),
        });
        let router = Router::new().fallback(tell).with_state(tongue.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            kms: kms_at(&url(address)).await,
            tongue,
        }
    }

    fn tell(&self, lie: impl Fn(&mut Value) + Send + 'static) {
        *self.tongue.lie.lock().unwrap() = Box::new(lie);
    }

    fn be_honest(&self) {
        self.tell(|_| {});
    }

    async fn signs(&self, arn: &str, algorithm: Algorithm) -> Result<Vec<u8>, SignError> {
        // A new one each time: the breaker of one would open.
        let signer = KmsSigner::new(self.kms.clone(), arn, algorithm);
        let key = signer.signing_key(UnixTime(0)).await?;
        signer.sign(&key, b"header.claims").await
    }
}

async fn tell(State(tongue): State<Arc<Tongue>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut asked: Value = serde_json::from_slice(&body).unwrap();
    let name = asked["KeyId"].clone();
    let impostor = tongue.impostor.lock().unwrap().clone();
    if let Some(impostor) = &impostor {
        asked["KeyId"] = json!(impostor);
    }
    let mut request = client().post(&tongue.behind).body(asked.to_string());
    for header in [
        "authorization",
        "content-type",
        "x-amz-date",
        "x-amz-target",
    ] {
        request = request.header(header, &headers[header]);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "KMS itself is fine");
    let mut answer: Value = answer.json().await.unwrap();
    if impostor.is_some() {
        answer["KeyId"] = name;
    }
    (tongue.lie.lock().unwrap())(&mut answer);
    let media_type = [("content-type", "application/x-amz-json-1.1")];
    (media_type, answer.to_string()).into_response()
}

/// An honest signature of this KMS: what a lie is made from.
fn with_signature(change: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) -> Lie {
    Box::new(move |answer| {
        let honest = BASE64
            .decode(answer["Signature"].as_str().unwrap())
            .unwrap();
        answer["Signature"] = json!(BASE64.encode(change(honest)));
    })
}

fn with(name: &'static str, value: Value) -> Lie {
    Box::new(move |answer| answer[name] = value.clone())
}

fn without(name: &'static str) -> Lie {
    Box::new(move |answer| {
        answer.as_object_mut().unwrap().remove(name);
    })
}

/// Lies about any signature.
fn lies_about_a_signature(arn: &str) -> Vec<(&'static str, Lie)> {
    let id = arn.rsplit('/').next().unwrap();
    let other = format!("{}{}", &arn[..arn.len() - 4], "0000");
    vec![
        ("another key", with("KeyId", json!(other))),
        ("an alias", with("KeyId", json!("alias/cloakroom"))),
        ("half a name", with("KeyId", json!(&id[1..]))),
        ("nobody's", without("KeyId")),
        (
            "another algorithm",
            with("SigningAlgorithm", json!("ECDSA_SHA_384")),
        ),
        ("no algorithm", without("SigningAlgorithm")),
        ("no signature", without("Signature")),
        ("an empty one", with_signature(|_| Vec::new())),
        ("garbage", with_signature(|_| b"garbage".to_vec())),
        ("short", with_signature(|bytes| bytes[1..].to_vec())),
        (
            "cut off",
            with_signature(|bytes| bytes[..bytes.len() - 1].to_vec()),
        ),
        ("long", with_signature(|bytes| [&bytes[..], &[0]].concat())),
        ("three in one", with_signature(|bytes| bytes.repeat(3))),
    ]
}

/// `SEQUENCE { INTEGER r, INTEGER s }`, as it is told to be.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| [&[2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let numbers = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(numbers.len()).unwrap()], &numbers[..]].concat()
}

/// Lies about the numbers in a P-256 signature.
fn lies_about_numbers() -> Vec<(&'static str, Lie)> {
    let good = [0x7f; 32];
    [
        ("r‖s, which is no DER", [good, good].concat()),
        ("zeros (CVE-2022-21449)", der(&[0], &[0])),
        ("zeros in r‖s", vec![0; 64]),
        ("a negative r", der(&[0xff; 32], &good)),
        ("a negative s", der(&good, &[0xff; 32])),
        ("an r of 33 bytes", der(&[0x7f; 33], &good)),
        (
            "an r with a zero too many",
            der(&[&[0][..], &good].concat(), &good),
        ),
        (
            "an s with a zero too many",
            der(&good, &[&[0][..], &good].concat()),
        ),
        ("a signature on P-384", der(&[0x7f; 48], &[0x7f; 48])),
        ("three numbers", {
            let mut three = der(&good, &good);
            three[1] += 3;
            three.extend([2, 1, 1]);
            three
        }),
    ]
    .map(|(what, der)| (what, with_signature(move |_| der.clone())))
    .into()
}

#[tokio::test]
async fn d43_no_answer_but_a_signature_by_this_very_key_is_one() {
    let world = World::embedded().await;
    let liar = Liar::before(&world.kms_url).await;
    for algorithm in world.algorithms {
        let arn = create_signing_key(&world.kms, *algorithm).await.unwrap();
        let mut lies = lies_about_a_signature(&arn);
        if *algorithm == Algorithm::ES256 {
            lies.extend(lies_about_numbers());
        }
        for (what, lie) in lies {
            liar.tell(lie);
            let signed = liar.signs(&arn, *algorithm).await;
            assert!(
                matches!(signed, Err(SignError::Unacceptable(_))),
                "{algorithm:?}, {what}: {signed:?}"
            );
        }
        liar.be_honest();
        let signature = liar.signs(&arn, *algorithm).await.unwrap();
        let published = KmsPublicKeys::new(world.kms.clone(), vec![arn], *algorithm);
        let keys = published.public_keys().await.unwrap();
        let jwk = serde_json::to_value(&keys[0]).unwrap();
        assert!(verifies(&jwk, b"header.claims", &signature));
    }
}

#[tokio::test]
async fn d43_short_numbers_of_a_signature_are_padded_and_verify() {
    let world = World::embedded().await;
    let arn = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    let published = KmsPublicKeys::new(world.kms.clone(), vec![arn.clone()], Algorithm::ES256);
    let jwk = serde_json::to_value(&published.public_keys().await.unwrap()[0]).unwrap();
    let signer = KmsSigner::new(world.kms.clone(), &arn, Algorithm::ES256);
    // One in 128 has a number that begins with a zero; 2,000 without any are as
    // likely as a broken machine.
    for _ in 0..2_000 {
        let key = signer.signing_key(UnixTime(0)).await.unwrap();
        let signature = signer.sign(&key, b"header.claims").await.unwrap();
        assert_eq!(signature.len(), 64);
        if signature[0] == 0 || signature[32] == 0 {
            assert!(verifies(&jwk, b"header.claims", &signature));
            return;
        }
    }
    panic!("no signature had a short number");
}

#[tokio::test]
async fn d43_a_signature_by_another_key_in_our_keys_name_verifies_nowhere() {
    let world = World::embedded().await;
    let liar = Liar::before(&world.kms_url).await;
    for algorithm in world.algorithms {
        let ours = create_signing_key(&world.kms, *algorithm).await.unwrap();
        let other = create_signing_key(&world.kms, *algorithm).await.unwrap();
        let published = KmsPublicKeys::new(world.kms.clone(), vec![ours.clone()], *algorithm);
        let jwk = serde_json::to_value(&published.public_keys().await.unwrap()[0]).unwrap();
        // The answer is as it should be, so that nobody but the services can tell.
        for (impostor, good) in [(None, true), (Some(other), false)] {
            *liar.tongue.impostor.lock().unwrap() = impostor;
            let signature = liar.signs(&ours, *algorithm).await.unwrap();
            let verifies = verifies(&jwk, b"header.claims", &signature);
            assert_eq!(verifies, good, "{algorithm:?}");
        }
        *liar.tongue.impostor.lock().unwrap() = None;
    }
}

#[tokio::test]
async fn d43_no_public_key_but_that_of_the_very_key_is_published() {
    let world = World::embedded().await;
    let liar = Liar::before(&world.kms_url).await;
    for algorithm in world.algorithms {
        let arn = create_signing_key(&world.kms, *algorithm).await.unwrap();
        let other = format!("{}{}", &arn[..arn.len() - 4], "0000");
        let lies = [
            ("another key", with("KeyId", json!(other))),
            ("nobody's", without("KeyId")),
            (
                "not for signatures",
                with("KeyUsage", json!("KEY_AGREEMENT")),
            ),
            ("for anything", without("KeyUsage")),
            ("none", without("PublicKey")),
            ("an empty one", with("PublicKey", json!(""))),
            (
                "garbage",
                with("PublicKey", json!(BASE64.encode("garbage"))),
            ),
            (
                "one byte too many",
                Box::new(|answer: &mut Value| {
                    let text = answer["PublicKey"].as_str().unwrap();
                    let mut spki = BASE64.decode(text).unwrap();
                    spki.push(0);
                    answer["PublicKey"] = json!(BASE64.encode(spki));
                }) as Lie,
            ),
        ];
        let publish = async || {
            let keys = KmsPublicKeys::new(liar.kms.clone(), vec![arn.clone()], *algorithm);
            keys.public_keys().await
        };
        for (what, lie) in lies {
            liar.tell(lie);
            let published = publish().await;
            assert!(published.is_err(), "{algorithm:?}, {what}: {published:?}");
        }
        liar.be_honest();
        assert_eq!(publish().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn d43_no_mac_but_that_of_the_very_key_is_a_root() {
    let world = World::embedded().await;
    let liar = Liar::before(&world.kms_url).await;
    let arn = create_mac_key(&world.kms).await.unwrap();
    let other = create_mac_key(&world.kms).await.unwrap();
    let root = async || {
        let roots = KmsRoots::new(liar.kms.clone(), vec![arn.clone()]);
        Ok::<_, SignError>(roots.roots().await?.current().id().to_owned())
    };
    for (what, lie) in [
        ("another key", with("KeyId", json!(other))),
        ("nobody's", without("KeyId")),
        (
            "another algorithm",
            with("MacAlgorithm", json!("HMAC_SHA_512")),
        ),
        ("none", without("Mac")),
        ("short", with("Mac", json!(BASE64.encode([7; 31])))),
        ("long", with("Mac", json!(BASE64.encode([7; 33])))),
    ] {
        liar.tell(lie);
        assert!(
            matches!(root().await, Err(SignError::Unacceptable(_))),
            "{what}"
        );
    }
    liar.be_honest();
    root().await.unwrap();
}
