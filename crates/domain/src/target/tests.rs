use super::*;
use proptest::prelude::*;

const ALL: [Reading; 3] = [Reading::Written, Reading::Routed, Reading::Decoded];

/// What a server that follows RFC 3986 serves for the path of a request: it decodes once
/// and removes dot segments (§5.2.4), and it merges slashes as many do. Written without a
/// look at the rule above.
fn served(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|two| str::from_utf8(two).ok());
        let byte = digits
            .filter(|_| bytes[at] == b'%')
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    let text = String::from_utf8_lossy(&out).replace('\\', "/");
    let text = text.split(['?', '#', ';', '\0']).next().unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[test]
fn d76_what_is_accepted_depends_on_how_it_reached_us() {
    // Written, routed, decoded.
    let cases = [
        ("/", [true, true, true]),
        ("/api/orders", [true, true, true]),
        ("/~user/a-b_c.d/v1:run/a@b", [true, true, true]),
        ("/a/!&'()+,=", [true, true, true]),
        ("/...", [true, true, true]),
        ("/a/..b/.c", [true, true, true]),
        ("/caf%C3%A9/a%20b", [true, true, false]),
        ("/caf%c3%a9", [true, true, false]),
        ("/alice%40example.com", [false, true, false]),
        ("/urn%3Aa%2Cb%24", [false, true, false]),
        ("/café", [false, false, true]),
        ("/a b", [false, false, true]),
        ("/100%", [false, false, true]),
        ("/100%zz/%", [false, false, true]),
        ("/a$b", [false, false, true]),
        ("/[a]|\"<b>\"^`", [false, false, true]),
        ("/\u{ff0f}\u{2025}", [false, false, true]),
    ];
    for (path, expected) in cases {
        assert_eq!(ALL.map(|reading| reading.accepts(path)), expected, "{path}");
    }
}

#[test]
fn d76_what_others_may_read_otherwise_is_never_accepted() {
    let paths = [
        "",
        "api",
        "*",
        "//",
        "/a/",
        "/a//b",
        "//a",
        "/.",
        "/..",
        "/a/.",
        "/a/..",
        "/./a",
        "/../a",
        "/a/./b",
        "/a/../b",
        "/a/%2e",
        "/a/%2E%2e/b",
        "/a/.%2e/b",
        "/a%2Fb",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a%5cb",
        "/a;b",
        "/a;",
        "/;/a",
        "/..;/a",
        "/a%3Bb",
        "/a%3bb",
        "/a*",
        "/*",
        "/a%2A",
        "/a?b",
        "/a%3Fb",
        "/a#b",
        "/a%23b",
        "/a#/../b",
        "/a%23/../b",
        "/{x}",
        "/{x+}",
        "/{proxy+}",
        "/a{",
        "/a}",
        "/%7Bx%7D",
        "/%7bx+%7d",
        "/%61",
        "/%41",
        "/%30",
        "/%2D",
        "/%7E",
        "/%5F",
        "/%25",
        "/%252e",
        "/%252F",
        "/%00",
        "/%0a",
        "/%0D%0A",
        "/%1f",
        "/%7F",
        "/a\0",
        "/a\n",
        "/a\tb",
        "/a\u{7f}",
        "/a\u{85}",
        "/a%C2%85",
        "/%C0%AF",
        "/%c0%ae%c0%ae/a",
        "/%E0%80%AF",
        "/%F0%80%80%AF",
        "/%ED%A0%80",
        "/%C3",
        "/%A9",
        "/%C3x%A9",
        "/%FF",
        "/%EF%BF%BD",
        "/a\u{fffd}",
        "http://a.example/x",
        "https:/a",
        "a.example:443",
        "/%2g/%",
        " /a",
        "/%%32%65",
        "/a/%2e%2e%2f",
    ];
    for path in paths {
        for reading in ALL {
            let literal = reading == Reading::Decoded && matches!(path, "/%2g/%");
            assert_eq!(reading.accepts(path), literal, "{reading:?} {path:?}");
        }
    }
    for odd in ["/a%", "/a%2", "/a%+1", "/a%é", "/a%%", "/a% 1"] {
        assert!(
            !Reading::Written.accepts(odd) && !Reading::Routed.accepts(odd),
            "{odd}"
        );
    }
}

#[test]
fn a_target_ends_its_path_at_the_query_and_has_no_fragment() {
    for (target, path) in [
        ("/a", Some("/a")),
        ("/a?b=/c?d", Some("/a")),
        ("/a?b=[é]{}|\"", Some("/a")),
        ("?a", Some("")),
        ("/a#b", None),
        ("/a?b#c", None),
        ("/a#/../b", None),
        ("/a b", None),
        ("/a?b c", None),
        ("/a\r\nb", None),
        ("/a?\u{7f}", None),
    ] {
        assert_eq!(path_of(target), path, "{target:?}");
    }
}

#[test]
fn one_path_has_one_spelling() {
    assert_eq!(canonical("/caf%c3%a9/aA".into()), "/caf%C3%A9/aA");
    assert!(matches!(canonical("/aA".into()), Cow::Borrowed("/aA")));
    assert_eq!(decoded("/caf%c3%A9%20+").as_deref(), Some("/café +"));
    for odd in ["/%", "/%2", "/%zz", "/%é", "/%C3"] {
        assert_eq!(decoded(odd), None, "{odd}");
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,3}",
        2 => Just("/".to_owned()),
        1 => prop::sample::select(&[
            ".", "..", "//", ";", "#", "?", "\\", "*", "{x+}", "%", "%2e", "%2E", "%2f", "%5C",
            "%25", "%23", "%3F", "%3b", "%00", "%20", "%40", "%C3%A9", "%c3%a9", "%C0%AF", "%61",
            "é", " ", "@", ":", "+", "$", "\n", "\u{fffd}",
        ][..]).prop_map(str::to_owned),
        1 => r"\PC",
        1 => "%[0-9a-fA-F]{2}",
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn d76_what_is_accepted_is_served_as_it_was_read(path in any_path()) {
        for reading in [Reading::Written, Reading::Routed] {
            if reading.accepts(&path) {
                // Decoding changes no path that is compared with a route's, segment by segment.
                let once = decoded(&path).unwrap();
                prop_assert_eq!(served(&path), once.clone(), "{:?}", reading);
                prop_assert_eq!(path.matches('/').count(), once.matches('/').count());
                prop_assert!(Reading::Decoded.accepts(&once), "{}", once);
            }
        }
        if Reading::Decoded.accepts(&path) {
            prop_assert_eq!(served(&path), path.clone());
        }
        if Reading::Written.accepts(&path) {
            prop_assert!(Reading::Routed.accepts(&path));
        }
    }

    #[test]
    fn any_text_is_a_target_or_none(text in any::<String>()) {
        for reading in ALL {
            let _ = reading.accepts(&text);
        }
        let _ = (path_of(&text), decoded(&text), canonical(text.as_str().into()));
    }
}
