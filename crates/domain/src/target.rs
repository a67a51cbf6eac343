//! Which request targets are accepted, and how the others are refused: they match no route.
//!
//! The path that decides is one that the client wrote. Between the client and the service
//! stand programs that read it in their own way: some decode it once, some twice, some remove
//! dot segments, merge slashes, or cut off what follows a `;` or a `#`. A path that two
//! programs read differently leads to another resource than the one that was authorized
//! (D34, D76). So a path is accepted only if every reading of it is the same, and this module
//! is the only place that says which paths those are.
//!
//! A path begins with `/`. No segment is empty (so there is no `//` and no `/` at the end,
//! except in the path `/`), and none is `.` or `..`. What a segment may hold depends on how
//! the path reached us; see [`Reading`].

use std::borrow::Cow;

/// How a path reached us, which decides what may stand in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reading {
    /// As the client wrote it, and we choose the route by it: TOKEN authorizers, function
    /// URLs, load balancers, and what a trusted proxy forwards.
    ///
    /// Accepted are the unreserved characters (RFC 3986 §2.3), `! & ' ( ) + , = : @`, and
    /// percent-encoded: spaces, and well-formed UTF-8 beyond ASCII that is no control
    /// character.
    #[default]
    Written,
    /// As the client wrote it, but the gateway chose the route: REST APIs, REQUEST
    /// authorizers. Also `$ ! & ' ( ) + , = : @` may be percent-encoded: browsers and URL
    /// libraries do so with data in a segment.
    Routed,
    /// Decoded once by the gateway, which chose the route: HTTP APIs.
    ///
    /// Accepted is all but `? # \ ; * { }`, control characters, U+FFFD (which stands for
    /// bytes that were no UTF-8), and a `%` before two hexadecimal digits, which a second
    /// decoding would change.
    Decoded,
}

/// The sub-delims that are accepted (all but `$`, `;` and `*`), `:` and `@` (RFC 3986 §3.3).
const RESERVED: &[u8] = b"!&'()+,=:@";

impl Reading {
    /// Whether this path is accepted.
    pub fn accepts(self, path: &str) -> bool {
        path.strip_prefix('/').is_some_and(|segments| {
            segments.is_empty() || segments.split('/').all(|text| self.accepts_segment(text))
        })
    }

    fn accepts_segment(self, segment: &str) -> bool {
        if matches!(segment, "" | "." | "..") {
            return false;
        }
        if self == Self::Decoded {
            return is_decoded(segment);
        }
        let mut parts = segment.split('%');
        let mut encoded = Vec::new();
        parts.next().is_some_and(is_raw)
            && parts.all(|part| {
                let Some((digits, raw)) = part.split_at_checked(2) else {
                    return false;
                };
                let Some(byte) = hexadecimal(digits) else {
                    return false;
                };
                encoded.push(byte);
                // Only a run of encoded bytes can be a character.
                raw.is_empty()
                    || (is_raw(raw) && self.accepts_encoded(&std::mem::take(&mut encoded)))
            })
            && self.accepts_encoded(&encoded)
    }

    fn accepts_encoded(self, run: &[u8]) -> bool {
        let fits = |c: char| match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => self.accepts_encoded_ascii(byte),
            _ => !c.is_control() && c != char::REPLACEMENT_CHARACTER,
        };
        str::from_utf8(run).is_ok_and(|text| text.chars().all(fits))
    }

    /// Whether this ASCII character may be percent-encoded.
    pub(crate) fn accepts_encoded_ascii(self, byte: u8) -> bool {
        byte == b' ' || (self == Self::Routed && (RESERVED.contains(&byte) || byte == b'$'))
    }
}

fn is_raw(text: &str) -> bool {
    text.bytes()
        .all(|byte| is_unreserved(byte) || RESERVED.contains(&byte))
}

/// RFC 3986 §2.3
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_decoded(segment: &str) -> bool {
    let is_odd =
        |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER || "?#\\;*{}".contains(c);
    let encodes = |rest: &str| {
        rest.get(..2)
            .is_some_and(|digits| hexadecimal(digits).is_some())
    };
    !segment.contains(is_odd) && !segment.split('%').skip(1).any(encodes)
}

/// Two hexadecimal digits.
pub(crate) fn hexadecimal(digits: &str) -> Option<u8> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = u8::from_str_radix(digits, 16).ok();
    byte.filter(|_| are_digits && digits.len() == 2)
}

/// What a path must not hold to be accepted, as patterns in which `*` is any text. A policy
/// that covers a route with variables denies them, since API Gateway may keep it for other
/// paths of the route. `*` and `?` themselves cannot be written so.
pub fn refused_patterns() -> Vec<String> {
    let mut patterns: Vec<String> = [
        "*/", "*//*", "*/./*", "*/../*", "*/.", "*/..", "*;*", "*#*", "*\\*",
        // Overlong forms of ASCII (RFC 3629 §3).
        "*%C0*", "*%c0*", "*%C1*", "*%c1*", "*%E0%8*", "*%e0%8*", "*%E0%9*", "*%e0%9*", "*%F0%8*",
        "*%f0%8*",
    ]
    .map(str::to_owned)
    .to_vec();
    for high in 0..8_u8 {
        let refused =
            (0..16_u8).filter(|low| !Reading::Routed.accepts_encoded_ascii(high * 16 + low));
        let mut refused: Vec<_> = refused
            .flat_map(|low| [format!("*%{high}{low:X}*"), format!("*%{high}{low:x}*")])
            .collect();
        refused.dedup();
        if refused.len() == 22 {
            refused = vec![format!("*%{high}*")];
        }
        patterns.extend(refused);
    }
    patterns
}

/// The path of a request target in origin form (RFC 9112 §3.2.1): what stands before its
/// query. `None` for a target with a `#`, a space or an ASCII control character anywhere:
/// a request target has no fragment.
pub fn path_of(target: &str) -> Option<&str> {
    let is_odd = |byte: u8| byte <= b' ' || byte == b'#' || byte == 0x7f;
    let path = target.split('?').next()?;
    (!target.bytes().any(is_odd)).then_some(path)
}

/// The path with its percent-encodings in capitals, so that one path has one spelling
/// (RFC 3986 §6.2.2.1).
pub fn canonical(path: Cow<'_, str>) -> Cow<'_, str> {
    if !path.contains('%') {
        return path;
    }
    let mut digits = 0_u8;
    path.chars()
        .map(|c| {
            let in_capitals = if digits > 0 {
                c.to_ascii_uppercase()
            } else {
                c
            };
            digits = if c == '%' {
                2
            } else {
                digits.saturating_sub(1)
            };
            in_capitals
        })
        .collect::<String>()
        .into()
}

/// The path decoded once, if that is text.
pub fn decoded(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(hexadecimal(digits)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
