//! Laws of the keys: signatures, public keys, roots.

use super::World;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ED25519, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_aws::kms::{KmsPublicKeys, KmsRoots, KmsSigner, create_mac_key, create_signing_key};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{PublicKeys, Roots, Signer};
use cloakroom_domain::time::UnixTime;
use serde_json::Value;

/// Verifies as a service would: from the published key alone.
pub(super) fn verifies(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    let member = |name: &str| BASE64URL.decode(jwk[name].as_str().unwrap()).unwrap();
    let rsa = |parameters| {
        RsaPublicKeyComponents {
            n: member("n"),
            e: member("e"),
        }
        .verify(parameters, message, signature)
    };
    match jwk["alg"].as_str().unwrap() {
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "ES256" => {
            let point = [vec![4], member("x"), member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        "EdDSA" => UnparsedPublicKey::new(&ED25519, member("x")).verify(message, signature),
        other => panic!("{other}"),
    }
    .is_ok()
}

pub(super) async fn signatures_verify_with_the_published_key(world: &World) {
    for algorithm in world.algorithms {
        let arn = create_signing_key(&world.kms, *algorithm).await.unwrap();
        let signer = KmsSigner::new(world.kms.clone(), &arn, *algorithm);
        let published = KmsPublicKeys::new(world.kms.clone(), vec![arn], *algorithm);
        let keys = published.public_keys().await.unwrap();
        assert_eq!(keys.len(), 1);
        let key = signer.signing_key(UnixTime(0)).await.unwrap();
        assert_eq!(keys[0].kid(), key.kid);
        let jwk = serde_json::to_value(&keys[0]).unwrap();
        assert_eq!(jwk["alg"], algorithm.name());

        // Longer than KMS takes as it is, where it is hashed here.
        let lengths: &[usize] = match algorithm {
            Algorithm::EdDsa => &[0, 600, 4_096],
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &[0, 600, 4_097],
        };
        for (n, len) in lengths.iter().enumerate() {
            let mut message = vec![u8::try_from(n).unwrap(); *len];
            // KMS takes no empty message.
            if message.is_empty() {
                message.push(b'.');
            }
            let signature = signer.sign(&key, &message).await.unwrap();
            let verifies = |message: &[u8]| verifies(&jwk, &(world.signed)(message), &signature);
            assert!(verifies(&message), "{algorithm:?} {len}");
            message[0] ^= 1;
            assert!(!verifies(&message), "{algorithm:?} {len}");
        }
    }
}

pub(super) async fn a_key_of_another_kind_signs_nothing(world: &World) {
    let rsa = create_signing_key(&world.kms, Algorithm::RS256)
        .await
        .unwrap();
    let ec = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    let absent = rsa.replace(&rsa[rsa.len() - 8..], "00000000");
    for (arn, algorithm) in [
        (&rsa, Algorithm::ES256),
        (&ec, Algorithm::RS256),
        (&ec, Algorithm::EdDsa),
        (&absent, Algorithm::RS256),
    ] {
        let signer = KmsSigner::new(world.kms.clone(), arn, algorithm);
        let key = signer.signing_key(UnixTime(0)).await.unwrap();
        let signature = signer.sign(&key, b"message").await;
        assert!(signature.is_err(), "{algorithm:?}");
    }
}

pub(super) async fn half_a_key_set_is_none(world: &World) {
    let rsa = create_signing_key(&world.kms, Algorithm::RS256)
        .await
        .unwrap();
    let ec = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    let mac = create_mac_key(&world.kms).await.unwrap();
    let absent = rsa.replace(&rsa[rsa.len() - 8..], "00000000");
    let published = async |arns: &[&String], algorithm| {
        let arns = arns.iter().map(|arn| (*arn).clone()).collect();
        let keys = KmsPublicKeys::new(world.kms.clone(), arns, algorithm);
        let first = keys.public_keys().await;
        // From memory the second time.
        if let Ok(keys_now) = &first {
            assert_eq!(&keys.public_keys().await.unwrap(), keys_now);
        }
        first.map(|keys| {
            let algorithms = keys.iter().map(|key| {
                let jwk = serde_json::to_value(key).unwrap();
                jwk["alg"].as_str().unwrap().to_owned()
            });
            algorithms.collect::<Vec<_>>()
        })
    };
    let both = [&rsa, &ec];
    assert_eq!(
        published(&both, Algorithm::RS256).await.unwrap(),
        ["RS256", "ES256"]
    );
    assert_eq!(
        published(&both, Algorithm::PS256).await.unwrap(),
        ["PS256", "ES256"]
    );
    for (arns, algorithm) in [
        // The first one must be the one that signs.
        (both, Algorithm::ES256),
        ([&ec, &rsa], Algorithm::RS256),
        ([&rsa, &absent], Algorithm::RS256),
        ([&rsa, &mac], Algorithm::RS256),
    ] {
        assert!(published(&arns, algorithm).await.is_err(), "{algorithm:?}");
    }
}

pub(super) async fn a_mac_key_is_always_the_same_root(world: &World) {
    let first = create_mac_key(&world.kms).await.unwrap();
    let second = create_mac_key(&world.kms).await.unwrap();
    let ids = async |arns: &[&String]| {
        let arns = arns.iter().map(|arn| (*arn).clone()).collect();
        let roots = KmsRoots::new(world.kms.clone(), arns);
        let roots = roots.roots().await.unwrap();
        let ids: Vec<_> = roots.iter().map(|root| root.id().to_owned()).collect();
        assert_eq!(roots.current().id(), ids[0]);
        ids
    };
    let [a, b] = <[String; 2]>::try_from(ids(&[&first, &second]).await).unwrap();
    assert_ne!(a, b);
    assert_eq!(ids(&[&second, &first]).await, [b, a.clone()]);
    assert_eq!(ids(&[&first]).await, [a]);

    let signing = create_signing_key(&world.kms, Algorithm::ES256)
        .await
        .unwrap();
    for arns in [vec![], vec![signing.clone()], vec![first, signing]] {
        let roots = KmsRoots::new(world.kms.clone(), arns);
        assert!(roots.roots().await.is_err());
    }
}
