//! Request headers as they came: names without case, duplicates kept.
//!
//! The authorizer reads its events leniently and the HTTP functions read theirs
//! through `lambda_http`'s types; both hand the result on as this one type, so
//! that cookies and CSRF are judged by the same code.

use std::fmt;

/// The headers of one request.
#[derive(Clone, Default)]
pub struct Headers(Vec<(String, String)>);

/// A header occurs twice where it may occur once. Which of the two a program
/// takes is what an attacker plays on (D27).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a header occurs more than once")]
pub struct DuplicateHeader;

impl Headers {
    /// Adds a header; one of the same name stays.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_ascii_lowercase(), value.into()));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All values of a header, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
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

    /// The names, in lower case; each as often as it occurs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether a header occurs.
    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    #[cfg(feature = "http")]
    pub(crate) fn remove(&mut self, name: &str) {
        self.0
            .retain(|(candidate, _)| !candidate.eq_ignore_ascii_case(name));
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut result = Self::default();
        for (name, value) in headers {
            result.push(name.as_ref(), value);
        }
        result
    }
}

/// Names alone: values are tokens, cookies, secrets.
impl fmt::Debug for Headers {
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
