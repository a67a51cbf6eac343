//! Whether an authorizer's answer could be longer than AWS takes.
//!
//! Counted is what the configuration alone decides (scopes, listed roles, ids) and what
//! is let in at a sign-in at most (subject, name, e-mail). Roles that a provider may
//! send without a list of ours (`allow_roles`) have no bound that would fit: they are
//! warned of, with the room that is left for them.

use cloakroom_domain::config::{
    AudienceConfig, ClaimMapping, ClaimName, Config, GrantKind, IdentityProviderConfig,
};

/// Quota L-20859C74.
const MOST: usize = 8 * 1024;

/// The policy, the names in the context, the tag.
const ENVELOPE: usize = 420;

/// Header and signature of an RS256 JWT, and its claims of fixed length with all names.
const JWT: usize = 110 + 342 + 2;
const FIXED_CLAIMS: usize = 420;

/// What an identity provider may say about a user at most.
const SUBJECT: usize = 255;
const TEXT: usize = 1024;

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let audiences = config.audiences.iter().enumerate();
    let mut warnings = Vec::new();
    for (i, audience) in audiences {
        let largest = holders(config)
            .into_iter()
            .map(|holder| (holder.answer(config, audience), holder))
            .max_by_key(|(size, _)| *size);
        if let Some((size, holder)) = largest.filter(|(size, _)| *size > MOST) {
            let (what, _) = holder.largest(config, audience);
            warnings.push(format!(
                "audiences[{i}]: an answer could have {size} bytes, and AWS takes {MOST}: then it is refused as unavailable; most of it are {what}"
            ));
        }
    }
    warnings.extend(unlisted(config));
    warnings
}

/// Providers that may send any role, where some audience hands roles on.
fn unlisted(config: &Config) -> Vec<String> {
    let rooms = config.audiences.iter().enumerate().filter_map(|(i, each)| {
        let seen = each.claims.contains(&ClaimName::Roles);
        let users = holders(config).into_iter().filter(|holder| holder.is_user);
        let largest = users.map(|holder| holder.answer(config, each)).max()?;
        seen.then(|| (MOST.saturating_sub(largest) / 4 * 3, i))
    });
    let Some((room, i)) = rooms.min() else {
        return Vec::new();
    };
    let providers = config.identity_providers.iter().enumerate();
    providers
        .filter(|(_, idp)| listed(&idp.claims).is_none())
        .map(|(n, _)| {
            format!(
                "identity_providers[{n}].claims.allow_roles is not set, so that every role it sends is handed on, and audiences[{i}] has room for {room} bytes of them: a user with more is refused as unavailable"
            )
        })
        .collect()
}

/// The roles that users of a provider may have, if the configuration knows them.
fn listed(mapping: &ClaimMapping) -> Option<Vec<&String>> {
    let theirs: Vec<_> = if !mapping.allow_roles.is_empty() {
        mapping.allow_roles.iter().collect()
    } else if !mapping.rename_roles.is_empty() {
        mapping.rename_roles.values().collect()
    } else if mapping.roles.is_empty() {
        Vec::new()
    } else {
        return None;
    };
    Some(theirs)
}

/// Whoever may hold a token, with the most that it can have.
struct Holder {
    client_id: usize,
    scope: usize,
    is_user: bool,
}

fn holders(config: &Config) -> Vec<Holder> {
    let text = |scopes: &[String]| scopes.iter().map(|scope| scope.len() + 1).sum();
    let mut holders = Vec::new();
    if !config.identity_providers.is_empty() {
        holders.push(Holder {
            client_id: 9,
            scope: text(&config.session.scopes.0),
            is_user: true,
        });
    }
    for client in &config.clients {
        let holder = |is_user| Holder {
            client_id: client.id.len(),
            scope: text(&client.scopes.0),
            is_user,
        };
        if client.grants.contains(&GrantKind::AuthorizationCode) {
            holders.push(holder(true));
        }
        if client.grants.contains(&GrantKind::ClientCredentials) {
            holders.push(holder(false));
        }
    }
    holders
}

impl Holder {
    fn answer(&self, config: &Config, audience: &AudienceConfig) -> usize {
        let claims: usize = self
            .parts(config, audience)
            .iter()
            .map(|(_, size)| size)
            .sum();
        let claims = FIXED_CLAIMS + config.issuer.len() + audience.id.len() + claims;
        ENVELOPE + self.client_id + self.scope + JWT + claims.div_ceil(3) * 4
    }

    /// What goes into the JWT, in bytes.
    fn parts(&self, config: &Config, audience: &AudienceConfig) -> Vec<(&'static str, usize)> {
        let mut parts = vec![("scopes", self.scope), ("ids", self.client_id)];
        if self.is_user {
            let providers = config.identity_providers.iter();
            let roles = providers.map(roles).max().unwrap_or(0);
            parts.push(("subjects", SUBJECT));
            for (claim, what, size) in [
                (ClaimName::Name, "names", TEXT),
                (ClaimName::Email, "e-mail addresses", TEXT),
                (ClaimName::Roles, "roles", roles),
            ] {
                if audience.claims.contains(&claim) {
                    parts.push((what, size));
                }
            }
        }
        parts
    }

    fn largest(&self, config: &Config, audience: &AudienceConfig) -> (&'static str, usize) {
        let parts = self.parts(config, audience).into_iter();
        parts.max_by_key(|(_, size)| *size).unwrap_or_default()
    }
}

fn roles(idp: &IdentityProviderConfig) -> usize {
    let mapping = &idp.claims;
    let listed = listed(mapping).unwrap_or_default();
    let all = listed.into_iter().chain(&mapping.default_roles);
    all.map(|role| role.len() + 3).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom_local::system::DEMO_CONFIG;

    fn warned(from: &str, to: &str) -> Vec<String> {
        assert!(DEMO_CONFIG.contains(from));
        let config = Config::parse(&DEMO_CONFIG.replacen(from, to, 1)).unwrap();
        warnings(&config)
    }

    const ROLES: &str = "claims.allow_roles = [\"admin\", \"user\"]";

    #[test]
    fn a_provider_that_may_send_any_role_is_warned_of_with_the_room_there_is() {
        assert_eq!(warned(ROLES, ROLES), Vec::<String>::new());
        let found = warned(ROLES, "");
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(one.starts_with("identity_providers[0].claims.allow_roles"));
        let room = one.split_once("room for ").unwrap().1;
        let room: usize = room.split_once(' ').unwrap().0.parse().unwrap();
        let line =
            |size: usize| format!("claims.allow_roles = [\"admin\", \"{}\"]", "x".repeat(size));
        // With the names of two roles and what is between them it just fits.
        let rest = "admin".len() + 2 * 3;
        assert_eq!(warned(ROLES, &line(room - rest)), Vec::<String>::new());
        assert_eq!(warned(ROLES, &line(room - rest + 8)).len(), 2);
        for known in [
            "claims.roles = \"\"",
            "claims.rename_roles = { admins = \"admin\" }",
        ] {
            assert_eq!(warned(ROLES, known), Vec::<String>::new(), "{known}");
        }
        let blind = DEMO_CONFIG.replace("claims = [\"name\", \"email\", \"roles\"]", "claims = []");
        let config = Config::parse(&blind.replacen(ROLES, "", 1)).unwrap();
        assert_eq!(warnings(&config), Vec::<String>::new(), "nobody sees them");
    }

    fn list(what: &str, count: usize) -> String {
        let quoted = (0..count).map(|n| format!("\"{what}-{n:04}-of-twenty\""));
        quoted.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn scopes_that_do_not_fit_into_an_answer_are_found() {
        let scopes = |count| {
            let from = "scopes = [\"openid\", \"profile\", \"orders:read\", \"offline_access\"]";
            warned(from, &format!("scopes = [{}]", list("scope", count)))
        };
        assert_eq!(scopes(50), Vec::<String>::new());
        let found = scopes(200);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("audiences[0]") && found[0].ends_with("scopes"));
    }

    #[test]
    fn roles_that_do_not_fit_into_an_answer_are_found_where_they_are_seen() {
        let from = ROLES;
        let roles = |count| {
            let line = format!("claims.allow_roles = [{}, \"admin\"]", list("role", count));
            warned(from, &line)
        };
        assert_eq!(roles(50), Vec::<String>::new());
        let found = roles(300);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("audiences[1]") && found[1].ends_with("roles"));
        let blind = DEMO_CONFIG.replace("claims = [\"name\", \"email\", \"roles\"]", "claims = []");
        let line = format!("claims.allow_roles = [{}, \"admin\"]", list("role", 300));
        let config = Config::parse(&blind.replacen(from, &line, 1)).unwrap();
        assert_eq!(warnings(&config), Vec::<String>::new());
    }
}
