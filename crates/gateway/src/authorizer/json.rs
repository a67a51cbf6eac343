//! An event as it was read: JSON of any shape, borrowed from its bytes.
//!
//! The authorizer reads leniently, since a header that a strict reader chokes on would be
//! a 500 that a client can cause. And it reads on every request: owning every string of
//! an event costs several times what the decision costs, and building it with
//! `serde_json` twice what this takes. So brackets and plain texts are read here, and
//! what has more to it, escapes, numbers and words, is handed to `serde_json`: of two
//! readers that disagree one can be deceived.

use std::borrow::Cow;

/// JSON, as far as an event is looked at.
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    List(List<'a>),
    Object(Object<'a>),
    /// A number, or yes or no.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }

    /// As [`Value::as_str`], and outlives this.
    pub(super) fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Null | Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&List<'a>> {
        match self {
            Self::List(list) => Some(list),
            Self::Null | Self::Text(_) | Self::Object(_) | Self::Other => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Other => None,
        }
    }
}

/// The texts in an array; nothing else in one is looked at. A header has one value as a
/// rule, which takes no room of its own.
#[derive(Default)]
pub(super) struct List<'a> {
    first: Option<Cow<'a, str>>,
    others: Vec<Cow<'a, str>>,
}

impl<'a> List<'a> {
    fn push(&mut self, text: Cow<'a, str>) {
        match self.first {
            None => self.first = Some(text),
            Some(_) => self.others.push(text),
        }
    }
}

impl<'l, 'a> IntoIterator for &'l List<'a> {
    type Item = &'l Cow<'a, str>;
    type IntoIter =
        std::iter::Chain<std::option::Iter<'l, Cow<'a, str>>, std::slice::Iter<'l, Cow<'a, str>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.iter().chain(&self.others)
    }
}

/// Names and values as they came.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// The last one of a name wins, as it does in most other readers.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .rev()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'o, 'a> IntoIterator for &'o Object<'a> {
    type Item = (&'o Cow<'a, str>, &'o Value<'a>);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'o, (Cow<'a, str>, Value<'a>)>,
        fn(&'o (Cow<'a, str>, Value<'a>)) -> Self::Item,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<'a> Value<'a> {
    /// Reads a JSON text. Takes what `serde_json` takes, and nothing else.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let lowest = text.bytes().fold(u8::MAX, u8::min);
        let mut reader = Reader {
            text,
            at: 0,
            depth: 0,
            has_controls: lowest < b' ',
        };
        let value = reader.value()?;
        reader.peek().is_none().then_some(value)
    }
}

/// The large parts of an event that decide nothing. A header or a member of such a name
/// is not looked at anywhere.
fn is_looked_at(name: &str) -> bool {
    !matches!(
        name,
        "queryStringParameters"
            | "multiValueQueryStringParameters"
            | "pathParameters"
            | "stageVariables"
            | "identity"
            | "body"
    )
}

/// Of most objects; the others grow.
const MEMBERS: usize = 16;

/// Arrays and objects in one another, so that nobody can exhaust the stack (D60).
const MAX_DEPTH: usize = 127;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Whether there is a control character anywhere. Gateways write none, so that texts
    /// need not be searched for them one by one.
    has_controls: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'[' => {
                let mut list = List::default();
                self.list(b']', |reader| {
                    if reader.peek()? != b'"' {
                        return reader.skip();
                    }
                    list.push(reader.string()?);
                    Some(())
                })?;
                Some(Value::List(list))
            }
            b'{' => {
                let mut members = Vec::new();
                self.list(b'}', |reader| {
                    let name = reader.name()?;
                    if !is_looked_at(&name) {
                        return reader.skip();
                    }
                    if members.is_empty() {
                        members.reserve(MEMBERS);
                    }
                    members.push((name, reader.value()?));
                    Some(())
                })?;
                Some(Value::Object(Object(members)))
            }
            _ => self.scalar(),
        }
    }

    /// Passes what is not looked at. It is read all the same: an event is refused for what
    /// is wrong in any part of it, its depth too (D60).
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'[' => self.list(b']', Self::skip),
            b'{' => self.list(b'}', |reader| {
                reader.name()?;
                reader.skip()
            }),
            _ => self.scalar().map(drop),
        }
    }

    /// An array's or an object's items, from its opening bracket to `end`.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        if !self.takes(end) {
            item(self)?;
            while self.takes(b',') {
                item(self)?;
            }
            if !self.takes(end) {
                return None;
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn name(&mut self) -> Option<Cow<'a, str>> {
        if self.peek()? != b'"' {
            return None;
        }
        let name = self.string()?;
        self.takes(b':').then_some(name)
    }

    /// A text, from its opening quote.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut end = start + 1;
        let mut is_plain = true;
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            is_plain = false;
            // And whatever it escapes, which may be a quote.
            end += 2;
        }
        self.at = end + 1;
        let text = self.text.get(start + 1..end)?;
        if is_plain && !(self.has_controls && text.bytes().any(|byte| byte < b' ')) {
            return Some(text.into());
        }
        self.text.get(start..self.at).and_then(unquoted)
    }

    /// A number or a word: none of them is looked at, but they must be such.
    fn scalar(&mut self) -> Option<Value<'a>> {
        let rest = self.text.get(self.at..)?;
        let end = rest.find([',', ']', '}', ' ', '\n', '\r', '\t']);
        let (scalar, _) = rest.split_at(end.unwrap_or(rest.len()));
        self.at += scalar.len();
        match serde_json::from_str(scalar).ok()? {
            serde_json::Value::Null => Some(Value::Null),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(Value::Other),
            serde_json::Value::String(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let next = *self.text.as_bytes().get(self.at)?;
            if !matches!(next, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(next);
            }
            self.at += 1;
        }
    }

    /// Whether `byte` came next, and is then passed.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }
}

/// A text that is not simply itself.
#[cold]
fn unquoted<'a>(text: &str) -> Option<Cow<'a, str>> {
    serde_json::from_str(text).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(text: &str) -> Option<Object<'_>> {
        match Value::read(text)? {
            Value::Object(object) => Some(object),
            Value::Null | Value::Text(_) | Value::List(_) | Value::Other => None,
        }
    }

    #[test]
    fn text_is_borrowed_unless_it_is_escaped() {
        let event = object("{\"a\":\"plain\",\n\"b\":\"\\u0061\"}").unwrap();
        assert!(matches!(
            event.get("a"),
            Some(Value::Text(Cow::Borrowed("plain")))
        ));
        assert!(matches!(event.get("b"), Some(Value::Text(Cow::Owned(_)))));
        assert_eq!(event.get("b").and_then(Value::as_str), Some("a"));
    }

    #[test]
    fn any_shape_is_read_and_the_last_of_a_name_wins() {
        let text = r#"{"x":1,"x":[null,"a",true,-1,1.5,{"y":"z"},"b",["c"],"b"],
            "body":{"left":["out",1]},"in":{"y":{"z":null}}}"#;
        let event = object(text).unwrap();
        let list = event.get("x").and_then(Value::as_list).unwrap();
        assert!(list.into_iter().eq(["a", "b", "b"]));
        let inner = event.get("in").and_then(Value::as_object).unwrap();
        let inner = inner.get("y").and_then(Value::as_object).unwrap();
        assert!(matches!(inner.get("z"), Some(Value::Null)));
        assert!(!event.contains_key("y") && !event.contains_key("body"));
    }

    #[test]
    fn what_is_no_object_or_nested_without_end_is_refused() {
        for text in ["[]", "1", "null", "", "{", r#"{"a":1}x"#] {
            assert!(object(text).is_none(), "{text}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        assert!(object(&deep).is_none());
        // Nor is there anything else wrong where nobody looks (D60).
        let body = |value: &str| format!(r#"{{"body":{value}}}"#);
        let fit = body(&format!("{}1{}", "[".repeat(100), "]".repeat(100)));
        assert!(object(&fit).is_some());
        let deep = body(&format!("{}1{}", "[".repeat(200), "]".repeat(200)));
        for text in [&deep, &body("tru"), &body(r#""\q""#), &body(r#"{"a"}"#)] {
            assert!(object(text).is_none(), "{text}");
        }
    }

    /// Whether `serde_json` reads the same, as far as an event is looked at.
    fn is_same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
        use serde_json::Value as Theirs;
        match (ours, theirs) {
            (Value::Null, Theirs::Null) | (Value::Other, Theirs::Bool(_) | Theirs::Number(_)) => {
                true
            }
            (Value::Text(ours), Theirs::String(theirs)) => ours == theirs,
            (Value::List(ours), Theirs::Array(theirs)) => ours
                .into_iter()
                .eq(theirs.iter().filter_map(Theirs::as_str)),
            (Value::Object(ours), Theirs::Object(theirs)) => {
                let theirs = theirs.iter().filter(|(name, _)| is_looked_at(name));
                let mut names: Vec<_> = ours.into_iter().map(|(name, _)| name).collect();
                names.sort_unstable();
                names.dedup();
                names.len() == theirs.clone().count()
                    && theirs.into_iter().all(|(name, theirs)| {
                        ours.get(name).is_some_and(|ours| is_same(ours, theirs))
                    })
            }
            _ => false,
        }
    }

    fn agrees_with_serde_json(text: &str) -> bool {
        match (Value::read(text), serde_json::from_str(text)) {
            (Some(ours), Ok(theirs)) => is_same(&ours, &theirs),
            (None, Err(_)) => true,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        }
    }

    #[test]
    fn d60_it_takes_what_serde_json_takes_and_nothing_else() {
        let nested = |depth| {
            let arrays = ["[".repeat(depth), "]".repeat(depth)].concat();
            let objects = [r#"{"body":"#.repeat(depth), "1".into(), "}".repeat(depth)].concat();
            [arrays, objects]
        };
        for text in [127, 128].into_iter().flat_map(nested) {
            assert!(agrees_with_serde_json(&text), "{text}");
        }
        // Texts, numbers and words, lists; one on each line.
        let one_liners = r#"
            "\"" | "\\" | "\\"" | "\ | " | "\u00" | "\u0000" | "\é" | "\/\b" | "a
            "\ud800" | "\udc00\ud800" | "\ud83d\ude00" | "\ud800\u0041" | "é" x
            - | -0 | 01 | 1. | .5 | 1e5 | 1e | 1E+2 | 1e999 | +1 | 0x1 | NaN | 1_0 | 1 1 | 1, | 1"a"
            123456789012345678901234567890 | -9223372036854775809 | nul | nulll | True | truefalse
            //1 | /**/1 | 'a' | é | [,] | [1,] | [1 2] | [1]] | [} | {] | [1} | { } | [[],{}] | [1 | [
            {"a" | {"a":} | {"a":1,} | {,} | {"a":1 "b":2} | {a:1} | {1:1} | {"a"=1} | {"a":1:2}
            {"a":1,"a":2,"\u0061":"3"} | {"a" : 1 , "b":[ ] } | {"a":"b"c} | {"body":1e999}
            {"b\u006fdy":[1],"x":{"identity":"\ud800"}} | {"body":"\n"} | {"x":["a",{"b":"\q"}]}
        "#;
        let control = "\"a\tb\"|\"a\0b\"|\"\\\n\"|\"\u{7f}\u{2028}\"|\n\t \r\"a\"|[\n]|null\u{a0}|\u{b}1|\u{feff}1";
        let one_liners = one_liners.lines().flat_map(|line| line.split(" | "));
        for text in one_liners.map(str::trim).chain(control.split('|')) {
            assert!(agrees_with_serde_json(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn d60_any_text_is_read_as_serde_json_reads_it(
            text in r#"([\[\]{},:"\\/ \n\tntul0-9eE.+é-]|"a"|"body"|:|null|true|\\u[dD][89c-f]00|"":){0,24}"#
        ) {
            prop_assert!(agrees_with_serde_json(&text), "{}", text);
        }

        #[test]
        fn d60_an_event_with_a_flaw_is_read_as_serde_json_reads_it(
            at in any::<prop::sample::Index>(),
            flaw in prop_oneof![Just(String::new()), r#"[\[\]{},:"\\ \n0e-]{1,3}"#, r"\PC", r"\pC"],
            cut in 0..4_usize,
        ) {
            let event = concat!(
                r#"{"type":"REQUEST","headers":{"A":"b\"c\\","é":null},"#,
                r#""multiValueHeaders":{"A":["b","\u00e9\ud83d\ude00"]},"body":{"a":[true,-1.5e3]},"#,
                r#""requestContext":{"identity":{"userAgent":"x\ty"},"requestTimeEpoch":1583817383220}}"#,
            );
            let chars: Vec<_> = event.chars().collect();
            let at = at.index(chars.len());
            let (start, rest) = chars.split_at(at);
            let rest = &rest[cut.min(rest.len())..];
            let text: String = start.iter().copied().chain(flaw.chars()).chain(rest.iter().copied()).collect();
            prop_assert!(agrees_with_serde_json(&text), "{}", text);
        }
    }
}
