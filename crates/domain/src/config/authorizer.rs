//! `[authorizer]`.

use super::Config;
use serde::{Deserialize, Serialize};

/// How the authorizer answers, and whom.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the file"
)]
pub struct AuthorizerConfig {
    /// Whether HTTP APIs (payload 2.0) have `enableSimpleResponses`; the event does
    /// not say.
    pub simple_responses: bool,
    /// Who may ask: `<api id>/<stage>` or `<account>/<api id>/<stage>` of REST, HTTP and
    /// WebSocket APIs, `<url id>/$default` of function URLs, the API id of AppSync, the
    /// ARN of a load balancer's target group. Empty: whoever the function's own
    /// permissions let in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// For how long the gateway is set to keep an answer (`authorizerResultTtlInSeconds`,
    /// `ReauthorizeEvery`), if that is not what `revocation.max_latency` and `edge` make
    /// of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ttl: Option<u64>,
    /// What the gateway's cache of answers goes by (`identitySource`), if that is not what
    /// our templates say: with it `cloakroom check` can tell whether a kept answer is given
    /// to requests for other routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity_sources: Vec<String>,
    /// Whether a REST API asks by a TOKEN authorizer. Its cache goes by the token alone,
    /// so all routes must then ask for the same.
    pub token_authorizer: bool,
    /// Whether forward-auth requests (function URL, load balancer) are made by a proxy
    /// that always says in `X-Forwarded-Method` and `X-Forwarded-Uri` what it asks
    /// about, as Traefik and Caddy do by themselves and nginx where it is configured so.
    /// Otherwise the request itself is what is judged.
    pub trust_forwarded: bool,
    /// Whether the routes with `dpop` have an authorizer of their own, whose TTL is 0.
    /// The functions cannot see how they are deployed; behind a cached authorizer, a
    /// stolen token would pass without a proof for as long as an answer is kept.
    pub dpop_authorizer: bool,
}

impl Default for AuthorizerConfig {
    fn default() -> Self {
        Self {
            simple_responses: true,
            apis: Vec::new(),
            gateway_ttl: None,
            identity_sources: Vec::new(),
            token_authorizer: false,
            trust_forwarded: false,
            dpop_authorizer: false,
        }
    }
}

/// Whether a cache that goes by these identity sources keeps answers for different routes
/// apart: by the method and the path, or by the route's key.
pub fn tells_routes_apart(identity_sources: &[String]) -> bool {
    let has = |name: &str| {
        let mut sources = identity_sources.iter();
        sources.any(|source| source.trim().trim_start_matches('$') == name)
    };
    has("context.routeKey")
        || (has("context.httpMethod") && (has("context.resourcePath") || has("context.path")))
}

impl Config {
    /// Whether the gateway keeps answers by what does not tell routes apart, as far as the
    /// configuration says by what it keeps them.
    pub fn shares_answers(&self) -> bool {
        let sources = &self.authorizer.identity_sources;
        self.gateway_ttl() > 0
            && !self.authorizer.token_authorizer
            && !sources.is_empty()
            && !tells_routes_apart(sources)
    }

    /// Whether, if so, a kept answer lets in where it should not: simple responses have no
    /// policy that could say for which route they are. HTTP APIs have them, and write
    /// `$request` and `$context`.
    pub(super) fn shares_simple_answers(&self) -> bool {
        let sources = &self.authorizer.identity_sources;
        self.shares_answers()
            && self.authorizer.simple_responses
            && sources.iter().any(|source| source.trim().starts_with('$'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn d78_a_cache_key_tells_routes_apart_by_method_and_path_alone() {
        let token = "method.request.header.Authorization";
        for (rest, apart) in [
            ("", false),
            ("context.httpMethod", false),
            ("context.resourcePath", false),
            ("context.httpMethod context.resourcePath", true),
            ("context.httpMethod context.path", true),
            ("$context.routeKey", true),
            ("context.routeKey", true),
            ("context.routekey context.stage", false),
        ] {
            let list = sources(&format!("{token} {rest}"));
            assert_eq!(tells_routes_apart(&list), apart, "{rest}");
        }
    }
}
