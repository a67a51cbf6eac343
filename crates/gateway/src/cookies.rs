//! Our two kinds of cookie: the session, and one per login under way.
//!
//! `__Host-Http-` makes a browser refuse them from a sibling host, from plain http
//! and from a script (RFC 10017 §6.1.3.2; D15, D71). Browsers match that prefix
//! whatever its case when they set a cookie, so the name is compared exactly here.

use crate::headers::Headers;
use std::fmt;

/// The browser session's cookie.
pub const SESSION: &str = "__Host-Http-cloakroom";

const LOGIN_PREFIX: &str = "__Host-Http-login-";

/// Browsers drop what is longer (RFC 6265bis §5.5).
const MAX_LEN: usize = 4096;

/// The name of the cookie of one login under way.
pub fn login_name(suffix: &str) -> String {
    format!("{LOGIN_PREFIX}{suffix}")
}

/// A cookie occurs twice: somebody may have planted one of them (D16).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a cookie occurs more than once")]
pub struct DuplicateCookie;

/// The value of a cookie, by its exact name (D17).
///
/// # Errors
///
/// When there are two of this name: the order says nothing (RFC 6265bis §4.2.2).
pub fn value<'a>(headers: &'a Headers<'_>, name: &str) -> Result<Option<&'a str>, DuplicateCookie> {
    let mut values =
        pairs(headers).filter_map(|(candidate, value)| (candidate == name).then_some(value));
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(DuplicateCookie),
    }
}

/// The suffixes of the logins that this browser has under way, each once.
pub fn pending_logins<'a>(headers: &'a Headers<'_>) -> Vec<&'a str> {
    let mut suffixes: Vec<_> = pairs(headers)
        .filter_map(|(name, _)| name.strip_prefix(LOGIN_PREFIX))
        .filter(|suffix| is_plain(suffix))
        .collect();
    suffixes.sort_unstable();
    suffixes.dedup();
    suffixes
}

fn pairs<'a>(headers: &'a Headers<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    headers
        .all("cookie")
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
}

/// The value of a `Set-Cookie` header. Exists only well-formed.
#[derive(Clone, Eq, PartialEq)]
pub struct SetCookie(String);

/// A value or a suffix that does not belong into a cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a cookie value of ours")]
pub struct BadCookie;

impl SetCookie {
    /// Hands the session to the browser. Strict: no other site's page can make a
    /// request that carries it.
    ///
    /// # Errors
    ///
    /// When `value` holds anything but `[A-Za-z0-9._~-]`, or is too long.
    pub fn session(value: &str, max_age: u64) -> Result<Self, BadCookie> {
        Self::new(SESSION, value, SameSite::Strict, max_age)
    }

    /// Remembers a login under way. Lax: the identity provider's redirect back to us
    /// is a cross-site navigation, on which a Strict cookie is not sent (A19.6).
    ///
    /// # Errors
    ///
    /// As [`SetCookie::session`], for the suffix too.
    pub fn login(suffix: &str, value: &str, max_age: u64) -> Result<Self, BadCookie> {
        Self::new(&login_name(suffix), value, SameSite::Lax, max_age)
    }

    /// Takes the session away.
    pub fn clear_session() -> Self {
        Self::text(SESSION, "", SameSite::Strict, 0)
    }

    /// Forgets a login.
    ///
    /// # Errors
    ///
    /// When `suffix` is not one of ours.
    pub fn clear_login(suffix: &str) -> Result<Self, BadCookie> {
        Self::new(&login_name(suffix), "", SameSite::Lax, 0)
    }

    /// The header's value: for the response, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn new(name: &str, value: &str, same_site: SameSite, max_age: u64) -> Result<Self, BadCookie> {
        // `;` would add attributes, CR and LF headers (A19.11).
        if !is_plain(name) || !is_plain(value) || name.len() + value.len() > MAX_LEN {
            return Err(BadCookie);
        }
        Ok(Self::text(name, value, same_site, max_age))
    }

    /// Clearing needs the same attributes: without `Secure` a browser ignores the
    /// removal of a `__Host-` cookie (A19.10).
    fn text(name: &str, value: &str, same_site: SameSite, max_age: u64) -> Self {
        Self(format!(
            "{name}={value}; Path=/; Max-Age={max_age}; Secure; HttpOnly; SameSite={same_site:?}"
        ))
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetCookie([redacted])")
    }
}

#[derive(Clone, Copy, Debug)]
enum SameSite {
    Lax,
    Strict,
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(line: &str) -> Headers<'_> {
        Headers::from_iter([("Cookie", line)])
    }

    #[test]
    fn a_cookie_is_found_among_others_and_in_a_second_header() {
        let one = cookie("a=1;  __Host-Http-cloakroom=x=y ;b=2");
        assert_eq!(value(&one, SESSION), Ok(Some("x=y")));
        let two = Headers::from_iter([("cookie", "a=1"), ("cookie", "__Host-Http-cloakroom=x")]);
        assert_eq!(value(&two, SESSION), Ok(Some("x")));
    }

    #[test]
    fn two_cookies_of_one_name_are_refused_even_if_equal_d16() {
        for headers in [
            cookie("__Host-Http-cloakroom=x; __Host-Http-cloakroom=x"),
            Headers::from_iter([
                ("cookie", "__Host-Http-cloakroom=x"),
                ("cookie", "__Host-Http-cloakroom=y"),
            ]),
        ] {
            assert_eq!(value(&headers, SESSION), Err(DuplicateCookie));
        }
    }

    #[test]
    fn only_the_exact_name_counts_d17() {
        for name in [
            "__host-http-cloakroom",
            "__HOST-HTTP-CLOAKROOM",
            "__Host-Http-Cloakroom",
            "__Host-Http-cloakroom2",
            "__Host-cloakroom",
            " x__Host-Http-cloakroom",
            "\u{a0}__Host-Http-cloakroom",
        ] {
            assert_eq!(
                value(&cookie(&format!("{name}=x")), SESSION),
                Ok(None),
                "{name}"
            );
        }
    }

    #[test]
    fn odd_values_come_through_as_they_are_for_the_token_parser_to_refuse_d18() {
        for odd in ["\"x\"", "%00", "a b", "é"] {
            let line = format!("{SESSION}={odd}");
            let headers = cookie(&line);
            assert_eq!(value(&headers, SESSION), Ok(Some(odd)));
        }
    }

    #[test]
    fn the_session_cookie_is_strict_and_the_login_cookie_is_lax() {
        assert_eq!(
            SetCookie::session("cr_st_x", 60).unwrap().expose(),
            "__Host-Http-cloakroom=cr_st_x; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict"
        );
        assert_eq!(
            SetCookie::login("ab", "v", 600).unwrap().expose(),
            "__Host-Http-login-ab=v; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn clearing_keeps_every_attribute() {
        assert_eq!(
            SetCookie::clear_session().expose(),
            "__Host-Http-cloakroom=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict"
        );
        assert_eq!(
            SetCookie::clear_login("ab").unwrap().expose(),
            "__Host-Http-login-ab=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_value_cannot_add_an_attribute_or_a_header() {
        for value in [
            "x; Domain=evil",
            "x\r\nSet-Cookie: a=b",
            "x,y",
            "a b",
            "\"x\"",
            "é",
        ] {
            assert_eq!(SetCookie::session(value, 1), Err(BadCookie), "{value}");
            assert_eq!(SetCookie::login(value, "v", 1), Err(BadCookie), "{value}");
            assert_eq!(SetCookie::clear_login(value), Err(BadCookie), "{value}");
        }
    }

    #[test]
    fn name_and_value_fit_into_4096_bytes_and_not_one_more() {
        let fits = "x".repeat(4096 - SESSION.len());
        assert!(SetCookie::session(&fits, 1).is_ok());
        assert_eq!(SetCookie::session(&format!("{fits}x"), 1), Err(BadCookie));
    }

    #[test]
    fn pending_logins_are_listed_once_each() {
        let headers =
            cookie("__Host-Http-login-b=1; x=1; __Host-Http-login-a=1; __Host-Http-login-a=2");
        assert_eq!(pending_logins(&headers), ["a", "b"]);
        assert!(pending_logins(&cookie("__host-http-login-a=1")).is_empty());
    }

    #[test]
    fn debug_shows_no_value() {
        let cookie = SetCookie::session("canary", 1).unwrap();
        assert!(!format!("{cookie:?}").contains("canary"));
    }
}
