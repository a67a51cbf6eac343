//! The arrows between the packages, held to `cargo metadata`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
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
        ("cloakroom-jose", ""),
        ("cloakroom-domain", "cloakroom-jose"),
        ("cloakroom-verify", "cloakroom-jose"),
        ("cloakroom-aws", "cloakroom-domain cloakroom-jose"),
        ("cloakroom-gateway", "cloakroom-domain cloakroom-jose"),
        // It takes the strict JWS core from there: strictness has one place.
        (
            "cloakroom-oidc",
            "cloakroom-domain cloakroom-jose cloakroom-verify",
        ),
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

/// Files of the product, and what is in each but its tests.
fn product() -> Vec<(String, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut folders = vec![root.join("crates"), root.join("functions")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_of_tests = ["target", "tests", "testing", "tests.rs", "testing.rs"];
            if is_of_tests.contains(&name.as_str())
                || name.ends_with("_tests.rs")
                || name.starts_with('.')
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let (code, _) = text.split_once("#[cfg(test)]\n").unwrap_or((&text, ""));
                let path = path.strip_prefix(root).unwrap().to_string_lossy();
                files.push((path.into_owned(), code.to_owned()));
            }
        }
    }
    files
}

/// `serde_json` takes some names for magic, and looks into nothing that it skips: what
/// others wrote is read by `cloakroom_jose::json` alone.
#[test]
fn d86_only_the_strict_reader_reads_json() {
    let reads = [
        "serde_json::from_",
        "from_reader(",
        "serde_json::Deserializer",
        "jsonwebtoken::decode",
        "ApiGatewayProxyRequest",
        "ApiGatewayV2httpRequest",
        "extract::Json",
        ".json().await",
        ".json::<",
        "RawValue",
    ];
    // An event passes as it is, and so do the JWT and the answer, which are ours.
    let passes = [
        "crates/gateway/src/entry.rs",
        "crates/gateway/src/authorizer/answer.rs",
        "crates/gateway/src/authorizer/statement.rs",
    ];
    let product = product();
    assert!(product.len() > 100, "the files were found");
    for (path, code) in product {
        let code = code.lines().filter(|line| !line.trim().starts_with("//"));
        for (number, line) in code.enumerate() {
            for read in reads {
                let is_pass = read == "RawValue" && passes.contains(&path.as_str());
                assert!(
                    is_pass || !line.contains(read),
                    "{path}, line {number}: {line}"
                );
            }
            let imports_a_reader = line.contains("use serde_json::") && line.contains("from_");
            assert!(!imports_a_reader, "{path}, line {number}: {line}");
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
