//! For whom a token shall be good: `resource` (RFC 8707) and `audience` (RFC 8693
//! §2.1), which only ever narrow.

use crate::config::{AudienceConfig, Config};

/// More targets than there can be audiences are nonsense.
const MAX_TARGETS: usize = 2 * crate::family::MAX_JWTS;

/// What a client asks for. Each may be repeated; nothing at all leaves it with all
/// that it may have.
#[derive(Clone, Default)]
pub struct Targets<'a> {
    /// Absolute URIs.
    pub resources: Vec<&'a str>,
    /// Names of audiences.
    pub audiences: Vec<&'a str>,
}

impl std::fmt::Debug for Targets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Targets([redacted])")
    }
}

/// Unknown, malformed, or not for this client (RFC 8707 §2, RFC 8693 §2.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidTarget;

impl Targets<'_> {
    /// The audiences of a token that may be good for `allowed` at most; in both
    /// lists, none means every audience.
    ///
    /// # Errors
    ///
    /// [`InvalidTarget`], also when a single one of several is not allowed.
    pub fn narrow(
        &self,
        config: &Config,
        allowed: &[String],
    ) -> Result<Vec<String>, InvalidTarget> {
        if self.resources.len() + self.audiences.len() > MAX_TARGETS {
            return Err(InvalidTarget);
        }
        let resources = self.resources.iter().map(|uri| by_resource(config, uri));
        let audiences = self.audiences.iter().map(|name| by_name(config, name));
        let mut asked = Vec::new();
        for audience in resources.chain(audiences) {
            let id = &audience.ok_or(InvalidTarget)?.id;
            if !allowed.is_empty() && !allowed.contains(id) {
                return Err(InvalidTarget);
            }
            if !asked.contains(id) {
                asked.push(id.clone());
            }
        }
        Ok(if asked.is_empty() {
            allowed.to_vec()
        } else {
            asked
        })
    }
}

/// The audiences that are in both lists, each of which means every audience when it
/// is empty. Nothing in common is an error and not an empty list, which would mean
/// the opposite.
///
/// # Errors
///
/// [`InvalidTarget`] then.
pub fn common(one: &[String], other: &[String]) -> Result<Vec<String>, InvalidTarget> {
    match (one, other) {
        ([], all) | (all, []) => Ok(all.to_vec()),
        (one, other) => {
            let both: Vec<_> = one
                .iter()
                .filter(|id| other.contains(id))
                .cloned()
                .collect();
            if both.is_empty() {
                Err(InvalidTarget)
            } else {
                Ok(both)
            }
        }
    }
}

/// Compared as text: whatever is relative, or has a fragment or userinfo, is equal to
/// none that the configuration may have (D56).
fn by_resource<'a>(config: &'a Config, uri: &str) -> Option<&'a AudienceConfig> {
    config.audiences.iter().find(|audience| {
        audience.resource.as_deref() == Some(uri)
            || (audience.id == uri && is_resource(&audience.id))
    })
}

fn by_name<'a>(config: &'a Config, name: &str) -> Option<&'a AudienceConfig> {
    config.audiences.iter().find(|audience| audience.id == name)
}

/// An absolute URI without fragment (RFC 8707 §2) and without userinfo.
pub(crate) fn is_resource(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let clean = rest
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"#@\\\"<>".contains(&b));
    let located = match scheme {
        "https" | "http" => rest
            .strip_prefix("//")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')),
        _ => !rest.is_empty(),
    };
    named && clean && located && uri.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mut config = crate::testing::system();
        config.audiences[0].resource = Some("https://orders.example.com/v1".into());
        config.audiences[1].id = "https://profile.example.com".into();
        config
    }

    fn narrowed(allowed: &[&str], resources: &[&str], audiences: &[&str]) -> Result<String, ()> {
        let allowed: Vec<_> = allowed.iter().map(|id| (*id).to_owned()).collect();
        let targets = Targets {
            resources: resources.to_vec(),
            audiences: audiences.to_vec(),
        };
        let narrowed = targets.narrow(&config(), &allowed);
        narrowed.map(|ids| ids.join(" ")).map_err(drop)
    }

    #[test]
    fn a_target_narrows_and_nothing_leaves_all() {
        let profile = "https://profile.example.com";
        let orders = "https://orders.example.com/v1";
        assert_eq!(narrowed(&[], &[], &[]), Ok(String::new()));
        assert_eq!(narrowed(&["orders"], &[], &[]), Ok("orders".into()));
        assert_eq!(narrowed(&[], &[orders], &[]), Ok("orders".into()));
        assert_eq!(narrowed(&[], &[profile], &[]), Ok(profile.into()));
        assert_eq!(narrowed(&[], &[], &["orders"]), Ok("orders".into()));
        assert_eq!(
            narrowed(&[], &[orders, profile], &["orders"]),
            Ok(format!("orders {profile}"))
        );
    }

    #[test]
    fn a_target_that_is_unknown_or_not_allowed_refuses_all_of_them_d56() {
        let orders = "https://orders.example.com/v1";
        let profile = "https://profile.example.com";
        for (allowed, resources, audiences) in [
            (&[][..], &["orders"][..], &[][..]),
            (&[], &["/v1"], &[]),
            (&[], &["https://orders.example.com/v1#"], &[]),
            (&[], &["https://a@orders.example.com/v1"], &[]),
            (&[], &["https://orders.example.com/v1/"], &[]),
            (&[], &["HTTPS://orders.example.com/v1"], &[]),
            (&[], &[], &["Orders"]),
            (&[], &[], &["stranger"]),
            (&[], &[orders], &["stranger"]),
            (&["orders"], &[profile], &[]),
            (&["orders"], &[orders], &[profile]),
            (&[], &[orders; 33], &[]),
        ] {
            assert_eq!(narrowed(allowed, resources, audiences), Err(()));
        }
    }

    #[test]
    fn nothing_in_common_is_not_everything() {
        let list = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let both = |a: &[&str], b: &[&str]| common(&list(a), &list(b)).map(|ids| ids.join(" "));
        assert_eq!(both(&[], &[]), Ok(String::new()));
        assert_eq!(both(&["a"], &[]), Ok("a".into()));
        assert_eq!(both(&[], &["a"]), Ok("a".into()));
        assert_eq!(both(&["a", "b"], &["b", "c"]), Ok("b".into()));
        assert_eq!(both(&["a"], &["b"]), Err(InvalidTarget));
    }

    #[test]
    fn a_resource_is_an_absolute_uri() {
        for uri in [
            "https://a.example/x?y=1",
            "http://localhost:3000/api",
            "urn:x:y",
        ] {
            assert!(is_resource(uri), "{uri}");
        }
        for uri in [
            "",
            "orders",
            "/orders",
            "//a.example",
            "https:",
            "https://",
            "https:///x",
            "https://a.example/#",
            "https://u@a.example",
            "https://a example",
            ":x",
            "1a:x",
        ] {
            assert!(!is_resource(uri), "{uri}");
        }
    }
}
