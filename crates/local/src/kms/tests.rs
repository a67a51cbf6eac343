//! The endpoint as its clients see it: through `aws-sdk-kms`, over a socket.
//! What it signs is verified from nothing but the published key.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::{
    digest::{self, SHA256},
    signature::{
        ECDSA_P256_SHA256_ASN1, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use aws_sdk_kms::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob as Bytes,
    types::{
        DataKeyPairSpec, KeySpec as Spec, KeyState as SdkKeyState, KeyUsageType, MacAlgorithmSpec,
        MessageType, SigningAlgorithmSpec as Algorithm,
    },
};

use super::*;

const MESSAGE: &[u8] = b"header.payload";

struct Server {
    client: Client,
    url: String,
}

async fn serve(endpoint: KmsEndpoint) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Arc::new(endpoint).serve_on(listener));
    Server {
        client: client(&url),
        url,
    }
}

fn client(url: &str) -> Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

async fn in_memory() -> Client {
    serve(KmsEndpoint::in_memory()).await.client
}

async fn create(client: &Client, spec: Spec, usage: KeyUsageType) -> String {
    let created = client
        .create_key()
        .key_spec(spec)
        .key_usage(usage)
        .send()
        .await
        .unwrap();
    let arn = created.key_metadata.unwrap().arn.unwrap();
    assert!(arn.starts_with("arn:aws:kms:us-east-1:"), "{arn}");
    arn
}

async fn signing_key(client: &Client, spec: Spec) -> String {
    create(client, spec, KeyUsageType::SignVerify).await
}

async fn public_key(client: &Client, key: &str) -> Vec<u8> {
    let answer = client.get_public_key().key_id(key).send().await.unwrap();
    answer.public_key.unwrap().into_inner()
}

async fn sign(
    client: &Client,
    key: &str,
    algorithm: Algorithm,
    message_type: MessageType,
    message: &[u8],
) -> Result<Vec<u8>, String> {
    client
        .sign()
        .key_id(key)
        .signing_algorithm(algorithm)
        .message_type(message_type)
        .message(Bytes::new(message))
        .send()
        .await
        .map(|answer| answer.signature.unwrap().into_inner())
        .map_err(|error| code(&error))
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let service = error.as_service_error().expect("an answer of the service");
    service.code().unwrap().to_owned()
}

fn verifies(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, public)
        .verify(message, signature)
        .is_ok()
}

/// Each kind of key, its algorithm, and the way its signatures are verified.
fn signers() -> [(Spec, Algorithm, &'static dyn VerificationAlgorithm); 6] {
    [
        (
            Spec::Rsa2048,
            Algorithm::RsassaPkcs1V15Sha256,
            &RSA_PKCS1_2048_8192_SHA256,
        ),
        (
            Spec::Rsa2048,
            Algorithm::RsassaPssSha256,
            &RSA_PSS_2048_8192_SHA256,
        ),
        (
            Spec::Rsa3072,
            Algorithm::RsassaPkcs1V15Sha256,
            &RSA_PKCS1_2048_8192_SHA256,
        ),
        (
            Spec::Rsa4096,
            Algorithm::RsassaPssSha256,
            &RSA_PSS_2048_8192_SHA256,
        ),
        (
            Spec::EccNistP256,
            Algorithm::EcdsaSha256,
            &ECDSA_P256_SHA256_ASN1,
        ),
        (
            Spec::EccNistEdwards25519,
            Algorithm::Ed25519Sha512,
            &ED25519,
        ),
    ]
}

#[tokio::test]
async fn every_kind_of_key_signs_what_its_published_key_verifies() {
    let client = in_memory().await;
    for (spec, algorithm, verification) in signers() {
        let key = signing_key(&client, spec.clone()).await;
        let public = public_key(&client, &key).await;
        let signature = sign(&client, &key, algorithm, MessageType::Raw, MESSAGE)
            .await
            .unwrap();
        assert!(
            verifies(verification, &public, MESSAGE, &signature),
            "{spec}"
        );
        assert!(
            !verifies(verification, &public, b"other", &signature),
            "{spec}"
        );

        let stranger = signing_key(&client, spec.clone()).await;
        let stranger = public_key(&client, &stranger).await;
        assert!(
            !verifies(verification, &stranger, MESSAGE, &signature),
            "{spec}"
        );
    }
}

#[tokio::test]
async fn a_digest_is_signed_as_the_message_it_is_of() {
    let client = in_memory().await;
    let hash = digest::digest(&SHA256, MESSAGE);
    for (spec, algorithm, verification) in signers() {
        let key = signing_key(&client, spec.clone()).await;
        let outcome = sign(
            &client,
            &key,
            algorithm.clone(),
            MessageType::Digest,
            hash.as_ref(),
        )
        .await;
        if spec == Spec::EccNistEdwards25519 {
            assert_eq!(outcome.unwrap_err(), "ValidationException");
            continue;
        }
        let public = public_key(&client, &key).await;
        assert!(
            verifies(verification, &public, MESSAGE, &outcome.unwrap()),
            "{spec}"
        );

        // Sent as RAW, the digest is hashed once more: valid, of another message.
        let twice = sign(&client, &key, algorithm, MessageType::Raw, hash.as_ref())
            .await
            .unwrap();
        assert!(!verifies(verification, &public, MESSAGE, &twice), "{spec}");
    }
}

#[tokio::test]
async fn a_message_or_digest_of_the_wrong_length_is_refused() {
    let client = in_memory().await;
    let ecdsa = signing_key(&client, Spec::EccNistP256).await;
    let cases = [
        (MessageType::Raw, 0, Err("ValidationException")),
        (MessageType::Raw, 1, Ok(())),
        (MessageType::Raw, 4096, Ok(())),
        (MessageType::Raw, 4097, Err("ValidationException")),
        (MessageType::Digest, 31, Err("ValidationException")),
        (MessageType::Digest, 32, Ok(())),
        (MessageType::Digest, 33, Err("ValidationException")),
    ];
    for (kind, length, expected) in cases {
        let message = vec![7; length];
        let outcome = sign(&client, &ecdsa, Algorithm::EcdsaSha256, kind, &message).await;
        assert_eq!(
            outcome.as_ref().map(|_| ()).map_err(String::as_str),
            expected,
            "{length} bytes"
        );
    }
}

#[tokio::test]
async fn a_key_does_only_what_its_spec_and_usage_say() {
    let client = in_memory().await;
    let rsa = signing_key(&client, Spec::Rsa2048).await;
    let mac = create(&client, Spec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let aes = create(
        &client,
        Spec::SymmetricDefault,
        KeyUsageType::EncryptDecrypt,
    )
    .await;
    for (key, algorithm) in [
        (&rsa, Algorithm::EcdsaSha256),
        (&rsa, Algorithm::Ed25519Sha512),
        (&mac, Algorithm::RsassaPkcs1V15Sha256),
        (&aes, Algorithm::RsassaPkcs1V15Sha256),
    ] {
        let refused = sign(&client, key, algorithm, MessageType::Raw, MESSAGE).await;
        assert_eq!(refused.unwrap_err(), "InvalidKeyUsageException");
    }
    for key in [&mac, &aes] {
        let refused = client.get_public_key().key_id(key).send().await;
        assert_eq!(code(&refused.unwrap_err()), "UnsupportedOperationException");
    }
    let refused = client
        .generate_mac()
        .key_id(&rsa)
        .mac_algorithm(MacAlgorithmSpec::HmacSha256)
        .message(Bytes::new(MESSAGE))
        .send()
        .await;
    assert_eq!(code(&refused.unwrap_err()), "InvalidKeyUsageException");

    let refused = client.create_key().key_spec(Spec::EccNistP256).send().await;
    assert_eq!(code(&refused.unwrap_err()), "ValidationException");
}

#[tokio::test]
async fn a_mac_is_the_same_again_and_is_verified_by_its_key_alone() {
    let client = in_memory().await;
    let key = create(&client, Spec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let other = create(&client, Spec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let generate = async |key: &str| {
        let answer = client
            .generate_mac()
            .key_id(key)
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Bytes::new(MESSAGE))
            .send()
            .await
            .unwrap();
        answer.mac.unwrap()
    };
    let mac = generate(&key).await;
    assert_eq!(mac.as_ref().len(), 32);
    assert_eq!(generate(&key).await, mac);
    assert_ne!(generate(&other).await, mac);

    let verify = async |key: &str, message: &[u8]| {
        client
            .verify_mac()
            .key_id(key)
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Bytes::new(message))
            .mac(mac.clone())
            .send()
            .await
            .map(|answer| answer.mac_valid)
            .map_err(|error| code(&error))
    };
    assert_eq!(verify(&key, MESSAGE).await, Ok(true));
    for (key, message) in [(&key, b"other".as_slice()), (&other, MESSAGE)] {
        let refused = verify(key, message).await;
        assert_eq!(refused.unwrap_err(), "KMSInvalidMacException");
    }
}

#[tokio::test]
async fn a_data_key_pair_opens_only_under_its_key_and_context() {
    let client = in_memory().await;
    let wrapping = create(
        &client,
        Spec::SymmetricDefault,
        KeyUsageType::EncryptDecrypt,
    )
    .await;
    let other = create(
        &client,
        Spec::SymmetricDefault,
        KeyUsageType::EncryptDecrypt,
    )
    .await;
    for spec in [
        DataKeyPairSpec::EccNistP256,
        DataKeyPairSpec::EccNistEdwards25519,
    ] {
        let pair = client
            .generate_data_key_pair_without_plaintext()
            .key_id(&wrapping)
            .key_pair_spec(spec.clone())
            .encryption_context("purpose", "test")
            .send()
            .await
            .unwrap();
        assert_eq!(pair.key_id.as_deref(), Some(wrapping.as_str()));
        let public = pair.public_key.unwrap().into_inner();
        let wrapped = pair.private_key_ciphertext_blob.unwrap().into_inner();
        let decrypt = async |key: Option<&str>, wrapped: &[u8], context: &str| {
            client
                .decrypt()
                .set_key_id(key.map(str::to_owned))
                .ciphertext_blob(Bytes::new(wrapped))
                .encryption_context("purpose", context)
                .send()
                .await
                .map(|answer| answer.plaintext.unwrap().into_inner())
                .map_err(|error| code(&error))
        };

        let private = decrypt(Some(&wrapping), &wrapped, "test").await.unwrap();
        assert_eq!(decrypt(None, &wrapped, "test").await.unwrap(), private);
        if spec == DataKeyPairSpec::EccNistP256 {
            let signing = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
            let private = EcdsaKeyPair::from_pkcs8(signing, &private).unwrap();
            let random = aws_lc_rs::rand::SystemRandom::new();
            let signature = private.sign(&random, MESSAGE).unwrap();
            assert!(verifies(
                &ECDSA_P256_SHA256_ASN1,
                &public,
                MESSAGE,
                signature.as_ref()
            ));
        } else {
            let private = Ed25519KeyPair::from_pkcs8(&private).unwrap();
            let signature = private.sign(MESSAGE);
            assert!(verifies(&ED25519, &public, MESSAGE, signature.as_ref()));
            assert!(public.ends_with(private.public_key().as_ref()));
        }

        let mut changed = wrapped.clone();
        *changed.last_mut().unwrap() ^= 1;
        let refusals = [
            (
                decrypt(Some(&other), &wrapped, "test").await,
                "IncorrectKeyException",
            ),
            (
                decrypt(None, &wrapped, "other").await,
                "InvalidCiphertextException",
            ),
            (
                decrypt(None, &changed, "test").await,
                "InvalidCiphertextException",
            ),
            (
                decrypt(None, &[1, 2], "test").await,
                "InvalidCiphertextException",
            ),
        ];
        for (outcome, expected) in refusals {
            assert_eq!(outcome.unwrap_err(), expected);
        }
    }
}

#[tokio::test]
async fn a_disabled_key_is_refused_until_it_is_enabled_again() {
    let client = in_memory().await;
    let key = signing_key(&client, Spec::EccNistP256).await;
    let attempt = || {
        sign(
            &client,
            &key,
            Algorithm::EcdsaSha256,
            MessageType::Raw,
            MESSAGE,
        )
    };
    assert!(attempt().await.is_ok());

    client.disable_key().key_id(&key).send().await.unwrap();
    assert_eq!(attempt().await.unwrap_err(), "DisabledException");

    client.enable_key().key_id(&key).send().await.unwrap();
    assert!(attempt().await.is_ok());
}

#[tokio::test]
async fn a_key_pending_deletion_is_refused_and_then_is_gone() {
    static NOW: AtomicU64 = AtomicU64::new(1_000);
    let mut endpoint = KmsEndpoint::in_memory();
    endpoint.now = Box::new(|| NOW.load(Ordering::SeqCst));
    let key = endpoint.ensure_key("alias/test", "ECC_NIST_P256").unwrap();
    let endpoint = Arc::new(endpoint);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Arc::clone(&endpoint).serve_on(listener));
    let client = client(&url);

    client
        .schedule_key_deletion()
        .key_id(&key)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    let attempt = || {
        sign(
            &client,
            &key,
            Algorithm::EcdsaSha256,
            MessageType::Raw,
            MESSAGE,
        )
    };
    assert_eq!(attempt().await.unwrap_err(), "KMSInvalidStateException");
    let described = client.describe_key().key_id(&key).send().await.unwrap();
    let metadata = described.key_metadata.unwrap();
    assert_eq!(metadata.key_state, Some(SdkKeyState::PendingDeletion));
    assert!(!metadata.enabled);
    assert_eq!(metadata.deletion_date.unwrap().secs(), 1_000 + 7 * 86_400);
    let refused = client.enable_key().key_id(&key).send().await;
    assert_eq!(code(&refused.unwrap_err()), "KMSInvalidStateException");

    NOW.store(1_000 + 7 * 86_400, Ordering::SeqCst);
    assert_eq!(attempt().await.unwrap_err(), "NotFoundException");
    // Its alias went with it.
    let next = endpoint.ensure_key("alias/test", "ECC_NIST_P256").unwrap();
    assert_ne!(next, key);
}

#[tokio::test]
async fn a_key_is_found_by_id_arn_and_alias_and_answers_carry_the_arn() {
    let client = in_memory().await;
    let arn = signing_key(&client, Spec::EccNistP256).await;
    let (_, id) = arn.rsplit_once('/').unwrap();
    client
        .create_alias()
        .alias_name("alias/signing")
        .target_key_id(id)
        .send()
        .await
        .unwrap();
    let prefix = arn.strip_suffix(&format!("key/{id}")).unwrap();
    let alias_arn = format!("{prefix}alias/signing");
    for name in [id, &arn, "alias/signing", &alias_arn] {
        let answer = client
            .sign()
            .key_id(name)
            .signing_algorithm(Algorithm::EcdsaSha256)
            .message(Bytes::new(MESSAGE))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.key_id.as_deref(), Some(arn.as_str()), "{name}");
    }
    for (name, expected) in [
        ("00000000-0000-4000-8000-000000000000", "NotFoundException"),
        ("alias/other", "NotFoundException"),
        (&arn.replace("us-east-1", "eu-west-1"), "NotFoundException"),
        ("arn:aws:s3:::bucket", "InvalidArnException"),
    ] {
        let refused = client.describe_key().key_id(name).send().await;
        assert_eq!(code(&refused.unwrap_err()), expected, "{name}");
    }
}

#[tokio::test]
async fn keys_outlive_the_endpoint_in_a_file_that_its_owner_alone_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms.json");
    let specs = ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"];
    let before = serve(KmsEndpoint::open(&path).unwrap()).await.client;
    let mut keys = Vec::new();
    for spec in specs {
        let key = signing_key(&before, Spec::from(spec)).await;
        let public = public_key(&before, &key).await;
        keys.push((key, public));
    }
    let mac = create(&before, Spec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let mac_of = async |client: &Client| {
        let answer = client
            .generate_mac()
            .key_id(&mac)
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Bytes::new(MESSAGE))
            .send()
            .await
            .unwrap();
        answer.mac.unwrap()
    };
    let tag = mac_of(&before).await;

    let after = serve(KmsEndpoint::open(&path).unwrap()).await.client;
    for (key, public) in &keys {
        assert_eq!(public_key(&after, key).await, *public);
    }
    assert_eq!(mac_of(&after).await, tag);
    // Nothing is left behind of the writing.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o640).unwrap();
        assert!(matches!(KmsEndpoint::open(&path), Err(OpenError::Exposed)));
        mode(0o600).unwrap();
    }
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(
        KmsEndpoint::open(&path),
        Err(OpenError::Malformed)
    ));
}

#[test]
fn a_key_is_made_once_for_its_alias() {
    let endpoint = KmsEndpoint::in_memory();
    let key = endpoint.ensure_key("alias/mac", "HMAC_256").unwrap();
    assert_eq!(endpoint.ensure_key("alias/mac", "HMAC_256").unwrap(), key);
    assert!(matches!(
        endpoint.ensure_key("alias/mac", "RSA_2048"),
        Err(KmsError::AlreadyExists)
    ));
    assert!(matches!(
        endpoint.ensure_key("alias/aws/mac", "HMAC_256"),
        Err(KmsError::InvalidAliasName)
    ));
    assert!(matches!(
        endpoint.create_key("RSA_1024"),
        Err(KmsError::Validation(_))
    ));
}

#[tokio::test]
async fn a_request_that_aws_would_not_read_is_refused() {
    let server = serve(KmsEndpoint::in_memory()).await;
    let http = reqwest::Client::builder().build().unwrap();
    let json = "application/x-amz-json-1.1";
    let known = "TrentService.ListKeys";
    let long = "x".repeat(BODY_LIMIT + 1);
    let cases = [
        (json, known, Some("signed"), "{}", None),
        (
            "text/plain",
            known,
            Some("signed"),
            "{}",
            Some("UnknownOperationException"),
        ),
        (
            json,
            "ListKeys",
            Some("signed"),
            "{}",
            Some("UnknownOperationException"),
        ),
        (
            json,
            "TrentService.Nothing",
            Some("signed"),
            "{}",
            Some("UnknownOperationException"),
        ),
        (
            json,
            known,
            None,
            "{}",
            Some("MissingAuthenticationTokenException"),
        ),
        (
            json,
            "TrentService.Sign",
            Some("signed"),
            "{",
            Some("SerializationException"),
        ),
        (
            json,
            "TrentService.Sign",
            Some("signed"),
            "{}",
            Some("ValidationException"),
        ),
        (
            json,
            "TrentService.Sign",
            Some("signed"),
            &long,
            Some("ValidationException"),
        ),
    ];
    for (content_type, target, authorization, body, expected) in cases {
        let mut request = http
            .post(&server.url)
            .header("content-type", content_type)
            .header("x-amz-target", target)
            .body(body.to_owned());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            response.status().as_u16(),
            if expected.is_some() { 400 } else { 200 }
        );
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let code = answer.get("__type").and_then(Value::as_str);
        assert_eq!(code, expected, "{target}");
    }
}

#[test]
fn debug_shows_no_key() {
    let endpoint = KmsEndpoint::in_memory();
    endpoint.create_key("HMAC_256").unwrap();
    assert_eq!(format!("{endpoint:?}"), "KmsEndpoint { .. }");
}
