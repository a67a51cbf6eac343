//! OAuth scopes (RFC 6749 §3.3).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A set of scope tokens, ordered, without duplicates.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<String>);

/// Not a scope parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed scope")]
pub struct MalformedScope;

impl ScopeSet {
    /// More than any honest client asks for.
    const MAX_TOKENS: usize = 64;
    const MAX_LEN: usize = 2048;

    /// Reads a `scope` parameter: tokens separated by single spaces.
    ///
    /// # Errors
    ///
    /// [`MalformedScope`] for anything outside RFC 6749 §3.3, for duplicates and
    /// for absurd sizes (D52).
    pub fn parse(text: &str) -> Result<Self, MalformedScope> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(MalformedScope);
        }
        let mut set = BTreeSet::new();
        for token in text.split(' ') {
            if !is_scope_token(token) || set.len() == Self::MAX_TOKENS || !set.insert(token.into())
            {
                return Err(MalformedScope);
            }
        }
        Ok(Self(set))
    }

    /// Whether `token` is among them.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// Whether every scope here is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The scopes that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// `1*( %x21 / %x23-5B / %x5D-7E )`
pub fn is_scope_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, token) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

impl FromIterator<String> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = String>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_parameter_is_read_and_written_in_one_order() {
        let scopes = ScopeSet::parse("orders:read openid").unwrap();
        assert!(scopes.contains("openid"));
        assert_eq!(scopes.to_string(), "openid orders:read");
    }

    #[test]
    fn malformed_scopes_are_refused() {
        let many = (0..65)
            .map(|i| format!("s{i}"))
            .collect::<Vec<_>>()
            .join(" ");
        for text in [
            "",
            " ",
            "a  b",
            " a",
            "a ",
            "a a",
            "a\0b",
            "a\"b",
            "a\\b",
            "ä",
            &many,
            &"a".repeat(2049),
        ] {
            assert_eq!(ScopeSet::parse(text), Err(MalformedScope), "{text:?}");
        }
    }
}
