//! D6: the corpus of `return_to.txt`, and what a length does.

use super::super::local_path;

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
