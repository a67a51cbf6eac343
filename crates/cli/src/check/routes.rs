//! Routes that are allowed and yet hardly meant.

use crate::caller::somebody_passes;
use cloakroom_domain::config::{Config, RouteConfig};
use cloakroom_domain::policy::{CONNECT, PathPattern, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// What `ANY` stands for.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// The first segments under which our own functions answer.
const OURS: [&str; 3] = ["auth", "oauth", ".well-known"];

/// All routes of one shape: the most specific path decides, whatever its methods.
#[derive(Default)]
struct Place {
    methods: BTreeSet<String>,
    first: usize,
}

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let patterns: Vec<_> = config
        .routes
        .iter()
        .map(|route| PathPattern::parse(&route.path))
        .collect();
    let mut places: BTreeMap<String, (PathPattern, Place)> = BTreeMap::new();
    for (i, (route, pattern)) in config.routes.iter().zip(&patterns).enumerate() {
        let Some(pattern) = pattern else { continue };
        let place = places.entry(pattern.shape()).or_insert_with(|| {
            let place = Place {
                first: i,
                ..Place::default()
            };
            (pattern.clone(), place)
        });
        place.1.methods.insert(route.method.clone());
    }
    let (policy, keeps) = (Policy::new(config), config.gateway_ttl() > 0);
    let mut warnings = Vec::new();
    for (i, (route, pattern)) in config.routes.iter().zip(&patterns).enumerate() {
        let Some(pattern) = pattern else { continue };
        let mut warn = |what: String| warnings.push(format!("routes[{i}]: {what}"));
        if !somebody_passes(config, route) {
            let scopes = nobodys_scopes(config, route);
            let which = if scopes.is_empty() {
                String::new()
            } else {
                format!("; nobody may have the scope {}", scopes.join(", "))
            };
            warn(format!(
                "nobody can pass: no browser session and no client that it admits may have all that it demands{which}"
            ));
        }
        if keeps
            && policy
                .entry(&route.method, &route.path)
                .is_some_and(|entry| !entry.reach.is_bounded())
        {
            warn("a kept answer holds for the requested path alone, because the other routes on this path do not fit into its policy: while it is kept, other paths of this route are refused".into());
        }
        if OURS.iter().any(|prefix| pattern.is_below(prefix)) {
            warn("unreachable: /auth, /oauth and /.well-known are answered by Cloakroom's own functions".into());
        }
        let here = places.get(&pattern.shape());
        if here.is_some_and(|(_, place)| route.method == "ANY" && has_all(&place.methods)) {
            warn("unreachable: every method of ANY has a route of its own on this path".into());
        }
        if route.method == CONNECT {
            continue;
        }
        for (narrower, place) in places.values() {
            let is_narrower = pattern.covers(narrower) && !narrower.covers(pattern);
            if is_narrower && !place.serves(route) {
                warn(format!(
                    "shadowed by routes[{}], which is more specific: requests for that path with a method that only this route has are refused",
                    place.first
                ));
            }
        }
    }
    warnings
}

fn has_all(methods: &BTreeSet<String>) -> bool {
    METHODS.iter().all(|method| methods.contains(*method))
}

impl Place {
    /// Whether each request that `route` takes by its method finds one here too.
    fn serves(&self, route: &RouteConfig) -> bool {
        self.methods.contains("ANY")
            || self.methods.contains(CONNECT)
            || if route.method == "ANY" {
                has_all(&self.methods)
            } else {
                self.methods.contains(&route.method)
            }
    }
}

/// The scopes that it demands and that are nowhere given.
fn nobodys_scopes<'a>(config: &Config, route: &'a RouteConfig) -> Vec<&'a str> {
    let clients = config.clients.iter().map(|client| &client.scopes);
    let given: BTreeSet<_> = clients
        .chain([&config.session.scopes])
        .flat_map(|scopes| &scopes.0)
        .collect();
    let demanded = route.scopes.iter().filter(|scope| !given.contains(scope));
    demanded.map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom_local::system::DEMO_CONFIG;

    fn warned(routes: &[(&str, &str)]) -> Vec<String> {
        let (head, _) = DEMO_CONFIG.split_once("[[routes]]").unwrap();
        let routes = routes.iter().map(|(method, path)| {
            format!("[[routes]]\nmethod = \"{method}\"\npath = \"{path}\"\naudience = \"orders\"\n")
        });
        let text = format!("{head}{}", routes.collect::<String>());
        warnings(&Config::parse(&text).unwrap())
    }

    #[track_caller]
    fn warns(expected: &str, routes: &[(&str, &str)], neighbour: &[(&str, &str)]) {
        let found = warned(routes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
        assert_eq!(warned(neighbour), Vec::<String>::new());
    }

    #[test]
    fn a_route_is_shadowed_where_a_more_specific_path_lacks_its_method() {
        warns(
            "routes[0]: shadowed by routes[1]",
            &[("GET", "/orders/{id}"), ("POST", "/orders/new")],
            &[
                ("GET", "/orders/{id}"),
                ("POST", "/orders/new"),
                ("GET", "/orders/new"),
            ],
        );
        warns(
            "routes[0]: shadowed by routes[1]",
            &[("ANY", "/{proxy+}"), ("GET", "/a/{id}")],
            &[("ANY", "/{proxy+}"), ("ANY", "/a/{id}")],
        );
        warns(
            "routes[1]: shadowed by routes[0]",
            &[("POST", "/a/b"), ("GET", "/a/{proxy+}")],
            &[("POST", "/a/b"), ("GET", "/b/{proxy+}")],
        );
        let apart = [("GET", "/orders/{id}"), ("POST", "/orders/{id}/items")];
        assert_eq!(warned(&apart), Vec::<String>::new());
        let websocket = [("ANY", "/{proxy+}"), ("CONNECT", "/$connect")];
        assert_eq!(warned(&websocket), Vec::<String>::new());
    }

    #[test]
    fn any_is_unreachable_where_every_method_has_its_own_route() {
        let mut routes: Vec<_> = METHODS.into_iter().map(|method| (method, "/a")).collect();
        routes.push(("ANY", "/a"));
        warns(
            "routes[7]: unreachable: every method",
            &routes,
            &routes[1..],
        );
    }

    #[test]
    fn what_our_own_functions_answer_is_unreachable() {
        for path in ["/auth/login", "/oauth/{proxy+}", "/.well-known/x"] {
            warns(
                "routes[0]: unreachable: /auth",
                &[("GET", path)],
                &[("GET", "/authority"), ("GET", "/api/auth/login")],
            );
        }
    }
}
