//! Limits of what a client may send, from both sides.

use super::*;

#[tokio::test]
async fn a_pkce_verifier_has_43_to_128_unreserved_characters() {
    let desk = Desk::new();
    let all = ('!'..='~').collect::<String>();
    let is_unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let mut verifiers: Vec<(String, bool)> = [(0, false), (1, false), (42, false), (43, true)]
        .into_iter()
        .chain([(128, true), (129, false)])
        .map(|(length, good)| ("v".repeat(length), good))
        .collect();
    verifiers.extend(
        all.chars()
            .map(|c| (format!("{c}{VERIFIER}"), is_unreserved(c))),
    );
    verifiers.push((format!(" {VERIFIER}"), false));
    verifiers.push((format!("\u{e9}{VERIFIER}"), false));
    for (verifier, good) in verifiers {
        // A challenge that fits, however the verifier looks.
        let code = desk.code(|_, meta| {
            let binding = meta.code.as_mut().unwrap();
            binding.challenge = BASE64URL.encode(sha256(verifier.as_bytes()));
        });
        let request = redemption(code.expose(), REDIRECT, &verifier);
        let issued = desk.service.issue(&APP, &request).await;
        if good {
            assert!(issued.is_ok(), "{verifier}");
        } else {
            let refused = IssueError::InvalidGrant(GrantFault::Binding);
            assert_eq!(issued.unwrap_err(), refused, "{verifier}");
        }
    }
}
