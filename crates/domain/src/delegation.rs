//! Who acts on behalf of whom (RFC 8693 §4.1 and §4.4).

use serde::{Deserialize, Serialize};

/// What a token says about acting for its subject.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delegation {
    /// Who acts now, and who did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// Who alone may act; anybody whom the configuration lets, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_act: Option<MayAct>,
}

impl Delegation {
    /// Whether nobody acts, and nothing is said about who may.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The same with another actor in front of those before. `None` when the chain
    /// would be too long.
    pub fn handed_on(self, actor: String) -> Option<Self> {
        let act = Actor {
            sub: actor,
            act: self.act.map(Box::new),
        };
        (act.depth() <= Actor::MAX_DEPTH).then_some(Self {
            act: Some(act),
            may_act: self.may_act,
        })
    }
}

impl std::fmt::Debug for Delegation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Delegation([redacted])")
    }
}

/// The `act` claim. Only the outermost is the current actor; the others are history
/// and decide nothing.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Actor {
    /// As in our `sub`.
    pub sub: String,
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// A longer chain would not fit a header, and nobody would understand it.
    pub const MAX_DEPTH: usize = 4;

    fn depth(&self) -> usize {
        std::iter::successors(Some(self), |actor| actor.act.as_deref()).count()
    }
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Actor([redacted])")
    }
}

/// The `may_act` claim of a subject token.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// As in our `sub`.
    pub sub: String,
    /// Whose name that is: ours, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

impl MayAct {
    /// Whether `actor`, which is our name for it, may act.
    pub fn permits(&self, actor: &str, issuer: &str) -> bool {
        self.sub == actor && self.iss.as_deref().is_none_or(|iss| iss == issuer)
    }
}

impl std::fmt::Debug for MayAct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MayAct([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_actor_is_outermost_and_the_chain_ends_somewhere() {
        let mut delegation = Delegation::default();
        for actor in ["a", "b", "c", "d"] {
            delegation = delegation.handed_on(actor.into()).unwrap();
        }
        assert_eq!(
            serde_json::to_value(&delegation.act).unwrap(),
            serde_json::json!(
                {"sub": "d", "act": {"sub": "c", "act": {"sub": "b", "act": {"sub": "a"}}}}
            )
        );
        assert!(delegation.handed_on("e".into()).is_none(), "D56");
    }

    #[test]
    fn only_who_is_named_may_act() {
        let may_act = |text| serde_json::from_str::<MayAct>(text).unwrap();
        let ours = "https://app.example.com";
        let named = may_act(r#"{"sub":"client|m"}"#);
        assert!(named.permits("client|m", ours));
        assert!(!named.permits("client|n", ours));
        let foreign = may_act(r#"{"sub":"client|m","iss":"https://other.example"}"#);
        assert!(!foreign.permits("client|m", ours));
        // A condition that we do not understand may not be passed over.
        assert!(serde_json::from_str::<MayAct>(r#"{"sub":"client|m","x":1}"#).is_err());
    }
}
