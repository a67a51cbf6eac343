//! Parameters of a query or a form, read strictly.

use super::BadRequest;
use percent_encoding::percent_decode;
use std::fmt;

/// Decoded parameters, each name once.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// May be there several times (RFC 8693 §2.1, RFC 8707 §2).
    const REPEATABLE: [&str; 2] = ["audience", "resource"];

    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BadRequest> {
        let pairs = text
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let mut halves = pair.splitn(2, |byte| *byte == b'=');
                let mut half = || form_decode(halves.next().unwrap_or_default());
                Ok((half()?, half()?))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(pairs)
    }

    /// Two of a name are refused, since which one counts is for an attacker to choose
    /// (RFC 6749 §3.2, D53).
    pub(super) fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BadRequest> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let mut names: Vec<_> = pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !Self::REPEATABLE.contains(name))
            .collect();
        names.sort_unstable();
        if names.windows(2).any(|two| matches!(two, [a, b] if a == b)) {
            return Err(BadRequest("a parameter occurs more than once"));
        }
        Ok(Self(pairs))
    }

    /// The value of `name`. An empty one counts as absent (RFC 6749 §3.1), and of a
    /// repeatable one that came several times there is no such thing: use [`Params::all`].
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// All values of `name` that are not empty.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(candidate, value)| candidate == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All of them, as they came.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names that occur.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names alone: values are codes, tokens, secrets.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// `+` and percent-encoding, undone without guessing: half an escape and what is not
/// UTF-8 are refused.
pub(super) fn form_decode(text: &[u8]) -> Result<String, BadRequest> {
    const MALFORMED: BadRequest = BadRequest("malformed percent-encoding");
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    if !escapes
        .all(|rest| matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
    {
        return Err(MALFORMED);
    }
    let spaced: Vec<_> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| MALFORMED)
}

/// Adds parameters to a URL that may have a query already (RFC 6749 §3.1.2).
pub fn with_query(url: &str, parameters: &[(&str, &str)]) -> String {
    if parameters.is_empty() {
        return url.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let params = Params::parse("a=x+y%2B%C3%A9&b==&c&&d=".as_bytes()).unwrap();
        assert_eq!(params.get("a"), Some("x y+é"));
        assert_eq!(params.get("b"), Some("="));
        assert_eq!(params.get("c"), None);
        assert_eq!(params.get("d"), None, "without a value is omitted");
        assert_eq!(params.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_parameter_twice_is_refused_even_if_equal_or_empty_d53() {
        for text in ["a=1&a=1", "a=1&a=2", "a=&a=1", "a&a", "a=1&%61=2"] {
            assert!(Params::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Params::parse(b"a=1&A=2").is_ok(), "names have a case");
    }

    #[test]
    fn resource_and_audience_may_repeat_and_then_there_is_no_one_value() {
        let params = Params::parse(b"resource=a&resource=b&resource=&audience=c").unwrap();
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.get("resource"), None);
        assert_eq!(params.get("audience"), Some("c"));
    }

    #[test]
    fn malformed_encodings_are_refused_d53() {
        for text in [
            "a=%", "a=%2", "a=%zz", "a=%+1", "%=a", "a=%ff", "a=%c3%28", "a=%%20",
        ] {
            assert!(Params::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(
            Params::parse(b"a=\xff").is_err(),
            "raw bytes that are no UTF-8"
        );
    }

    #[test]
    fn debug_shows_no_value() {
        let params = Params::parse(b"client_secret=canary").unwrap();
        assert_eq!(format!("{params:?}"), r#"["client_secret"]"#);
    }

    #[test]
    fn a_query_is_added_to_what_is_there() {
        let added = |url| with_query(url, &[("code", "a b&c"), ("iss", "https://x")]);
        assert_eq!(
            added("https://c.example/cb"),
            "https://c.example/cb?code=a+b%26c&iss=https%3A%2F%2Fx"
        );
        assert_eq!(
            added("https://c.example/cb?x=1"),
            "https://c.example/cb?x=1&code=a+b%26c&iss=https%3A%2F%2Fx"
        );
        assert_eq!(
            added("com.example:/cb?"),
            "com.example:/cb?code=a+b%26c&iss=https%3A%2F%2Fx"
        );
        assert_eq!(
            with_query("https://c.example/cb", &[]),
            "https://c.example/cb"
        );
    }
}
