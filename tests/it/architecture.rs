//! The arrows between the packages, held to `cargo metadata`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Packages of ours, and which others of ours each depends on (for building, tests
/// aside).
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = |name: &str| name == "cloakroom" || name.starts_with("cloakroom-");
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let arrows = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .filter(|name| ours(name))
                .collect();
            (package["name"].as_str().unwrap().to_owned(), arrows)
        })
        .collect()
}

#[test]
fn packages_depend_only_on_what_the_architecture_allows() {
    let allowed = [
        ("cloakroom-domain", ""),
        ("cloakroom-verify", ""),
        ("cloakroom-aws", "cloakroom-domain"),
        ("cloakroom-gateway", "cloakroom-domain"),
        // It takes the strict JWS core from there: strictness has one place.
        ("cloakroom-oidc", "cloakroom-domain cloakroom-verify"),
        (
            "cloakroom-authorizer",
            "cloakroom-aws cloakroom-domain cloakroom-gateway",
        ),
        (
            "cloakroom-jwks",
            "cloakroom-aws cloakroom-domain cloakroom-gateway",
        ),
        (
            "cloakroom-login",
            "cloakroom-aws cloakroom-domain cloakroom-gateway cloakroom-oidc",
        ),
        // It fetches the keys of clients and of identity providers.
        (
            "cloakroom-token",
            "cloakroom-aws cloakroom-domain cloakroom-gateway cloakroom-oidc",
        ),
    ];
    let arrows = arrows();
    for (package, allowed) in allowed {
        let allowed: BTreeSet<_> = allowed.split_whitespace().map(str::to_owned).collect();
        assert_eq!(arrows[package], allowed, "{package}");
    }
    for (package, dependencies) in &arrows {
        let on_top = ["cloakroom", "cloakroom-local", "cloakroom-tests"];
        if !on_top.contains(&package.as_str()) {
            assert!(!dependencies.contains("cloakroom-local"), "{package}");
        }
    }
}

#[test]
fn a_functions_adapters_are_optional() {
    for name in ["authorizer", "jwks", "login", "token"] {
        let manifest = format!(
            "{}/../functions/{name}/Cargo.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        let manifest: toml::Table =
            toml::from_str(&std::fs::read_to_string(manifest).unwrap()).unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for adapter in ["cloakroom-aws", "cloakroom-oidc"] {
            if let Some(dependency) = dependencies.get(adapter) {
                assert_eq!(
                    dependency.get("optional").and_then(toml::Value::as_bool),
                    Some(true),
                    "{name}: {adapter}"
                );
            }
        }
    }
}

/// What the authorizer links decides its size and its start.
#[test]
fn the_authorizer_links_no_oidc_and_no_general_http_client() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "cloakroom-authorizer",
            "--edges",
            "normal",
        ])
        .args(["--prefix", "none", "--format", "{p}", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("aws-sdk-dynamodb"), "the tree was listed");
    for banned in [
        "reqwest ",
        "jsonwebtoken ",
        "lambda_http ",
        "aws-sdk-ssm ",
        "cloakroom-oidc ",
        "dynoxide",
    ] {
        assert!(
            !tree.lines().any(|line| line.starts_with(banned)),
            "{banned}"
        );
    }
}
