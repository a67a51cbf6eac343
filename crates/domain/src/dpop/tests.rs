use super::*;
use crate::family::FamilyId;
use crate::jwk::PublicJwk;
use crate::jwt;
use crate::ports::Clock;
use crate::testing::{SequenceEntropy, TestClock, TestRoots, config, root};
use crate::token::TokenKind;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding,
};
use serde_json::{Value, json};

const NOW: UnixTime = UnixTime(100_000);
const PATH: &str = "/api/orders";

/// Somebody with a key.
pub(crate) struct Holder {
    key: Key,
    pub(crate) jwk: Value,
}

enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl Holder {
    /// With a new P-256 key.
    pub(crate) fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)});
        Self {
            key: Key::Ec(key),
            jwk,
        }
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let x = base64(key.public_key().as_ref());
        Self {
            key: Key::Ed(key),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
        }
    }

    fn rsa(encoding: &'static dyn RsaEncoding) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let spki = key.public_key().as_der().unwrap();
        let jwk = PublicJwk::from_spki(spki.as_ref(), jwt::Algorithm::RS256, "k").unwrap();
        let jwk = serde_json::to_value(jwk).unwrap();
        Self {
            key: Key::Rsa(key, encoding),
            jwk: json!({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}),
        }
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let (random, message) = (SystemRandom::new(), signed.as_bytes());
        let signature = match &self.key {
            Key::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(key) => key.sign(message).as_ref().to_vec(),
            Key::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", base64(signature))
    }

    fn algorithm(&self) -> &'static str {
        match &self.key {
            Key::Ec(_) => "ES256",
            Key::Ed(_) => "Ed25519",
            Key::Rsa(..) => "RS256",
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": self.algorithm(), "jwk": self.jwk})
    }

    /// A proof like a good one but for what `edit` does to header and claims.
    fn proof(&self, edit: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header(), claims());
        edit(&mut header, &mut claims);
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A proof for an endpoint of ours, with the nonce of now.
    pub(crate) fn at_endpoint(&self, path: &str, now: UnixTime, jti: &str) -> String {
        let claims = json!({
            "jti": jti,
            "htm": "POST",
            "htu": format!("https://app.example.com{path}"),
            "iat": now,
            "nonce": nonce::of(&root(1), now),
        });
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// A proof beside an access token.
    pub(crate) fn beside(
        &self,
        token: &OpaqueToken,
        path: &str,
        now: UnixTime,
        jti: &str,
    ) -> String {
        let claims = json!({
            "jti": jti,
            "htm": "GET",
            "htu": format!("https://app.example.com{path}"),
            "iat": now,
            "ath": base64(sha256(token.expose().as_bytes())),
        });
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    pub(crate) fn thumbprint(&self) -> Thumbprint {
        let member = |name: &str| self.jwk[name].as_str().unwrap();
        let canonical = match &self.key {
            Key::Ec(_) => json!({"crv": "P-256", "kty": "EC", "x": member("x"), "y": member("y")}),
            Key::Ed(_) => json!({"crv": "Ed25519", "kty": "OKP", "x": member("x")}),
            Key::Rsa(..) => json!({"e": member("e"), "kty": "RSA", "n": member("n")}),
        };
        // serde_json sorts by name.
        Thumbprint(base64(sha256(canonical.to_string().as_bytes())))
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL.encode(bytes)
}

fn claims() -> Value {
    json!({
        "jti": "a-name",
        "htm": "GET",
        "htu": "https://app.example.com/api/orders",
        "iat": NOW,
        "ath": base64(sha256(token().expose().as_bytes())),
    })
}

fn token() -> OpaqueToken {
    let entropy = SequenceEntropy::starting_at(7);
    OpaqueToken::generate(TokenKind::Access, FamilyId([7; 16]), &entropy).unwrap()
}

fn judged(proof: &str) -> Result<Proof, ProofFault> {
    let token = token();
    let occasion = Occasion {
        method: "GET",
        path: PATH,
        reading: Reading::Written,
        token: Some(&token),
    };
    judge(&config(), proof, &occasion, NOW)
}

#[test]
fn a_proof_by_each_kind_of_key_is_taken_and_names_its_key() {
    let holders = [
        (Holder::new(), "ES256"),
        (Holder::ed25519(), "EdDSA"),
        (Holder::ed25519(), "Ed25519"),
        (Holder::rsa(&RSA_PKCS1_SHA256), "RS256"),
        (Holder::rsa(&RSA_PSS_SHA256), "PS256"),
    ];
    for (holder, algorithm) in holders {
        assert!(ALGORITHMS.contains(&algorithm), "the metadata names it");
        let proof = judged(&holder.proof(|header, _| header["alg"] = json!(algorithm))).unwrap();
        assert_eq!(proof.key(), &holder.thumbprint(), "{algorithm}");
        // The same key with another's algorithm.
        for other in ALGORITHMS {
            let same = holder.algorithm() == "Ed25519" && other.starts_with("Ed");
            let proof = holder.proof(|header, _| header["alg"] = json!(other));
            assert_eq!(
                judged(&proof).is_ok(),
                same || other == algorithm,
                "{other}"
            );
        }
    }
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    // §3.1 of the RFC.
    let jwk = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    });
    let jwk: key::Jwk = json::from_slice(jwk.to_string().as_bytes()).unwrap();
    let key = PublicKey::read(&jwk, key::Algorithm::RS256).ok().unwrap();
    assert_eq!(
        key.thumbprint().as_str(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

/// What is changed in header and claims of a good proof.
type Edit = fn(&mut Value, &mut Value);

/// Each differs from a good proof in one point.
const DIFFERENCES: &[(&str, Edit, Option<ProofFault>)] = &[
    ("nothing", |_, _| {}, None),
    // typ
    (
        "no typ",
        |h, _| h["typ"] = Value::Null,
        Some(ProofFault::Type),
    ),
    (
        "typ JWT",
        |h, _| h["typ"] = json!("JWT"),
        Some(ProofFault::Type),
    ),
    (
        "typ at+jwt",
        |h, _| h["typ"] = json!("at+jwt"),
        Some(ProofFault::Type),
    ),
    (
        "typ of another tree",
        |h, _| h["typ"] = json!("x/dpop+jwt"),
        Some(ProofFault::Type),
    ),
    (
        "typ in full",
        |h, _| h["typ"] = json!("application/dpop+jwt"),
        None,
    ),
    ("typ in capitals", |h, _| h["typ"] = json!("DPoP+JWT"), None),
    (
        "typ is no text",
        |h, _| h["typ"] = json!(1),
        Some(ProofFault::Malformed),
    ),
    // extensions
    (
        "crit",
        |h, _| h["crit"] = json!(["exp"]),
        Some(ProofFault::Type),
    ),
    (
        "crit that is null",
        |h, _| h["crit"] = Value::Null,
        Some(ProofFault::Type),
    ),
    (
        "b64",
        |h, _| h["b64"] = json!(false),
        Some(ProofFault::Type),
    ),
    ("an unknown parameter", |h, _| h["kid"] = json!("k"), None),
    // alg
    (
        "no alg",
        |h, _| h["alg"] = Value::Null,
        Some(ProofFault::Algorithm),
    ),
    (
        "alg none",
        |h, _| h["alg"] = json!("none"),
        Some(ProofFault::Algorithm),
    ),
    (
        "alg HS256",
        |h, _| h["alg"] = json!("HS256"),
        Some(ProofFault::Algorithm),
    ),
    (
        "alg es256",
        |h, _| h["alg"] = json!("es256"),
        Some(ProofFault::Algorithm),
    ),
    (
        "alg ES384",
        |h, _| h["alg"] = json!("ES384"),
        Some(ProofFault::Algorithm),
    ),
    (
        "alg of an RSA key",
        |h, _| h["alg"] = json!("RS256"),
        Some(ProofFault::Key),
    ),
    (
        "alg of an OKP key",
        |h, _| h["alg"] = json!("EdDSA"),
        Some(ProofFault::Key),
    ),
    // jwk
    (
        "no jwk",
        |h, _| h["jwk"] = Value::Null,
        Some(ProofFault::Key),
    ),
    (
        "jwk that is text",
        |h, _| h["jwk"] = json!("x"),
        Some(ProofFault::Malformed),
    ),
    (
        "jwk of another kty",
        |h, _| h["jwk"]["kty"] = json!("OKP"),
        Some(ProofFault::Key),
    ),
    (
        "jwk of kty oct",
        |h, _| h["jwk"] = json!({"kty": "oct", "k": "AA"}),
        Some(ProofFault::Key),
    ),
    (
        "jwk on another curve",
        |h, _| h["jwk"]["crv"] = json!("P-384"),
        Some(ProofFault::Key),
    ),
    (
        "jwk without x",
        |h, _| h["jwk"]["x"] = json!(""),
        Some(ProofFault::Key),
    ),
    (
        "jwk with a short y",
        |h, _| h["jwk"]["y"] = json!("AAAA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with padding",
        |h, _| h["jwk"]["x"] = json!(format!("{}=", h["jwk"]["x"].as_str().unwrap())),
        Some(ProofFault::Key),
    ),
    (
        "jwk not on the curve",
        |h, _| h["jwk"]["y"] = h["jwk"]["x"].clone(),
        Some(ProofFault::Signature),
    ),
    (
        "jwk with d",
        |h, _| h["jwk"]["d"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with a null d",
        |h, _| h["jwk"]["d"] = Value::Null,
        Some(ProofFault::Key),
    ),
    (
        "jwk with p",
        |h, _| h["jwk"]["p"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with q",
        |h, _| h["jwk"]["q"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with dp",
        |h, _| h["jwk"]["dp"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with dq",
        |h, _| h["jwk"]["dq"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with qi",
        |h, _| h["jwk"]["qi"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk with oth",
        |h, _| h["jwk"]["oth"] = json!([]),
        Some(ProofFault::Key),
    ),
    (
        "jwk with k",
        |h, _| h["jwk"]["k"] = json!("AA"),
        Some(ProofFault::Key),
    ),
    (
        "jwk for another alg",
        |h, _| h["jwk"]["alg"] = json!("RS256"),
        Some(ProofFault::Algorithm),
    ),
    (
        "jwk for its alg",
        |h, _| h["jwk"]["alg"] = json!("ES256"),
        None,
    ),
    (
        "jwk for encryption",
        |h, _| h["jwk"]["use"] = json!("enc"),
        Some(ProofFault::Algorithm),
    ),
    (
        "jwk for signatures",
        |h, _| h["jwk"]["use"] = json!("sig"),
        None,
    ),
    (
        "jwk with more that is public",
        |h, _| h["jwk"]["ext"] = json!(true),
        None,
    ),
    // htm
    (
        "no htm",
        |_, c| c["htm"] = Value::Null,
        Some(ProofFault::Method),
    ),
    (
        "another htm",
        |_, c| c["htm"] = json!("POST"),
        Some(ProofFault::Method),
    ),
    (
        "htm in small letters",
        |_, c| c["htm"] = json!("get"),
        Some(ProofFault::Method),
    ),
    // htu
    (
        "no htu",
        |_, c| c["htu"] = Value::Null,
        Some(ProofFault::Uri),
    ),
    (
        "htu of another host",
        |_, c| c["htu"] = json!("https://evil.example/api/orders"),
        Some(ProofFault::Uri),
    ),
    (
        "htu of another scheme",
        |_, c| c["htu"] = json!("http://app.example.com/api/orders"),
        Some(ProofFault::Uri),
    ),
    (
        "htu of another port",
        |_, c| c["htu"] = json!("https://app.example.com:8443/api/orders"),
        Some(ProofFault::Uri),
    ),
    (
        "htu of another path",
        |_, c| c["htu"] = json!("https://app.example.com/api/profile"),
        Some(ProofFault::Uri),
    ),
    (
        "htu with the stage",
        |_, c| c["htu"] = json!("https://app.example.com/prod/api/orders"),
        Some(ProofFault::Uri),
    ),
    (
        "htu with a slash",
        |_, c| c["htu"] = json!("https://app.example.com/api/orders/"),
        Some(ProofFault::Uri),
    ),
    (
        "htu of the host alone",
        |_, c| c["htu"] = json!("https://app.example.com"),
        Some(ProofFault::Uri),
    ),
    (
        "htu that is relative",
        |_, c| c["htu"] = json!("/api/orders"),
        Some(ProofFault::Uri),
    ),
    (
        "htu with a query",
        |_, c| c["htu"] = json!("https://app.example.com/api/orders?a=1"),
        None,
    ),
    (
        "htu with a fragment",
        |_, c| c["htu"] = json!("https://app.example.com/api/orders#a"),
        None,
    ),
    (
        "htu spelled otherwise",
        |_, c| c["htu"] = json!("HTTPS://APP.example.com:443/api/%6frders"),
        None,
    ),
    // iat
    (
        "no iat",
        |_, c| c["iat"] = Value::Null,
        Some(ProofFault::Time),
    ),
    (
        "iat that is text",
        |_, c| c["iat"] = json!("100000"),
        Some(ProofFault::Malformed),
    ),
    (
        "a negative iat",
        |_, c| c["iat"] = json!(-1),
        Some(ProofFault::Time),
    ),
    (
        "iat with a fraction",
        |_, c| c["iat"] = json!(100_000.5),
        None,
    ),
    ("the oldest iat", |_, c| c["iat"] = json!(NOW.0 - 119), None),
    (
        "an older iat",
        |_, c| c["iat"] = json!(NOW.0 - 120),
        Some(ProofFault::Time),
    ),
    ("the latest iat", |_, c| c["iat"] = json!(NOW.0 + 60), None),
    (
        "a later iat",
        |_, c| c["iat"] = json!(NOW.0 + 61),
        Some(ProofFault::Time),
    ),
    (
        "an iat without end",
        |_, c| c["iat"] = json!(u64::MAX),
        Some(ProofFault::Time),
    ),
    (
        "exp that is over",
        |_, c| c["exp"] = json!(NOW.0 - 60),
        Some(ProofFault::Time),
    ),
    (
        "exp that is not over",
        |_, c| c["exp"] = json!(NOW.0 + 1),
        None,
    ),
    (
        "nbf to come",
        |_, c| c["nbf"] = json!(NOW.0 + 61),
        Some(ProofFault::Time),
    ),
    // jti
    (
        "no jti",
        |_, c| c["jti"] = Value::Null,
        Some(ProofFault::Name),
    ),
    (
        "an empty jti",
        |_, c| c["jti"] = json!(""),
        Some(ProofFault::Name),
    ),
    (
        "the longest jti",
        |_, c| c["jti"] = json!("j".repeat(256)),
        None,
    ),
    (
        "a longer jti",
        |_, c| c["jti"] = json!("j".repeat(257)),
        Some(ProofFault::Name),
    ),
    // ath
    (
        "no ath",
        |_, c| c["ath"] = Value::Null,
        Some(ProofFault::Token),
    ),
    (
        "ath of another token",
        |_, c| c["ath"] = json!(base64(sha256(b"other"))),
        Some(ProofFault::Token),
    ),
    (
        "ath with padding",
        |_, c| c["ath"] = json!(format!("{}=", c["ath"].as_str().unwrap())),
        Some(ProofFault::Token),
    ),
    ("an unknown claim", |_, c| c["x"] = json!([1]), None),
];

#[test]
fn a_proof_that_differs_in_one_point_is_refused() {
    let holder = Holder::new();
    for (what, edit, fault) in DIFFERENCES {
        let proof = holder.proof(edit);
        assert_eq!(judged(&proof).err(), *fault, "{what}");
    }
}

#[test]
fn what_is_no_canonical_jws_is_refused() {
    let holder = Holder::new();
    let good = holder.proof(|_, _| {});
    assert!(judged(&good).is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let claims = claims().to_string();
    let twice = claims.replacen('{', r#"{"htm":"POST","#, 1);
    let head_twice = holder
        .header()
        .to_string()
        .replacen('{', r#"{"alg":"RS256","#, 1);
    let bad = [
        String::new(),
        ".".into(),
        "..".into(),
        signed.into(),
        format!("{signed}."),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good},{good}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        holder.sign("[]", &claims),
        holder.sign(
            &json!(["dpop+jwt", "ES256", holder.jwk]).to_string(),
            &claims,
        ),
        holder.proof(|header, _| {
            let member = |name: &str| holder.jwk[name].clone();
            header["jwk"] = json!(["EC", "P-256", member("x"), member("y")]);
        }),
        holder.sign(&holder.header().to_string(), "[]"),
        holder.sign(&holder.header().to_string(), "null"),
        holder.sign(&holder.header().to_string(), &twice),
        holder.sign(&head_twice, &claims),
        holder.sign(&holder.header().to_string(), &"[".repeat(2_000)),
        holder.proof(|_, claims| claims["x"] = json!("x".repeat(4_096))),
    ];
    for proof in bad {
        assert_eq!(judged(&proof).err(), Some(ProofFault::Malformed), "{proof}");
    }
}

#[test]
fn a_signature_is_by_the_key_that_is_named_and_over_all_of_it() {
    let (holder, thief) = (Holder::new(), Holder::new());
    let stolen = holder.proof(|_, _| {});
    let (signed, signature) = stolen.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let others_key = thief.proof(|header, _| header["jwk"] = holder.jwk.clone());
    let other_payload = base64(claims().to_string().replace("a-name", "b-name"));
    // CVE-2022-21449: r = s = 0.
    let zeros = base64([0; 64]);
    let short = base64(&BASE64URL.decode(signature).unwrap()[..63]);
    for proof in [
        others_key,
        format!("{header}.{other_payload}.{signature}"),
        format!("{header}.{payload}.{zeros}"),
        format!("{header}.{payload}.{short}"),
    ] {
        assert_eq!(judged(&proof).err(), Some(ProofFault::Signature));
    }
}

#[test]
fn an_rsa_key_with_a_zero_in_front_would_have_two_names() {
    let holder = Holder::rsa(&RSA_PKCS1_SHA256);
    let proof = holder.proof(|header, _| {
        let n = BASE64URL.decode(header["jwk"]["n"].as_str().unwrap());
        header["jwk"]["n"] = json!(base64([&[0][..], &n.unwrap()].concat()));
    });
    assert_eq!(judged(&proof).err(), Some(ProofFault::Key));
}

#[test]
fn a_small_rsa_key_proves_nothing() {
    // 1024 bits; its signature would be shorter, too.
    let holder = Holder::rsa(&RSA_PKCS1_SHA256);
    let proof = holder.proof(|header, _| header["jwk"]["n"] = json!(base64([0xff; 128])));
    assert_eq!(judged(&proof).err(), Some(ProofFault::Signature));
}

#[test]
fn host_is_never_asked_what_a_proof_is_about() {
    let holder = Holder::new();
    let about = |htu: &str| holder.proof(|_, claims| claims["htu"] = json!(htu));
    let token = token();
    let at = |path: &str, proof: &str| {
        let occasion = Occasion {
            method: "GET",
            path,
            reading: Reading::Routed,
            token: Some(&token),
        };
        judge(&config(), proof, &occasion, NOW).err()
    };
    let encoded = about("https://app.example.com/api/a%20b");
    assert_eq!(at("/api/a%20b", &encoded), None);
    assert_eq!(at("/api/a", &encoded), Some(ProofFault::Uri));
    // A path that begins with a host cannot move the authority.
    let evil = about("https://app.example.com.evil.example/api");
    assert_eq!(at("/api", &evil), Some(ProofFault::Uri));
}

#[test]
fn d79_a_path_that_the_gateway_decoded_is_compared_decoded() {
    let holder = Holder::new();
    let token = token();
    let fault = |reading, path: &str, htu: &str| {
        let htu = format!("https://app.example.com{htu}");
        let proof = holder.proof(|_, claims| claims["htu"] = json!(htu));
        let occasion = Occasion {
            method: "GET",
            path,
            reading,
            token: Some(&token),
        };
        judge(&config(), &proof, &occasion, NOW).err()
    };
    let (decoded, routed) = (Reading::Decoded, Reading::Routed);
    let (at, encoded) = (
        "/api/users/alice@example.com",
        "/api/users/alice%40example.com",
    );
    for htu in [at, encoded, "/api/users/%61lice%40example.com?page=2"] {
        assert_eq!(fault(decoded, at, htu), None, "{htu}");
    }
    for (path, htu) in [
        ("/caf\u{e9} [1]", "/caf%C3%A9%20%5B1%5D"),
        ("/caf\u{e9} [1]", "/caf%c3%a9%20[1]"),
        ("/100%", "/100%25"),
    ] {
        assert_eq!(fault(decoded, path, htu), None, "{htu}");
    }
    // Differs in one point.
    for (path, htu) in [
        (at, "/api/users/bob%40example.com"),
        (at, "/api/users/alice%2540example.com"),
        (at, "/api/users%2Falice%40example.com"),
        (at, "/api/users/alice%40example.com/"),
        (at, "/api/users/Alice%40example.com"),
        ("/a/b", "/a%2Fb"),
        ("/a?b", "/a%3Fb"),
        ("/a#b", "/a%23b"),
    ] {
        assert_eq!(fault(decoded, path, htu), Some(ProofFault::Uri), "{htu}");
    }
    let other_host = "https://app.example.com.evil.example/a";
    let proof = holder.proof(|_, claims| claims["htu"] = json!(other_host));
    let occasion = Occasion {
        method: "GET",
        path: "/a",
        reading: decoded,
        token: Some(&token),
    };
    let judged = judge(&config(), &proof, &occasion, NOW).err();
    assert_eq!(judged, Some(ProofFault::Uri));
    // As the client sent it: encoded and not are two URIs (RFC 3986 §6.2.2).
    assert_eq!(fault(routed, encoded, encoded), None);
    assert_eq!(fault(routed, at, at), None);
    assert_eq!(fault(routed, at, encoded), Some(ProofFault::Uri));
    assert_eq!(fault(routed, encoded, at), Some(ProofFault::Uri));
}

#[test]
fn a_proof_is_remembered_by_key_uri_and_name_for_as_long_as_it_could_come_again() {
    let (holder, other) = (Holder::new(), Holder::new());
    let proof = judged(&holder.proof(|_, _| {})).unwrap();
    assert_eq!(proof.once.namespace, "jti");
    let again = judged(&holder.proof(|_, claims| claims["iat"] = json!(NOW.0 - 100))).unwrap();
    assert_eq!(proof.once, again.once, "a new date is no new name");
    let renamed = judged(&holder.proof(|_, claims| claims["jti"] = json!("b-name"))).unwrap();
    let others = judged(&other.proof(|_, _| {})).unwrap();
    assert_ne!(proof.once, renamed.once);
    assert_ne!(proof.once, others.once);
    // The last second in which it is taken, by the clock that is furthest behind.
    let latest = judged(&holder.proof(|_, claims| claims["iat"] = json!(NOW.0 + 60))).unwrap();
    assert!(latest.forget_after >= UnixTime(NOW.0 + 60 + LIFE + 2 * SKEW));
}

#[test]
fn a_thumbprint_is_32_bytes_in_canonical_base64url() {
    let good = Holder::new().thumbprint();
    assert_eq!(Thumbprint::parse(good.as_str()).as_ref(), Ok(&good));
    let short = base64([0; 31]);
    let padded = format!("{}=", good.as_str());
    let stray_bits = format!("{}B", "A".repeat(42));
    for text in ["", "x", &short, &padded, &stray_bits, &"A".repeat(44)] {
        assert_eq!(Thumbprint::parse(text), Err(MalformedThumbprint), "{text}");
    }
}

#[tokio::test]
async fn our_endpoints_take_a_proof_with_a_nonce_of_ours_alone() {
    let (holder, roots) = (Holder::new(), TestRoots::new());
    let clock = TestClock::at(NOW.0);
    let judged = async |nonce: Value, at: u64| {
        let claims = json!({
            "jti": "a-name",
            "htm": "POST",
            "htu": "https://app.example.com/oauth/token",
            "iat": at,
            "nonce": nonce,
        });
        let proof = holder.sign(&holder.header().to_string(), &claims.to_string());
        judge_with_nonce(&config(), &roots, &proof, "/oauth/token", UnixTime(at)).await
    };
    let nonce = fresh_nonce(&roots, clock.now()).await.unwrap();
    assert!(judged(json!(nonce), NOW.0).await.is_ok());
    for bad in [
        Value::Null,
        json!(""),
        json!("nonce"),
        json!(format!("{nonce}x")),
    ] {
        assert_eq!(judged(bad, NOW.0).await.unwrap_err(), ProofError::Nonce);
    }
    // It rotates.
    let later = judged(json!(nonce), NOW.0 + 300).await;
    assert_eq!(later.unwrap_err(), ProofError::Nonce);
    // Not knowing is not "invalid" (invariant 3).
    roots.set_down(true);
    let unknown = judged(json!(nonce), NOW.0).await;
    assert_eq!(unknown.unwrap_err(), ProofError::Unavailable);
    assert_eq!(fresh_nonce(&roots, NOW).await, None);
}

#[test]
fn nothing_about_a_request_is_shown_by_debug() {
    let holder = Holder::new();
    let token = token();
    let occasion = Occasion {
        method: "GET",
        path: PATH,
        reading: Reading::Written,
        token: Some(&token),
    };
    assert!(!format!("{occasion:?}").contains(token.expose()));
    let proof = judged(&holder.proof(|_, _| {})).unwrap();
    assert!(!format!("{proof:?}").contains("a-name"));
}

#[test]
fn d85_d86_d87_every_part_of_a_proof_is_read_strictly() {
    let holder = Holder::new();
    let (header, claims) = (holder.header().to_string(), claims().to_string());
    let with = |text: &str, member: &[u8]| {
        let open = text.as_bytes().strip_suffix(b"}").unwrap();
        [open, br#","unread":"#, member, b"}"].concat()
    };
    let sign = |header: &[u8], claims: &[u8]| {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let Key::Ec(key) = &holder.key else {
            panic!("a key on P-256")
        };
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64(signature.as_ref()))
    };
    let unread = [&b"\"\xc3\xa9\""[..], b"[{\"a\":1,\"b\":1}]"];
    for good in unread {
        assert!(judged(&sign(&with(&header, good), claims.as_bytes())).is_ok());
        assert!(judged(&sign(header.as_bytes(), &with(&claims, good))).is_ok());
    }
    for bad in [
        &b"\"\xff\""[..],
        b"[\"\xc3\"]",
        b"[{\"a\":1,\"a\":1}]",
        b"{\"a\":{\"b\":1,\"\\u0062\":1}}",
        b"\"\\ud800\"",
    ] {
        for proof in [
            sign(&with(&header, bad), claims.as_bytes()),
            sign(header.as_bytes(), &with(&claims, bad)),
        ] {
            assert_eq!(judged(&proof).err(), Some(ProofFault::Malformed));
        }
    }
    // The name that serde_json reads through.
    let magic = |text: &str| json!({"$serde_json::private::RawValue": text});
    let disguised = holder.proof(|_, claims| claims["htm"] = magic("\"GET\""));
    assert_eq!(judged(&disguised).err(), Some(ProofFault::Malformed));
    let disguised = holder.proof(|header, _| header["typ"] = magic("\"dpop+jwt\""));
    assert_eq!(judged(&disguised).err(), Some(ProofFault::Malformed));
}
