//! The one place that writes to the terminal. A closed pipe ends nothing, and what
//! comes from the table or the network cannot steer the terminal (D65).

use cloakroom_domain::visible::is_invisible;
use serde::Serialize;
use std::io::{Write as _, stderr, stdout};

/// Writes one line of a command's answer.
pub(crate) fn line(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", plain(text));
    let _ = out.flush();
}

/// Writes a command's whole answer for programs.
pub(crate) fn json(answer: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(answer) {
        text.lines().for_each(line);
    }
}

/// Writes why a command cannot answer.
pub(crate) fn error(text: &str) {
    let _ = writeln!(stderr().lock(), "cloakroom: {}", plain(text));
}

/// Writes something that is not part of the answer.
pub(crate) fn note(text: &str) {
    let _ = writeln!(stderr().lock(), "{}", plain(text));
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if is_invisible(c) { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_printed_can_start_a_line_or_an_escape_sequence() {
        assert_eq!(super::plain("a\n\u{1b}[31mb\u{9b}"), "a??[31mb?");
        assert_eq!(super::plain("\u{202e}a\u{2066}"), "?a?");
    }
}
