use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How the two readers may differ. Each is a difference that is wanted; any other is a
/// fault.
#[derive(Debug, Eq, PartialEq)]
enum Difference {
    /// Both take it and read the same, or both refuse it.
    None,
    /// We refuse equal names.
    Duplicate,
    /// We refuse what is no UTF-8, also where nobody reads it.
    NotUtf8,
    /// It takes a magic name for another text; to us it is a name.
    Magic,
}

const MAGIC: [&str; 2] = [
    "$serde_json::private::RawValue",
    "$serde_json::private::Number",
];

fn difference(json: &[u8]) -> Difference {
    let theirs = serde_json::from_slice::<serde_json::Value>(json);
    let ignored = serde_json::from_slice::<serde::de::IgnoredAny>(json);
    match (Document::read(json), theirs) {
        (Err(Error::DuplicateName), _) => Difference::Duplicate,
        (Err(Error::NotUtf8), theirs) => {
            assert!(theirs.is_err() || ignored.is_ok());
            Difference::NotUtf8
        }
        (Ok(ours), Ok(theirs)) if same(ours.root(), &theirs) => Difference::None,
        (Ok(_), _) if MAGIC.iter().any(|name| contains(json, name)) => Difference::Magic,
        (Err(_), Err(_)) => Difference::None,
        (ours, theirs) => panic!(
            "{}: ours {:?}, theirs {theirs:?}",
            String::from_utf8_lossy(json),
            ours.map(|ours| ours.root().to_serde_json())
        ),
    }
}

fn contains(json: &[u8], text: &str) -> bool {
    json.windows(text.len()).any(|part| part == text.as_bytes())
}

fn same(ours: Value<'_, '_>, theirs: &serde_json::Value) -> bool {
    let rounded = |ours: &str| ours.parse::<f64>().unwrap();
    match theirs {
        serde_json::Value::Null => ours.is_null(),
        serde_json::Value::Bool(theirs) => ours.as_bool() == Some(*theirs),
        serde_json::Value::String(theirs) => {
            ours.is(theirs) && ours.as_str().as_deref() == Some(theirs)
        }
        serde_json::Value::Number(theirs) => ours.as_number().is_some_and(|ours| {
            // It does not round all decimals to the nearest double.
            let theirs = theirs.as_f64().unwrap();
            (rounded(ours) - theirs).abs() <= theirs.abs() * 1e-15
        }),
        serde_json::Value::Array(theirs) => ours.as_array().is_some_and(|ours| {
            ours.count() == theirs.len()
                && ours.zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }),
        serde_json::Value::Object(theirs) => ours.as_object().is_some_and(|ours| {
            ours.len() == theirs.len()
                && theirs
                    .iter()
                    .all(|(name, theirs)| ours.get(name).is_some_and(|ours| same(ours, theirs)))
        }),
    }
}

fn refusal(json: impl AsRef<[u8]>) -> Option<Error> {
    Document::read(json.as_ref()).err()
}

#[test]
fn strings_are_borrowed_unless_they_have_escapes() {
    let document = Document::read(br#"{"a":"plain","b":"\u0061"}"#).unwrap();
    let object = document.root().as_object().unwrap();
    assert!(matches!(
        object.get("a").unwrap().as_str(),
        Some(Cow::Borrowed("plain"))
    ));
    assert!(matches!(object.get("b").unwrap().as_str(), Some(Cow::Owned(text)) if text == "a"));
    assert!(object.get("b").unwrap().is("a"));
}

#[test]
fn values_are_what_they_are_and_nothing_else() {
    let json = br#" {"x":[null,"a",true,-1,1.50,{"y":{}},[]],"n\u0061me":false,"end":{}} "#;
    let document = Document::read(json).unwrap();
    let object = document.root().as_object().unwrap();
    assert_eq!(object.len(), 3);
    assert!(object.contains("name") && !object.contains("n\\u0061me") && !object.contains("y"));
    let names: Vec<_> = object.map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "name", "end"]);
    let array: Vec<_> = object.get("x").unwrap().as_array().unwrap().collect();
    assert_eq!(array.len(), 7);
    let kinds = |value: Value<'_, '_>| {
        [
            value.is_null(),
            value.as_str().is_some(),
            value.as_bool().is_some(),
            value.as_number().is_some(),
            value.as_object().is_some(),
            value.as_array().is_some(),
        ]
        .iter()
        .position(|is| *is)
    };
    let kinds: Vec<_> = array.iter().map(|value| kinds(*value).unwrap()).collect();
    assert_eq!(kinds, [0, 1, 2, 3, 3, 4, 5]);
    assert_eq!(array[4].as_number(), Some("1.50"));
    assert!(!array[0].is("null") && !array[2].is("true"));
}

/// Two readers of such an object may each believe another value (RFC 8725 §2.4).
#[test]
fn d85_equal_names_are_refused_at_every_depth() {
    let many = |last: &str| {
        let names: Vec<_> = (0..100).map(|n| format!(r#""name {n}":{n}"#)).collect();
        format!("{{{},{last}:1}}", names.join(","))
    };
    for json in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"\u0061":1,"a":1}"#,
        r#"{"\u0061":1,"\u0061":1}"#,
        r#"{"":1,"":1}"#,
        r#"{"\/":1,"/":2}"#,
        r#"[{"unread":[[{"x":{"a":1,"b":{},"a":2}}]]}]"#,
        r#"{"😀":1,"\ud83d\ude00":1}"#,
        &many(r#""name 0""#),
        &many(r#""name 99""#),
        &many(r#""n\u0061me 50""#),
    ] {
        assert_eq!(refusal(json), Some(Error::DuplicateName), "{json}");
    }
    for json in [
        r#"{"a":1,"A":1,"b":{"a":{"a":1}},"c":[{"a":1},{"a":1}]}"#,
        r#"{"a":"a","b":"a"}"#,
        r#"{"\\u0061":1,"a":1}"#,
        &many(r#""name 100""#),
        // Alike at both ends, which is what is compared first.
        r#"{"abcdefgh-1-abcdefgh":1,"abcdefgh-2-abcdefgh":2}"#,
    ] {
        assert_eq!(refusal(json), None, "{json}");
        assert_eq!(difference(json.as_bytes()), Difference::None);
    }
}

#[test]
fn d86_names_are_never_magic_and_depth_is_counted_once() {
    // What serde_json makes of it, as soon as a crate turns `raw_value` on.
    let disguised = br#"{"$serde_json::private::RawValue":"\"orders\""}"#;
    assert_eq!(difference(disguised), Difference::Magic);
    let theirs: serde_json::Value = serde_json::from_slice(disguised).unwrap();
    assert_eq!(theirs, "orders");
    // Here it is an object with one member.
    let document = Document::read(disguised).unwrap();
    let object = document.root().as_object().unwrap();
    assert!(object.get(MAGIC[0]).unwrap().is("\"orders\""));
    assert!(document.root().to_serde_json().is_object());
    assert!(from_slice::<String>(disguised).is_err());
    let number = br#"{"$serde_json::private::Number":"1"}"#;
    assert!(from_slice::<u64>(number).is_err());
    assert!(from_slice::<f64>(number).is_err());

    // Texts in texts in texts: to us one string, however much is in it.
    let nested = (0..10).fold("1".to_owned(), |inner, _| {
        let deep = format!("{}{inner}{}", "[".repeat(120), "]".repeat(120));
        serde_json::json!({ MAGIC[0]: deep }).to_string()
    });
    let document = Document::read(nested.as_bytes()).unwrap();
    assert_eq!(document.root().as_object().unwrap().len(), 1);

    let nested =
        |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deepest = nested(open, close, MAX_DEPTH);
        assert_eq!(difference(deepest.as_bytes()), Difference::None);
        assert_eq!(refusal(&deepest), None);
        for depth in [MAX_DEPTH + 1, 1_000_000] {
            assert_eq!(refusal(nested(open, close, depth)), Some(Error::TooDeep));
        }
    }
}

#[test]
fn d87_what_is_no_utf8_is_refused_also_where_nobody_reads_it() {
    #[derive(Deserialize)]
    struct Read {
        a: u64,
    }
    for bad in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
    ] {
        let json = |text: &[u8]| [br#"{"unread":[""#, text, br#""],"a":1}"#].concat();
        assert_eq!(refusal(json(bad)), Some(Error::NotUtf8));
        assert_eq!(difference(&json(bad)), Difference::NotUtf8);
        assert!(from_slice::<Read>(&json(bad)).is_err());
        assert_eq!(from_slice::<Read>(&json("é".as_bytes())).unwrap().a, 1);
    }
}

#[test]
fn d88_numbers_are_kept_as_they_are_written() {
    for number in [
        "0",
        "-0",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "1.00000000000000000000000000000000000001",
        "1e308",
        "-1E-400",
    ] {
        let document = Document::read(number.as_bytes()).unwrap();
        assert_eq!(document.root().as_number(), Some(number));
        assert_eq!(difference(number.as_bytes()), Difference::None);
    }
    assert_eq!(from_slice::<u64>(b"18446744073709551615"), Ok(u64::MAX));
    assert_eq!(from_slice::<i64>(b"-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(from_slice::<f64>(b"1.5"), Ok(1.5));
    // Nothing is rounded to a whole number, and none wraps.
    for no_integer in ["-0", "1.0", "1e2", "18446744073709551616", "-1"] {
        assert!(
            from_slice::<u64>(no_integer.as_bytes()).is_err(),
            "{no_integer}"
        );
    }
    let many_digits = format!("1{}", "0".repeat(400));
    for infinite in ["1e400", "-1e999999999999999999999", &many_digits] {
        assert_eq!(refusal(infinite), Some(Error::Syntax), "{infinite}");
    }
}

#[derive(Debug, Deserialize)]
struct One {
    #[expect(dead_code, reason = "only whether it is read counts")]
    a: u64,
}

#[test]
fn whatever_derives_deserialize_is_read() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Unit,
        Wrapped(u8),
        Named { x: i8 },
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Wrapper(String);
    #[derive(Debug, Deserialize, PartialEq)]
    struct All<'a> {
        borrowed: &'a str,
        wrapper: Wrapper,
        choices: Vec<Choice>,
        map: BTreeMap<String, Option<f64>>,
        pair: (bool, char),
        #[serde(default)]
        absent: Option<u64>,
        nothing: (),
    }
    let json =
        br#"{"borrowed":"b","wrapper":"\n","choices":["unit",{"wrapped":7},{"named":{"x":-1}}],
        "map":{"a":1,"b":null},"pair":[true,"c"],"ignored":{"x":[1]},"nothing":null}"#;
    let read: All<'_> = from_slice(json).unwrap();
    assert_eq!(read, serde_json::from_slice(json).unwrap());
    assert_eq!(read.choices.len(), 3);

    // Not by position, not in part, and not twice.
    assert!(serde_json::from_slice::<Vec<Choice>>(br#"[{"named":[1]}]"#).is_ok());
    for wrong in [
        r#"{"pair":[true,"c",1]}"#,
        r#"["b"]"#,
        r#"{"choices":[{"wrapped":7,"unit":null}]}"#,
        r#"{"choices":[{}]}"#,
    ] {
        assert!(from_slice::<All<'_>>(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(from_slice::<Vec<Choice>>(br#"[{"wrapped":7,"unit":null}]"#).is_err());
    assert!(from_slice::<(bool, char)>(br#"[true,"c",1]"#).is_err());
    assert!(serde_json::from_slice::<One>(b"[1]").is_ok());
    assert!(from_slice::<One>(b"[1]").is_err());
    assert!(from_slice::<One>(br#"{"a":1}"#).is_ok());
}

#[test]
fn an_error_repeats_nothing_of_the_text() {
    for json in [r#"{"password":"canary"}"#, r#"["canary",1]"#, r#""canary"#] {
        let error = from_slice::<Vec<u64>>(json.as_bytes()).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
        if let Ok(document) = Document::read(json.as_bytes()) {
            let shown = format!("{document:?} {:?}", document.root());
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}

/// What is reserved for a text depends on its length alone, and not on what is in it: an
/// AppSync event comes with a megabyte of the client's own JSON before anybody is known.
#[test]
fn d89_a_document_takes_a_small_multiple_of_its_text() {
    let names: Vec<_> = (0..100_000).map(|n| format!("\"{n:x}\":0")).collect();
    let repeated = |part: &str| format!("[{}]", vec![part; 300_000].join(","));
    for json in [
        repeated("{}"),
        repeated("[]"),
        repeated("0"),
        repeated(r#"{"a":0}"#),
        repeated(r#"{"a":{"b":[[]]}}"#),
        repeated(r#""""#),
        format!("{{{}}}", names.join(",")),
        format!("\"{}\"", "x".repeat(1_000_000)),
    ] {
        let document = Document::read(json.as_bytes()).unwrap();
        let reserved = document.nodes.capacity() * size_of::<Node>();
        assert!(reserved <= 8 * json.len(), "{reserved} for {}", json.len());
    }
    assert_eq!(size_of::<Node>(), 8);
}

/// One on each line.
const ODD: &str = r#"
    "\"" | "\\" | "\\"" | "\ | " | "\u00" | "\u0000" | "\é" | "\/\b" | "\uD83D\uDE00" | "a
    "\ud800" | "\udc00\ud800" | "\ud83d\ude00" | "\ud800\u0041" | "\ud800\ud800" | "é" x | "\u+123"
    - | -0 | 01 | -01 | 1. | .5 | 1e5 | 1e | 1e+ | 1E+2 | 1e999 | +1 | 0x1 | NaN | 1_0 | 1 1 | 1, | 1"a"
    123456789012345678901234567890 | -9223372036854775809 | nul | nulll | True | truefalse | -Infinity
    //1 | /**/1 | 'a' | é | [,] | [1,] | [1 2] | [1]] | [} | {] | [1} | { } | [[],{}] | [1 | [ | ]
    {"a" | {"a":} | {"a":1,} | {,} | {"a":1 "b":2} | {a:1} | {1:1} | {"a"=1} | {"a":1:2} | [1:2] | {"a",1}
    {"a" : 1 , "b":[ ] } | {"a":"b"c} | {"a":1e999} | {"a":{"b":[{"c":{}}]}} | 0.0 | -0.0 | 1e-999 | 0e0
    {"b\u006fdy":[1],"x":{"identity":"\ud800"}} | {"x":["a",{"b":"\q"}]} | tru | falsey | null1 | 0e+0
"#;

#[test]
fn d60_odd_texts_are_read_as_serde_json_reads_them() {
    let control = "\"a\tb\"|\"a\0b\"|\"\\\n\"|\"\u{7f}\u{2028}\"|\n\t \r\"a\"|[\n]|null\u{a0}|\u{b}1|\u{feff}1||\n";
    let odd = ODD
        .lines()
        .flat_map(|line| line.split(" | "))
        .map(str::trim);
    for text in odd.chain(control.split('|')) {
        assert_eq!(difference(text.as_bytes()), Difference::None, "{text}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let names = prop_oneof![
        Just("a".to_owned()),
        Just(MAGIC[0].to_owned()),
        Just(MAGIC[1].to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        Just("[1,\"x\"]".into()),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let members = prop::collection::btree_map(names.clone(), inner.clone(), 0..8);
        prop_oneof![
            prop::collection::vec(inner, 0..8).prop_map(Into::into),
            members.prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_as_it_was_written(value in json()) {
        let text = value.to_string();
        let document = Document::read(text.as_bytes()).unwrap();
        prop_assert!(same(document.root(), &value), "{}", text);
        let magic = MAGIC.iter().any(|name| contains(text.as_bytes(), name));
        if !magic {
            prop_assert_eq!(difference(text.as_bytes()), Difference::None);
        }
        // Into serde_json's own form and back.
        let theirs = document.root().to_serde_json().to_string();
        prop_assert!(same(Document::read(theirs.as_bytes()).unwrap().root(), &value));
    }

    #[test]
    fn any_text_is_read_as_serde_json_reads_it_or_is_a_wanted_difference(
        text in r#"([\[\]{},:"\\/ \n\tntul0-9eE.+é-]|"a"|"b"|:|null|true|\\u[dD][89c-f]00|"":){0,24}"#
    ) {
        let _ = difference(text.as_bytes());
    }

    #[test]
    fn json_with_a_flaw_is_read_as_serde_json_reads_it_or_is_a_wanted_difference(
        value in json(),
        at in any::<prop::sample::Index>(),
        len in 0..3usize,
        flaw in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        let end = (at + len).min(text.len());
        text.splice(at..end, flaw);
        let _ = difference(&text);
    }
}
