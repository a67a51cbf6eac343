//! Whether a request that carries the cookie was made by our own pages (D20, D21).
//!
//! `X-CSRF` is what a foreign page cannot send without a preflight that is never
//! answered with it. `Origin` and `Sec-Fetch-Site` are judged when present; old browsers and
//! programs leave them out, which is no fault. `SameSite` alone would not do:
//! sibling hosts are the same site (RFC 10017 §6.1.3.3). Nothing depends on the
//! method, so no method override gets around it (D25).

use crate::headers::Headers;

/// Why a request is refused. For the log; the caller sees 403 and no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CsrfFault {
    /// `X-CSRF: 1` is missing, different, or there twice.
    #[error("csrf header")]
    Header,
    /// `Origin` is foreign, `null`, or there twice.
    #[error("foreign origin")]
    Origin,
    /// `Sec-Fetch-Site` says that another site's page asks.
    #[error("foreign fetch site")]
    FetchSite,
}

/// Where a request comes from, by its `Origin`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The header is absent.
    Absent,
    /// The issuer's own.
    Own,
    /// One of those that the configuration allows.
    Allowed,
}

/// Judges a request that is authenticated by the cookie. That is for pages of the issuer's
/// own origin: allowed ones bring a token of their own.
///
/// # Errors
///
/// The first check that fails.
pub fn judge(headers: &Headers<'_>, issuer: &str) -> Result<(), CsrfFault> {
    if headers.one("x-csrf") != Ok(Some("1")) {
        return Err(CsrfFault::Header);
    }
    origin(headers, issuer, &[])?;
    match headers
        .one("sec-fetch-site")
        .map_err(|_| CsrfFault::FetchSite)?
    {
        // `none` is the user's own doing: no page can cause it.
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(CsrfFault::FetchSite),
    }
}

/// Judges `Origin` alone, for what cannot carry `X-CSRF`: a WebSocket's `$connect`
/// (D22) and a form of our own. What its absence means is the caller's to say.
///
/// # Errors
///
/// [`CsrfFault::Origin`] when it is there, and neither ours nor allowed.
pub fn origin(
    headers: &Headers<'_>,
    issuer: &str,
    allowed_origins: &[String],
) -> Result<Origin, CsrfFault> {
    match headers.one("origin").map_err(|_| CsrfFault::Origin)? {
        None => Ok(Origin::Absent),
        // Exact text: a prefix or suffix match is how lookalikes get in (D21).
        Some(origin) if origin == origin_of(issuer) => Ok(Origin::Own),
        Some(origin) if allowed_origins.iter().any(|allowed| allowed == origin) => {
            Ok(Origin::Allowed)
        }
        Some(_) => Err(CsrfFault::Origin),
    }
}

/// Scheme and authority. The configuration's own check has seen to the rest.
fn origin_of(issuer: &str) -> &str {
    let authority = issuer.find("://").map_or(0, |at| at + 3);
    let end = issuer
        .get(authority..)
        .and_then(|rest| rest.find('/'))
        .map_or(issuer.len(), |at| authority + at);
    issuer.get(..end).unwrap_or(issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://app.example.com/tenant";

    fn judged(headers: &[(&str, &str)]) -> Result<(), CsrfFault> {
        judge(&headers.iter().copied().collect(), ISSUER)
    }

    fn from(value: &str) -> Result<Origin, CsrfFault> {
        let headers = [("origin", value)].into_iter().collect();
        origin(&headers, ISSUER, &["https://shop.example.com".to_owned()])
    }

    #[test]
    fn the_header_alone_suffices_for_a_program_without_origin() {
        assert_eq!(judged(&[("X-CSRF", "1")]), Ok(()));
    }

    #[test]
    fn the_header_must_be_there_once_and_say_exactly_1() {
        assert_eq!(judged(&[]), Err(CsrfFault::Header));
        for value in ["", "0", "true", "1 ", "11", "1,1", "1, 1"] {
            assert_eq!(
                judged(&[("x-csrf", value)]),
                Err(CsrfFault::Header),
                "{value}"
            );
        }
        assert_eq!(
            judged(&[("x-csrf", "1"), ("X-CSRF", "1")]),
            Err(CsrfFault::Header)
        );
    }

    #[test]
    fn our_own_origin_passes_and_an_allowed_one_not_with_the_cookie() {
        let (own, allowed) = ("https://app.example.com", "https://shop.example.com");
        assert_eq!(judged(&[("x-csrf", "1"), ("origin", own)]), Ok(()));
        let refused = judged(&[("x-csrf", "1"), ("origin", allowed)]);
        assert_eq!(refused, Err(CsrfFault::Origin));
        assert_eq!(from(own), Ok(Origin::Own));
        assert_eq!(from(allowed), Ok(Origin::Allowed));
        for neighbour in [
            "http://shop.example.com",
            "https://shop.example.com:8443",
            "https://shop.example.com/",
            "https://www.shop.example.com",
            "null",
        ] {
            assert_eq!(from(neighbour), Err(CsrfFault::Origin), "{neighbour}");
        }
    }

    #[test]
    fn lookalike_and_null_origins_are_refused_d21() {
        for origin in [
            "",
            "null",
            "https://evil.example",
            "https://app.example.com.evil",
            "https://evilapp.example.com",
            "https://app.example.com/",
            "https://app.example.com/tenant",
            "https://app.example.com:443",
            "https://app.example.co",
            "http://app.example.com",
            "https://APP.example.com",
            "https://app.example.com, https://app.example.com",
            "app.example.com",
            "https://",
        ] {
            let refused = judged(&[("x-csrf", "1"), ("origin", origin)]);
            assert_eq!(refused, Err(CsrfFault::Origin), "{origin}");
        }
        let twice = [
            ("x-csrf", "1"),
            ("origin", "https://app.example.com"),
            ("origin", "https://app.example.com"),
        ];
        assert_eq!(judged(&twice), Err(CsrfFault::Origin));
    }

    #[test]
    fn fetch_metadata_is_judged_when_present_d20() {
        for good in ["same-origin", "none"] {
            assert_eq!(judged(&[("x-csrf", "1"), ("sec-fetch-site", good)]), Ok(()));
        }
        for bad in [
            "cross-site",
            "same-site",
            "",
            "Same-Origin",
            "same-origin, cross-site",
        ] {
            let refused = judged(&[("x-csrf", "1"), ("sec-fetch-site", bad)]);
            assert_eq!(refused, Err(CsrfFault::FetchSite), "{bad}");
        }
    }

    #[test]
    fn our_own_origin_is_never_another_site() {
        for site in ["same-site", "cross-site"] {
            let lies = judged(&[
                ("x-csrf", "1"),
                ("origin", "https://app.example.com"),
                ("sec-fetch-site", site),
            ]);
            assert_eq!(lies, Err(CsrfFault::FetchSite));
        }
    }

    #[test]
    fn the_origin_of_an_issuer_is_its_scheme_and_authority() {
        for (issuer, origin) in [
            ("https://a.example", "https://a.example"),
            ("https://a.example/", "https://a.example"),
            ("https://a.example/x/y", "https://a.example"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(origin_of(issuer), origin);
        }
    }
}
