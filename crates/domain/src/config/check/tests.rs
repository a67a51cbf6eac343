//! What is refused, each beside what differs from it in one point and is not.

use crate::config::{AudienceConfig, CallbackUri, ClaimName, Config, Edge, FieldConfig};
use crate::policy::TokenDemand;
use crate::testing::system;

type Edit = fn(&mut Config);

fn faults(edit: Edit) -> Vec<String> {
    let mut config = system();
    edit(&mut config);
    super::faults(&config)
}

/// One fault, which begins like this; and none for the neighbour.
#[track_caller]
fn refused(expected: &str, edit: Edit, neighbour: Edit) {
    let found = faults(edit);
    let named = found.iter().filter(|fault| fault.starts_with(expected));
    assert_eq!(named.count(), 1, "{expected}: {found:?}");
    assert_eq!(faults(neighbour), Vec::<String>::new(), "{expected}");
}

#[test]
fn what_the_gateway_keeps_may_not_outlive_the_promise() {
    refused(
        "authorizer.gateway_ttl must not exceed",
        |c| {
            c.edge = Edge::Cloudfront;
            c.authorizer.gateway_ttl = Some(61);
        },
        |c| {
            c.edge = Edge::Cloudfront;
            c.authorizer.gateway_ttl = Some(60);
        },
    );
}

#[test]
fn cookies_are_not_cached_at_the_gateway_without_an_edge() {
    refused(
        "authorizer.gateway_ttl must be 0 without an edge",
        |c| c.authorizer.gateway_ttl = Some(30),
        |c| c.authorizer.gateway_ttl = Some(0),
    );
    // Where nobody signs in there are no cookies.
    let machines: Edit = |c| {
        c.authorizer.gateway_ttl = Some(30);
        c.identity_providers.clear();
    };
    assert_eq!(faults(machines), Vec::<String>::new());
    let mut config = system();
    machines(&mut config);
    assert_eq!((config.gateway_ttl(), config.memory_ttl()), (30, 30));
}

#[test]
fn lifetimes_that_contradict_each_other_are_refused() {
    refused(
        "jwt.lifetime must be at least 149",
        |c| c.jwt.lifetime = 148,
        |c| c.jwt.lifetime = 149,
    );
    refused(
        "jwt.lifetime must be at most 3600",
        |c| c.jwt.lifetime = 3601,
        |c| c.jwt.lifetime = 3600,
    );
    refused(
        "lifetimes.access_token must be more than the gateway TTL of 30",
        |c| {
            c.edge = Edge::Cloudfront;
            c.lifetimes.access_token = 30;
        },
        |c| {
            c.edge = Edge::Cloudfront;
            c.lifetimes.access_token = 31;
        },
    );
    refused(
        "clients[2].access_token_lifetime must be more than the gateway TTL of 30",
        |c| {
            c.edge = Edge::Cloudfront;
            c.clients[2].access_token_lifetime = Some(30);
        },
        |c| {
            c.edge = Edge::Cloudfront;
            c.clients[2].access_token_lifetime = Some(31);
        },
    );
    refused(
        "lifetimes.access_token must not exceed lifetimes.grant",
        |c| {
            c.lifetimes.refresh_token_idle = 599;
            c.lifetimes.grant = 599;
        },
        |c| {
            c.lifetimes.refresh_token_idle = 600;
            c.lifetimes.grant = 600;
        },
    );
    refused(
        "lifetimes.refresh_token_idle must not exceed lifetimes.grant",
        |c| c.lifetimes.refresh_token_idle = c.lifetimes.grant + 1,
        |c| c.lifetimes.refresh_token_idle = c.lifetimes.grant,
    );
    refused(
        "session.idle must not exceed session.absolute",
        |c| c.session.idle = c.session.absolute + 1,
        |c| c.session.idle = c.session.absolute,
    );
    refused(
        "routes[0].max_age",
        |c| c.routes[0].max_age = Some(0),
        |c| c.routes[0].max_age = Some(1),
    );
}

#[test]
fn a_token_authorizer_stands_before_routes_of_one_verdict_alone() {
    refused(
        "authorizer.token_authorizer",
        |c| c.authorizer.token_authorizer = true,
        |c| {
            c.authorizer.token_authorizer = true;
            c.routes.truncate(1);
        },
    );
    refused(
        "authorizer.token_authorizer",
        |c| {
            c.authorizer.token_authorizer = true;
            c.routes[1].scopes = c.routes[0].scopes.clone();
            c.routes.truncate(2);
        },
        |c| {
            c.authorizer.token_authorizer = true;
            c.routes[1].scopes = c.routes[0].scopes.clone();
            c.routes[1].audience = c.routes[0].audience.clone();
            c.routes.truncate(2);
        },
    );
}

#[test]
fn connect_is_the_method_of_a_websocket_and_of_nothing_else() {
    let expected = "routes[0]: CONNECT is the method";
    let websocket: Edit = |c| {
        c.routes[0].method = "CONNECT".into();
        c.routes[0].path = "/$connect".into();
    };
    refused(
        expected,
        |c| c.routes[0].method = "CONNECT".into(),
        websocket,
    );
    refused(
        expected,
        |c| c.routes[0].path = "/$connect".into(),
        websocket,
    );
    refused(
        "routes[0].method",
        |c| c.routes[0].method = "TRACE".into(),
        websocket,
    );
}

fn with_fields(config: &mut Config, edit: impl FnOnce(&mut FieldConfig)) {
    let mut field = FieldConfig {
        names: vec!["Query.orders".into()],
        token: TokenDemand::Either,
        scopes: vec![],
        any_scope: vec![],
        roles: vec!["admin".into()],
        any_role: vec![],
        clients: vec![],
        acr: vec![],
        max_age: None,
    };
    edit(&mut field);
    let route = &mut config.routes[0];
    (route.method, route.path) = ("POST".into(), "/graphql".into());
    route.fields = vec![field];
}

#[test]
fn fields_belong_to_appsync_and_demand_something() {
    let good: Edit = |c| with_fields(c, |_| {});
    refused(
        "routes[0].fields: only AppSync",
        |c| {
            with_fields(c, |_| {});
            c.routes[0].path = "/api/graphql".into();
        },
        good,
    );
    refused(
        "routes[0].fields[0] must demand",
        |c| with_fields(c, |field| field.roles.clear()),
        good,
    );
    refused(
        "routes[0].fields[0] must demand",
        |c| with_fields(c, |field| field.token = TokenDemand::None),
        |c| with_fields(c, |field| field.token = TokenDemand::User),
    );
    refused(
        "routes[0].fields[0].clients",
        |c| with_fields(c, |field| field.clients = vec!["stranger".into()]),
        |c| with_fields(c, |field| field.clients = vec!["app".into()]),
    );
    let names: [Edit; 5] = [
        |c| with_fields(c, |field| field.names.clear()),
        |c| with_fields(c, |field| field.names = vec!["orders".into()]),
        |c| with_fields(c, |field| field.names = vec!["Query.".into()]),
        |c| with_fields(c, |field| field.names = vec!["Query.a b".into()]),
        |c| with_fields(c, |field| field.names = vec!["arn:aws:lambda:x".into()]),
    ];
    for edit in names {
        refused("routes[0].fields[0].names", edit, |c| {
            with_fields(c, |field| {
                field.names = vec![
                    "_T.f1".into(),
                    "arn:aws:appsync:us-east-1:111122223333:apis/a/types/Query/fields/orders"
                        .into(),
                ];
            });
        });
    }
}

fn renamed(config: &mut Config) -> &mut AudienceConfig {
    config.audiences[0]
        .rename_claims
        .insert(ClaimName::Email, "mail".into());
    &mut config.audiences[0]
}

fn rename(config: &mut Config, name: &str) {
    let renames = &mut renamed(config).rename_claims;
    renames.insert(ClaimName::Email, name.into());
}

#[test]
fn a_claim_is_renamed_to_what_no_other_claim_is_called() {
    let good: Edit = |c| {
        renamed(c);
    };
    refused(
        "audiences[0].rename_claims renames a claim",
        |c| renamed(c).claims = vec![ClaimName::Name],
        good,
    );
    refused(
        "audiences[0].rename_claims gives two",
        |c| {
            let renames = &mut renamed(c).rename_claims;
            renames.insert(ClaimName::Email, "name".into());
        },
        |c| {
            let renames = &mut renamed(c).rename_claims;
            renames.insert(ClaimName::Email, "name".into());
            renames.insert(ClaimName::Name, "email".into());
        },
    );
    let names: [Edit; 4] = [
        |c| rename(c, "sub"),
        |c| rename(c, "cnf"),
        |c| rename(c, ""),
        |c| rename(c, "a b"),
    ];
    for edit in names {
        refused("audiences[0].rename_claims must be names", edit, good);
    }
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    for (text, line) in [
        (
            "config_version = 1\nissuer = \"https://a.example\"\nisuer = 1\n",
            "line 3",
        ),
        (
            "config_version = 1\nissuer = \"https://a.example\"\n[revocation]\nmax_age = 1\n",
            "line 4",
        ),
        (
            "config_version = 1\nissuer = \"https://a.example\"\n[[routes]]\nmethod = \"GET\"\npath = \"/\"\nscope = []\n",
            "line 6",
        ),
    ] {
        let error = Config::parse(text).unwrap_err();
        assert!(error.faults()[0].starts_with(line), "{error}");
        assert!(error.faults()[0].contains("unknown field"), "{error}");
    }
    assert!(Config::parse("config_version = 1\nissuer = \"https://a.example\"\n").is_ok());
}

#[test]
fn two_providers_of_one_issuer_are_two_clients_of_it() {
    fn second(config: &mut Config, client_id: &str) {
        config.identity_providers[0].callback = Some(CallbackUri::Own);
        let mut second = config.identity_providers[0].clone();
        second.id = "second".to_owned();
        second.client_id = client_id.to_owned();
        config.identity_providers.push(second);
    }
    refused(
        "identity_providers[1].client_id is another's at the same issuer",
        |c| second(c, &c.identity_providers[0].client_id.clone()),
        |c| second(c, "second"),
    );
}

#[test]
fn an_issuer_has_no_path_on_loopback_hosts_either() {
    refused(
        "issuer must be an https URL without path, query or fragment (http for loopback hosts): without the /",
        |c| c.issuer = "http://localhost:3000/".into(),
        |c| c.issuer = "http://localhost:3000".into(),
    );
    refused(
        "identity_providers[0].issuer must be an https URL without query or fragment: the placeholder",
        |c| c.identity_providers[0].issuer = "https://idp.example/<your tenant>/v2.0".into(),
        |c| c.identity_providers[0].issuer = "https://idp.example/tenant/v2.0".into(),
    );
}

#[test]
fn a_name_that_nothing_has_is_said_with_those_that_there_are() {
    let mut config = system();
    config.routes[0].audience = "ordres".into();
    config.routes[0].clients = vec!["ap".into()];
    let found = super::faults(&config);
    assert_eq!(found.len(), 2, "{found:?}");
    let known = |fault: &str, asked: &str, there: &str| {
        fault.contains(&format!("{asked:?} (there are ")) && fault.contains(&format!("{there:?}"))
    };
    assert!(known(&found[0], "ordres", "orders"), "{found:?}");
    assert!(known(&found[1], "ap", "app"), "{found:?}");
}

#[test]
fn d97_a_name_that_hides_something_is_refused() {
    for hidden in [
        "\u{202e}ppA ehT",
        "The App\u{200b}",
        "",
        " The App",
        "The\nApp",
    ] {
        for provider in [false, true] {
            let mut config = system();
            let name = Some(hidden.to_owned());
            if provider {
                config.identity_providers[0].name = name;
            } else {
                config.clients[0].name = name;
            }
            let found = super::faults(&config);
            assert_eq!(found.len(), 1, "{hidden:?}: {found:?}");
            assert!(found[0].contains("[0].name must be text that people can see"));
        }
    }
    let mut config = system();
    config.clients[0].name = Some("\u{627}\u{644}\u{645} App".into());
    assert!(super::faults(&config).is_empty(), "any script will do");
}

#[test]
fn d6_the_page_after_the_sign_out_is_of_this_site() {
    for path in [
        "bye",
        "//evil.example",
        "/.%2f/evil.example",
        "/\\evil.example",
        "/a\nb",
    ] {
        let mut config = system();
        config.session.logged_out_path = path.into();
        let found = super::faults(&config);
        assert_eq!(
            found,
            ["session.logged_out_path must be a path of this site"],
            "{path:?}"
        );
    }
}
