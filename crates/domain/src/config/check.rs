//! Judges a configuration that has the right shape.

mod names;
mod proof;
#[cfg(test)]
mod tests;

use super::{
    AudienceConfig, ClientConfig, ClientKind, Config, Edge, GrantKind, IdentityProviderConfig,
    RouteConfig,
};
use crate::claims::CLIENT_NAMESPACE;
use crate::grant::BROWSER;
use crate::jwt::RESERVED;
use crate::policy::{
    CONNECT, CONNECT_PATH, DpopDemand, GRAPHQL, PathPattern, TokenDemand, one_verdict,
};
use crate::scope::is_scope_token;
use std::collections::BTreeSet;

/// Every fault, each with its setting's name; of values, none that could hide a secret.
pub(super) fn faults(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |text: String| faults.push(text);

    if config.config_version != 1 {
        fault("config_version must be 1".into());
    }
    if !is_base_url(&config.issuer) {
        fault(format!(
            "issuer must be an https URL without path, query or fragment (http for loopback hosts){}",
            hint(&config.issuer)
        ));
    }
    for (i, origin) in config.allowed_origins.iter().enumerate() {
        if !is_base_url(origin) {
            fault(format!(
                "allowed_origins[{i}] must be an https origin (http for loopback hosts){}",
                hint(origin)
            ));
        }
    }
    super::edge::check(config, &mut fault);
    lifetimes(config, &mut fault);
    scopes("session.scopes", &config.session.scopes.0, &mut fault);
    names::names_and_paths(config, &mut fault);
    identity_providers(config, &mut fault);
    clients(config, &mut fault);
    if config.authorizer.token_authorizer && one_verdict(config).is_none() {
        fault("authorizer.token_authorizer: its cache goes by the token alone, so all routes must have one audience, ask for the same, and have paths without variables; use a REQUEST authorizer".into());
    }
    if config.shares_simple_answers() {
        fault("authorizer.identity_sources must name $context.routeKey: simple responses have no policy, and a kept one would be given for every route".into());
    }
    audiences(config, &mut fault);
    proof::resources(config, &mut fault);
    routes(config, &mut fault);
    faults
}

/// The numbers that must agree, so that no JWT dies on its way and revocation
/// keeps its promise.
fn lifetimes(config: &Config, fault: &mut impl FnMut(String)) {
    let needed = config.min_jwt_life().saturating_add(config.memory_ttl());
    if config.jwt.lifetime < needed {
        fault(format!(
            "jwt.lifetime must be at least {needed} (gateway TTL {} + memory TTL {} + jwt.integration_timeout {} + jwt.skew {})",
            config.gateway_ttl(),
            config.memory_ttl(),
            config.jwt.integration_timeout,
            config.jwt.skew
        ));
    }
    if config.jwt.lifetime > 3600 {
        fault("jwt.lifetime must be at most 3600: a JWT cannot be taken back".into());
    }
    if config.jwt.skew > 60 {
        fault("jwt.skew must be at most 60".into());
    }
    if config.revocation.max_latency > 3600 {
        fault("revocation.max_latency must be at most 3600".into());
    }
    let gateway = config.gateway_ttl();
    if gateway > config.revocation.max_latency {
        fault("authorizer.gateway_ttl must not exceed revocation.max_latency: a kept answer outlives the promise".into());
    }
    if gateway > 0 && config.edge == Edge::None && !config.identity_providers.is_empty() {
        // D35: what the gateway keeps goes by its identity sources, and CSRF does not.
        fault("authorizer.gateway_ttl must be 0 without an edge: cookies come to the authorizer, whose answer depends on more than the cache goes by".into());
    }
    // Its last gateway TTL is when a kept answer may carry a dead JWT.
    let least = gateway.saturating_add(1);
    let clients = config.clients.iter().enumerate();
    let own = clients.filter_map(|(i, client)| {
        let seconds = client.access_token_lifetime?;
        Some((format!("clients[{i}].access_token_lifetime"), seconds))
    });
    let general = (
        "lifetimes.access_token".to_owned(),
        config.lifetimes.access_token,
    );
    for (name, seconds) in std::iter::once(general).chain(own) {
        if seconds < least {
            fault(format!(
                "{name} must be more than the gateway TTL of {gateway}"
            ));
        }
        if seconds > config.lifetimes.grant {
            fault(format!("{name} must not exceed lifetimes.grant"));
        }
    }
    if config.lifetimes.refresh_token_idle > config.lifetimes.grant {
        fault("lifetimes.refresh_token_idle must not exceed lifetimes.grant".into());
    }
    for (name, seconds, limit) in [
        (
            "lifetimes.access_token",
            config.lifetimes.access_token,
            86_400,
        ),
        (
            "lifetimes.refresh_token_idle",
            config.lifetimes.refresh_token_idle,
            400 * 86_400,
        ),
        ("lifetimes.grant", config.lifetimes.grant, 400 * 86_400),
        ("session.idle", config.session.idle, 400 * 86_400),
        ("session.absolute", config.session.absolute, 400 * 86_400),
    ] {
        if seconds == 0 || seconds > limit {
            fault(format!("{name} must be 1 to {limit}"));
        }
    }
    if config.session.idle > config.session.absolute {
        fault("session.idle must not exceed session.absolute".into());
    }
    if config.session.slide_interval >= config.session.idle {
        fault("session.slide_interval must be below session.idle".into());
    }
}

fn identity_providers(config: &Config, fault: &mut impl FnMut(String)) {
    let mut ids = BTreeSet::new();
    let mut clients = BTreeSet::new();
    for (i, idp) in config.identity_providers.iter().enumerate() {
        let at = format!("identity_providers[{i}]");
        if !is_identifier(&idp.id) {
            fault(format!("{at}.id must be 1 to 64 of a-z 0-9 - _ ."));
        }
        if idp.id == CLIENT_NAMESPACE {
            fault(format!(
                "{at}.id must not be \"{CLIENT_NAMESPACE}\": machines have that namespace"
            ));
        }
        if !ids.insert(&idp.id) {
            fault(format!("{at}.id is used twice"));
        }
        if !is_issuer_url(&idp.issuer)
            || (is_loopback_http(&idp.issuer) && !is_loopback_http(&config.issuer))
        {
            fault(format!(
                "{at}.issuer must be an https URL without query or fragment{}",
                hint(&idp.issuer)
            ));
        }
        if idp.client_id.is_empty() {
            fault(format!("{at}.client_id must not be empty"));
        }
        if idp.client_authentication.needs_secret() != idp.client_secret.is_some() {
            fault(format!(
                "{at}.client_secret must be set if, and only if, client_authentication needs one"
            ));
        }
        if !clients.insert((&idp.issuer, &idp.client_id)) {
            fault(format!(
                "{at}.client_id is another's at the same issuer: a logout token could not say whose sessions it ends"
            ));
        }
        provider_choice(config, idp, &at, fault);
        if let Some(max_age) = idp.claims_max_age
            && (max_age < 30 || idp.claims_limit() < Some(max_age))
        {
            fault(format!(
                "{at}.claims_max_age must be at least 30, and claims_max_stale no less than it"
            ));
        }
        if idp.claims_max_age.is_none() && idp.claims_max_stale.is_some() {
            fault(format!("{at}.claims_max_stale needs claims_max_age"));
        }
        if !idp.scopes.0.iter().any(|scope| scope == "openid") {
            fault(format!("{at}.scopes must contain openid"));
        }
        scopes(&format!("{at}.scopes"), &idp.scopes.0, fault);
        for pointer in [&idp.claims.name, &idp.claims.email, &idp.claims.roles] {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                fault(format!("{at}.claims must be JSON pointers (/name)"));
            }
        }
        if idp.id_token_algorithms.is_empty()
            || idp
                .id_token_algorithms
                .iter()
                .any(|alg| alg == "none" || alg.starts_with("HS"))
        {
            fault(format!(
                "{at}.id_token_algorithms must be asymmetric algorithms"
            ));
        }
    }
}

/// Whether it can be told from the others: by the user beforehand, and by us when the
/// answer comes.
fn provider_choice(
    config: &Config,
    idp: &IdentityProviderConfig,
    at: &str,
    fault: &mut impl FnMut(String),
) {
    if config.identity_providers.len() > 1 && idp.callback.is_none() {
        fault(format!(
            "{at}.callback must be set when there are several: \"own\" (its redirect URI is then /auth/callback/ID), or \"shared\" for one that announces RFC 9207"
        ));
    }
    for domain in &idp.email_domains {
        let elsewhere = config.identity_providers.iter().any(|other| {
            other.id != idp.id
                && other
                    .email_domains
                    .iter()
                    .any(|each| each.eq_ignore_ascii_case(domain))
        });
        if elsewhere || !is_authority(&domain.to_ascii_lowercase()) || domain.contains(':') {
            fault(format!(
                "{at}.email_domains must be host names that no other provider has"
            ));
        }
    }
}

fn clients(config: &Config, fault: &mut impl FnMut(String)) {
    let audiences: BTreeSet<_> = config.audiences.iter().map(|a| a.id.as_str()).collect();
    let mut ids = BTreeSet::new();
    for (i, client) in config.clients.iter().enumerate() {
        let at = format!("clients[{i}]");
        // The id goes into the authorizer's context, whose alphabet is narrow.
        if !is_context_text(&client.id) {
            fault(format!(
                "{at}.id must be 1 to 128 of A-Z a-z 0-9 . _ ~ : / + -"
            ));
        }
        if client.id == BROWSER {
            fault(format!(
                "{at}.id must not be \"{BROWSER}\": browser sessions have that name"
            ));
        }
        if !ids.insert(&client.id) {
            fault(format!("{at}.id is used twice"));
        }
        if client.grants.is_empty() {
            fault(format!("{at}.grants must not be empty"));
        }
        if client.kind == ClientKind::Public
            && client.grants.contains(&GrantKind::ClientCredentials)
        {
            fault(format!(
                "{at}.grants: client_credentials is for confidential clients (RFC 6749 §4.4)"
            ));
        }
        proof::proof(config, client, &at, fault);
        proof::exchange(config, client, &at, fault);
        let redirects = client.grants.contains(&GrantKind::AuthorizationCode);
        if redirects == client.redirect_uris.is_empty() {
            fault(format!(
                "{at}.redirect_uris must be set if, and only if, authorization_code is granted"
            ));
        }
        if client.require_par && !redirects {
            fault(format!(
                "{at}.require_par is for clients that are granted authorization_code"
            ));
        }
        for uri in &client.redirect_uris {
            if !is_redirect_uri(uri) {
                fault(format!(
                    "{at}.redirect_uris must be https URLs, http URLs of loopback addresses or private-use schemes with a dot, without fragment{}",
                    hint(uri)
                ));
            }
        }
        if let Some(names) = strangers(&client.audiences, &audiences) {
            fault(format!(
                "{at}.audiences names an audience that does not exist: {names}"
            ));
        }
        introspection(client, &audiences, &at, fault);
        scopes(&format!("{at}.scopes"), &client.scopes.0, fault);
        if client
            .access_token_lifetime
            .is_some_and(|s| s == 0 || s > 86_400)
        {
            fault(format!("{at}.access_token_lifetime must be 1 to 86400"));
        }
    }
}

fn introspection(
    client: &ClientConfig,
    audiences: &BTreeSet<&str>,
    at: &str,
    fault: &mut impl FnMut(String),
) {
    let asks_as: Vec<_> = client.audience.iter().chain(&client.introspects).collect();
    if client.kind == ClientKind::Public && !asks_as.is_empty() {
        fault(format!(
            "{at}.audience and introspects are for confidential clients: introspection is not for everybody (RFC 7662 §2.1)"
        ));
    }
    for (name, names) in [
        ("audience", strangers(&client.audience, audiences)),
        ("introspects", strangers(&client.introspects, audiences)),
    ] {
        if let Some(names) = names {
            fault(format!(
                "{at}.{name} names an audience that does not exist: {names}"
            ));
        }
    }
    if asks_as.iter().collect::<BTreeSet<_>>().len() != asks_as.len() {
        fault(format!(
            "{at}.audience and introspects name an audience twice"
        ));
    }
}

fn audiences(config: &Config, fault: &mut impl FnMut(String)) {
    let mut ids = BTreeSet::new();
    for (i, audience) in config.audiences.iter().enumerate() {
        if !is_context_text(&audience.id) {
            fault(format!(
                "audiences[{i}].id must be 1 to 128 of A-Z a-z 0-9 . _ ~ : / + -"
            ));
        }
        if !ids.insert(&audience.id) {
            fault(format!("audiences[{i}].id is used twice"));
        }
        renamed_claims(audience, &format!("audiences[{i}].rename_claims"), fault);
    }
    if config.audiences.len() > crate::family::MAX_JWTS {
        fault(format!("audiences: at most {}", crate::family::MAX_JWTS));
    }
}

fn routes(config: &Config, fault: &mut impl FnMut(String)) {
    let mut seen = BTreeSet::new();
    for (i, route) in config.routes.iter().enumerate() {
        let at = format!("routes[{i}]");
        if !METHODS.contains(&route.method.as_str()) {
            fault(format!(
                "{at}.method must be ANY, an HTTP method in capitals, or CONNECT, not {}",
                quoted(&route.method)
            ));
        }
        if (route.method == CONNECT) != (route.path == CONNECT_PATH) {
            fault(format!(
                "{at}: CONNECT is the method of a WebSocket's {CONNECT_PATH}, and of nothing else"
            ));
        }
        fields(config, route, &at, fault);
        match PathPattern::parse(&route.path) {
            None => fault(format!(
                "{at}.path must be a path as API Gateway writes it (/orders/{{id}}, /files/{{proxy+}}), not {}",
                quoted(&route.path)
            )),
            Some(pattern) => {
                if !seen.insert((route.method.clone(), pattern.shape())) {
                    fault(format!("{at} repeats an earlier route"));
                }
            }
        }
        scopes(&format!("{at}.scopes"), &route.scopes, fault);
        scopes(&format!("{at}.any_scope"), &route.any_scope, fault);
        route_demands(config, route, &at, fault);
    }
}

/// A name that is taken would make a service read one thing for another.
fn renamed_claims(audience: &AudienceConfig, at: &str, fault: &mut impl FnMut(String)) {
    let renamed = &audience.rename_claims;
    if !renamed.keys().all(|claim| audience.claims.contains(claim)) {
        fault(format!("{at} renames a claim that is not among claims"));
    }
    if !renamed
        .values()
        .all(|name| is_context_text(name) && !RESERVED.contains(&name.as_str()))
    {
        fault(format!(
            "{at} must be names of A-Z a-z 0-9 . _ ~ : / + - that no other claim has"
        ));
    }
    let names: BTreeSet<_> = audience.claims.iter().collect();
    let names = names
        .into_iter()
        .filter_map(|claim| audience.name_of(*claim));
    let names: Vec<_> = names.collect();
    if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
        fault(format!("{at} gives two claims one name"));
    }
}

/// What `method` of a route may be.
pub(crate) const METHODS: [&str; 9] = [
    "ANY", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT",
];

/// Fields are held back by AppSync, if by anybody.
fn fields(config: &Config, route: &RouteConfig, at: &str, fault: &mut impl FnMut(String)) {
    if !route.fields.is_empty() && (route.method.as_str(), route.path.as_str()) != GRAPHQL {
        let (method, path) = GRAPHQL;
        fault(format!(
            "{at}.fields: only AppSync holds fields back, and its route is {method} {path}"
        ));
    }
    for (i, field) in route.fields.iter().enumerate() {
        let at = format!("{at}.fields[{i}]");
        if field.names.is_empty() || !field.names.iter().all(|name| is_field(name)) {
            fault(format!(
                "{at}.names must be fields: Type.field, or the ARN of a field"
            ));
        }
        if field.token == TokenDemand::None || field.demands("").is_empty() {
            fault(format!("{at} must demand something of a token"));
        }
        passing_clients(config, &field.clients, &at, fault);
        scopes(&format!("{at}.scopes"), &field.scopes, fault);
        scopes(&format!("{at}.any_scope"), &field.any_scope, fault);
    }
}

fn is_field(name: &str) -> bool {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match name.split_once('.') {
        Some((of, field)) if is_name(of) => is_name(field),
        _ => {
            name.starts_with("arn:")
                && name.contains(":appsync:")
                && name.len() <= 512
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
        }
    }
}

fn route_demands(config: &Config, route: &RouteConfig, at: &str, fault: &mut impl FnMut(String)) {
    let demands_user = !route.roles.is_empty()
        || !route.any_role.is_empty()
        || !route.acr.is_empty()
        || route.max_age.is_some();
    let demands_token = demands_user
        || !route.scopes.is_empty()
        || !route.any_scope.is_empty()
        || !route.clients.is_empty()
        || route.dpop != DpopDemand::Unsaid;
    // Inside the TTL a stolen token would pass without a proof (D35).
    let cached = config.gateway_ttl() > 0 && !config.authorizer.dpop_authorizer;
    if cached && route.dpop != DpopDemand::Unsaid {
        fault(format!(
            "{at}.dpop: the gateway would keep the authorizer's answer for {} s; give such routes an authorizer of their own with TTL 0 and say so by authorizer.dpop_authorizer",
            config.gateway_ttl()
        ));
    }
    let key = (route.method.as_str(), route.path.as_str());
    let elsewhere = key == (CONNECT, CONNECT_PATH) || key == GRAPHQL;
    if route.dpop != DpopDemand::Unsaid && (elsewhere || config.authorizer.token_authorizer) {
        fault(format!(
            "{at}.dpop: a TOKEN authorizer, a WebSocket and AppSync hand over no proof"
        ));
    }
    match route.token {
        TokenDemand::None if demands_token => {
            fault(format!(
                "{at}.token is none, yet it demands something of a token"
            ));
        }
        TokenDemand::Client if demands_user => {
            fault(format!(
                "{at}: a client has no roles and did not sign in, so nobody can pass"
            ));
        }
        TokenDemand::None => {}
        TokenDemand::User | TokenDemand::Client | TokenDemand::Either => {
            let audiences = config.audiences.iter().map(|each| each.id.as_str());
            if let Some(name) = strangers([&route.audience], &audiences.collect()) {
                fault(format!(
                    "{at}.audience must name one of the audiences, not {name}"
                ));
            }
        }
    }
    if route.max_age == Some(0) {
        fault(format!(
            "{at}.max_age must be more than 0: no sign-in is younger"
        ));
    }
    passing_clients(config, &route.clients, at, fault);
}

fn passing_clients(config: &Config, ids: &[String], at: &str, fault: &mut impl FnMut(String)) {
    let known = config.clients.iter().map(|client| client.id.as_str());
    if let Some(names) = strangers(ids, &known.chain([BROWSER]).collect()) {
        fault(format!(
            "{at}.clients names a client that does not exist: {names}"
        ));
    }
}

/// The names among `asked` that nothing has, and those that there are.
fn strangers<'a>(
    asked: impl IntoIterator<Item = &'a String>,
    known: &BTreeSet<&str>,
) -> Option<String> {
    let asked = asked
        .into_iter()
        .filter(|name| !known.contains(name.as_str()));
    let strangers: Vec<_> = asked.map(|name| quoted(name)).collect();
    let known: Vec<_> = known.iter().map(|name| quoted(name)).collect();
    let known = match known.as_slice() {
        [] => "there is none".to_owned(),
        [one] => format!("there is {one}"),
        several => format!("there are {}", several.join(", ")),
    };
    (!strangers.is_empty()).then(|| format!("{} ({known})", strangers.join(", ")))
}

/// A name as it may be shown: short, and on one line.
fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}

/// What people mostly have done to a URL that is refused. It is not repeated: there may
/// be a password in it.
fn hint(url: &str) -> &'static str {
    if url.contains(['<', '>']) {
        ": the placeholder in <> is still there"
    } else if url.starts_with("http://") && !is_loopback_http(url) {
        ": http is for localhost and 127.0.0.1 alone"
    } else if url.contains(['?', '#', '@']) {
        ": without ?, # and @"
    } else if url.ends_with('/') {
        ": without the / at its end"
    } else if url.contains("://") {
        ""
    } else {
        ": it begins with https://"
    }
}

fn scopes(at: &str, scopes: &[String], fault: &mut impl FnMut(String)) {
    // Scopes go into the authorizer's context, whose alphabet is narrow.
    if scopes
        .iter()
        .any(|scope| !is_scope_token(scope) || !is_context_text(scope))
    {
        fault(format!(
            "{at} must be scope tokens of A-Z a-z 0-9 . _ ~ : / + -"
        ));
    }
    if scopes.iter().collect::<BTreeSet<_>>().len() != scopes.len() {
        fault(format!("{at} names a scope twice"));
    }
}

/// What is safe in the authorizer's context: a `"` or `\` there makes the gateway
/// answer 500 from its cache (specs B-http-10).
fn is_context_text(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~:/+-".contains(&b))
}

fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

/// `https://host[:port]`, or `http://` for a loopback host.
fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://");
    let rest = rest.or_else(|| {
        url.strip_prefix("http://")
            .filter(|_| is_loopback_http(url))
    });
    rest.is_some_and(is_authority)
}

/// As [`is_base_url`], with a path.
fn is_issuer_url(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    path.bytes()
        .all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b))
        && is_base_url(&format!("{scheme}://{authority}"))
}

/// Whether `url` is `http://` + loopback host + optional port and path.
pub(super) fn is_loopback_http(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    is_authority(authority) && matches!(host, "localhost" | "127.0.0.1")
}

fn is_authority(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
        && port.is_none_or(|port| {
            port.parse::<u16>()
                .is_ok_and(|n| n > 0 && n.to_string() == port)
        })
}

/// https anywhere, http for loopback addresses, private-use schemes with a dot
/// (RFC 8252 §7.1); never a fragment (RFC 6749 §3.1.2).
fn is_redirect_uri(uri: &str) -> bool {
    let clean = uri
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b));
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    clean
        && match scheme {
            "https" => rest
                .strip_prefix("//")
                .is_some_and(|rest| !rest.starts_with('/') && !rest.contains('@')),
            "http" => {
                let authority = rest
                    .strip_prefix("//")
                    .and_then(|r| r.split('/').next())
                    .unwrap_or_default();
                ["127.0.0.1", "[::1]", "localhost"]
                    .iter()
                    .filter_map(|host| authority.strip_prefix(host))
                    .any(|port| {
                        port.is_empty()
                            || port
                                .strip_prefix(':')
                                .is_some_and(|port| port.parse::<u16>().is_ok())
                    })
            }
            private => private.contains('.') && rest.starts_with('/'),
        }
}
