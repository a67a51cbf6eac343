//! Judges how clients prove who they are, and what they may exchange.

use super::{is_issuer_url, is_loopback_http};
use crate::config::{ClientConfig, ClientKind, ClientProof, Config, GrantKind};
use crate::issue::target::is_resource;
use cloakroom_jose::json::{Document, Value};

/// As many as a verifier reads.
const MAX_KEYS: usize = 32;

/// One way to prove who it is, and all that this way needs.
pub(super) fn proof(
    config: &Config,
    client: &ClientConfig,
    at: &str,
    fault: &mut impl FnMut(String),
) {
    let proof = client.proof();
    let public = client.kind == ClientKind::Public;
    if public && !client.secrets.is_empty() {
        fault(format!(
            "{at}.secrets must be empty: a public client cannot keep one"
        ));
    }
    if public != (proof == ClientProof::None) {
        fault(format!(
            "{at}.authentication must be \"none\" for public clients, and for them alone"
        ));
    }
    match proof {
        ClientProof::Secret if client.secrets.is_empty() => fault(format!(
            "{at}.secrets must not be empty: a confidential client authenticates"
        )),
        ClientProof::PrivateKeyJwt if !client.secrets.is_empty() => fault(format!(
            "{at}.secrets must be empty: with private_key_jwt nothing is secret here"
        )),
        ClientProof::None | ClientProof::Secret | ClientProof::PrivateKeyJwt => {}
    }
    let sources = usize::from(client.jwks.is_some()) + usize::from(client.jwks_uri.is_some());
    if sources != usize::from(proof == ClientProof::PrivateKeyJwt) {
        fault(format!(
            "{at}: one of jwks and jwks_uri must be set if, and only if, authentication is \"private_key_jwt\""
        ));
    }
    if client.jwks.as_deref().is_some_and(|text| !is_key_set(text)) {
        fault(format!(
            "{at}.jwks must be a JWK set of 1 to {MAX_KEYS} public RSA, EC or OKP keys, and of no private one"
        ));
    }
    if client.jwks_uri.as_deref().is_some_and(|uri| {
        !is_issuer_url(uri) || (is_loopback_http(uri) && !is_loopback_http(&config.issuer))
    }) {
        fault(format!(
            "{at}.jwks_uri must be an https URL without query or fragment"
        ));
    }
}

/// Who may exchange, and what.
pub(super) fn exchange(
    config: &Config,
    client: &ClientConfig,
    at: &str,
    fault: &mut impl FnMut(String),
) {
    let granted = client.grants.contains(&GrantKind::TokenExchange);
    if granted && client.kind == ClientKind::Public {
        // Else whoever holds a token that went astray could exchange it.
        fault(format!(
            "{at}.grants: token_exchange is for confidential clients (RFC 8693 §5)"
        ));
    }
    if granted == (client.exchanges.is_empty() && client.exchange_id_tokens.is_empty()) {
        fault(format!(
            "{at}.exchanges or exchange_id_tokens must be set if, and only if, token_exchange is granted"
        ));
    }
    if client
        .exchanges
        .iter()
        .any(|id| config.client(id).is_none())
    {
        fault(format!("{at}.exchanges names a client that does not exist"));
    }
    if client
        .exchange_id_tokens
        .iter()
        .any(|id| config.identity_provider(id).is_none())
    {
        fault(format!(
            "{at}.exchange_id_tokens names an identity provider that does not exist"
        ));
    }
}

/// A URI that stands for one audience.
pub(super) fn resources(config: &Config, fault: &mut impl FnMut(String)) {
    for (i, audience) in config.audiences.iter().enumerate() {
        let Some(resource) = &audience.resource else {
            continue;
        };
        if !is_resource(resource) {
            fault(format!(
                "audiences[{i}].resource must be an absolute URI without fragment (RFC 8707 §2)"
            ));
        }
        let taken = config
            .audiences
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != i)
            .any(|(_, other)| other.id == *resource || other.resource.as_ref() == Some(resource));
        if taken {
            fault(format!("audiences[{i}].resource is another audience's too"));
        }
    }
}

fn is_key_set(text: &str) -> bool {
    // A private key here would be one that is published with the configuration.
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let Ok(document) = Document::read(text.as_bytes()) else {
        return false;
    };
    let is_public = |key: Value<'_, '_>| {
        key.as_object().is_some_and(|key| {
            let kty = key.get("kty").and_then(Value::as_str);
            matches!(kty.as_deref(), Some("RSA" | "EC" | "OKP"))
                && !PRIVATE.iter().any(|member| key.contains(member))
        })
    };
    let keys = document.root().as_object().and_then(|set| set.get("keys"));
    keys.and_then(Value::as_array)
        .is_some_and(|mut keys| (1..=MAX_KEYS).contains(&keys.count()) && keys.all(is_public))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::system;

    const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y"}]}"#;

    fn faults(edit: impl FnOnce(&mut Config)) -> String {
        let mut config = system();
        edit(&mut config);
        super::super::faults(&config).join("; ")
    }

    #[test]
    fn a_route_with_dpop_needs_an_authorizer_that_keeps_no_answer() {
        use crate::config::Edge;
        use crate::policy::{DpopDemand, TokenDemand};
        for dpop in [DpopDemand::Optional, DpopDemand::Required] {
            let fault = |edit: fn(&mut Config)| {
                faults(|config| {
                    config.routes[0].dpop = dpop;
                    edit(config);
                })
            };
            assert_eq!(fault(|_| {}), "");
            let cached = fault(|config| config.edge = Edge::Cloudfront);
            assert!(cached.starts_with("routes[0].dpop: "), "{cached}");
            let separate: fn(&mut Config) = |config| {
                config.edge = Edge::Cloudfront;
                config.authorizer.dpop_authorizer = true;
            };
            assert_eq!(fault(separate), "");
            let at_once: fn(&mut Config) = |config| {
                config.edge = Edge::Cloudfront;
                config.revocation.max_latency = 0;
            };
            assert_eq!(fault(at_once), "", "nothing is kept");
            let public: fn(&mut Config) = |config| {
                let route = &mut config.routes[0];
                route.token = TokenDemand::None;
                route.scopes.clear();
            };
            assert!(fault(public).contains("routes[0].token is none"));
            let graph: fn(&mut Config) = |config| {
                let route = &mut config.routes[0];
                route.method = "POST".into();
                route.path = "/graphql".into();
            };
            assert!(fault(graph).contains("hand over no proof"));
        }
    }

    #[test]
    fn dpop_is_a_switch_or_a_word() {
        let read = |value: &str| {
            let text = format!(
                "config_version = 1\nissuer = \"https://app.example.com\"\n[[audiences]]\nid = \"a\"\n[[routes]]\nmethod = \"GET\"\npath = \"/x\"\naudience = \"a\"\ndpop = {value}\n"
            );
            Config::parse(&text)
        };
        for good in ["true", "false", "\"optional\""] {
            let config = read(good).unwrap();
            let written = toml::to_string(&config).unwrap();
            let again = Config::parse(&written).unwrap();
            assert_eq!(again.routes[0].dpop, config.routes[0].dpop, "{good}");
        }
        for bad in ["\"canary\"", "1", "[]"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(
                error.contains("dpop") || error.contains("DpopSetting"),
                "{error}"
            );
            assert!(!error.contains("canary"));
        }
    }

    fn with_keys(config: &mut Config) -> &mut ClientConfig {
        let machine = &mut config.clients[2];
        machine.secrets.clear();
        machine.jwks = Some(KEYS.into());
        machine
    }

    #[test]
    fn a_client_with_keys_needs_no_secret() {
        assert_eq!(faults(|config| drop(with_keys(config).id.clone())), "");
        let uri = |uri: &'static str| {
            move |config: &mut Config| {
                let machine = with_keys(config);
                machine.jwks = None;
                machine.jwks_uri = Some(uri.into());
                machine.authentication = Some(ClientProof::PrivateKeyJwt);
            }
        };
        assert_eq!(faults(uri("https://machine.example/jwks.json")), "");
        for wrong in [
            "http://machine.example/jwks",
            "http://127.0.0.1/jwks",
            "https://machine.example/jwks?x=1",
            "file:///etc/passwd",
        ] {
            assert!(faults(uri(wrong)).contains("jwks_uri"), "{wrong}");
        }
    }

    #[test]
    fn the_ways_to_prove_who_one_is_do_not_mix() {
        type Edit = fn(&mut Config);
        let edits: [(&str, Edit); 6] = [
            ("jwks_uri must be set", |c| {
                with_keys(c).jwks_uri = Some("https://machine.example/jwks.json".into());
            }),
            ("jwks_uri must be set", |c| {
                c.clients[0].jwks = Some(KEYS.into());
            }),
            ("jwks_uri must be set", |c| {
                c.clients[2].jwks = Some(KEYS.into());
            }),
            ("secrets must be empty", |c| {
                c.clients[2].jwks = Some(KEYS.into());
                c.clients[2].authentication = Some(ClientProof::PrivateKeyJwt);
            }),
            ("authentication must be", |c| {
                c.clients[2].authentication = Some(ClientProof::None);
            }),
            ("authentication must be", |c| {
                c.clients[0].authentication = Some(ClientProof::Secret);
            }),
        ];
        for (expected, edit) in edits {
            let found = faults(edit);
            assert!(found.contains(expected), "{expected}: {found}");
        }
        for wrong in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#,
        ] {
            let found = faults(|config| with_keys(config).jwks = Some(wrong.into()));
            assert!(found.contains("clients[2].jwks must be"), "{found}");
            assert!(!found.contains("AAAA"));
        }
    }

    #[test]
    fn only_confidential_clients_exchange_and_only_what_there_is() {
        let exchanger = |config: &mut Config, client: usize| {
            config.clients[client].grants.push(GrantKind::TokenExchange);
            config.clients[client].exchanges.push("app".into());
        };
        assert_eq!(faults(|config| exchanger(config, 2)), "");
        assert!(faults(|config| exchanger(config, 0)).contains("RFC 8693 §5"));
        for (expected, edit) in [
            (
                "exchanges or exchange_id_tokens must be set",
                (|c| c.clients[2].exchanges.push("app".into())) as fn(&mut Config),
            ),
            ("exchanges or exchange_id_tokens must be set", |c| {
                c.clients[2].grants.push(GrantKind::TokenExchange);
            }),
        ] {
            let found = faults(edit);
            assert!(found.contains(expected), "{found}");
        }
        let unknown = faults(|config| {
            exchanger(config, 2);
            config.clients[2].exchanges.push("stranger".into());
            config.clients[2].exchange_id_tokens.push("stranger".into());
        });
        assert!(unknown.contains("exchanges names a client") && unknown.contains("provider that"));
    }

    #[test]
    fn a_resource_is_a_uri_of_one_audience() {
        let resource = |index: usize, uri: &'static str| {
            move |config: &mut Config| config.audiences[index].resource = Some(uri.into())
        };
        assert_eq!(faults(resource(0, "https://orders.example.com")), "");
        assert!(faults(resource(0, "orders")).contains("audiences[0].resource"));
        assert!(faults(resource(0, "profile")).contains("another audience's"));
        let twice = faults(|config| {
            resource(0, "urn:x:y")(config);
            resource(1, "urn:x:y")(config);
        });
        assert!(twice.contains("another audience's"));
    }
}
