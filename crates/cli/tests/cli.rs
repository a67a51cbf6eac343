//! The command as a process: what it prints and how it exits.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

mod sessions;

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../cloakroom.toml");

/// The command, in an environment with nothing of ours in it.
fn cloakroom(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.args(line.split_whitespace()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str()
            && (name.starts_with("CLOAKROOM_") || name.starts_with("AWS_"))
        {
            command.env_remove(name);
        }
    }
    command.env("CLOAKROOM_CONFIG", DEMO);
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn with_input(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn json(command: &mut Command) -> (i32, Value) {
    let (code, out, err) = run(command);
    let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}{err}"));
    (code, value)
}

/// A running `cloakroom dev`.
struct Dev {
    child: Child,
    welcome: String,
    /// What it says after that, line by line.
    logged: Receiver<String>,
    dir: TempDir,
}

impl Dev {
    fn start(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env_file = dir.path().join("functions.env");
        let mut child = cloakroom(&format!("dev --port 0 {options}"))
            .arg("--env-file")
            .arg(&env_file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut welcome = String::new();
        loop {
            let line = lines.next().expect("it gets ready").unwrap();
            if line == "ready" {
                break;
            }
            welcome.push_str(&line);
            welcome.push('\n');
        }
        // What is logged must not fill the pipe.
        let (sender, logged) = channel();
        std::thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Self {
            child,
            welcome,
            logged,
            dir,
        }
    }

    fn env_file(&self) -> PathBuf {
        self.dir.path().join("functions.env")
    }

    fn url(&self, name: &str) -> &str {
        let line = self.welcome.lines().find(|line| line.starts_with(name));
        line.unwrap().split_whitespace().next_back().unwrap()
    }

    fn base(&self) -> &str {
        self.url("Example page").trim_end_matches('/')
    }

    /// The command in the environment that this system has written.
    fn command(&self, line: &str) -> Command {
        in_environment(&self.env_file(), line)
    }

    async fn token(&self) -> String {
        let answer: Value = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(self.url("Token endpoint"))
            .basic_auth("demo-machine", Some("demo-machine-secret"))
            .form(&[
                ("grant_type", "client_credentials"),
                ("scope", "orders:read"),
            ])
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    #[cfg(unix)]
    fn signal(&mut self, name: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_environment(file: &Path, line: &str) -> Command {
    let mut command = cloakroom(line);
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let (name, value) = line.split_once('=').unwrap();
        command.env(name, value);
    }
    command
}

// --- usage

#[test]
fn version_and_help_are_answers_and_nonsense_is_usage() {
    let (code, out, _) = run(&mut cloakroom("--version"));
    assert_eq!((code, out.starts_with("cloakroom ")), (0, true));
    for line in [
        "--help",
        "dev --help",
        "clients new --help",
        "sessions --help",
    ] {
        assert_eq!(run(&mut cloakroom(line)).0, 0, "{line}");
    }
    for line in [
        "",
        "nonsense",
        "explain GET",
        "keys rotate",
        "dev --api soap",
    ] {
        assert_eq!(run(&mut cloakroom(line)).0, 2, "{line}");
    }
}

#[test]
fn what_is_not_there_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (command, line) in [
        (
            cloakroom("check /nonexistent.toml"),
            "cloakroom: the file /nonexistent.toml cannot be read\n",
        ),
        (
            cloakroom("epoch show"),
            "cloakroom: CLOAKROOM_TABLE is not set: load the file that `cloakroom setup` or `cloakroom dev` has written with --env-file PATH: `set -a; . PATH; set +a`\n",
        ),
        (
            cloakroom("keys list"),
            "cloakroom: CLOAKROOM_SIGNING_KEYS is not set: load the file that `cloakroom setup` or `cloakroom dev` has written with --env-file PATH: `set -a; . PATH; set +a`\n",
        ),
        (
            cloakroom("sessions list --subject alice"),
            "cloakroom: --subject must be PROVIDER|NAME for a user or client|ID for a machine\n",
        ),
        (
            cloakroom("clients new --id app --kind public"),
            "cloakroom: a client that is granted authorization_code needs --redirect-uri\n",
        ),
    ] {
        let mut command = command;
        let (code, out, err) = run(command.current_dir(dir.path()));
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", line));
    }
}

#[cfg(unix)]
#[test]
fn a_folder_has_one_system_at_a_time_and_is_free_after_a_crash() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let options = format!("--data-dir {}", dir.display());
    let mut first = Dev::start(&options);
    let (code, _, err) = run(&mut cloakroom(&format!("dev --port 0 {options}")));
    assert_eq!(
        (code, err),
        (
            2,
            format!(
                "cloakroom: another `cloakroom dev` is running in {}: stop it, or name another folder with --data-dir\n",
                dir.display()
            )
        )
    );
    assert_eq!(
        run(&mut first.command("epoch show")).0,
        0,
        "it is not disturbed"
    );
    first.signal("KILL");
    let second = Dev::start(&options);
    assert!(!second.welcome.contains("WARN"), "{}", second.welcome);
    assert_eq!(run(&mut second.command("epoch show")).0, 0);
}

// --- AWS that is not as it should be

/// In an environment in which nobody has credentials.
fn without_aws(line: &str) -> Command {
    let mut command = cloakroom(line);
    command
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("CLOAKROOM_TABLE", "cloakroom")
        .env(
            "CLOAKROOM_SIGNING_KEYS",
            "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
        );
    command
}

/// With all that AWS takes, which is at `url`.
fn with_aws_at(url: &str, line: &str) -> Command {
    let mut command = without_aws(line);
    command
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "canary")
        .env("AWS_ENDPOINT_URL", url);
    command
}

/// It cannot tell, and says so in one line.
#[track_caller]
fn cannot(command: &mut Command) -> String {
    let (code, out, err) = run(command);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!err.contains("canary"), "{err}");
    err
}

#[test]
fn what_is_missing_for_aws_is_named() {
    for line in ["setup", "epoch show", "keys list"] {
        let none = cannot(&mut without_aws(line));
        assert!(none.contains("no AWS credentials"), "{line}: {none}");
        assert!(
            none.contains("AWS_PROFILE") && none.contains("--env-file"),
            "{line}: {none}"
        );
        let profile = cannot(without_aws(line).env("AWS_PROFILE", "nobody"));
        assert!(profile.contains("AWS_PROFILE=nobody"), "{line}: {profile}");
        let region = cannot(with_aws_at("http://127.0.0.1:9", line).env_remove("AWS_REGION"));
        assert!(region.contains("set AWS_REGION"), "{line}: {region}");
        let no_url = cannot(&mut with_aws_at("nonsense", line));
        let empty = cannot(with_aws_at("x", line).env("AWS_ENDPOINT_URL_KMS", ""));
        assert!(empty.contains("AWS_ENDPOINT_URL_KMS is empty"), "{empty}");
        assert_eq!(
            no_url,
            "cloakroom: AWS_ENDPOINT_URL=nonsense is no URL, as in http://127.0.0.1:8000\n"
        );
    }
    let (code, out, _) = run(&mut without_aws("doctor --stack s"));
    assert_eq!(code, 1);
    let said = "no AWS credentials";
    assert_eq!(
        out.matches(said).count(),
        1,
        "once, not for each function: {out}"
    );
}

#[test]
fn a_table_that_does_not_answer_is_no_no() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    assert_eq!(
        cannot(&mut with_aws_at(&url, "epoch show")),
        format!(
            "cloakroom: DynamoDB cannot be reached: check AWS_ENDPOINT_URL={url}, and the network\n"
        )
    );
}

#[test]
fn what_aws_says_is_told_with_what_to_do() {
    for (kind, told) in [
        (
            "AccessDeniedException",
            "may not do GetItem at DynamoDB (GetItem: AccessDeniedException)",
        ),
        (
            "ExpiredTokenException",
            "(GetItem: ExpiredTokenException): they are wrong or have expired",
        ),
        ("UnrecognizedClientException", "aws sso login"),
        ("ResourceNotFoundException", "check CLOAKROOM_TABLE"),
        ("ThrottlingException", "try again"),
        ("", "is not DynamoDB"),
    ] {
        let said = cannot(&mut with_aws_at(&refusing(kind), "epoch show"));
        assert!(said.contains(told), "{kind}: {said}");
    }
}

#[test]
fn a_key_that_is_not_there_is_told_by_where_its_name_is_from() {
    let dev = Dev::start("");
    let gone = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";
    let mut command = dev.command("keys list");
    let said = cannot(command.env("CLOAKROOM_SIGNING_KEYS", gone));
    assert!(said.contains("KMS has no such key"), "{said}");
    assert_eq!(run(&mut dev.command("keys list")).0, 0);
}

/// What stands in for AWS and refuses everything like this; nameless, if it is no AWS.
fn refusing(kind: &'static str) -> String {
    serving(move |_| match kind {
        "" => ("404 Not Found", serde_json::json!({})),
        _ => (
            "400 Bad Request",
            serde_json::json!({"__type": format!("com.amazonaws#{kind}"), "message": "canary"}),
        ),
    })
}

// --- check

#[test]
fn a_good_configuration_is_one_line_with_its_numbers() {
    let (code, out, _) = run(&mut cloakroom("check"));
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), 1);
    assert!(out.contains("5 routes; gateway TTL 0 s, memory TTL 5 s, minimum JWT life 89 s"));
    let (code, report) = json(&mut cloakroom("check --json"));
    assert_eq!(code, 0);
    assert_eq!(report["ok"], true);
    assert_eq!(report["summary"]["clients"], 2);
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let (code, out, _) = run(&mut cloakroom("check --schema"));
    assert_eq!(code, 0);
    let published = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/cloakroom.schema.json"
    );
    assert_eq!(
        out.trim_end(),
        std::fs::read_to_string(published).unwrap().trim_end(),
        "write it anew: cloakroom check --schema > docs/cloakroom.schema.json"
    );
    let (_, schema) = json(&mut cloakroom("check --schema"));
    let route = &schema["$defs"]["RouteConfig"];
    assert_eq!(route["additionalProperties"], false, "unknown keys");
    assert_eq!(route["required"], serde_json::json!(["method", "path"]));
    assert!(route["properties"]["fields"].is_object());
}

#[test]
fn warnings_fail_where_they_are_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cloakroom.toml");
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let shadowed =
        "\n[[routes]]\nmethod = \"POST\"\npath = \"/api/{proxy+}\"\naudience = \"orders\"\n";
    for (text, loose, strict) in [(demo.clone(), 0, 0), (demo + shadowed, 0, 1)] {
        std::fs::write(&file, text).unwrap();
        let check = |more: &str| {
            let mut command = cloakroom("check");
            command.arg(&file);
            if !more.is_empty() {
                command.arg(more);
            }
            run(&mut command).0
        };
        assert_eq!((check(""), check("--strict")), (loose, strict));
    }
}

#[test]
fn without_a_name_the_file_here_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = cloakroom("check");
    command
        .env_remove("CLOAKROOM_CONFIG")
        .current_dir(dir.path());
    assert_eq!(run(&mut command).0, 2);
    std::fs::copy(DEMO, dir.path().join("cloakroom.toml")).unwrap();
    assert_eq!(run(&mut command).0, 0);
}

#[test]
fn each_kind_of_fault_has_file_line_and_setting_and_no_value_that_may_be_secret() {
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    let cases = [
        ("config_version = 1", "config_version = 2", "config_version"),
        ("http://localhost:3000", "http://canary.example", "issuer"),
        (
            "max_latency = 5",
            "max_latency = 9999",
            "revocation.max_latency",
        ),
        ("max_latency = 5", "max_canary = 5", "line "),
        ("env:CLOAKROOM_DEMO_IDP_SECRET", "canary", "line "),
        ("sha256:", "canary:", "line "),
        ("kind = \"public\"", "kind = \"secret\"", "line "),
        (
            "[\"client_credentials\", \"token_exchange\"]",
            "[\"authorization_code\"]",
            "clients[0].redirect_uris",
        ),
        (
            "http://127.0.0.1/callback",
            "http://canary.example/",
            "clients[1].redirect_uris",
        ),
        (
            "path = \"/api/orders\"",
            "path = \"canary\"",
            "routes[0].path",
        ),
        (
            "path = \"/api/reports\"",
            "path = \"/api/orders\"",
            "routes[1]",
        ),
        (
            "audience = \"profile\"",
            "audience = \"canary\"",
            "routes[2].audience",
        ),
        (
            "[[audiences]]\nid = \"profile\"",
            "[[audiences]]\nid = \"orders\"",
            "audiences[1].id",
        ),
    ];
    for (good, bad, setting) in cases {
        let text = demo.replace(good, bad);
        assert_ne!(text, demo, "{good}");
        std::fs::write(&path, text).unwrap();
        let (code, out, err) = run(cloakroom("check").arg(&path));
        assert_eq!((code, err.as_str()), (1, ""), "{bad}: {out}");
        let file = format!("{}: ", path.display());
        let named = |line: &str| {
            let fault = line.strip_prefix(&file).unwrap();
            let place = fault
                .strip_prefix("line ")
                .and_then(|rest| rest.split_once(": "));
            let of_table = setting.contains('[');
            assert!(place.is_some() || !of_table, "{line}");
            let own = place.map_or(fault, |(_, rest)| rest);
            fault.starts_with(setting) || own.starts_with(setting)
        };
        assert!(out.lines().any(named), "{bad}: {out}");
        // Names that are looked up are no secrets.
        let shown = [
            "max_canary = 5",
            "path = \"canary\"",
            "audience = \"canary\"",
        ];
        assert_eq!(out.contains("canary"), shown.contains(&bad), "{out}");
        let (code, report) = json(cloakroom("check --json").arg(&path));
        assert_eq!((code, &report["ok"]), (1, &Value::from(false)));
        assert_eq!(
            report["faults"].as_array().unwrap().len(),
            out.lines().count()
        );
    }
}

#[test]
fn two_faults_are_two_lines_and_a_warning_is_no_fault() {
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloakroom.toml");
    let bad = demo
        .replace("path = \"/api/orders\"", "path = \"orders\"")
        .replace("audience = \"profile\"", "audience = \"nobody\"");
    std::fs::write(&path, bad).unwrap();
    let (code, out, _) = run(cloakroom("check").arg(&path));
    assert_eq!((code, out.lines().count()), (1, 2), "{out}");
    let odd = demo.replacen(
        "scopes = [\"orders:read\"]\n\n[[routes]]",
        "scopes = [\"orders:write\"]\n\n[[routes]]",
        1,
    );
    std::fs::write(&path, odd).unwrap();
    let (code, out, _) = run(cloakroom("check").arg(&path));
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("warning: routes[0]: nobody can pass"),
        "{out}"
    );
}

// --- explain

#[test]
fn a_caller_is_told_which_condition_failed() {
    for (line, code, words) in [
        ("explain GET /api/reports --role admin", 0, "allowed"),
        (
            "explain GET /api/reports --role user",
            1,
            "refused (role): the route needs all of the roles admin",
        ),
        (
            "explain GET /api/reports --client",
            1,
            "refused (token_kind): the route is for users alone",
        ),
        (
            "explain GET /api/orders --client --scope orders:read",
            0,
            "route GET /api/orders (audience orders)",
        ),
        ("explain GET /api/orders --client", 1, "refused (scope)"),
        ("explain GET /api/nothing", 1, "refused (no_route)"),
        (
            "explain GET /api/orders --token junk",
            1,
            "refused (malformed)",
        ),
    ] {
        let (found, out, err) = run(&mut cloakroom(line));
        assert_eq!(found, code, "{line}: {out}{err}");
        assert!(out.contains(words), "{line}: {out}");
    }
    for line in [
        "explain GET /api/orders --client --role admin",
        "explain GET /api/orders --token x --scope orders:read",
    ] {
        assert_eq!(run(&mut cloakroom(line)).0, 2, "{line}");
    }
}

// --- clients

#[test]
fn a_new_client_fits_the_configuration_and_its_secret_is_shown_once() {
    let (code, out, _) = run(&mut cloakroom(
        "clients new --id billing --scope orders:read --audience orders",
    ));
    assert_eq!(code, 0);
    let (first, block) = out.split_once("\n\n").unwrap();
    let secret = first.split(": ").nth(1).unwrap();
    assert_eq!(out.matches(secret).count(), 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloakroom.toml");
    let demo = std::fs::read_to_string(DEMO).unwrap();
    std::fs::write(&path, format!("{demo}\n{block}")).unwrap();
    let (code, out, _) = run(cloakroom("check").arg(&path));
    assert!(code == 0 && out.contains("3 clients"), "{out}");
    let (_, list) = json(cloakroom("clients list --json --config").arg(&path));
    assert_eq!(list["clients"][2]["id"], "billing");
    assert_eq!(list["clients"][2]["secrets"], 1);
    let (_, text, _) = run(cloakroom("clients list --config").arg(&path));
    assert!(!text.contains("sha256") && text.contains("billing"));
    // The same id again.
    let again = run(cloakroom("clients new --id billing --config").arg(&path));
    assert_eq!(again.0, 2);
}

#[test]
fn a_chosen_secret_is_hashed_and_matches_and_is_not_shown() {
    use cloakroom_domain::client::SecretHash;
    let (code, out, err) = with_input(&mut cloakroom("clients hash"), "correct horse\n");
    assert_eq!(code, 0);
    assert!(out.starts_with("argon2id:$argon2id$"), "{out}");
    assert!(!out.contains("correct") && err.is_empty());
    let hash = SecretHash::try_from(out.trim().to_owned()).unwrap();
    assert!(hash.matches("correct horse"));
    assert!(!hash.matches("correct horse\n"));
    let made: Value = {
        let (_, out, _) = run(&mut cloakroom("clients new --id x --json"));
        serde_json::from_str(&out).unwrap()
    };
    let text = made["hash"].as_str().unwrap().to_owned();
    let hash = SecretHash::try_from(text).unwrap();
    assert!(hash.matches(made["client_secret"].as_str().unwrap()));
    assert_eq!(with_input(&mut cloakroom("clients hash"), "\n").0, 2);
}

// --- dev, and what operates a system

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, _, err) = run(&mut cloakroom(&format!("dev --port {port}")));
    assert_eq!(code, 2);
    let expected = format!(
        "cloakroom: port {port} is taken: choose another with --port, as in `cargo dev --port 3001`\n"
    );
    assert_eq!(err, expected);
}

/// A `cloakroom.toml` that happens to be here is not the system that is started.
#[test]
fn dev_reads_no_file_that_nobody_named_and_its_help_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cloakroom.toml"), "nonsense").unwrap();
    let here = |line: &str| {
        let mut command = cloakroom(line);
        command.current_dir(&dir).env_remove("CLOAKROOM_CONFIG");
        command
    };
    assert_eq!(run(&mut here("check")).0, 1);
    // It gets as far as its port: the configuration was good.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_, _, err) = run(&mut here(&format!("dev --port {port}")));
    assert!(err.contains("is taken"), "{err}");
    let (_, help, _) = run(&mut here("dev --help"));
    let words: Vec<_> = help.split_whitespace().collect();
    let help = words.join(" ");
    assert!(help.contains("for `dev` the demo's own]"), "{help}");
}

#[test]
fn d103_dev_overwrites_no_configuration_of_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, env_file) = (dir.path().join("x.toml"), dir.path().join("x.env"));
    std::fs::copy(DEMO, &mine).unwrap();
    std::fs::write(dir.path().join("x.env.cloakroom.toml"), "mine").unwrap();
    let mut dev = cloakroom("dev --port 0");
    let (code, _, err) = run(dev
        .arg("--config")
        .arg(&mine)
        .arg("--env-file")
        .arg(&env_file));
    assert_eq!(code, 2);
    assert!(
        err.contains("x.env.cloakroom.toml") && err.contains("move that file"),
        "{err}"
    );
    let kept = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(kept("x.env.cloakroom.toml"), "mine");
    assert_eq!(kept("x.toml"), std::fs::read_to_string(DEMO).unwrap());

    let dev = Dev::start("");
    let given = std::fs::read_to_string(dev.env_file()).unwrap();
    assert!(given.contains("functions.env.cloakroom.toml"), "{given}");
    assert!(!dev.env_file().with_extension("toml").exists());
}

#[test]
fn dev_says_which_secret_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.toml");
    let demo = std::fs::read_to_string(DEMO).unwrap();
    // Of a provider called "demo" the local system knows the secret itself.
    let other = demo
        .replace("id = \"demo\"\n", "id = \"other\"\n")
        .replace("env:CLOAKROOM_DEMO_IDP_SECRET", "env:MY_SECRET");
    std::fs::write(&path, other).unwrap();
    let (code, _, err) = run(cloakroom("dev --port 0 --config").arg(&path));
    assert_eq!(code, 2);
    assert_eq!(
        err,
        "cloakroom: identity_providers[0].client_secret cannot be had: `env:MY_SECRET`: the variable is not set\n"
    );
}

/// `cargo lambda watch` is another terminal, and easily forgotten.
#[tokio::test]
async fn dev_says_that_nobody_runs_the_functions() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let dev = Dev::start(&format!("--lambda {url}"));
    let answer = reqwest::get(dev.url("Public keys")).await.unwrap();
    assert!(answer.status().is_server_error());
    let expected = format!("nobody answers at {url}: is `cargo lambda watch` running?");
    let patience = Duration::from_secs(10);
    while !dev
        .logged
        .recv_timeout(patience)
        .unwrap()
        .contains(&expected)
    {}
}

#[cfg(unix)]
#[tokio::test]
async fn dev_serves_until_it_is_asked_to_end() {
    for signal in ["TERM", "INT"] {
        let mut dev = Dev::start("--api http --edge cloudfront");
        for word in ["alice", "bob", "curl -u demo-machine", "DynamoDB", "KMS"] {
            assert!(dev.welcome.contains(word), "{word}");
        }
        let page = reqwest::get(dev.base().to_owned() + "/").await.unwrap();
        assert!(page.status().is_success());
        assert_eq!(dev.signal(signal), Some(0), "{signal}");
    }
}

#[test]
fn dev_refuses_a_bad_configuration_with_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let bad = demo
        .replace("path = \"/api/orders\"", "path = \"orders\"")
        .replace("audience = \"profile\"", "audience = \"nobody\"");
    std::fs::write(&path, bad).unwrap();
    let (code, _, err) = run(cloakroom("dev --port 0 --config").arg(&path));
    assert_eq!((code, err.lines().count()), (2, 2), "{err}");
}

#[tokio::test]
async fn a_machines_token_is_explained_listed_revoked_and_dead() {
    let dev = Dev::start("");
    let token = dev.token().await;
    let explain = |line: &str| {
        let (code, out, err) = run(&mut dev.command(&format!("explain {line} --token {token}")));
        assert!(!out.contains(&token) && !err.contains(&token));
        (code, out)
    };
    let (code, out) = explain("GET /api/orders");
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("issued to demo-machine, scope \"orders:read\""),
        "{out}"
    );
    assert_eq!(explain("GET /api/reports").0, 1);
    let (code, out, _) = with_input(
        &mut dev.command("explain GET /api/orders --token -"),
        &format!("{token}\n"),
    );
    assert_eq!(code, 0, "{out}");

    let list = || json(&mut dev.command("sessions list --subject client|demo-machine --json"));
    let (code, before) = list();
    assert_eq!(code, 0);
    assert_eq!(before["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(before["sessions"][0]["state"], "active");
    assert_eq!(before["sessions"][0]["client"], "demo-machine");
    let (_, others) = json(&mut dev.command("sessions list --subject demo|alice --json"));
    assert_eq!(others["sessions"], serde_json::json!([]));

    let revoke = "sessions revoke --subject client|demo-machine --json";
    let (code, count) = json(&mut dev.command(revoke));
    assert_eq!(code, 0);
    assert_eq!(count["revoked"], 1);
    let (_, count) = json(&mut dev.command(revoke));
    assert_eq!(
        (&count["revoked"], &count["over_before"]),
        (&Value::from(0), &Value::from(1))
    );
    assert_eq!(list().1["sessions"][0]["state"], "revoked");
    let (code, out) = explain("GET /api/orders");
    assert_eq!(code, 1);
    assert!(out.contains("refused (revoked)"), "{out}");
}

#[tokio::test]
async fn the_epoch_ends_everything_and_never_moves_back() {
    let dev = Dev::start("");
    let (code, out, _) = run(&mut dev.command("epoch show"));
    assert_eq!((code, out.as_str()), (0, "never set\n"));
    let token = dev.token().await;
    let (code, bumped) = json(&mut dev.command("epoch bump --json"));
    assert_eq!(code, 0);
    assert_eq!(json(&mut dev.command("epoch show --json")).1, bumped);
    let line = format!("explain GET /api/orders --token {token}");
    let (code, out, _) = run(&mut dev.command(&line));
    assert_eq!(code, 1);
    assert!(out.contains("refused (expired)"), "{out}");
    let later = bumped["epoch"].as_u64().unwrap() + 100;
    let (_, shown) = json(
        dev.command("epoch show --json")
            .env("CLOAKROOM_NOT_BEFORE", later.to_string()),
    );
    assert_eq!(shown["epoch"], later);
}

#[tokio::test]
async fn setup_makes_what_doctor_finds_good() {
    let dev = Dev::start("");
    let file = dev.dir.path().join("made/other.env");
    let (code, out, err) = run(dev
        .command("setup --env-file")
        .arg(&file)
        .env("CLOAKROOM_TABLE", "other"));
    assert_eq!(code, 0, "{out}{err}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("CLOAKROOM_TABLE=other\n"), "{text}");
    let (code, report) = json(&mut in_environment(&file, "doctor --json"));
    assert_eq!((code, &report["ok"]), (0, &Value::from(true)), "{report}");
    let (code, keys) = json(&mut in_environment(&file, "keys list --json"));
    assert_eq!(code, 0);
    assert_eq!(keys["keys"][0]["signs"], true);
    assert_eq!(keys["keys"][0]["jwk"]["alg"], "RS256");

    // The provider's secret as it was given, where it may be written; a system on one
    // machine gets one, and others are told.
    let given = std::fs::read_to_string(dev.env_file()).unwrap();
    let secret = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("CLOAKROOM_DEMO_IDP_SECRET="))
    };
    assert_eq!(secret(&text), secret(&given));
    let other = dev.dir.path().join("another.env");
    let made = dev
        .command("setup --env-file")
        .arg(&other)
        .env("CLOAKROOM_DEMO_IDP_SECRET", "")
        .output()
        .unwrap();
    assert!(made.status.success() && made.stderr.is_empty());
    let made = secret(&std::fs::read_to_string(&other).unwrap()).unwrap();
    assert_eq!(made.len(), "CLOAKROOM_DEMO_IDP_SECRET=".len() + 43);

    // The table is kept, the keys are new, the file is kept aside; and without a
    // file, standard output has no credential.
    assert_eq!(
        run(in_environment(&file, "setup --env-file").arg(&file)).0,
        0
    );
    assert_eq!(
        std::fs::read_to_string(file.with_extension("env.bak")).unwrap(),
        text
    );
    assert_ne!(std::fs::read_to_string(&file).unwrap(), text);
    let (code, out, _) = run(&mut in_environment(&file, "setup"));
    assert_eq!(code, 0);
    assert!(
        out.contains("CLOAKROOM_MAC_KEYS=arn:") && !out.contains("SECRET"),
        "{out}"
    );
}

#[tokio::test]
async fn doctor_looks_from_outside_too_and_says_what_is_wrong() {
    let dev = Dev::start("");
    let line = format!("doctor --url {} --json", dev.base());
    let (code, report) = json(&mut dev.command(&line));
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["checks"].as_array().unwrap().len(), 9, "{report}");

    let failed = |command: &mut Command| {
        let (code, report) = json(command);
        assert_eq!(code, 1, "{report}");
        let checks = report["checks"].as_array().unwrap();
        let failed = checks.iter().filter(|check| check["ok"] == false);
        failed
            .map(|check| check["check"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let no_table = &mut dev.command(&line);
    assert_eq!(
        failed(no_table.env("CLOAKROOM_TABLE", "another")),
        ["table"]
    );
    let no_mac = &mut dev.command(&line);
    let gone = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";
    assert_eq!(failed(no_mac.env("CLOAKROOM_MAC_KEYS", gone)), ["MAC keys"]);
    let no_key = &mut dev.command(&line);
    assert_eq!(
        failed(no_key.env("CLOAKROOM_SIGNING_KEYS", gone)),
        ["signing keys", "signature"]
    );
    let issuer = &mut dev.command(&line);
    assert_eq!(
        failed(issuer.env("CLOAKROOM_ISSUER", "https://other.example")),
        ["configuration"],
        "the demo provider is no provider of a public system"
    );
    let unset = &mut dev.command("doctor --json");
    assert_eq!(failed(unset.env("CLOAKROOM_TABLE", "")), ["environment"]);
    let nobody = &mut dev.command("doctor --url http://127.0.0.1:9 --json");
    assert_eq!(failed(nobody), ["url"], "once, not for each check");
    let page = &mut dev.command(&format!("doctor --url {} --json", dev.url("Demo provider")));
    assert_eq!(failed(page).len(), 3);
}

/// AWS, as far as `doctor` asks it: the functions of stack `s`, `$LATEST` and `live`, and
/// one alarm on a metric that there is.
fn aws(
    environment: impl Fn(&str, &str) -> Value + Send + 'static,
    status: &'static str,
    metric: &'static str,
) -> String {
    serving(move |request| {
        let xml = |what: &str, inside: String| {
            let text =
                format!("<{what}Response><{what}Result>{inside}</{what}Result></{what}Response>");
            ("200 OK", Value::from(text))
        };
        if request.contains("Action=DescribeStacks") {
            let parameter =
                "<ParameterKey>LogLevel</ParameterKey><ParameterValue>info</ParameterValue>";
            return xml(
                "DescribeStacks",
                format!(
                    "<Stacks><member><StackName>s</StackName><StackStatus>{status}</StackStatus><Parameters><member>{parameter}</member></Parameters></member></Stacks>"
                ),
            );
        }
        if request.contains("Action=ListStackResources") {
            let resource = |kind: &str, id: &str| {
                format!(
                    "<member><ResourceType>{kind}</ResourceType><PhysicalResourceId>{id}</PhysicalResourceId></member>"
                )
            };
            let alarm = resource("AWS::CloudWatch::Alarm", "synthetic");
            let layer = resource("AWS::Lambda::LayerVersion", "arn:layer:2");
            return xml(
                "ListStackResources",
                format!("<StackResourceSummaries>{alarm}{layer}</StackResourceSummaries>"),
            );
        }
        let described = |name: &str| serde_json::json!({"Namespace": "Cloakroom", "MetricName": name, "Dimensions": [{"Name": "stack", "Value": "s"}]});
        if request.contains("AlarmNames") {
            let mut alarm = described("SyntheticSuccess");
            alarm["AlarmName"] = "synthetic".into();
            return ("200 OK", serde_json::json!({ "MetricAlarms": [alarm] }));
        }
        if request.contains("Namespace") {
            return (
                "200 OK",
                serde_json::json!({ "Metrics": [described(metric)] }),
            );
        }
        let function = request
            .strip_prefix("GET /2015-03-31/functions/s-")
            .and_then(|rest| rest.split_once('/'));
        let Some((name, rest)) = function else {
            let none = serde_json::json!({"__type": "ResourceNotFoundException", "Type": "User"});
            return ("404 Not Found", none);
        };
        if rest.starts_with("aliases/live ") {
            return (
                "200 OK",
                serde_json::json!({"Name": "live", "FunctionVersion": "7"}),
            );
        }
        let qualifier = rest.strip_prefix("configuration?Qualifier=").unwrap();
        let (qualifier, _) = qualifier.split_once(' ').unwrap();
        (
            "200 OK",
            serde_json::json!({
                "FunctionName": format!("s-{name}"),
                "State": "Active",
                "LastUpdateStatus": "Successful",
                "Version": "7",
                "Description": "Release 12",
                "Layers": [{"Arn": "arn:layer:2"}],
                "Environment": {"Variables": environment(name, qualifier)},
            }),
        )
    })
}

/// Where `answer` is given to every request, by its first line and its body.
fn serving(answer: impl Fn(&str) -> (&'static str, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            lines.read_line(&mut head).unwrap();
            let (mut line, mut length) = (String::new(), 0);
            while lines.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut sent = vec![0; length];
            lines.read_exact(&mut sent).unwrap();
            head += &String::from_utf8_lossy(&sent);
            let (status, body) = answer(&head);
            let body = body
                .as_str()
                .map_or_else(|| body.to_string(), str::to_owned);
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    url
}

type Told = std::collections::BTreeMap<String, String>;

/// What the functions of a stack are told.
fn told(dev: &Dev) -> Told {
    let text = std::fs::read_to_string(dev.env_file()).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What one function is told otherwise than the others, in one version or in all.
fn but(
    all: &Told,
    of: &'static str,
    version: &'static str,
    name: &'static str,
    value: &'static str,
) -> impl Fn(&str, &str) -> Value + Send + 'static {
    let all = all.clone();
    move |function: &str, qualifier: &str| {
        let mut told = all.clone();
        if (of == "all" || function == of) && (version == "all" || qualifier == version) {
            told.insert(name.to_owned(), value.to_owned());
        }
        serde_json::json!(told)
    }
}

/// Where the stack is stays with us; what is the functions' own, they say.
fn doctor(dev: &Dev, stack: &str, aws: &str) -> (i32, Value) {
    let told = told(dev);
    let mut command = dev.command(&format!("doctor --json --stack {stack}"));
    for name in told.keys().filter(|name| name.starts_with("CLOAKROOM_")) {
        command.env_remove(name);
    }
    command.env("CLOAKROOM_CONFIG", &told["CLOAKROOM_CONFIG"]);
    for service in ["LAMBDA", "CLOUDFORMATION", "CLOUDWATCH"] {
        command.env(format!("AWS_ENDPOINT_URL_{service}"), aws);
    }
    json(&mut command)
}

fn faults(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    failed
        .map(|check| format!("{}: {}", text(&check["check"]), text(&check["detail"])))
        .collect()
}

#[tokio::test]
async fn doctor_looks_at_a_stack_through_its_functions() {
    let dev = Dev::start("");
    let good = aws(
        but(&told(&dev), "nobody", "all", "", ""),
        "UPDATE_COMPLETE",
        "SyntheticSuccess",
    );
    let (code, report) = doctor(&dev, "s", &good);
    assert_eq!(code, 0, "{report}");
    let checks = report["checks"].as_array().unwrap().iter();
    let names: Vec<_> = checks.map(|check| check["check"].clone()).collect();
    // Only the functions may sign.
    assert!(!names.contains(&Value::from("signature")), "{report}");
    for name in [
        "table",
        "what runs",
        "release",
        "stack",
        "parameters",
        "alarms",
    ] {
        assert!(names.contains(&Value::from(name)), "{report}");
    }

    let (code, report) = doctor(&dev, "other", &good);
    assert_eq!(code, 1);
    assert!(faults(&report)[0].contains("check --stack"), "{report}");
}

#[tokio::test]
async fn doctor_names_each_difference_between_what_was_asked_for_and_what_runs() {
    let dev = Dev::start("");
    let all = told(&dev);
    // One thing differs each time.
    for (aws, said) in [
        (
            aws(
                but(&all, "token", "all", "CLOAKROOM_TABLE", "another"),
                "UPDATE_COMPLETE",
                "SyntheticSuccess",
            ),
            "functions: CLOAKROOM_TABLE is not the same",
        ),
        (
            aws(
                but(
                    &all,
                    "all",
                    "all",
                    "CLOAKROOM_ISSUER",
                    "https://pending.invalid",
                ),
                "UPDATE_COMPLETE",
                "SyntheticSuccess",
            ),
            "functions: the issuer is not set yet",
        ),
        (
            aws(
                but(&all, "login", "%24LATEST", "CLOAKROOM_NOT_BEFORE", "7"),
                "UPDATE_COMPLETE",
                "SyntheticSuccess",
            ),
            "what runs: login: version 7 runs, and does not have what was asked for: CLOAKROOM_NOT_BEFORE",
        ),
        (
            aws(
                but(&all, "all", "all", "CLOAKROOM_LOG", "warn"),
                "UPDATE_COMPLETE",
                "SyntheticSuccess",
            ),
            "parameters: authorizer: version 7 does not run with the stack's LogLevel",
        ),
        (
            aws(
                but(&all, "nobody", "all", "", ""),
                "UPDATE_ROLLBACK_COMPLETE",
                "SyntheticSuccess",
            ),
            "stack: the last deploy failed and was taken back",
        ),
        (
            aws(
                but(&all, "nobody", "all", "", ""),
                "UPDATE_COMPLETE",
                "Decisions",
            ),
            "alarms: SyntheticSuccess of s: an alarm watches it",
        ),
    ] {
        let (code, report) = doctor(&dev, "s", &aws);
        assert_eq!(code, 1, "{report}");
        assert!(faults(&report)[0].starts_with(said), "{report}");
    }
}

/// The output of a command that is read only in part.
#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = cloakroom("clients list --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

// --- keys

fn kids(keys: &Value, role: &str) -> Vec<String> {
    let keys = keys["keys"].as_array().unwrap();
    let those = keys.iter().filter(|key| key["role"] == role);
    those
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn in_kms_mode_a_rotation_is_said_and_not_done() {
    let dev = Dev::start("");
    let (code, before) = json(&mut dev.command("keys list --json"));
    assert_eq!((code, &before["mode"]), (0, &Value::from("kms")));
    let (code, out, _) = run(&mut dev.command("keys rotate"));
    assert_eq!(code, 0);
    assert!(out.contains("SigningKeys"), "{out}");

    // Which key is the younger one is told by the second.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let (code, step) = json(&mut dev.command("keys rotate --create --json"));
    assert_eq!(code, 0);
    assert_eq!(step["variable"], "CLOAKROOM_SIGNING_KEYS");
    let value = step["value"].as_str().unwrap();
    let arn = before["keys"][0]["arn"].as_str().unwrap();
    assert!(value.starts_with(&format!("{arn},")), "{value}");
    assert!(step["earliest_next_step"].as_u64().is_some());
    assert_eq!(
        json(&mut dev.command("keys list --json")).1,
        before,
        "nothing is changed behind the template"
    );
    // Deployed, as it were; but the step after it is not due yet.
    let mut next = dev.command("keys rotate");
    let (code, _, err) = run(next.env("CLOAKROOM_SIGNING_KEYS", value));
    assert_eq!(code, 2);
    assert!(err.contains("not before"), "{err}");
    let present = format!("keys rotate --new-key {arn}");
    assert_eq!(run(&mut dev.command(&present)).0, 2);
}

#[test]
fn in_data_key_mode_a_rotation_writes_the_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cloakroom.toml");
    let demo = std::fs::read_to_string(DEMO).unwrap();
    let text = format!("{demo}\n[jwt]\nmode = \"data-key\"\nalgorithm = \"ES256\"\n");
    std::fs::write(&config, text).unwrap();
    let dev = Dev::start(&format!("--config {}", config.display()));
    let list = || json(&mut dev.command("keys list --json"));
    let (code, first) = list();
    assert_eq!((code, &first["mode"]), (0, &Value::from("data-key")));
    let signs = kids(&first, "signs");
    assert_eq!(signs.len(), 1);

    let (code, rotated) = json(&mut dev.command("keys rotate --json"));
    assert_eq!(code, 0, "{rotated}");
    let (_, second) = list();
    assert_eq!(kids(&second, "signs"), signs);
    let next = kids(&second, "next");
    assert_eq!(next.len(), 1);
    assert!(second["serial"].as_u64() > first["serial"].as_u64());
    // One is waiting: a second would take its place unseen.
    assert_eq!(run(&mut dev.command("keys rotate")).0, 1);
    assert_eq!(list().1, second);

    let (code, out, _) = run(&mut dev.command("keys rotate --compromised"));
    assert_eq!(code, 0);
    assert!(out.contains("CLOAKROOM_KEYSET_SERIAL="), "{out}");
    let (_, third) = list();
    assert_eq!(third["keys"].as_array().unwrap().len(), 1);
    assert!(!kids(&third, "signs").contains(&next[0]));
    assert_eq!(run(&mut dev.command("keys rotate --create")).0, 2);

    // What the environment says about the key set's signer is compared with KMS, and
    // a key set that is older than it says is none.
    let (code, report) = json(&mut dev.command("doctor --json"));
    assert_eq!(code, 0, "{report}");
    let mut wrong = dev.command("doctor --json");
    assert_eq!(json(wrong.env("CLOAKROOM_KEYSET_PUBLIC_KEY", "MFk=")).0, 1);
    let mut later = dev.command("keys list");
    let (code, _, err) = run(later.env("CLOAKROOM_KEYSET_SERIAL", "99999999999"));
    assert_eq!(code, 2);
    assert!(err.contains("older than"), "{err}");

    // Setup makes all of it anew.
    let file = dir.path().join("made.env");
    let mut setup = dev.command("setup --env-file");
    let setup = setup.arg(&file).env("CLOAKROOM_TABLE", "other");
    assert_eq!(run(setup).0, 0);
    let (code, report) = json(&mut in_environment(&file, "doctor --json"));
    assert_eq!((code, &report["ok"]), (0, &Value::from(true)), "{report}");
}
