//! D73: a fault in the configuration. No function starts with it, and all of it is told
//! at once. That of the templates is `tests/sam`'s business.

use cloakroom_gateway::settings::{Need, load};
use std::collections::BTreeMap;
use std::fs;

const GOOD: &str = include_str!("../../../config/cloakroom.toml");

/// What a function does at its start with this text for a configuration.
fn start(text: &str) -> Result<(), Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloakroom.toml");
    fs::write(&file, text).unwrap();
    let environment: BTreeMap<_, _> = [
        ("CLOAKROOM_CONFIG", file.to_str().unwrap()),
        ("CLOAKROOM_TABLE", "cloakroom"),
        (
            "CLOAKROOM_MAC_KEYS",
            "arn:aws:kms:eu-central-1:111122223333:key/1",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    load(&environment, &[Need::Table, Need::MacKeys])
        .map(drop)
        .map_err(|error| error.faults().to_vec())
}

#[test]
fn d73_no_function_starts_with_a_fault_in_its_configuration() {
    assert_eq!(start(GOOD), Ok(()));
    for (what, good, bad, told) in [
        (
            "no issuer",
            "issuer = \"https://pending.invalid\"",
            "",
            "issuer",
        ),
        (
            "in the clear",
            "https://pending.invalid",
            "http://pending.invalid",
            "issuer",
        ),
        (
            "a stage",
            "https://pending.invalid",
            "https://pending.invalid/live",
            "issuer",
        ),
        (
            "a provider in the clear",
            "https://idp",
            "http://idp",
            "identity_providers[0].issuer",
        ),
        (
            "a secret itself",
            "ssm:/cloakroom/idp",
            "hunter2",
            "a secret is a reference",
        ),
        (
            "an empty audience",
            "id = \"orders\"",
            "id = \"\"",
            "audiences[0].id",
        ),
        (
            "a route to no audience",
            "audience = \"orders\"",
            "audience = \"\"",
            "routes[0].audience",
        ),
        (
            "kept beyond the promise",
            "max_latency = 60",
            "max_latency = 60\n[authorizer]\ngateway_ttl = 61",
            "authorizer.gateway_ttl",
        ),
        (
            "kept beyond a JWT's life",
            "max_latency = 60",
            "max_latency = 600",
            "jwt.lifetime",
        ),
        (
            "any origin",
            "config_version = 1",
            "config_version = 1\nallowed_origins = [\"*\"]",
            "allowed_origins[0]",
        ),
        (
            "a misspelt rule",
            "\nroles = [\"admin\"]",
            "\nrole = [\"admin\"]",
            "unknown field `role`",
        ),
        (
            "one route twice",
            "\"/api/profile\"",
            "\"/api/orders\"",
            "routes[2]",
        ),
        (
            "another version",
            "config_version = 1",
            "config_version = 2",
            "config_version",
        ),
    ] {
        assert!(GOOD.contains(good), "{what}");
        let faults = start(&GOOD.replacen(good, bad, 1)).expect_err(what);
        assert!(
            faults.iter().any(|fault| fault.contains(told)),
            "{what}: {faults:?}"
        );
        assert!(
            faults.iter().all(|fault| !fault.contains("hunter2")),
            "{what}"
        );
    }
    let origin = "config_version = 1\nallowed_origins = [\"https://other.example.com\"]";
    assert_eq!(
        start(&GOOD.replacen("config_version = 1", origin, 1)),
        Ok(())
    );
}

#[test]
fn d73_every_fault_is_told_at_once() {
    let bad = GOOD
        .replace("https://pending.invalid", "http://pending.invalid")
        .replace("audience = \"profile\"", "audience = \"nobody\"");
    let faults = start(&bad).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
}
