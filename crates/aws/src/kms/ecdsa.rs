//! ECDSA signatures: KMS writes DER (X9.62), JWS wants r‖s (RFC 7518 §3.4).

/// The length of r, and of s, on P-256.
const HALF: usize = 32;

/// Turns a DER signature on P-256 into r‖s.
///
/// `None` for whatever is not exactly one, in the one encoding that DER allows:
/// short numbers are padded, and nothing is cut to fit (D43).
pub(super) fn from_der(der: &[u8]) -> Option<Vec<u8>> {
    let (numbers, after) = element(der, 0x30)?;
    let (r, rest) = element(numbers, 0x02)?;
    let (s, end) = element(rest, 0x02)?;
    if !after.is_empty() || !end.is_empty() {
        return None;
    }
    Some([half(r)?, half(s)?].concat())
}

/// A positive DER integer, in 32 bytes.
fn half(integer: &[u8]) -> Option<[u8; HALF]> {
    let magnitude = match integer {
        // A sign byte must be needed; zero is no half of a signature.
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => rest,
        [1..=0x7f, ..] => integer,
        _ => return None,
    };
    let mut half = [0; HALF];
    let at = HALF.checked_sub(magnitude.len())?;
    half.get_mut(at..)?.copy_from_slice(magnitude);
    Some(half)
}

/// Splits one element with this tag into its contents and what follows it. No
/// signature on P-256 needs the long form of a length.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, len], rest) = der.split_first_chunk::<2>()?;
    (found == tag && len < 0x80).then(|| rest.split_at_checked(usize::from(len)))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    };

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let integer =
            |bytes: &[u8]| [&[0x02, u8::try_from(bytes.len()).unwrap()][..], bytes].concat();
        let numbers = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(numbers.len()).unwrap()][..], &numbers].concat()
    }

    #[test]
    fn real_signatures_verify_after_conversion() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key());
        // Enough for short halves: one in 256 begins with a zero.
        for round in 0..1_000_u32 {
            let message = round.to_be_bytes();
            let signature = key.sign(&SystemRandom::new(), &message).unwrap();
            let fixed = from_der(signature.as_ref()).unwrap();
            assert_eq!(fixed.len(), 64);
            public.verify(&message, &fixed).unwrap();
        }
    }

    #[test]
    fn short_halves_are_padded_on_the_left() {
        let fixed = from_der(&der(&[0x01], &[0x7f; 31])).unwrap();
        assert_eq!(fixed[..32], [&[0; 31][..], &[1]].concat());
        assert_eq!(fixed[32..], [&[0][..], &[0x7f; 31]].concat());
    }

    #[test]
    fn a_needed_sign_byte_is_dropped() {
        let high = [&[0][..], &[0xff; 32]].concat();
        assert_eq!(from_der(&der(&high, &high)).unwrap(), [0xff; 64]);
        let short = [0, 0x80];
        assert_eq!(from_der(&der(&short, &short)).unwrap()[31], 0x80);
    }

    #[test]
    fn what_is_not_der_is_refused() {
        let good = [0x7f; 32];
        let cases: &[(&str, Vec<u8>)] = &[
            ("a half of 33 bytes", der(&[0x7f; 33], &good)),
            (
                "34 with a sign byte",
                der(&[&[0][..], &[0xff; 33]].concat(), &good),
            ),
            ("negative", der(&[0xff; 32], &good)),
            ("zero", der(&[0], &good)),
            ("empty", der(&[], &good)),
            ("a sign byte too many", der(&[0, 0x7f], &good)),
            ("two sign bytes", der(&[0, 0, 0xff], &good)),
            ("the same in s", der(&good, &[0, 0x7f])),
            ("something after it", [der(&good, &good), vec![0]].concat()),
            ("something inside it", {
                let mut der = der(&good, &good);
                der[1] += 1;
                der.push(0);
                der
            }),
            ("another tag", [&[0x31], &der(&good, &good)[1..]].concat()),
            (
                "the long form",
                [&[0x30, 0x81], &der(&good, &good)[1..]].concat(),
            ),
            ("r‖s itself", vec![0x30; 64]),
        ];
        for (what, der) in cases {
            assert_eq!(from_der(der), None, "{what}");
        }
        let whole = der(&good, &good);
        assert!(from_der(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(from_der(&whole[..len]), None, "{len}");
        }
    }
}
