//! Every command of the README is executed here, as it stands there.

use crate::lambda::Deployed;
use cloakroom_local::system::{Options, System};
use std::path::Path;
use std::process::Output;
use tokio::process::Command;

const README: &str = include_str!("../../README.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The shell blocks, each with the word that says how it is tested.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut blocks = Vec::new();
    let mut rest = README;
    while let Some(at) = rest.find("```sh\n") {
        let (before, block) = rest.split_at(at);
        let how = before
            .trim_end()
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("<!-- test: "))
            .and_then(|line| line.strip_suffix(" -->"))
            .unwrap_or_else(|| panic!("a block of commands says how it is tested: {block}"));
        let (script, after) = block
            .strip_prefix("```sh\n")
            .unwrap()
            .split_once("```")
            .unwrap();
        blocks.push((how, script));
        rest = after;
    }
    blocks
}

fn tested(how: &str) -> Vec<&'static str> {
    blocks()
        .into_iter()
        .filter(|(other, _)| *other == how)
        .map(|(_, script)| script)
        .collect()
}

async fn bash(script: &str) -> Output {
    let venv = Path::new(ROOT).join(".venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(venv).chain(std::env::split_paths(&path))).unwrap();
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(ROOT)
        .env("PATH", path)
        .output()
        .await
        .unwrap()
}

#[test]
fn every_block_is_tested_in_a_known_way() {
    let known = ["target", "system", "three terminals"];
    let blocks = blocks();
    assert!(blocks.len() > 5);
    for (how, script) in blocks {
        assert!(known.contains(&how), "{how}: {script}");
    }
}

#[tokio::test]
async fn targets_of_make_exist() {
    for script in tested("target") {
        for line in script.lines() {
            let dry = line.replacen("make ", "make --dry-run ", 1);
            let output = bash(&dry).await;
            assert!(output.status.success(), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_readme_says() {
    let system = System::start(Options::default()).await.unwrap();
    let authority = system.url().strip_prefix("http://").unwrap();
    let mut shown = String::new();
    for script in tested("system") {
        let script = script.replace("localhost:3000", authority);
        let output = bash(&script).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{script}\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        shown.push_str(&text);
    }
    // In this order.
    let mut rest = shown.as_str();
    for expected in [
        "cr_at_",
        "HTTP/1.1 401",
        "HTTP/1.1 200",
        "HTTP/1.1 403",
        "at+jwt",
        "invalid_scope",
        "\"keys\"",
        "\"token_endpoint\"",
        "allowed",
        "Usage",
    ] {
        let at = rest
            .find(expected)
            .unwrap_or_else(|| panic!("{expected} is missing in: {rest}"));
        rest = rest.split_at(at + expected.len()).1;
    }
    assert!(shown.to_lowercase().contains("www-authenticate: bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_terminals_work_together() {
    let deployed = Deployed::start(Options::default()).await;
    let [script] = tested("three terminals")[..] else {
        panic!("one block");
    };
    let [dev, watch, invoke] = script.lines().collect::<Vec<_>>()[..] else {
        panic!("three commands");
    };
    // The first two are what `Deployed` has started, in the same words.
    assert!(dev.starts_with("cargo dev --lambda http://127.0.0.1:9000 --env-file "));
    assert!(watch.starts_with("cargo lambda watch --ignore-changes --env-file "));
    let port = deployed.port.to_string();
    let output = bash(&format!(
        "{invoke} --invoke-address 127.0.0.1 --invoke-port {port}"
    ))
    .await;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Unauthorized"), "{said}");
}
