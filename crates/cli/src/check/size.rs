//! Whether an authorizer's answer could be longer than AWS takes.
//!
//! Counted is what the configuration alone decides (scopes, listed roles, ids) and what
//! is let in at a sign-in at most (subject, name, e-mail). Roles that a provider may
//! send without a list of ours (`allow_roles`) are not known here.

use cloakroom_domain::config::{
    AudienceConfig, ClaimName, Config, GrantKind, IdentityProviderConfig,
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
    warnings
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
    let all = mapping.allow_roles.iter().chain(&mapping.default_roles);
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
        let from = "scopes = [\"openid\", \"profile\", \"email\", \"roles\"]";
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
