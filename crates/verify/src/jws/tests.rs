use serde_json::{Value, json};

use super::*;
use crate::testing::{
    NOW, b64, claims_with, header_with, jwk, jwk_with, key_set, sign, token, token_of_text,
};

const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const ES256: Algorithm = Algorithm::ES256;
const EXPECTED: Expected<'_> = Expected {
    types: &["at+jwt"],
    untyped: false,
    algorithms: &ALL,
    key_id_required: true,
};

fn check(token: &str, expected: &Expected<'_>) -> Result<Verified, JwsError> {
    Unverified::parse(token, expected)?.verify(&key_set(ES256))
}

fn refusal(token: &str) -> JwsError {
    check(token, &EXPECTED).unwrap_err()
}

fn refusal_of_header(members: Value) -> JwsError {
    refusal(&token(ES256, members, json!({})))
}

fn set(keys: &Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn a_token_of_each_algorithm_verifies_with_its_own_key_alone() {
    for alg in ALL {
        let good = token(alg, json!({}), json!({}));
        let verified = Unverified::parse(&good, &EXPECTED)
            .unwrap()
            .verify(&key_set(alg))
            .unwrap();
        assert_eq!(verified.header.alg, alg);
        assert_eq!(verified.claims.string("sub"), Ok("demo|alice"));

        let last = if good.ends_with('A') { "Q" } else { "A" };
        let cut = good.rfind('.').unwrap() + 1;
        let forged = format!("{}{last}{}", &good[..cut], &good[cut + 1..]);
        let error = Unverified::parse(&forged, &EXPECTED)
            .unwrap()
            .verify(&key_set(alg));
        assert!(
            good == forged || error.unwrap_err() == JwsError::Signature,
            "{}",
            alg.name()
        );
    }
}

#[test]
fn a_changed_claim_breaks_the_signature() {
    let good = token(ES256, json!({}), json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let claims = b64(claims_with(json!({"sub": "demo|bob"})).to_string());
    assert_eq!(
        refusal(&format!("{header}.{claims}.{signature}")),
        JwsError::Signature
    );
}

#[test]
fn alg_none_and_hmac_are_refused_in_every_spelling_d61() {
    // HS256 with the public key as the secret would be the classic confusion.
    for alg in [
        "none", "None", "nOnE", "HS256", "HS512", "es256", "ES256 ", "ES512", "",
    ] {
        assert_eq!(
            refusal_of_header(json!({"alg": alg})),
            JwsError::Algorithm,
            "{alg}"
        );
    }
    assert_eq!(
        refusal_of_header(json!({"alg": ["ES256"]})),
        JwsError::Algorithm
    );
    assert_eq!(refusal_of_header(json!({"alg": null})), JwsError::Algorithm);

    let unsigned = token(ES256, json!({"alg": "none"}), json!({}));
    let (head, _) = unsigned.rsplit_once('.').unwrap();
    assert!(check(&format!("{head}."), &EXPECTED).is_err());
}

#[test]
fn an_algorithm_off_the_callers_list_is_refused() {
    let good = token(ES256, json!({}), json!({}));
    assert!(
        check(
            &good,
            &Expected {
                algorithms: &[ES256],
                ..EXPECTED
            }
        )
        .is_ok()
    );
    let rsa_only = Expected {
        algorithms: &[Algorithm::RS256],
        ..EXPECTED
    };
    assert_eq!(check(&good, &rsa_only).unwrap_err(), JwsError::Algorithm);
}

#[test]
fn a_key_verifies_no_algorithm_but_its_own_d61() {
    // RFC 8725 §3.1: a key for RS256 is not one for PS256, though the type fits.
    let other = token(Algorithm::PS256, json!({"kid": "RS256"}), json!({}));
    let error = Unverified::parse(&other, &EXPECTED)
        .unwrap()
        .verify(&key_set(Algorithm::RS256));
    assert_eq!(error.unwrap_err(), JwsError::Algorithm);
    // A key of another family.
    assert_eq!(
        refusal_of_header(json!({"alg": "EdDSA"})),
        JwsError::Algorithm
    );
}

#[test]
fn a_signature_of_zeros_is_refused_d61() {
    // CVE-2022-21449: r = s = 0 fits every message where nobody looks.
    let good = token(ES256, json!({}), json!({}));
    assert!(check(&good, &EXPECTED).is_ok());
    let (head, _) = good.rsplit_once('.').unwrap();
    assert_eq!(
        refusal(&format!("{head}.{}", b64([0; 64]))),
        JwsError::Signature
    );
}

#[test]
fn a_der_signature_is_refused_d61() {
    let good = token(ES256, json!({}), json!({}));
    let (head, _) = good.rsplit_once('.').unwrap();
    let raw = sign(ES256, head.as_bytes());
    assert!(check(&format!("{head}.{}", b64(&raw)), &EXPECTED).is_ok());
    let mut der = vec![0x30, 70, 0x02, 33, 0];
    der.extend_from_slice(&raw[..32]);
    der.extend_from_slice(&[0x02, 33, 0]);
    der.extend_from_slice(&raw[32..]);
    assert_eq!(
        refusal(&format!("{head}.{}", b64(der))),
        JwsError::Signature
    );
}

#[test]
fn only_the_expected_types_are_taken() {
    // C4: jsonwebtoken takes any `typ`.
    for typ in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+jwt",
    ] {
        assert!(
            check(&token(ES256, json!({"typ": typ}), json!({})), &EXPECTED).is_ok(),
            "{typ}"
        );
    }
    for typ in [
        "JWT",
        "logout+jwt",
        "at+jwt ",
        "text/at+jwt",
        "application/",
        "é",
        "",
    ] {
        assert_eq!(
            refusal_of_header(json!({"typ": typ})),
            JwsError::Type,
            "{typ}"
        );
    }
    assert_eq!(refusal_of_header(json!({"typ": 1})), JwsError::Type);

    let untyped = token(ES256, json!({"typ": null}), json!({}));
    assert_eq!(refusal(&untyped), JwsError::Type);
    assert!(
        check(
            &untyped,
            &Expected {
                untyped: true,
                ..EXPECTED
            }
        )
        .is_ok()
    );
}

#[test]
fn any_critical_extension_is_refused() {
    // C4: jsonwebtoken does not look at `crit` (RFC 7515 §4.1.11).
    for crit in [json!(["exp"]), json!([]), json!("b64")] {
        assert_eq!(
            refusal_of_header(json!({"crit": crit})),
            JwsError::CriticalExtension
        );
    }
    assert_eq!(
        refusal_of_header(json!({"b64": false})),
        JwsError::CriticalExtension
    );
}

#[test]
fn a_header_that_brings_its_own_key_is_refused() {
    let cases = json!({
        "jwk": jwk(ES256),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert",
        "x5c": ["MII"],
    });
    for (name, value) in cases.as_object().unwrap() {
        assert_eq!(
            refusal_of_header(json!({name: value})),
            JwsError::EmbeddedKey,
            "{name}"
        );
    }
    // A mere fingerprint of a certificate is no key.
    assert!(check(&token(ES256, json!({"x5t": "abc"}), json!({})), &EXPECTED).is_ok());
}

#[test]
fn encrypted_and_compressed_tokens_are_refused() {
    for members in [json!({"enc": "A256GCM"}), json!({"zip": "DEF"})] {
        assert_eq!(refusal_of_header(members), JwsError::Encrypted);
    }
    let good = token(ES256, json!({}), json!({}));
    assert_eq!(refusal(&format!("{good}.AAAA.AAAA")), JwsError::Malformed);
}

#[test]
fn key_ids_are_bounded_printable_and_only_looked_up() {
    let unusual = "../../etc/passwd' OR 1=1 --";
    assert_eq!(
        refusal_of_header(json!({"kid": unusual})),
        JwsError::UnknownKey
    );
    assert_eq!(
        refusal_of_header(json!({"kid": "k".repeat(200)})),
        JwsError::UnknownKey
    );
    for kid in [
        json!("k".repeat(201)),
        json!("a\nb"),
        json!("é"),
        json!(""),
        json!(7),
    ] {
        assert_eq!(
            refusal_of_header(json!({"kid": kid})),
            JwsError::KeyId,
            "{kid}"
        );
    }
}

#[test]
fn a_token_without_kid_needs_leave_and_a_set_with_one_fitting_key() {
    let nameless = token(ES256, json!({"kid": null}), json!({}));
    assert_eq!(refusal(&nameless), JwsError::KeyId);

    let optional = Expected {
        key_id_required: false,
        ..EXPECTED
    };
    let check = |keys: Value| Unverified::parse(&nameless, &optional)?.verify(&set(&keys).unwrap());
    let (own, rsa) = (jwk(ES256), jwk(Algorithm::RS256));
    assert!(check(json!([own, rsa])).is_ok());
    assert_eq!(
        check(json!([own, own])).unwrap_err(),
        JwsError::AmbiguousKey
    );
    assert_eq!(check(json!([rsa])).unwrap_err(), JwsError::UnknownKey);
}

#[test]
fn length_is_bounded_before_anything_is_parsed() {
    // C6: jsonwebtoken's decode_header parses whatever its length.
    let filler = |len: usize| json!({"filler": "x".repeat(len)});
    // Base64url makes four characters of three bytes, and the rest of the token takes some.
    let too_long = MAX_TOKEN_LENGTH / 4 * 3;
    let longest = (too_long - 2_000..too_long)
        .rev()
        .map(|len| token(ES256, json!({}), filler(len)))
        .find(|token| token.len() <= MAX_TOKEN_LENGTH)
        .unwrap();
    assert!(check(&longest, &EXPECTED).is_ok());
    assert_eq!(
        refusal(&token(ES256, json!({}), filler(too_long))),
        JwsError::TooLong
    );
    assert_eq!(
        refusal(&".".repeat(MAX_TOKEN_LENGTH + 1)),
        JwsError::TooLong
    );
}

#[test]
fn only_three_canonical_segments_are_a_token() {
    let good = token(ES256, json!({}), json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        "..".to_owned(),
        head.to_owned(),
        format!("{head}."),
        format!("{head}.{signature}="),
        format!("{head}.{signature}."),
        format!(" {good}"),
        format!("{good}\n"),
        good.replacen('.', ".+", 1),
        good.replacen('.', "./", 1),
        format!("{{\"payload\":\"{good}\"}}"),
        format!("é{good}"),
    ] {
        assert_eq!(refusal(&bad), JwsError::Malformed, "{bad}");
    }
    // 64 bytes end in a character of which two bits are spare: A, Q, g or w.
    let spare = |last: char| format!("{head}.{}{last}", &signature[..signature.len() - 1]);
    for last in ['B', 'R', 'h', 'x'] {
        assert_eq!(refusal(&spare(last)), JwsError::Malformed);
    }
}

#[test]
fn json_that_two_readers_may_read_differently_is_refused_d60() {
    let header = header_with(ES256, json!({})).to_string();
    let claims = claims_with(json!({})).to_string();
    let (header, claims) = (header.as_str(), claims.as_str());
    assert!(check(&token_of_text(ES256, header, claims), &EXPECTED).is_ok());

    let twice = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    for (header, claims) in [
        (twice(header, r#""alg":"none""#), claims.to_owned()),
        (twice(header, r#""\u0061lg":"none""#), claims.to_owned()),
        (header.to_owned(), twice(claims, r#""sub":"demo|bob""#)),
        (format!("\u{feff}{header}"), claims.to_owned()),
        (header.to_owned(), format!("{claims}{{}}")),
        (header.to_owned(), format!("[{claims}]")),
        (header.to_owned(), "\"claims\"".to_owned()),
        // Nesting that would exhaust a recursive reader's stack.
        (
            header.to_owned(),
            format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000)),
        ),
    ] {
        assert_eq!(
            refusal(&token_of_text(ES256, &header, &claims)),
            JwsError::Malformed
        );
    }
    let input = format!("{}.{}", b64(header), b64(b"{\"sub\":\"\xff\"}"));
    let bytes = format!("{input}.{}", b64(sign(ES256, input.as_bytes())));
    assert_eq!(refusal(&bytes), JwsError::Malformed);
}

#[test]
fn the_claimed_issuer_is_a_string_or_nothing() {
    let issuer = |iss: Value| {
        let token = token(ES256, json!({}), json!({"iss": iss}));
        let parsed = Unverified::parse(&token, &EXPECTED).unwrap();
        parsed
            .claimed_issuer()
            .map(|issuer| issuer.map(ToOwned::to_owned))
    };
    assert_eq!(issuer(json!("https://a")), Ok(Some("https://a".to_owned())));
    assert_eq!(issuer(Value::Null), Ok(None));
    // C4: jsonwebtoken takes an array that contains the issuer.
    assert_eq!(issuer(json!(["https://a"])), Err(JwsError::Claim("iss")));
}

#[test]
fn times_are_judged_to_the_second() {
    use JwsError as E;
    let judge = |members: Value| {
        let token = token(ES256, json!({}), members);
        let rules = TimeRules {
            now: NOW,
            leeway: 60,
            max_lifetime: 3600,
        };
        check(&token, &EXPECTED).unwrap().claims.check_times(rules)
    };
    let cases = [
        (json!({}), Ok(())),
        (json!({"iat": NOW - 600, "exp": NOW - 59}), Ok(())),
        (json!({"iat": NOW - 600, "exp": NOW - 60}), Err(E::Expired)),
        (json!({"exp": null}), Err(E::Claim("exp"))),
        (json!({"exp": "2000000000"}), Err(E::Claim("exp"))),
        // RFC 7519 §2: a NumericDate may have a fraction.
        (json!({"iat": NOW, "exp": 1_800_000_300.75}), Ok(())),
        (json!({"exp": -0.5}), Err(E::Claim("exp"))),
        (json!({"exp": 1e300}), Err(E::Claim("exp"))),
        (json!({"exp": -1}), Err(E::Claim("exp"))),
        // C4: jsonwebtoken takes u64::MAX.
        (json!({"exp": u64::MAX}), Err(E::Claim("exp"))),
        (json!({"iat": null}), Err(E::Claim("iat"))),
        (json!({"iat": NOW + 60}), Ok(())),
        (json!({"iat": NOW + 61}), Err(E::IssuedInFuture)),
        (json!({"nbf": null}), Ok(())),
        (json!({"nbf": NOW + 60}), Ok(())),
        // C4: jsonwebtoken does not look at `nbf` unless told.
        (json!({"nbf": NOW + 61}), Err(E::NotYetValid)),
        (json!({"nbf": "now"}), Err(E::Claim("nbf"))),
        (json!({"exp": NOW + 3600}), Ok(())),
        (json!({"exp": NOW + 3601}), Err(E::LifetimeTooLong)),
        (
            json!({"iat": NOW + 30, "exp": NOW + 29}),
            Err(E::LifetimeTooLong),
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(judge(members.clone()), expected, "{members}");
    }
}

#[test]
fn claims_of_the_wrong_type_are_errors_and_not_absent() {
    let members = json!({"aud": ["a", 1], "amr": "pwd", "empty": "", "list": [], "n": 1});
    let claims = check(&token(ES256, json!({}), members), &EXPECTED)
        .unwrap()
        .claims;
    assert_eq!(claims.audiences(), Err(JwsError::Claim("aud")));
    assert_eq!(claims.strings("amr"), Err(JwsError::Claim("amr")));
    assert_eq!(claims.string("empty"), Err(JwsError::Claim("empty")));
    assert_eq!(claims.string("n"), Err(JwsError::Claim("n")));
    assert_eq!(claims.optional_string("absent"), Ok(None));
    assert_eq!(claims.strings("list"), Ok(vec![]));
    assert_eq!(format!("{claims:?}").find("alice"), None);
}

#[test]
fn only_public_signature_keys_are_taken_from_a_set() {
    // C5: jsonwebtoken ignores use, alg, key_ops and crv, and takes oct for HMAC.
    let rsa = Algorithm::RS256;
    for good in [
        jwk(ES256),
        jwk_with(
            ES256,
            json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}),
        ),
        jwk_with(Algorithm::EdDSA, json!({"alg": "Ed25519"})),
        jwk_with(rsa, json!({"alg": "PS512", "x5c": ["MII"]})),
    ] {
        assert!(set(&json!([good])).is_ok(), "{good}");
    }
    let n_1024 = b64([vec![0xff; 127], vec![1]].concat());
    let n_2047 = b64([vec![0x7f], vec![0xff; 255]].concat());
    let n_padded_1024 = b64([vec![0; 128], vec![0xff; 128]].concat());
    for bad in [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "RSA"}),
        jwk_with(ES256, json!({"d": "AA"})),
        jwk_with(rsa, json!({"p": "AA"})),
        jwk_with(ES256, json!({"use": "enc"})),
        jwk_with(ES256, json!({"use": ["sig"]})),
        jwk_with(ES256, json!({"key_ops": ["encrypt"]})),
        jwk_with(ES256, json!({"key_ops": "verify"})),
        jwk_with(ES256, json!({"alg": "RS256"})),
        jwk_with(ES256, json!({"alg": "ECDH-ES"})),
        jwk_with(ES256, json!({"alg": "HS256"})),
        jwk_with(ES256, json!({"alg": 1})),
        jwk_with(ES256, json!({"crv": "P-384"})),
        jwk_with(ES256, json!({"crv": "secp256k1"})),
        jwk_with(ES256, json!({"crv": null})),
        jwk_with(ES256, json!({"x": "AA"})),
        jwk_with(ES256, json!({"kty": "XX"})),
        jwk_with(ES256, json!({"kid": 1})),
        jwk_with(ES256, json!({"kid": "k".repeat(201)})),
        jwk_with(Algorithm::EdDSA, json!({"crv": "Ed448"})),
        jwk_with(rsa, json!({"n": n_1024})),
        jwk_with(rsa, json!({"n": n_2047})),
        jwk_with(rsa, json!({"n": n_padded_1024})),
        jwk_with(rsa, json!({"n": ""})),
        jwk_with(rsa, json!({"e": "AQ"})),
        jwk_with(rsa, json!({"e": "Ag"})),
    ] {
        assert_eq!(
            set(&json!([bad])).unwrap_err(),
            KeySetError::NoUsableKey,
            "{bad}"
        );
        // It does not spoil its neighbours either.
        assert_eq!(
            set(&json!([bad, jwk(ES256)])).unwrap().keys().len(),
            1,
            "{bad}"
        );
    }
}

#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let off = jwk_with(
        ES256,
        json!({"kid": "ES256", "x": b64([1; 32]), "y": b64([1; 32])}),
    );
    let good = token(ES256, json!({}), json!({}));
    let keys = set(&json!([off])).unwrap();
    let error = Unverified::parse(&good, &EXPECTED)
        .unwrap()
        .verify(&keys)
        .unwrap_err();
    assert_eq!(error, JwsError::Signature);
}

#[test]
fn sets_that_are_too_big_or_ambiguous_are_refused() {
    let named = |kid: String| jwk_with(ES256, json!({"kid": kid}));
    let many = |count: usize| json!((0..count).map(|n| named(n.to_string())).collect::<Vec<_>>());
    assert_eq!(set(&many(32)).unwrap().keys().len(), 32);
    assert_eq!(set(&many(33)).unwrap_err(), KeySetError::TooManyKeys);
    assert_eq!(set(&many(1000)).unwrap_err(), KeySetError::TooManyKeys);

    // C5: JwkSet::find would return the first.
    let twins = json!([
        named("a".to_owned()),
        jwk_with(Algorithm::RS256, json!({"kid": "a"}))
    ]);
    assert_eq!(set(&twins).unwrap_err(), KeySetError::DuplicateKeyId);

    let padded = |len: usize| {
        let document = json!({"keys": [jwk(ES256)]}).to_string();
        format!("{document}{}", " ".repeat(len - document.len()))
    };
    assert!(KeySet::parse(padded(KeySet::MAX_LENGTH).as_bytes()).is_ok());
    let error = KeySet::parse(padded(KeySet::MAX_LENGTH + 1).as_bytes()).unwrap_err();
    assert_eq!(error, KeySetError::TooLong);
    for malformed in [
        "",
        "{}",
        "[]",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        let error = KeySet::parse(malformed.as_bytes()).unwrap_err();
        assert_eq!(error, KeySetError::Malformed, "{malformed}");
    }
    let twice = format!(
        r#"{{"keys":[{{"kid":"a",{}]}}"#,
        &named("b".to_owned()).to_string()[1..]
    );
    assert_eq!(
        KeySet::parse(twice.as_bytes()).unwrap_err(),
        KeySetError::Malformed
    );
}
