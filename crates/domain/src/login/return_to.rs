//! Where a login lands: on a path of this site (D6).

/// Keeps `text` if it is a path on this site, else `/` (D6).
///
/// What browsers would take for another site, now or after a proxy has decoded it
/// once, is not kept, and neither is anything that has no place in a URL.
pub fn local_path(text: &str) -> &str {
    const DEFAULT: &str = "/";
    const MAX_LEN: usize = 2048;
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    let second = text.get(1..).unwrap_or_default().to_ascii_lowercase();
    let leaves_site = ["/", "\\", "%2f", "%5c"]
        .iter()
        .any(|start| second.starts_with(start));
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let odd = path.contains(['@', '\\', ':']) || text.contains('\\');
    // A browser takes dot segments out, and `/.//host` is `//host` then.
    let dots = path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    });
    // Decoded, a tab or a line break is nothing to a browser, and `/<tab>/host` is `//host`.
    let controls = path.split('%').skip(1).any(|rest| {
        let code = rest
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        code.is_some_and(|code| code.is_ascii_control())
    });
    let odd = odd || dots || controls;
    if text.starts_with('/') && text.len() <= MAX_LEN && printable && !leaves_site && !odd {
        text
    } else {
        DEFAULT
    }
}
