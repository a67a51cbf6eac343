//! Request headers as they came: names without case, duplicates kept, texts borrowed
//! from the event where they can be.
//!
//! The authorizer reads its events leniently and the HTTP functions refuse a header that
//! could not have come over HTTP; both hand the result on as this one type, so
//! that cookies and CSRF are judged by the same code.

use std::borrow::Cow;
use std::fmt;

/// The headers of one request.
#[derive(Clone, Default)]
pub struct Headers<'e>(Vec<(Cow<'e, str>, Cow<'e, str>)>);

/// A header occurs twice where it may occur once. Which of the two a program
/// takes is what an attacker plays on (D27).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a header occurs more than once")]
pub struct DuplicateHeader;

impl<'e> Headers<'e> {
    /// None yet, with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds a header; one of the same name stays.
    pub fn push(&mut self, name: impl Into<Cow<'e, str>>, value: impl Into<Cow<'e, str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All values of a header, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(other, _)| other.len() == name.len() && is_same(other, name))
            .map(|(_, value)| &**value)
    }

    /// The value of a header that may occur once.
    ///
    /// # Errors
    ///
    /// When it occurs more often, even with the same value.
    pub fn one(&self, name: &str) -> Result<Option<&str>, DuplicateHeader> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(DuplicateHeader),
        }
    }

    /// The names as they came; each as often as it occurs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether this is in this place, written so.
    pub(crate) fn is_at(&self, place: usize, name: &str, value: &str) -> bool {
        let header = self.0.get(place);
        header.is_some_and(|(other_name, other)| other_name == name && other == value)
    }

    /// Whether a header occurs.
    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    #[cfg(feature = "http")]
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !is_same(other, name));
    }
}

/// Names have no case. Most are written alike all the same, which is quicker to see.
fn is_same(one: &str, other: &str) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

impl<'e, N: Into<Cow<'e, str>>, V: Into<Cow<'e, str>>> FromIterator<(N, V)> for Headers<'e> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let headers = headers.into_iter();
        Self(
            headers
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Names alone: values are tokens, cookies, secrets.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_whatever_the_case_of_its_name() {
        let headers = Headers::from_iter([("X-CSRF", "1")]);
        assert_eq!(headers.one("x-csrf"), Ok(Some("1")));
        assert_eq!(headers.one("x-csrf2"), Ok(None));
    }

    #[test]
    fn a_header_that_occurs_twice_is_an_error_and_not_the_first() {
        let headers = Headers::from_iter([("Authorization", "a"), ("authorization", "a")]);
        assert_eq!(headers.one("authorization"), Err(DuplicateHeader));
        assert_eq!(headers.all("authorization").count(), 2);
    }

    #[test]
    fn debug_shows_no_value() {
        let headers = Headers::from_iter([("cookie", "canary")]);
        assert_eq!(format!("{headers:?}"), r#"["cookie"]"#);
    }
}
