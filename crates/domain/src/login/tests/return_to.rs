//! D6: the corpus of `return_to.txt`, and what a length does.

use super::super::local_path;
use proptest::prelude::*;
use url::Url;

const CORPUS: &str = include_str!("return_to.txt");

/// The lines of the corpus: whether the path is kept, and the path.
fn corpus() -> Vec<(bool, String)> {
    CORPUS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .map(|line| {
            let (verdict, text) = line.split_once(' ').unwrap_or((line, ""));
            assert!(matches!(verdict, "kept" | "home"), "{line}");
            (verdict == "kept", unescaped(text))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain += before;
        let (character, left) = match after.as_bytes()[0] {
            b'u' => {
                let (hex, left) = after[2..].split_once('}').unwrap();
                let code = u32::from_str_radix(hex, 16).unwrap();
                (char::from_u32(code).unwrap(), left)
            }
            b't' => ('\t', &after[1..]),
            b'r' => ('\r', &after[1..]),
            b'n' => ('\n', &after[1..]),
            b'\\' => ('\\', &after[1..]),
            other => panic!("escape {other}"),
        };
        plain.push(character);
        rest = left;
    }
    plain + rest
}

#[test]
fn d6_a_login_lands_on_a_path_of_this_site_and_nowhere_else() {
    let corpus = corpus();
    assert!(corpus.len() >= 80, "{}", corpus.len());
    for (kept, text) in corpus {
        let expected = if kept { text.as_str() } else { "/" };
        assert_eq!(local_path(&text), expected, "{text:?}");
    }
}

#[test]
fn d6_a_path_is_as_long_as_a_cookie_can_hold_and_no_longer() {
    let of_length = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert_eq!(local_path(&of_length(2048)), of_length(2048));
    for length in [2049, 10_000] {
        assert_eq!(local_path(&of_length(length)), "/");
    }
}

/// What a path becomes when it is decoded once, as the `url` crate's neighbours do it.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3);
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let is_code =
            bytes[at] == b'%' && hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if let (true, Some(code)) = (is_code, code) {
            plain.push(code);
            at += 3;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    plain
}

/// The path of a text that begins like a path.
fn path_of(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap()
}

/// Texts of what attacks are made of.
fn nasty() -> impl Strategy<Value = String> {
    let parts = [
        "/",
        "//",
        "\\",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "%5C",
        "%09",
        "%0a",
        "%00",
        "%25",
        "%252f",
        "%252e",
        "%25252f",
        "%255c",
        "%2",
        "%zz",
        "%",
        "evil.example",
        "a",
        ":",
        "@",
        "?",
        "#",
        ";",
        "&",
        "\t",
        "\n",
        " ",
        "\u{2215}",
        "\u{ff0f}",
        "https:",
        "%e2%88%95",
        "%c0%af",
        "%u2215",
        "|",
        "<",
        "{",
        "`",
        "^",
    ];
    let part = proptest::sample::select(parts.to_vec());
    proptest::collection::vec(part, 0..9).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// A browser that resolves what was kept stays on our origin and on the path that was
    /// looked at, also when something has decoded it on its way, however often.
    #[test]
    fn d6_what_is_kept_resolves_to_itself_on_our_origin(text in nasty()) {
        let origin = Url::parse("https://app.example.com").unwrap();
        let kept = local_path(&text);
        prop_assert!(kept == text || kept == "/");
        let mut now = kept.to_owned();
        for depth in 0..12 {
            let Ok(url) = origin.join(&now) else {
                return Err(TestCaseError::fail(format!("{now:?} is no URL")));
            };
            prop_assert_eq!(url.origin(), origin.origin(), "{:?} at depth {}", &now, depth);
            prop_assert_eq!(
                decoded(url.path()),
                decoded(path_of(&now)),
                "{:?} at depth {}: another path", &now, depth
            );
            prop_assert!(!url.path().starts_with("//"), "{:?} at depth {}", &now, depth);
            // Only the path is decoded: a query is the page's own business.
            let path = path_of(&now);
            let Ok(next) = String::from_utf8(decoded(path)) else { break };
            // What was encoded is part of the path and not the beginning of a query.
            let next = next.replace('?', "%3F").replace('#', "%23");
            if next == path {
                break;
            }
            now = next;
        }
    }
}

#[test]
fn d6_the_property_is_about_texts_that_are_kept_and_texts_that_are_not() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kept = 0;
    for _ in 0..2_000 {
        let text = nasty().new_tree(&mut runner).unwrap().current();
        kept += usize::from(text != "/" && local_path(&text) == text);
    }
    assert!((100..1_900).contains(&kept), "{kept}");
}
