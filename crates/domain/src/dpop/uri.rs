//! URIs in the one form in which they can be compared (RFC 3986 §6.2.2 and §6.2.3).

use crate::target::{self, Reading};

/// An http or https URI without query and fragment, whatever its spelling. `None` if it
/// is none, or names a user.
///
/// What cannot stand in a URI is percent-encoded: gateways hand some paths over decoded.
pub(super) fn normalize(text: &str) -> Option<String> {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://")?;
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "https" => ("https", 443),
        "http" => ("http", 80),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = split_authority(authority)?;
    let host = host.to_ascii_lowercase();
    let path = without_dots(&decoded(path)?);
    Some(match port.filter(|port| *port != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    })
}

/// Whether a normalized URI is that of a request to `path` below the issuer. A path that
/// matches no route is nobody's (see [`Reading`]).
///
/// What the gateway decoded is compared decoded: which of its characters the client had
/// encoded is not known. An encoded slash is known, though: it would be one slash more.
pub(super) fn is_about(uri: &str, issuer: &str, path: &str, reading: Reading) -> bool {
    if !reading.accepts(path) {
        return false;
    }
    if reading != Reading::Decoded {
        return normalize(&format!("{issuer}{path}")).as_deref() == Some(uri);
    }
    let base = normalize(issuer).unwrap_or_default();
    uri.strip_prefix(base.trim_end_matches('/'))
        .is_some_and(|theirs| {
            let slashes = |path: &str| path.matches('/').count();
            slashes(theirs) == slashes(path) && target::decoded(theirs).as_deref() == Some(path)
        })
}

fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an IPv6 address alone.
        Some((_, rest)) if rest.ends_with(']') => (authority, ""),
        Some((host, port)) => (host, port),
        None => (authority, ""),
    };
    let clean = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~[]:".contains(&b));
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    clean.then_some((host, port))
}

/// Unreserved characters in the clear, all else that is encoded in capitals. `None` if
/// a percent sign stands alone.
fn decoded(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                let byte = u8::try_from(high * 16 + low).ok()?;
                if !is_unreserved(byte) {
                    push_encoded(&mut out, byte);
                    continue;
                }
                byte
            }
            byte => byte,
        };
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            push_encoded(&mut out, byte);
        }
    }
    Some(out)
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.extend(DIGITS.get(usize::from(nibble)));
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 §5.2.4, for a path that is absolute or empty.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uri_has_one_form() {
        for (text, normal) in [
            ("https://a.example/x", "https://a.example/x"),
            ("HTTPS://A.Example/x", "https://a.example/x"),
            ("https://a.example:443/x", "https://a.example/x"),
            ("https://a.example:/x", "https://a.example/x"),
            ("https://a.example:0443/x", "https://a.example/x"),
            ("http://a.example:80", "http://a.example/"),
            ("http://a.example:443/x", "http://a.example:443/x"),
            ("https://a.example", "https://a.example/"),
            ("https://a.example?q", "https://a.example/"),
            ("https://a.example/x?q=/../#f", "https://a.example/x"),
            ("https://a.example/x#f", "https://a.example/x"),
            (
                "https://a.example/%7euser/%2f%2F",
                "https://a.example/~user/%2F%2F",
            ),
            (
                "https://a.example/a/./b/../c/%2e%2E/d",
                "https://a.example/a/d",
            ),
            ("https://a.example/../../x", "https://a.example/x"),
            ("https://a.example/a/..", "https://a.example/"),
            ("https://a.example/a/.", "https://a.example/a/"),
            ("https://a.example//a/", "https://a.example//a/"),
            ("https://a.example/é x", "https://a.example/%C3%A9%20x"),
            ("http://[::1]:3000/x", "http://[::1]:3000/x"),
            ("http://[::1]/x", "http://[::1]/x"),
        ] {
            assert_eq!(normalize(text).as_deref(), Some(normal), "{text}");
        }
    }

    #[test]
    fn another_uri_has_another_form() {
        let all = [
            "https://a.example/x",
            "http://a.example/x",
            "https://b.example/x",
            "https://a.example:8443/x",
            "https://a.example/X",
            "https://a.example/x/",
            "https://a.example/x%2F",
            "https://a.example/",
            "https://a.example/x/y",
        ];
        let forms: std::collections::BTreeSet<_> = all.iter().map(|text| normalize(text)).collect();
        assert_eq!(forms.len(), all.len());
    }

    #[test]
    fn what_is_no_http_uri_has_none() {
        for text in [
            "",
            "/x",
            "a.example/x",
            "//a.example/x",
            "ftp://a.example/x",
            "https:/a.example/x",
            "https:///x",
            "https://user@a.example/x",
            "https://a.example@evil.example/x",
            "https://a.example:x/",
            "https://a.example:+443/",
            "https://a.example:99999/",
            "https://a.exa mple/x",
            "https://a%2eexample/x",
            "https://a.example/%",
            "https://a.example/%2",
            "https://a.example/%zz",
        ] {
            assert_eq!(normalize(text), None, "{text}");
        }
    }
}
