//! Where a login lands: on a path of this site (D6).

/// Keeps `text` if it is a path on this site, else `/`.
///
/// It must be one as it is written, and however often something on its way decodes it: at
/// every depth of percent-encoding, its path begins with one slash, has no dot segment, no
/// backslash and no control character. So a browser takes nothing out of it and stays on
/// this site. What has no place in a URL is not kept either.
pub fn local_path(text: &str) -> &str {
    const DEFAULT: &str = "/";
    const MAX_LEN: usize = 2048;
    let printable = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('\\');
    let path = text.split(['?', '#']).next().unwrap_or_default();
    // What looks like a user name, a port or a scheme.
    let plain = !path.contains(['@', ':']);
    if text.len() <= MAX_LEN && printable && plain && stays_here(path.as_bytes()) {
        text
    } else {
        DEFAULT
    }
}

fn stays_here(path: &[u8]) -> bool {
    let mut path = path.to_vec();
    loop {
        let mut segments = path.split(|b| *b == b'/');
        let is_local = path.starts_with(b"/")
            && path.get(1) != Some(&b'/')
            && !segments.any(|segment| segment == b"." || segment == b"..")
            && !path.iter().any(|b| *b == b'\\' || b.is_ascii_control());
        if !is_local {
            return false;
        }
        let decoded = decoded(&path);
        if decoded == path {
            return true;
        }
        path = decoded;
    }
}

/// Decoded once. What is no encoding stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    plain
}
