//! HTTP Basic, as OAuth uses it (RFC 6749 §2.3.1).

use super::BadRequest;
use super::params::form_decode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// Who a client says it is, and what it offers as proof.
pub struct BasicCredentials {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`; may be empty.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicCredentials([redacted])")
    }
}

/// Reads the value of `Authorization`. `None` if there is none, or of another scheme.
///
/// # Errors
///
/// When the scheme is Basic and the rest is not what the RFC says.
pub fn parse(authorization: Option<&str>) -> Result<Option<BasicCredentials>, BadRequest> {
    const MALFORMED: BadRequest = BadRequest("malformed Basic credentials");
    let Some(authorization) = authorization else {
        return Ok(None);
    };
    let (scheme, credentials) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD
        .decode(credentials)
        .map(Zeroizing::new)
        .map_err(|_| MALFORMED)?;
    // A colon inside either half is percent-encoded, so the first one separates (D54).
    let colon = decoded
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(MALFORMED)?;
    let (client_id, secret) = decoded.split_at_checked(colon).ok_or(MALFORMED)?;
    let client_id = form_decode(client_id)?;
    let secret = Zeroizing::new(form_decode(secret.get(1..).unwrap_or_default())?);
    if client_id.is_empty()
        || [&client_id, &*secret]
            .iter()
            .any(|half| half.contains(char::is_control))
    {
        return Err(MALFORMED);
    }
    Ok(Some(BasicCredentials { client_id, secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(decoded: &[u8]) -> Result<(String, String), BadRequest> {
        let header = format!("Basic {}", STANDARD.encode(decoded));
        let credentials = parse(Some(&header))?.unwrap();
        Ok((credentials.client_id, credentials.secret.to_string()))
    }

    #[test]
    fn both_halves_are_form_decoded() {
        let pair = |id: &str, secret: &str| Ok((id.to_owned(), secret.to_owned()));
        assert_eq!(parsed(b"client:secret"), pair("client", "secret"));
        assert_eq!(parsed(b"a%3Ab:c%3Ad"), pair("a:b", "c:d"));
        assert_eq!(parsed(b"a+b:c+d%2B"), pair("a b", "c d+"));
        assert_eq!(parsed("%C3%A9:é".as_bytes()), pair("é", "é"));
        assert_eq!(parsed(b"client:se:cret"), pair("client", "se:cret"));
        assert_eq!(parsed(b"client:"), pair("client", ""));
    }

    #[test]
    fn the_scheme_has_no_case() {
        assert!(parse(Some("bASIC YTpi")).unwrap().is_some());
    }

    #[test]
    fn another_scheme_is_not_ours_to_judge() {
        for header in [
            None,
            Some("Bearer x"),
            Some(""),
            Some("Basics YTpi"),
            Some("Bearer"),
        ] {
            assert!(parse(header).unwrap().is_none(), "{header:?}");
        }
    }

    #[test]
    fn malformed_credentials_are_refused_d54() {
        for header in [
            "Basic",
            "Basic ",
            "Basic  YTpi",
            "Basic YTpi ",
            "Basic YTpi, Basic YTpi",
            "Basic YTpi=",
            "Basic YTp",
            "Basic YTp_",
            "Basic Y Tpi",
        ] {
            assert!(parse(Some(header)).is_err(), "{header}");
        }
        for decoded in [
            &b"no colon"[..],
            b":secret",
            b"a%:b",
            b"a%zz:b",
            b"\xff:b",
            b"a:%ff",
            b"a:b\n",
            b"a%00:b",
        ] {
            assert!(parsed(decoded).is_err(), "{decoded:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let credentials = parse(Some("Basic Y2FuYXJ5OmNhbmFyeQ==")).unwrap().unwrap();
        assert_eq!(credentials.client_id, "canary");
        assert!(!format!("{credentials:?}").contains("canary"));
    }
}
